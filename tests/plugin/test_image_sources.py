"""Images as people keep them, declared in a contract: CSV files, Hugging Face folders, DICOM, transforms in code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_saliency.contracts.contract import parse_contract
from pytest_saliency.contracts.models import CasesSpec, ModelSpec
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import make_cases, make_subject
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.images import EXTENSIONS
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.errors import CasesError, SaliencyError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Place(folder=tmp_path, root=tmp_path, allow_python=True, fixtures={})


def cases(place: Place, **declared: Any) -> Cases:
    return make_cases(CasesSpec.model_validate(declared), place)


def refused(place: Place, **declared: Any) -> str:
    with pytest.raises(CasesError) as caught:
        cases(place, **declared)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def images(folder: Path, *names: str) -> None:
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (value, 0, 255)).save(folder / name)


def reds(made: Cases) -> list[int]:
    return [round(float(made.image(i)[0, 0, 0]) * 255) for i in range(len(made))]


# -- CSV ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_quotes_spaces_and_columns_that_nobody_needs(place: Place, mark: str, end: str) -> None:
    images(place.folder, "data/train/a, b.png", "data/train/c.png")
    rows = [
        ["", "Finding Labels", " file ", "Patient ID", "age, years"],
        ["0", "no finding", '"train/a, b.png"', "17.0", '"60; 61"'],
        ["1", "mass", " train/c.png", "18.0", '"a ""quoted"" word"'],
        [],
    ]
    (place.folder / "data" / "c.csv").write_bytes(end.join(mark.join(row) for row in rows).encode())
    columns = {"image": "file", "label": "Finding Labels", "cluster": "Patient ID", "group": "age, years"}
    if mark == ",":
        rows[0][4] = '"age, years"'
        (place.folder / "data" / "c.csv").write_bytes(end.join(mark.join(row) for row in rows).encode())
    made = cases(place, csv="data/c.csv", columns=columns)
    assert made.class_names == ("mass", "no finding")
    assert made.labels == (1, 0)
    assert made.clusters == ("17.0", "18.0")
    assert made.groups == ("60; 61", 'a "quoted" word')
    assert made.ids == ("train/a, b.png", "train/c.png")
    assert reds(made) == [0, 1]


def test_linked_folders_are_looked_into_once(place: Place) -> None:
    images(place.folder, "more/c.png", "set/cat/a.png", "set/dog/b.png")
    (place.folder / "set" / "cat" / "more").symlink_to(place.folder / "more")
    (place.folder / "set" / "dog" / "back").symlink_to(place.folder / "set")
    made = cases(place, imagefolder="set")
    assert (made.ids, made.labels) == (("cat/a.png", "cat/more/c.png", "dog/b.png"), (0, 0, 1))


def test_paths_with_a_root_backslashes_and_of_this_machine(place: Place) -> None:
    images(place.folder, "disk/train/a.png", "disk/test/b.png")
    (place.folder / "lists").mkdir()
    file = place.folder / "lists" / "c.csv"
    file.write_text("image,label\ntrain\\a.png,0\ntest/b.png,1\n")
    made = cases(place, csv="lists/c.csv", root="disk")
    assert (made.ids, reds(made)) == (("train/a.png", "test/b.png"), [0, 1])
    assert "2 of the 2 images that" in refused(place, csv="lists/c.csv")
    assert "paths start at the file's own folder, or at 'root'" in refused(place, csv="lists/c.csv")
    absolute = [place.folder / "disk" / name for name in ("train/a.png", "test/b.png")]
    file.write_text("image,label\n" + "".join(f"{path},{i}\n" for i, path in enumerate(absolute)))
    for declared in ({}, {"root": "disk"}, {"root": str(place.folder)}):
        found = cases(place, csv="lists/c.csv", **declared)
        assert reds(found) == [0, 1]
        assert not any(Path(case).is_absolute() for case in found.ids), "where a machine keeps them is no part of an id"
    assert cases(place, csv="lists/c.csv").digest == made.digest


def test_rows_that_are_wanted(place: Place) -> None:
    images(place.folder, *(f"{i}.png" for i in range(6)))
    rows = "".join(f"{i}.png,{i % 2},{('train', 'test')[i // 3]},{i % 3}\n" for i in range(6))
    (place.folder / "c.csv").write_text("image,label,split,fold\n" + rows)
    assert reds(cases(place, csv="c.csv", where={"split": "test"})) == [3, 4, 5]
    assert reds(cases(place, csv="c.csv", where={"split": ("test", "train"), "fold": (0, 2)})) == [0, 2, 3, 5]
    text = refused(place, csv="c.csv", where={"split": "val"})
    assert "c.csv has no row with split: val; that column holds test, train." in text
    assert "has no column 'part', which 'where' names" in refused(place, csv="c.csv", where={"part": 1})


@pytest.mark.parametrize(
    ("text", "declared", "sentence"),
    [
        ("image,label,cluster\n0.png,0,p\n1.png,1,nan\n", {}, ":3: column 'cluster' is empty; every row needs one"),
        ("image,label,cluster\n0.png,0,\n1.png,1,\n", {}, ":2: column 'cluster' is empty (and in 1 more rows)"),
        ("image,label\n0.png,cat\n1.png,NaN\n", {}, ":3: a row needs 'image' and 'label'"),
        ("image,label,id\n0.png,0,x\n1.png,1,x\n", {}, "case id 'x' is used twice"),
        ("image,label\n0.png,0\n0.png,1\n", {}, "case id '0.png' is used twice"),
        ("image,label,label\n0.png,0,1\n", {}, "has 2 columns 'label'"),
        ("image,label,part,part\n0.png,0,a,b\n", {"where": {"part": "b"}}, "has 2 columns 'part'"),
        ("image,label,cluster\n0.png,0,p\n1.png,1, \n", {}, ":3: column 'cluster' is empty"),
        ("image,label\n0.png,0\n1.png,1,cat\n", {}, ":3: a row of 3 cells under a header of 2; put cells"),
        (
            "image,label,part\n0.png,dog,a\n1.png,cat,b\n",
            {"where": {"part": "a"}},
            "has rows of class 'cat', but none among those that 'where' takes",
        ),
        (
            "image;labels\n0.png;0\n",
            {},
            "has no column 'label'; it has image, labels. Map it in 'columns'; did you mean",
        ),
        ("path|label\n0.png|0\n", {}, "has no column 'image'; it has path|label"),
        ("image,label\n0.png,2\n", {"classes": ("a", "b")}, ":2: label 2 is beyond the 2 classes"),
        ("image,label\n0.png,0.5\n", {"classes": ("a", "b")}, ":2: '0.5' is not a class"),
        ("image,label\n0.png,0\ngone.png,1\n", {"sample": {"n": 3}}, "asks for 3 cases, but c.csv has 2"),
    ],
)
def test_tables_that_cannot_be_used(place: Place, text: str, declared: dict[str, Any], sentence: str) -> None:
    images(place.folder, "0.png", "1.png")
    (place.folder / "c.csv").write_text(text)
    assert sentence in refused(place, csv="c.csv", **declared)


def test_whole_numbers_that_pandas_wrote_with_a_point(place: Place) -> None:
    images(place.folder, "0.png", "1.png")
    (place.folder / "c.csv").write_text("image,label\n0.png,1.0\n1.png,0.0\n")
    assert cases(place, csv="c.csv", classes=("a", "b")).labels == (1, 0)


def test_cells_are_what_is_between_the_separators(place: Place) -> None:
    images(place.folder, "0.png", "1.png")
    text = "image,label,cluster,group\n0.png,cat,p1 ,a\u2028b\n1.png, dog,p1,c\x0cd,\n"
    (place.folder / "c.csv").write_text(text, encoding="utf-8")
    made = cases(place, csv="c.csv")
    assert (made.clusters, made.groups, made.labels) == (("p1", "p1"), ("a\u2028b", "c\x0cd"), (0, 1))


# -- DICOM -------------------------------------------------------------------------------------------------------------


def scans(folder: Path) -> np.ndarray:
    """Write four files of two patients, named as scanners name them; the stored values run from -1000 to 1000."""
    pydicom = pytest.importorskip("pydicom")
    stored = np.linspace(-1000, 1000, 80).round().astype("i2").reshape(4, 4, 5)
    for i, pixels in enumerate(stored):
        made = pydicom.Dataset()
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"1.2.826.0.1.3680043.8.498.{i + 1}"
        made.PatientID, made.WindowCenter, made.WindowWidth = f"Roe^Jane {i // 2}", 0, 2001
        made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit = 4, 5, 16, 16, 15
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 1
        made.PixelData = pixels.tobytes()
        made["PixelData"].VR = "OW"
        path = folder / ("healthy" if i % 2 else "ill") / (f"IM{i}.dcm" if folder.name == "val" else f"IM{i}")
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save_as(path, enforce_file_format=True)
    return stored


def test_dicom_in_folders_and_lists(place: Place) -> None:
    stored = scans(place.folder / "val")
    made = cases(place, imagefolder="val", dicom={"cluster": "PatientID"})
    assert made.ids == ("healthy/IM1.dcm", "healthy/IM3.dcm", "ill/IM0.dcm", "ill/IM2.dcm")
    first, second, third, fourth = made.clusters or ()
    assert (first, second) == (third, fourth)
    assert first != second
    assert "Roe" not in repr(made)
    np.testing.assert_allclose(made.image(2)[0].numpy(), (stored[0] + 1000.5) / 2000, atol=1e-3)
    narrow = cases(place, imagefolder="val", dicom={"window": (0.0, 101.0)})
    assert set(np.unique(narrow.image(2).numpy())) == {0.0}
    assert narrow.source.endswith("val (window=(0.0, 101.0))"), "a record says so"
    assert made.source.endswith("val")
    assert narrow.digest != cases(place, imagefolder="val").digest
    scans(place.folder / "raw")
    (place.folder / "c.csv").write_text("image,label,who\nraw/ill/IM0,0,a\nraw/healthy/IM1,1,b\n")
    listed = cases(place, csv="c.csv")
    assert torch.equal(listed.image(0), made.image(2))
    assert cases(place, csv="c.csv", dicom={"cluster": "PatientID"}).clusters == (first, first)
    text = refused(place, csv="c.csv", columns={"cluster": "who"}, dicom={"cluster": "PatientID"})
    assert "have clusters in a column, and 'dicom' names PatientID too" in text
    text = refused(place, csv="c.csv", dicom={"cluster": "StudyInstanceUID"})
    assert "has no StudyInstanceUID; give the clusters in a column" in text
    images(place.folder / "mixed", "a/x.png", "b/y.png")
    assert "is not a DICOM file" in refused(place, imagefolder="mixed", dicom={"cluster": "PatientID"})


# -- Hugging Face ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Datasets in every layout, with deep pictures in them; the library's cache stays in the folder."""
    datasets = pytest.importorskip("datasets")
    root = tmp_path_factory.mktemp("hub")
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(root / "cache"))
    datasets.disable_progress_bars()
    images(root, "0.png", "1.png", "2.png")
    Image.fromarray(np.full((4, 5), 30000, "u2")).save(root / "3.png")
    Image.new("L", (5, 4), 255).save(root / "mask.png")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["dog", "cat"]),
            "patient": datasets.Value("string"),
            "fold": datasets.Value("int32"),
            "mask": datasets.Image(),
            "volume": datasets.Array3D((1, 4, 5), "float32"),
            "boxes": datasets.Sequence(datasets.Value("int32")),
        }
    )
    rows = {
        "image": [str(root / f"{i}.png") for i in range(4)],
        "label": [0, 1, 1, 0],
        "patient": ["p", "p", "q", None],
        "fold": [0, 0, 1, 1],
        "mask": [str(root / "mask.png")] * 4,
        "volume": np.linspace(0, 1, 80, dtype="f4").reshape(4, 1, 4, 5),
        "boxes": [[0], [1], [0, 1], []],
    }
    made = datasets.Dataset.from_dict(rows, features=features)
    made.save_to_disk(root / "one")
    datasets.DatasetDict(train=made, test=made.select([3, 2])).save_to_disk(root / "several")
    (root / "parquet" / "data").mkdir(parents=True)
    embedded = (
        made.map(lambda row: row)
        .with_format("arrow")
        .map(datasets.table.embed_table_storage, batched=True)
        .with_format(None)
    )
    embedded.to_parquet(root / "parquet" / "data" / "train-00000-of-00001-0a1b2c3d4e5f6071.parquet")
    images(root / "folders", "train/cat/0.png", "train/dog/1.png")
    datasets.enable_progress_bars()
    yield root
    patch.undo()


def at(folder: Path) -> Place:
    return Place(folder, folder, True, {})


@pytest.mark.parametrize("name", ["one", "parquet"])
def test_a_dataset_of_one_split(saved: Path, name: str) -> None:
    made = cases(at(saved), huggingface=name, where={"fold": 0}, columns={"cluster": "patient", "mask": "mask"})
    assert (made.labels, made.class_names, made.clusters) == ((0, 1), ("dog", "cat"), ("p", "p"))
    assert reds(made) == [0, 1]
    assert made.source == f"{name} (fold=0)"
    assert bool(made.mask(1).all())
    turned = cases(at(saved), huggingface=name, classes=("cat", "dog", "fox"))
    assert (turned.labels, turned.class_names) == ((1, 0, 0, 1), ("cat", "dog", "fox"))
    assert float(turned.image(3)[0, 0, 0]) == pytest.approx(30000 / 65535), "16 bits stay 16 bits"
    assert float(cases(at(saved), huggingface=name, white=30000.0).image(3).max()) == 1.0
    assert turned.case_digests == cases(at(saved), huggingface="one").case_digests, "the images' bytes, however kept"


def test_splits_folders_and_arrays(saved: Path) -> None:
    assert cases(at(saved), huggingface="several", split="test").labels == (0, 1)
    assert cases(at(saved), huggingface="folders").class_names == ("cat", "dog")
    volume = cases(at(saved), huggingface="one", columns={"image": "volume"})
    assert tuple(volume.image(0).shape) == (1, 4, 5)
    assert float(volume.image(3).max()) == 1.0


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"huggingface": "several"}, "has the splits train, test; 'split' is missing"),
        ({"huggingface": "several", "split": "val"}, "there is no split 'val'"),
        ({"huggingface": "one", "split": "val"}, "leave 'split: val' out"),
        ({"huggingface": "cifar10"}, "read from local folders only, never from the hub"),
        ({"huggingface": "one", "columns": {"label": "klass"}}, "has no column 'klass'; it has image, label"),
        ({"huggingface": "one", "classes": ("cat", "fox")}, "'dog' is not a class of the contract"),
        ({"huggingface": "one", "columns": {"cluster": "patient"}}, "row 3: column 'patient' is empty"),
        ({"huggingface": "one", "columns": {"id": "patient"}, "where": {"fold": 0}}, "case id 'p' is used twice"),
        ({"huggingface": "one", "columns": {"mask": "fold"}}, "column 'fold' of the dataset in one holds int32"),
        ({"huggingface": "one", "where": {"fold": 9}}, "has no row with fold: 9; that column holds 0, 1"),
        (
            {"huggingface": "one", "columns": {"labels": ("fold", "patient")}},
            "row 0: column 'patient' holds 'p'; write 1",
        ),
        ({"huggingface": "one", "columns": {"label": "boxes"}}, "'boxes' of the dataset in one holds lists of int32"),
        ({"huggingface": "one", "columns": {"group": "boxes"}}, "row 0: column 'boxes' holds several values"),
        ({"huggingface": "one", "columns": {"label": "image"}}, "take image and label from one column, 'image'"),
        (
            {"huggingface": "one", "columns": {"image": "patient"}, "where": {"fold": 0}},
            "holds string, no images; where",
        ),
        ({"huggingface": "empty"}, "holds no dataset"),
        ({"huggingface": "code"}, "code of datasets is not run"),
        ({"huggingface": "damaged"}, "cannot be read"),
    ],
)
def test_datasets_that_cannot_be_used(saved: Path, declared: dict[str, Any], sentence: str) -> None:
    for name in ("empty", "code", "damaged"):
        (saved / name).mkdir(exist_ok=True)
    (saved / "code" / "code.py").write_text("raise AssertionError('was run')")
    (saved / "damaged" / "train.parquet").write_bytes(b"PAR1 no")
    assert sentence in refused(at(saved), **declared)


# -- transforms --------------------------------------------------------------------------------------------------------

TRANSFORMS = """
import random, torch
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

def whole(side=24):
    return v2.Compose([
        v2.Resize(32, interpolation=InterpolationMode.BICUBIC), v2.CenterCrop(side), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
    ])
old = v1.Compose([v1.Resize((20, 24)), v1.ToTensor(), v1.Normalize([0.5], [0.5])])
def mixed():
    return v2.Compose([v2.Resize(32), v2.CenterCrop(24), v2.Grayscale(3), v2.Normalize([0.5] * 3, [0.2] * 3)])
def plain(pixels):
    return pixels * 2 - 1
def gamma(power):
    return lambda pixels: pixels**power
def late():
    return v2.Compose([v2.Grayscale(3), v2.Resize(16)])
def training():
    return v2.Compose([v2.RandomHorizontalFlip()])
def noisy(pixels):
    return pixels + random.random()
def mixing(pixels):
    return pixels - pixels.mean()
def pil(image):
    return image.convert("RGB")
def bytes_():
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([123.0] * 3, [58.0] * 3)])
def large():
    return v2.Normalize([123.0] * 3, [58.0] * 3)
def rough():
    return v2.Resize(32, antialias=False)
def nothing():
    return 3
"""


def preprocess(place: Place, **declared: Any) -> Preprocess:
    (place.folder / "eyes.py").write_text(TRANSFORMS)
    own = Place(place.folder, place.root, True, {"net": torch.nn.Conv2d(3, 2, 1)})
    spec = ModelSpec.model_validate({"fixture": "net", "preprocess": declared})
    return make_subject("ft", spec, own, None, ("fixture", "preprocess")).preprocess


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    import sys

    yield
    sys.modules.pop("eyes", None)


@pytest.mark.parametrize(
    ("name", "args"), [("whole", None), ("whole", {"side": 20}), ("old", None), ("mixed", None), ("plain", None)]
)
def test_a_transform_gives_what_it_gives_by_itself(place: Place, name: str, args: dict[str, Any] | None) -> None:
    """Geometry and the rest, done one after the other, are the transform; pixels between them are in [0, 1]."""
    declared = {"python": f"eyes:{name}"} | ({} if args is None else {"args": args})
    found = preprocess(place, **declared)
    import eyes  # type: ignore[import-not-found]

    transform = {"plain": eyes.plain, "old": eyes.old}.get(name) or getattr(eyes, name)(**(args or {}))
    if name == "old":  # ToTensor takes PIL images only
        from torchvision.transforms import v2

        transform = v2.Compose([step for step in eyes.old.transforms if type(step).__name__ != "ToTensor"])
    image = torch.from_numpy(np.random.Generator(np.random.PCG64(1)).random((3, 40, 50), dtype=np.float32))
    pixels = found.geometry(image, "case")
    assert 0.0 <= float(pixels.min()) <= float(pixels.max()) <= 1.0
    tolerance = 0.2 if name == "whole" else 1e-5  # bicubic overshoots, and pixels are cut off at black and white
    expected = transform(image[None])
    made = found.normalise(pixels[None])
    assert made.shape == expected.shape
    assert float((made - expected).abs().max()) < tolerance
    assert float((made - expected).abs().median()) < 1e-5


@pytest.mark.parametrize("how", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("shape", [(40, 50), (21, 33), (24, 24)])
def test_interpolation_is_torchvisions(how: str, shape: tuple[int, int]) -> None:
    from torchvision.transforms import InterpolationMode, v2

    image = torch.from_numpy(np.random.Generator(np.random.PCG64(2)).random((3, *shape), dtype=np.float32))
    expected = v2.Resize(24, interpolation=InterpolationMode(how))(image).clamp(0, 1)
    found = Preprocess.of({"resize": 24, "interpolation": how}).geometry(image, "case")
    assert torch.equal(found, expected)
    with pytest.raises(SaliencyError, match="is a volume, which cannot be resized with interpolation bicubic"):
        Preprocess.of({"resize": 4, "interpolation": "bicubic"}).geometry(torch.zeros(1, 8, 8, 8), "case")


def test_images_that_are_resized_already_are_not_resized_again(place: Place) -> None:
    """Mosaics and changed images are made of pixels behind the geometry; the function still follows."""
    from pytest_saliency.engine.beside import after_geometry
    from pytest_saliency.engine.subject import Subject

    subject = Subject(torch.nn.Conv2d(3, 2, 1), preprocess=preprocess(place, python="eyes:mixed"))
    behind = after_geometry(subject).preprocess
    pixels = torch.rand(3, 48, 48)
    assert torch.equal(behind.geometry(pixels, "case"), pixels)
    assert torch.equal(behind.normalise(pixels[None]), subject.preprocess.normalise(pixels[None]))
    other = preprocess(place, python="eyes:whole")
    assert subject.preprocess.same_view(other)
    assert not subject.preprocess.same_view(preprocess(place, python="eyes:whole", args={"side": 20}))


def test_what_a_record_says_of_transforms(place: Place) -> None:
    assert preprocess(place, python="eyes:whole").describe() == {
        "resize": 32, "interpolation": "bicubic", "center_crop": (24, 24),
        "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4),
    }  # fmt: skip
    assert preprocess(place, python="eyes:plain").describe() == "callable eyes:plain"
    assert preprocess(place, python="eyes:mixed", channels=3).describe() == {
        "resize": 32, "center_crop": (24, 24), "channels": 3, "then": "callable eyes:mixed"
    }  # fmt: skip
    assert preprocess(place, python="eyes:gamma", args={"power": 2.0}).describe() == "callable eyes:gamma(power=2.0)"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("late", "changes the size from 64x64 to 16x16, so that no map could be laid over its image"),
        ("training", "holds RandomHorizontalFlip, which is random"),
        ("noisy", "is random: the same pixels did not give the same input twice"),
        ("mixing", "mixes the images of a batch"),
        ("pil", "raised AttributeError at .*eyes.py.* It gets tensors, not PIL images"),
        ("bytes_", "holds ToDtype without scale=True"),
        ("large", "normalises with the mean 123, as of pixels in 0 .. 255"),
        ("rough", "antialias=False, which is not done here"),
        ("nothing", "is of type int; a transform or a function"),
        ("gone", "has no attribute 'gone'"),
    ],
)
def test_transforms_that_cannot_be_used(place: Place, name: str, sentence: str) -> None:
    with pytest.raises(SaliencyError, match=sentence) as caught:
        preprocess(place, python=f"eyes:{name}")
    assert "\n" not in str(caught.value)


def test_a_size_that_changes_for_some_images_only_is_found_when_it_happens(place: Place) -> None:
    (place.folder / "padding.py").write_text(
        "import torch.nn.functional as F\ndef pad(x):\n    return F.pad(x, (0, -x.shape[-1] % 32))\n"
    )
    own = Place(place.folder, place.root, True, {"net": torch.nn.Conv2d(3, 2, 1)})
    spec = ModelSpec.model_validate({"fixture": "net", "preprocess": {"python": "padding:pad"}})
    made = make_subject("ft", spec, own, None, ("fixture", "preprocess")).preprocess
    assert made.normalise(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)
    with pytest.raises(SaliencyError, match="changes the size from 32x40 to 32x64"):
        made.normalise(torch.zeros(2, 3, 32, 40))
    closed = Place(place.folder, place.root, False, {"net": torch.nn.Conv2d(3, 2, 1)})
    with pytest.raises(SaliencyError, match="padding:pad is not imported"):
        make_subject("ft", spec, closed, None, ("fixture", "preprocess"))


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_page_are_contracts() -> None:
    text = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 7
    for block in blocks:
        head = "" if block.startswith("models:") else "models: {ft: {fixture: net}}\n"
        tail = "cases: {npz: a.npz}\n" if block.startswith("models:") else ""
        check = "checks: [{id: a, kind: not_vacuous, model: ft, method: gradcam, max_share: 0.1}]\n"
        made = parse_contract(f"saliency: 1\ncontract: page\n{head}{block}{tail}{check}".encode(), Path("x"))
        assert made.cases is not None
    for ending in EXTENSIONS:
        assert ending.removeprefix(".").upper() in text.upper().replace("JPEG", "JPEG JPG").replace("TIFF", "TIFF TIF")
