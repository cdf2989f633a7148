"""Exported programs: the maps of the model they were exported from, and what cannot be done with them."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.contracts.expressions import is_formula
from pytest_saliency.engine.identity import architecture_digest, subject_parts
from pytest_saliency.errors import SubjectError
from tests.engine.nets import pictures, seed_weights

from .conftest import Make

AUTO = torch.export.Dim.AUTO


class Net(nn.Module):
    """With what does nothing in evaluation, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.skip = nn.Identity()
        self.spare = nn.ReLU()
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        made = self.drop(self.body(self.skip(self.stem(x))).mean((2, 3)))
        return self.head(made)


def exported(model: nn.Module, file: Path, images: int = 2, batch: Any = AUTO) -> Path:
    dynamic = None if batch is None else ({0: batch},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (torch.rand(images, 3, 12, 12),), dynamic_shapes=dynamic)
        torch.export.save(program, file)
    return file


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seed_weights(Net(), 5).eval()


@pytest.fixture(scope="module")
def program(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(net, tmp_path_factory.mktemp("program") / "net.pt2")


@pytest.fixture
def cases() -> Cases:
    return Cases.from_arrays(pictures(5, (3, 12, 12), seed=2), [0, 1, 2, 0, 1])


@pytest.mark.parametrize("method", ["gradcam", "case", "ablationcam", "scorecam"])
def test_maps_are_those_of_the_model(make: Make, net: nn.Module, program: Path, cases: Cases, method: str) -> None:
    made = make(exported=str(program), layer="body")
    assert made.weights_sha256 == hashlib.sha256(program.read_bytes()).hexdigest()
    for size in (1, 2, 5):  # also one image, which torch.export has not seen
        found = explain(made, cases, device="cpu", batch_size=size).maps(method).values
        expected = explain(Subject(net, layer="body"), cases, device="cpu", batch_size=size).maps(method).values
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_it_is_known_by_its_graph(make: Make, net: nn.Module, program: Path, tmp_path: Path) -> None:
    one, two = (make(exported=str(program)) for _ in range(2))
    assert architecture_digest(one.model) == architecture_digest(two.model), "found again between runs"
    assert subject_parts(one) == subject_parts(two)

    class Other(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(self.body(self.skip(self.stem(x))).amax((2, 3))))

    other = Other().eval()
    other.load_state_dict(net.state_dict())
    pooled = make(exported=str(exported(other, tmp_path / "other.pt2")))
    assert architecture_digest(pooled.model) != architecture_digest(one.model), "the same layers and numbers, maximum"


def test_a_layer_that_is_gone(make: Make, program: Path) -> None:
    for layer, sentence in (("spare", ""), ("skip", ""), ("stem.7", "did you mean 'stem")):
        with pytest.raises(SubjectError, match=rf"no layer '{layer}'; {sentence}.*keeps only modules that ran"):
            make(exported=str(program), layer=layer)
    make(exported=str(program), layer="penultimate")


@pytest.mark.parametrize(("images", "batch"), [(1, None), (4, None)])
def test_a_fixed_number_of_images(make: Make, net: nn.Module, tmp_path: Path, images: int, batch: Any) -> None:
    exported(net, tmp_path / "p.pt2", images, batch)
    sentence = rf"for {images} image\(s\) at a time.*free batch dimension: torch\.export\.export\("
    with pytest.raises(SubjectError, match=sentence):
        make(exported="p.pt2")


def test_training_mode(make: Make, tmp_path: Path) -> None:
    exported(Net().train(), tmp_path / "p.pt2")
    with pytest.raises(SubjectError, match=r"exported in training mode .*Call model\.eval\(\) first"):
        make(exported="p.pt2")


def scripted(path: Path, net: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net), path)


def foreign(path: Path, net: nn.Module) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"1")


def cut(path: Path, net: nn.Module) -> None:
    rewritten(path, net, "models/model.json", b"{}")


def with_code(path: Path, net: nn.Module) -> None:
    held = io.BytesIO()
    torch.save(Net, held)
    rewritten(path, net, "data/sample_inputs/model.pt", held.getvalue())


def with_formula(path: Path, net: nn.Module) -> None:
    whole = exported(net, path.with_suffix(".first.pt2"))
    with zipfile.ZipFile(whole) as archive:
        held = archive.read(next(one for one in archive.namelist() if one.endswith("models/model.json"))).decode()
    code = f"__import__('pathlib').Path('{path.parent}/was-run').touch()"
    made, count = re.subn(r'"expr_str": ?"[^"]*"', f'"expr_str": "{code}"', held, count=1)
    assert count == 1
    rewritten(path, net, "models/model.json", made.encode())


def twice(path: Path, net: nn.Module) -> None:
    exported(net, path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(next(one for one in archive.namelist() if one.endswith("model.json")), b"{}")


def rewritten(path: Path, net: nn.Module, part: str, content: bytes) -> None:
    whole = exported(net, path.with_suffix(".whole.pt2"))
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for one in old.namelist():
            new.writestr(one, content if one.endswith(part) else old.read(one))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path, net: None, "there is no file .*p.pt2"),
        (lambda path, net: torch.save(net.state_dict(), path), "is a checkpoint of weights; name the architecture"),
        (scripted, "is a TorchScript archive, in which no layer can be watched"),
        (lambda path, net: path.write_bytes(b"version https://git-lfs"), r"is no archive \(23 bytes\); it may be cut"),
        (foreign, "is no program that this version knows"),
        (cut, "cannot load the program .*Export it with this"),
        (
            with_code,
            r"refused: data/sample_inputs/model\.pt in it is a pickle of more than tensors, and reading it could",
        ),
        (with_formula, "refused: models/model.json in it gives a size as .*__import__.*which is no formula"),
        (twice, "refused: it has two files of one name"),
    ],
)
def test_other_files(make: Make, net: nn.Module, tmp_path: Path, spoil: Any, sentence: str) -> None:
    spoil(tmp_path / "p.pt2", net)
    with pytest.raises(SubjectError, match=sentence) as caught:
        make(exported="p.pt2")
    assert not (tmp_path / "was-run").exists()
    assert "\n" not in str(caught.value)


def test_the_digest_of_the_program(make: Make, program: Path) -> None:
    with pytest.raises(SubjectError, match="not the declared ones"):
        make(exported=str(program), sha256="0" * 64)


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("Symbol('s31', positive=True, integer=True)", True),
        ("FloorDiv(Symbol('s0', integer=True) + 3, 2) * s1 - Max(1, u0) ** 2 >= -4.5", True),
        ("Mul(Integer(2), Pow(Symbol('s0', positive=True), Integer(-1)))", True),
        ("Add('__import__(\"os\")', 1)", False),
        ("Symbol('__import__(1)')", False),
        ("Symbol('s0', positive='x')", False),
        ("().__class__", False),
        ("s0[0]", False),
        ("eval(s0)", False),
        ("breakpoint()", False),
        ("Symbol(*s0)", False),
        ("(lambda: 1)()", False),
        ("[x for x in s0]", False),
        ("s0; s1", False),
    ],
)
def test_formulas_are_arithmetic_only(text: str, fine: bool) -> None:
    assert is_formula(text) is fine
