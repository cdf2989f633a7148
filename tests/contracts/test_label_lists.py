"""Hugging Face datasets with several labels an image, and a mask a label: the same cases as those of a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pytest_saliency.contracts.models import CasesSpec, Contrast
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import _contrast, make_cases
from pytest_saliency.engine.cases import Cases
from pytest_saliency.errors import CasesError

NAMES = ("Effusion", "Mass", "Nodule")
LISTS = [["Effusion", "Mass"], [], ["Mass"], ["Nodule", "Effusion"]]
PATIENTS = ["p", "p", "q", "q"]
PAIRS = {"Effusion": "Mass", "Mass": "Effusion"}
MASKS = {"Effusion": "effusion", "Mass": "mass"}
COLUMNS = {"id": "file", "cluster": "patient", "masks": MASKS}
LISTED = {"separator": "|", "no_label": "none", "classes": NAMES, "pairs": PAIRS}


def row(i: int) -> np.ndarray:
    mask = np.zeros((4, 5), np.uint8)
    mask[i, 1:4] = 255
    return mask


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images, a mask for each present label, and the list of them as a CSV file."""
    made = tmp_path_factory.mktemp("lists")
    lines = ["image,file,label,patient,effusion,mass"]
    for i, labels in enumerate(LISTS):
        Image.new("RGB", (5, 4), (i, 0, 255)).save(made / f"{i}.png")
        masks = {}
        for label in {"Effusion", "Mass"} & set(labels):
            masks[label] = f"{i}_{label}.png"
            Image.fromarray(row(i) if label == "Mass" else 255 - row(i)).save(made / masks[label])
        cells = [masks.get(label, "") for label in ("Effusion", "Mass")]
        lines.append(f"{i}.png,{i}.png,{'|'.join(labels) or 'none'},{PATIENTS[i]},{','.join(cells)}")
    (made / "list.csv").write_text("\n".join(lines) + "\n")
    return made


@pytest.fixture(scope="module")
def listed(root: Path) -> Cases:
    return cases(root, csv="list.csv", columns=COLUMNS, **LISTED)


@pytest.fixture(scope="module")
def save(root: Path) -> Iterator[Callable[..., None]]:
    """Write the images as a dataset, with columns of labels as they are given."""
    datasets = pytest.importorskip("datasets")
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(root / "cache"))
    datasets.disable_progress_bars()

    def written(name: str, **columns: tuple[Any, list[Any]]) -> None:
        def paths(label: str) -> list[str | None]:
            return [str(root / f"{i}_{label}.png") if label in labels else None for i, labels in enumerate(LISTS)]

        held = {
            "image": (datasets.Image(), [str(root / f"{i}.png") for i in range(4)]),
            "file": (datasets.Value("string"), [f"{i}.png" for i in range(4)]),
            "patient": (datasets.Value("string"), PATIENTS),
            "effusion": (datasets.Image(), paths("Effusion")),
            "mass": (datasets.Image(), paths("Mass")),
            **columns,
        }
        features = datasets.Features({key: feature for key, (feature, _) in held.items()})
        rows = {key: values for key, (_, values) in held.items()}
        datasets.Dataset.from_dict(rows, features=features).save_to_disk(root / name)

    yield written
    patch.undo()
    datasets.enable_progress_bars()


def cases(root: Path, **declared: Any) -> Cases:
    return make_cases(CasesSpec.model_validate(declared), Place(root, root, False, {}))


def refused(root: Path, **declared: Any) -> str:
    with pytest.raises(CasesError) as caught:
        cases(root, **declared)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masks_of_labels_in_a_csv_file(root: Path, listed: Cases) -> None:
    assert listed.ids == ("0.png#Effusion", "0.png#Mass", "2.png#Mass", "3.png#Effusion")
    assert (listed.clusters, listed.label_masks) == (("p", "p", "q", "q"), True)
    for k, (i, mass) in enumerate([(0, False), (0, True), (2, True), (3, False)]):
        np.testing.assert_array_equal(listed.mask(k).numpy(), (row(i) > 0) == mass)
    text = (root / "list.csv").read_text()
    for damaged, columns, sentence in (
        (text.replace("2_Mass.png", "nan"), COLUMNS, "'2.png#Mass' has no mask, but 'masks' names its label 'Mass'"),
        (text, COLUMNS | {"masks": {"Mass": "mas"}}, "has no column 'mas'; it has image, file"),
        (text, COLUMNS | {"masks": {7: "mass"}}, "'masks' of damaged.csv names the label '7', which is not one"),
        (text.replace("effusion,mass", "mass,mass"), COLUMNS | {"masks": {"Mass": "mass"}}, "has 2 columns 'mass'"),
    ):
        (root / "damaged.csv").write_text(damaged)
        assert sentence in refused(root, csv="damaged.csv", columns=columns, **LISTED)


def test_a_mask_a_label_in_a_numpy_file(root: Path, listed: Cases) -> None:
    sets = np.array([[name in labels for name in NAMES] for labels in LISTS])
    masks = np.stack([np.stack([row(i) == 0, row(i) > 0, row(i) < 0]) for i in range(4)])
    np.savez(root / "sets.npz", images=np.zeros((4, 3, 4, 5), np.float32), labels=sets, masks=masks)
    made = cases(root, npz="sets.npz", classes=NAMES, pairs=PAIRS)
    assert [made.mask(k).equal(listed.mask(k)) for k in range(4)] == [True] * 4
    np.savez(root / "sets.npz", images=np.zeros((4, 3, 4, 5), np.float32), labels=sets, masks=masks[:, :2])
    assert "has 2 masks, but there are 3 labels" in refused(root, npz="sets.npz", classes=NAMES, pairs=PAIRS)


def sorts() -> dict[str, tuple[dict[str, tuple[Any, list[Any]]], dict[str, Any]]]:
    """Return the ways to write down the same labels: columns, and what a contract says of them."""
    datasets = pytest.importorskip("datasets")
    value, label = datasets.Value, datasets.ClassLabel
    numbered = [[NAMES.index(name) for name in labels] for labels in LISTS]
    turned = [[2 - one for one in ones] for ones in numbered]
    with_none = ["none", *NAMES]
    bits = {name: [name in labels for labels in LISTS] for name in NAMES}
    return {
        "classes": ({"label": (datasets.Sequence(label(names=list(NAMES))), numbered)}, {}),
        "old lists": ({"label": ([label(names=list(NAMES))], numbered)}, {}),
        "other order": ({"label": (datasets.Sequence(label(names=list(NAMES)[::-1])), turned)}, {"classes": NAMES}),
        "a class for none": (
            {
                "label": (
                    datasets.Sequence(label(names=with_none)),
                    [[with_none.index(name) for name in labels or ["none"]] for labels in LISTS],
                )
            },
            {"no_label": "none"},
        ),
        "names": (
            {"label": (datasets.Sequence(value("string")), [labels or ["none"] for labels in LISTS])},
            {"no_label": "none", "classes": NAMES},
        ),
        "numbers": ({"label": (datasets.Sequence(value("int64")), numbered)}, {"classes": NAMES}),
        "one cell": ({"label": (value("string"), ["|".join(labels) or "none" for labels in LISTS])}, LISTED),
        "columns of bool": ({name: (value("bool"), bits[name]) for name in NAMES}, {"columns": {"labels": NAMES}}),
        "columns of numbers": (
            {name: (value("float32"), [float(one) for one in bits[name]]) for name in NAMES},
            {"columns": {"labels": NAMES}},
        ),
    }


def test_the_same_cases_as_those_of_the_csv_file(root: Path, listed: Cases, save: Callable[..., None]) -> None:
    for name, (columns, said) in sorts().items():
        save(name, **columns)
        declared = {"pairs": PAIRS, **said, "columns": {**COLUMNS, **said.get("columns", {})}}
        made = cases(root, huggingface=name, **declared)
        assert made.class_names == NAMES, name
        assert made.present == listed.present, name
        assert made.digest == listed.digest, f"{name}: ids, labels, patients, pixels and masks"
        assert all(made.mask(k).equal(listed.mask(k)) for k in range(4)), name


def test_rows_that_are_wanted_and_held_out_sets(root: Path, save: Callable[..., None]) -> None:
    save("some", **sorts()["classes"][0])
    made = cases(root, huggingface="some", where={"patient": "q"}, pairs=PAIRS, columns={"masks": {1: "mass"}})
    assert made.ids == ("row-000002#Mass", "row-000003#Effusion")
    np.testing.assert_array_equal(made.mask(0).numpy(), row(2) > 0)
    spec = Contrast.model_validate({"select": "cooccurrence", "cases": {"huggingface": "some"}})
    held = _contrast(spec, Place(root, root, False, {}), None)["cases"]
    assert held.present == ((0, 1), (1,), (0, 2))
    assert "declare which label each is held against" in refused(root, huggingface="some")
    drawn = cases(root, huggingface="some", pairs=PAIRS, sample={"n": 1}, threshold={"Mass": 0.3})
    assert len(drawn.clusters or ()) in (1, 2)


def test_whole_numbers_that_are_names_are_not_places(root: Path, save: Callable[..., None]) -> None:
    """As in a table: with classes 1, 2 and 3 a 1 is the first of them; of other names 0 is the first."""
    datasets = pytest.importorskip("datasets")
    numbers = datasets.Sequence(datasets.Value("int64"))
    grades: dict[str, Any] = {"classes": ("1", "2", "3"), "pairs": {"1": "2"}}
    save("grades", label=(numbers, [[1, 3], [], [2], [1]]))
    assert cases(root, huggingface="grades", **grades).present == ((0, 2), (0,))
    save("mixed grades", label=(numbers, [[0, 3], [], [2], [1]]))
    assert "holds 3, which is a name among 'classes', and 0, which is none" in refused(
        root, huggingface="mixed grades", **grades
    )


def test_ones_and_zeros_of_two_labels_are_not_places(root: Path, save: Callable[..., None]) -> None:
    """Read as places, every image would have both labels."""
    datasets = pytest.importorskip("datasets")
    save("two", label=(datasets.Sequence(datasets.Value("int64")), [[1, 0], [0, 1], [1, 0], [0, 1]]))
    two: dict[str, Any] = {"classes": ("Effusion", "Mass"), "pairs": PAIRS}
    assert "holds a 0 or 1 for each label" in refused(root, huggingface="two", **two)


def test_datasets_that_cannot_be_used(root: Path, save: Callable[..., None]) -> None:
    datasets = pytest.importorskip("datasets")
    strings, numbers = datasets.Sequence(datasets.Value("string")), datasets.Sequence(datasets.Value("int64"))
    classes = datasets.Sequence(datasets.ClassLabel(names=list(NAMES)))
    bit = datasets.Value("int64")
    known: dict[str, Any] = {"classes": NAMES, "pairs": PAIRS}
    lists: dict[str, tuple[Any, list[Any]]] = {
        "fine": (classes, [[0, 1], [], [1], [0]]),
        "unknown": (strings, [["Efusion"], [], ["Mass"], []]),
        "twice": (strings, [["Mass", "Mass"], [], ["Mass"], []]),
        "gap": (strings, [["Mass", None], [], ["Mass"], []]),
        "both": (strings, [["Mass", "none"], [], ["Mass"], []]),
        "missing": (classes, [[0, 1], None, [1], [0]]),
        "unlabelled": (classes, [[0, 1], [], [-1], [0]]),
        "numbers": (numbers, [[0, 1], [], [3], [0]]),
        "ones": (numbers, [[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]]),
        "floats": (datasets.Sequence(datasets.Value("float32")), [[0.0], [], [1.0], []]),
        "nested": (datasets.Sequence(classes), [[[0]], [], [[1], [0]], []]),
        "single": (datasets.ClassLabel(names=list(NAMES)), [0, 1, 2, 0]),
        "words": (datasets.Value("string"), ["Mass|Efusion", "none", "Mass", "Mass"]),
    }
    for name, column in lists.items():
        save(f"bad {name}", label=column)
    save("bad columns", Effusion=(bit, [1, 0, 2, 0]), Mass=(bit, [1, 0, 1, None]))
    both = {"labels": ("Effusion", "Mass")}
    for name, declared, sentence in (
        ("unknown", known, "row 0: 'Efusion' is not one of the contract's 'classes'; did you mean 'Effusion'?"),
        ("twice", known, "row 0: 'Mass, Mass' names the label 'Mass' twice; name it once."),
        ("gap", known, "row 0: 'Mass, ' has an empty label; take one out."),
        ("both", {**known, "no_label": "none"}, "row 0: 'Mass, none' names labels and says 'none', that there is none"),
        ("missing", {"pairs": PAIRS}, "row 1: a row needs 'image' and 'label'."),
        ("unlabelled", {"pairs": PAIRS}, "row 2: '-1' is not one of the contract's 'classes'"),
        ("numbers", known, "row 2: '3' is not one of the contract's 'classes'; they are Effusion, Mass, Nodule."),
        ("ones", known, "holds a 0 or 1 for each label; save each label in a column of its own"),
        ("numbers", {"pairs": PAIRS}, "holds lists of int64, which do not tell all labels; list them under 'classes'"),
        ("unknown", {"pairs": PAIRS}, "holds lists of string, which do not tell all labels"),
        ("floats", known, "holds lists of float32; labels are classes, names, or whole numbers"),
        ("nested", known, "holds lists of lists or of mappings; labels are"),
        ("both", {**known, "separator": "|"}, "holds lists; leave 'separator' out"),
        ("both", {**known, "blank": "skip"}, "are about a column a label ('columns.labels'), but column 'label'"),
        ("both", {**known, "where": {"label": "Mass"}}, "which holds a list a row; take rows by another one"),
        ("single", {"pairs": PAIRS}, "have 'pairs', which belongs to several labels an image, but column 'label'"),
        ("single", {"columns": {"masks": {"Mass": "mass"}}}, "have 'columns.masks', which belongs to several labels"),
        ("single", {"no_label": "none"}, "have 'no_label', which belongs to several labels"),
        ("single", {"threshold": 0.3}, "pairs, threshold, uncertain and blank belong to labels"),
        ("words", {**LISTED}, "row 0: 'Efusion' is not one of the contract's 'classes'"),
        ("columns", {"columns": both, "pairs": PAIRS}, "row 2: column 'Effusion' holds '2'; write 1 where"),
        (
            "columns",
            {"columns": both, "pairs": {"Mass": "Nodule"}, "classes": ("Mass", "Nodule")},
            "has the label 'Effusion', which is not one of the contract's 'classes'",
        ),
        ("missing", {"pairs": PAIRS, "columns": {"masks": {"Mass": "image"}}}, "take image and mask from one column"),
        ("fine", {"pairs": PAIRS, "columns": {"masks": {"Mass": "file"}}}, "column 'file' of the dataset in bad fine"),
        ("fine", {"pairs": PAIRS, "columns": {"masks": {"Mas": "mass"}}}, "names the label 'Mas', which is not one of"),
    ):
        assert sentence in refused(root, huggingface=f"bad {name}", **declared), (name, declared)
    # An image that lacks the mask of a label it has is found when the mask is read, as with one mask an image.
    save("unmasked", label=(classes, [[0], [], [0, 1], []]))
    made = cases(root, huggingface="unmasked", pairs=PAIRS, columns={"masks": MASKS})
    with pytest.raises(
        CasesError, match=r"the mask of image 'row-000002#Effusion' cannot be read: .* no image in this"
    ):
        _ = made.digest
