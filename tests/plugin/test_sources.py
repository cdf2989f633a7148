"""Models and cases by declaration: every source, and the sentence for everything that can be wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from pytest_saliency.contracts.models import CasesSpec, ModelSpec
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import make_cases, make_subject, needs_class_names
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import CasesError, SaliencyError, SubjectError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(folder=tmp_path, root=tmp_path, allow_python=True, fixtures={})


def subject(place: Place, names: tuple[str, ...] | None = None, **declared: Any) -> Subject:
    spec = ModelSpec.model_validate(declared)
    return make_subject("ft", spec, place, names, declared.keys())


def cases(place: Place, **declared: Any) -> Cases:
    return make_cases(CasesSpec.model_validate(declared), place)


def images(folder: Path, *names: str) -> None:
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (value, 0, 255)).save(folder / name)


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_torchvision_architecture_with_weights(place: Place) -> None:
    torch.manual_seed(3)
    model = torchvision.models.squeezenet1_1(num_classes=4)
    save_file(model.state_dict(), place.folder / "w.safetensors")
    before = torch.get_rng_state()
    made = subject(
        place,
        torchvision="squeezenet1_1",
        num_classes=4,
        weights="w.safetensors",
        layer="features.12",
        preprocess={"resize": 64, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
        contrast={"select": "logits", "k": 2},
    )
    assert torch.equal(torch.get_rng_state(), before), "building a network leaves the user's random numbers alone"
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in made.model.state_dict().items())
    assert (made.name, made.layer) == ("ft", "features.12")
    assert made.source == "torchvision:squeezenet1_1 weights w.safetensors"
    assert made.weights_sha256 is not None
    assert (made.contrast.select, made.contrast.k) == ("logits", 2)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"torchvision": "resnet_50", "weights": "w.pt"}, "has no classifier 'resnet_50'; did you mean 'resnet50'"),
        ({"torchvision": "fcn_resnet50", "weights": "w.pt"}, "has no classifier 'fcn_resnet50'"),
        ({"torchvision": "resnet18"}, "no weights: its random weights would be others in every run"),
        ({"torchvision": "resnet18", "weights": "gone.pt"}, "weights of model 'ft' are missing: there is no file"),
        ({"torchvision": "resnet18", "weights": "w.pt", "args": {"wide": 2}}, "does not build resnet18 from"),
    ],
)
def test_torchvision_problems(place: Place, declared: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SubjectError, match=sentence):
        subject(place, **declared)


def test_a_torchvision_that_cannot_be_imported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(SubjectError, match=r"needs torchvision, which cannot be imported here .* belongs to torch"):
        subject(place, torchvision="resnet18", weights="w.pt")


def test_python_can_be_forbidden(place: Place) -> None:
    closed = Place(place.folder, place.root, allow_python=False, fixtures={})
    (place.folder / "forbidden_code.py").write_text("raise AssertionError('was imported')")
    with pytest.raises(SaliencyError, match="forbidden_code:build is not imported, because ini saliency_allow_python"):
        subject(closed, python="forbidden_code:build")
    with pytest.raises(SaliencyError, match="is not imported"):
        cases(closed, python="forbidden_code:cases")


def test_weights_are_not_loaded_into_a_fixtures_model(place: Place) -> None:
    own = Place(place.folder, place.root, True, {"net": torch.nn.Linear(2, 2)})
    with pytest.raises(SubjectError, match="comes from fixture 'net', which owns it"):
        subject(own, fixture="net", weights="w.pt")


def test_contrast_classes_by_name(place: Place) -> None:
    own = Place(place.folder, place.root, True, {"net": torch.nn.Linear(2, 3)})
    declared = {"fixture": "net", "contrast": {"select": "explicit", "classes": {"cat": ("dog",), "dog": (0, "fox")}}}
    assert needs_class_names(ModelSpec.model_validate(declared))
    assert dict(subject(own, ("cat", "dog", "fox"), **declared).contrast.classes) == {0: (1,), 1: (0, 2)}
    with pytest.raises(SubjectError, match=r"no class 'fox'.*classes are: cat, dog, cow"):
        subject(own, ("cat", "dog", "cow"), **declared)
    with pytest.raises(SubjectError, match="classes are: none, so that only indices can be used"):
        subject(own, None, **declared)


# -- cases -------------------------------------------------------------------------------------------------------------


def test_imagefolder_and_sample(place: Place) -> None:
    images(place.folder / "val", *(f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)))
    assert len(cases(place, imagefolder="val")) == 12
    drawn = cases(place, imagefolder="val", sample={"n": 4, "seed": 7})
    assert sorted(drawn.labels) == [0, 0, 1, 1]
    assert drawn.ids == cases(place, imagefolder="val", sample={"n": 4, "seed": 7}).ids
    assert drawn.class_names == ("cat", "dog")
    with pytest.raises(CasesError, match=r"asks for 40 cases, but .*val has 12"):
        cases(place, imagefolder="val", sample={"n": 40})
    with pytest.raises(CasesError, match="gone does not exist"):
        cases(place, imagefolder="gone")


def test_npz(place: Place) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    np.savez(place.folder / "c.npz", images=pixels, labels=np.array([1, 0]), ids=np.array(["a", "b"]))
    made = cases(place, npz="c.npz", classes=("cat", "dog"))
    assert (made.ids, made.labels, made.class_names, made.source) == (("a", "b"), (1, 0), ("cat", "dog"), "c.npz")
    assert torch.equal(made.image(1), torch.from_numpy(pixels[1]).float() / 255.0)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": np.zeros((2, 3, 2, 2))}, "has no array 'labels'; it has images"),
        ({"images": np.zeros((2, 3, 2, 2)), "labels": np.array([{}, {}])}, "cannot be read without running code"),
        ({"images": np.full((2, 3, 2, 2), 7.0), "labels": np.array([0, 1])}, "case-0000"),
        ({"images": np.zeros((2, 3, 2, 2)), "labels": np.array([0])}, "has 2 ids but 1 labels"),
    ],
)
def test_npz_problems(place: Place, arrays: dict[str, Any], sentence: str) -> None:
    np.savez(place.folder / "c.npz", **arrays)
    with pytest.raises(CasesError, match=sentence):
        cases(place, npz="c.npz")


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 not really", b"text"])
def test_npz_files_that_are_none(place: Place, content: bytes | None) -> None:
    if content is not None:
        (place.folder / "c.npz").write_bytes(content)
    with pytest.raises(CasesError, match=r"c\.npz"):
        cases(place, npz="c.npz")


def test_csv(place: Place) -> None:
    images(place.folder / "data", "one.png", "two.png", "three.png")
    text = "image,label,id,group,cluster,note\none.png,dog,a,f,p1,x\ntwo.png,cat,b,m,p1,y\nthree.png,dog,c,m,p2,z\n"
    (place.folder / "data" / "cases.csv").write_text("\ufeff" + text, encoding="utf-8")
    made = cases(place, csv="data/cases.csv")
    assert made.ids == ("a", "b", "c")
    assert made.labels == (1, 0, 1)
    assert made.class_names == ("cat", "dog")
    assert made.groups == ("f", "m", "m")
    assert made.clusters == ("p1", "p1", "p2")
    assert made.image(2)[0, 0, 0] == pytest.approx(2 / 255), "paths are relative to the CSV file"
    ordered = cases(place, csv="data/cases.csv", classes=("dog", "cat", "fox"))
    assert (ordered.labels, ordered.class_names) == ((0, 1, 0), ("dog", "cat", "fox"))
    renamed = cases(place, csv="data/cases.csv", columns={"group": "note"})
    assert renamed.groups == ("x", "y", "z")


@pytest.mark.parametrize(
    ("text", "declared", "sentence"),
    [
        ("", {}, "has no column 'image'; it has no header"),
        ("path,label\na.png,1\n", {}, "has no column 'image'; it has path, label"),
        ("image,label\n", {}, "there are no cases in"),
        ("image,label\na.png,1\nb.png\n", {}, r":3: a row needs 'image' and 'label'"),
        ("image,label,id\na.png,1,x\nb.png,0,\n", {}, r":3: column 'id' is empty"),
        ("image,label\na.png,1\nb.png,5\n", {"classes": ("cat", "dog")}, r":3: label 5 is beyond the 2 classes"),
        ("image,label\na.png,cat\nb.png,dgo\n", {"classes": ("cat", "dog")}, r":3: 'dgo' is not a .*mean 'dog'"),
        ("image,label\na.png,1\n", {"columns": {"cluster": "patient"}}, "has no column 'patient'"),
        ("image,label,id\na.png,0,x\nb.png,1,x\n", {}, "case id 'x' is used twice"),
    ],
)
def test_csv_problems(place: Place, text: str, declared: dict[str, Any], sentence: str) -> None:
    (place.folder / "c.csv").write_text(text)
    with pytest.raises(CasesError, match=sentence):
        cases(place, csv="c.csv", **declared)


def test_a_csv_that_is_not_there_or_not_text(place: Place) -> None:
    with pytest.raises(CasesError, match=r"cases in .*c\.csv cannot be read: .*No such file"):
        cases(place, csv="c.csv")
    (place.folder / "c.csv").write_bytes(b"image,label\n\xff\xfe,1\n")
    with pytest.raises(CasesError, match=r"cases in .*c\.csv cannot be read"):
        cases(place, csv="c.csv")


def test_classes_of_the_contract_and_of_the_cases_must_agree(place: Place) -> None:
    given = Cases.from_arrays(np.zeros((2, 1, 2, 2)), [0, 1], class_names=["dog", "cat"])
    own = Place(place.folder, place.root, True, {"mine": given})
    assert cases(own, fixture="mine") is given
    with pytest.raises(CasesError, match="have the classes dog, cat, but the contract lists cat, dog"):
        cases(own, fixture="mine", classes=("cat", "dog"))
