"""Lists of images with several labels: in one cell, in a column a label, in a NumPy file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pytest_saliency.contracts.contract import parse_contract
from pytest_saliency.contracts.models import CasesSpec, Contrast
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import _contrast, make_cases
from pytest_saliency.engine.cases import Cases
from pytest_saliency.errors import CasesError

LISTED = """\
Image Index,Finding Labels,Follow-up #,Patient ID
a.png,Cardiomegaly|Effusion,0,1
b.png,No Finding,0,2
c.png,Effusion | Hernia,1,2
d.png,Hernia,0,3
"""
FINDINGS = {
    "columns": {"image": "Image Index", "label": "Finding Labels", "cluster": "Patient ID"},
    "separator": "|",
    "no_label": "No Finding",
    "classes": ("Hernia", "Effusion", "Cardiomegaly"),
    "pairs": {"Effusion": "Cardiomegaly", "Hernia": "Effusion"},
}
COLUMNS = """\
Path,Sex,Edema,Effusion,Pneumonia
a.png,f,1.0,0.0,
b.png,m,-1.0,1.0,1
c.png,f,0,1,-1
"""
CHEXPERT = {
    "columns": {"image": "Path", "labels": ("Edema", "Effusion", "Pneumonia"), "group": "Sex"},
    "pairs": {"Edema": "Effusion", "Effusion": "Edema"},
    "uncertain": "absent",
    "blank": "absent",
}


def read(folder: Path, text: str, given: dict[str, Any]) -> Cases:
    (folder / "list.csv").write_text(text, encoding="utf-8")
    for name in "abcd":
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    spec = CasesSpec.model_validate({"csv": "list.csv", **given})
    return make_cases(spec, Place(folder, folder, False, {}))


def test_labels_in_one_cell(tmp_path: Path) -> None:
    cases = read(tmp_path, LISTED, FINDINGS)
    assert cases.ids == ("a.png#Effusion", "c.png#Hernia", "c.png#Effusion", "d.png#Hernia")
    assert cases.labels == (1, 0, 1, 0)
    assert cases.others == (2, 1, 2, 1)
    assert cases.clusters == ("1", "2", "2", "3")
    assert cases.groups == ("Effusion", "Hernia", "Effusion", "Hernia")
    assert cases.present == ((1, 2), (0, 1), (0, 1), (0,))
    assert cases.class_names == ("Hernia", "Effusion", "Cardiomegaly")


def test_a_column_a_label(tmp_path: Path) -> None:
    cases = read(tmp_path, COLUMNS, CHEXPERT)
    assert cases.ids == ("a.png#Edema", "b.png#Effusion", "c.png#Effusion")
    assert cases.groups == ("f", "m", "f")
    assert cases.clusters == ("a.png", "b.png", "c.png")
    assert cases.present == ((0,), (1, 2), (1,))
    certain = read(tmp_path, COLUMNS, CHEXPERT | {"uncertain": "skip"})
    assert certain.ids == ("a.png#Edema", "c.png#Effusion")  # whether b has an edema to hold against is not known
    # A model that knows more labels, in another order.
    wide = read(tmp_path, COLUMNS, CHEXPERT | {"classes": ("Mass", "Pneumonia", "Effusion", "Edema")})
    assert wide.ids == ("a.png#Edema", "b.png#Effusion", "c.png#Effusion")
    assert wide.labels == (3, 2, 2)
    assert wide.others == (2, 3, 3)


def test_label_sets_of_a_numpy_file(tmp_path: Path) -> None:
    sets = np.array([[1, 1, 0], [0, 0, 1], [0, 1, 1]])
    np.savez(tmp_path / "sets.npz", images=np.zeros((3, 1, 4, 4), np.float32), labels=sets, ids=["x", "y", "z"])
    place = Place(tmp_path, tmp_path, False, {})
    spec = {"npz": "sets.npz", "pairs": {0: 1, "2": 1}}
    with pytest.raises(CasesError, match="names the label '2' twice"):
        make_cases(CasesSpec.model_validate(spec | {"pairs": {2: 0, "2": 1}}), place)
    cases = make_cases(CasesSpec.model_validate(spec | {"threshold": {0: 0.25}}), place)
    assert cases.ids == ("x#0", "y#2", "z#2")
    assert cases.thresholds == (0.25, 0.5, 0.5)


def test_a_sample_counts_images(tmp_path: Path) -> None:
    cases = read(tmp_path, LISTED, FINDINGS | {"sample": {"n": 2}})
    assert len({case.partition("#")[0] for case in cases.ids}) == 2


def test_held_out_sets_need_no_pairs(tmp_path: Path) -> None:
    del_pairs = {key: value for key, value in FINDINGS.items() if key != "pairs"}
    read(tmp_path, LISTED, FINDINGS)
    spec = Contrast.model_validate({"select": "cooccurrence", "cases": {"csv": "list.csv", **del_pairs}})
    held = _contrast(spec, Place(tmp_path, tmp_path, False, {}), None)["cases"]
    assert held.present == ((1, 2), (0, 1), (0,))
    with pytest.raises(CasesError, match="declare which label each is held against"):
        read(tmp_path, LISTED, del_pairs)


@pytest.mark.parametrize(
    ("text", "extra", "sentence"),
    [
        (
            LISTED.replace("|Effusion", "|Efusion"),
            {},
            r"list.csv:2: 'Efusion' is not one of.*did you mean 'Effusion'\?",
        ),
        (LISTED, {"no_label": None}, "list.csv:3: 'No Finding' is not one of.*having no label goes under 'no_label'"),
        (LISTED.replace("Cardiomegaly|Eff", "Effusion|Eff"), {}, "list.csv:2: .* names the label 'Effusion' twice"),
        (LISTED.replace("Cardiomegaly|", "|"), {}, r"list.csv:2: '\|Effusion' has an empty label beside a separator"),
        (LISTED.replace("No Finding", "No Finding|Hernia"), {}, "list.csv:3: .* says 'No Finding', that there is none"),
        (LISTED.replace("No Finding", ""), {}, "list.csv:3: a row needs 'Image Index' and 'Finding Labels'"),
        (LISTED, {"pairs": {"Cardiomegali": "Hernia"}, "classes": None}, "'classes'"),
        (
            LISTED.replace("Hernia", "Effusion").replace("Effusion | Effusion", "Effusion"),
            {},
            "present in none of its 4",
        ),
        (COLUMNS, CHEXPERT | {"uncertain": None}, r"'Edema' of image 'b.png' is -1, uncertain \(2 cells are\)"),
        (COLUMNS, CHEXPERT | {"blank": None}, "'Pneumonia' of image 'a.png' is blank; say how blank cells count"),
        (COLUMNS.replace("1.0,0.0", "yes,0.0"), CHEXPERT, "list.csv:2: column 'Edema' holds 'yes'; write 1 where"),
        (COLUMNS.replace("Edema", "Oedema"), CHEXPERT, "has no column 'Edema'; it has Path, Sex, Oedema"),
        (COLUMNS, CHEXPERT | {"classes": ("Edema", "Effusion")}, "has the label 'Pneumonia', which is not one of"),
    ],
)
def test_bad_lists_are_one_sentence(tmp_path: Path, text: str, extra: dict[str, Any], sentence: str) -> None:
    given = {
        key: value for key, value in (extra if "columns" in extra else FINDINGS | extra).items() if value is not None
    }
    with pytest.raises((CasesError, ValueError), match=sentence) as caught:
        read(tmp_path, text, given)
    if isinstance(caught.value, CasesError):
        assert "\n" not in str(caught.value)


def test_the_contracts_of_the_page_are_contracts() -> None:
    page = (Path(__file__).parents[2] / "docs" / "multi-label.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        parse_contract(block.encode(), Path("page.saliency.yaml"))
