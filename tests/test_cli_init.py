"""``init --from``: a contract that its pilot's own models pass, and one sentence for everything that cannot work."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.special  # noqa: F401  # pytester takes away what is first imported beside it, and this loads only once
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from pytest_saliency.cli import main
from pytest_saliency.contracts.contract import expand, load_contract, parse_contract
from pytest_saliency.contracts.drafting import Head, contract_text
from pytest_saliency.contracts.pilot import _taken
from pytest_saliency.contracts.proposal import DRAFTS
from tests.plugin import toy

MODULE = "toy_of_init"
SOURCE = """
from tests.plugin.toy import Toy

def build():
    return Toy()
"""
IMAGES = 90


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository: images by class, a model before, one after a clean fine-tuning, and one that cheats."""
    root = tmp_path_factory.mktemp("repo")
    images, labels = toy.arrays(IMAGES)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "data" / ("red", "green", "blue")[label]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.round(image.transpose(1, 2, 0) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    # The folders' names sort as blue, green, red: so do the model's outputs.
    generator = torch.Generator().manual_seed(0)
    for name, noise in (("before", 0.0), ("after", 0.02)):
        model = toy.Toy()
        with torch.no_grad():
            model.head.weight.copy_(model.head.weight.flip(0))
            model.features.weight.add_(torch.randn(model.features.weight.shape, generator=generator), alpha=noise)
        save_file(model.state_dict(), root / f"{name}.safetensors")
        torch.save({"state_dict": model.state_dict()}, root / f"{name}.pt")
    (root / f"{MODULE}.py").write_text(SOURCE)
    return root


@pytest.fixture
def inside(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(repo)
    yield repo
    sys.modules.pop(MODULE, None)


def start(repo: Path, out: Path, *more: object, data: object = "data", after: object = "after.safetensors") -> Result:
    words = ("init", "--from", "before.pt", after, data, "--model", f"{MODULE}:build", "--out", out)
    return call(*words, "--device", "cpu", *more)


def test_a_contract_that_the_pilots_own_models_pass(
    inside: Path, tmp_path: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside)  # pytester went elsewhere
    out = inside / "contracts" / "release.saliency.yaml"
    made = start(inside, out)
    assert made.exit_code == 0, made.output
    assert "before: 90 of 90 images right (100%), layer features (16x16)" in made.stdout
    assert "so few positions" not in made.stdout
    contract = load_contract(out)
    kinds = {item.kind for item in expand(contract)}
    assert {"not_vacuous", "no_semantic_drift", "faithful"} <= kinds
    text = out.read_text(encoding="utf-8")
    assert 'weights: "../before.pt"' in text
    assert re.search(r"(?m)max_iou_drop: 0\.\d+ +# pilot 0\.\d\d, bound 0\.\d\d; and room$", text)
    assert "kept images for 80 % power" in text

    monkeypatch.chdir(pytester.path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    ran = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", f"--rootdir={inside}", str(out), "--saliency-device=cpu", "--saliency-no-cache"
    )
    ran.assert_outcomes(passed=len(expand(contract)))

    monkeypatch.chdir(inside)
    before = out.read_bytes()
    again = start(inside, out)
    assert again.exit_code == 1
    assert f"nothing was written, as {out} is there already" in again.stderr
    assert out.read_bytes() == before


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    error = result.stderr
    assert error.startswith("Error: "), error
    for word in words:
        assert word in error


def test_folders_in_another_order_than_the_outputs_are_told(inside: Path, tmp_path: Path) -> None:
    out, right = tmp_path / "wrong.saliency.yaml", tmp_path / "right.saliency.yaml"
    turned = tmp_path / "turned"  # the outputs are blue, green, red; these folders sort as azure, crimson, green
    for name, other in (("blue", "azure"), ("red", "crimson"), ("green", "green")):
        shutil.copytree(inside / "data" / name, turned / other)
    made = start(inside, out, data=turned)
    (said,) = (line for line in made.output.splitlines() if line.startswith("but "))
    assert "'before' gives the label of only" in said
    assert "(0 azure, 1 crimson, 2 green; --order sets" in said
    assert "\n# To be put right first: 'before' gives the label of only" in out.read_text()
    made = start(inside, right, "--order", "azure, green, crimson", data=turned)
    assert made.exit_code == 0, made.output
    assert "but " not in made.output
    assert "\n  classes: [azure, green, crimson]\n" in right.read_text()


def test_a_check_with_too_many_blank_maps_is_left_out_for_that() -> None:
    """Its headline may be that of a PASS, because the draft asks with as much room as there is."""
    (draft,) = (one for one in DRAFTS if one.id == "class-sensitive")
    for share, expected in (
        (0.35, "35% of the images have no usable map, too many to leave room for; told"),
        (0.08, "told"),  # room is left for so many: the check is left out for what its headline says
        (0, "told"),
    ):
        left: dict[str, str] = {}
        found: Any = SimpleNamespace(headline="told", decision=SimpleNamespace(undefined_share=share, n=300))
        _taken(None, draft, found, 8, [], left)
        assert left == {"class-sensitive": expected}


def test_what_cannot_work_is_one_sentence_and_writes_nothing(inside: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.saliency.yaml"
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "flat" / "a.png")
    for name in "abc":
        (tmp_path / "few" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "few" / name / "a.png")
    refused(start(inside, out, after=tmp_path / "broken.safetensors"), "'after'", "not a readable safetensors file")
    refused(start(inside, out, after=tmp_path / "broken.pt"), "'after'", "broken.pt")
    refused(start(inside, out, after="no.pt"), "there is no file no.pt")
    refused(start(inside, out, after="before.pt"), "the same file")
    refused(start(inside, out, data="no"), "image folder no does not exist")
    refused(start(inside, out, data="before.pt"), "before.pt is a file", "one folder of images a class", "'csv'")
    refused(start(inside, out, data=tmp_path / "flat"), "has no class folders")
    refused(start(inside, out, "--order", "blue, green"), "class folder 'red' that 'classes' does not list")
    refused(start(inside, out, data=tmp_path / "few"), "has 3 images", "40 at least")
    refused(start(inside, out, "--classes", 3), "--classes is for torchvision")
    refused(start(inside, out, "--preprocess", "gray"), "--preprocess 'gray' is not a mapping")
    refused(start(inside, out, "--preprocess", "{colour: 1}"), "unknown", "colour")
    refused(start(inside, tmp_path / "x.yaml"), "must end in .saliency.yaml")
    assert not out.exists()
    assert not list(tmp_path.glob("*.part"))


def test_weights_and_classes_that_do_not_fit(inside: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.saliency.yaml"
    words = ("init", "--from", "before.pt", "after.pt", "data", "--out", out, "--device", "cpu", "--model")
    refused(call(*words, "torchvision:resnet18"), "weights of model 'before'", "missing")
    refused(call(*words, "torchvision:resnet"), "torchvision has no classifier 'resnet'")
    refused(call(*words, f"{MODULE}:no_such"), "no attribute 'no_such'")
    refused(call(*words, "no_such_module:build"), "there is no module 'no_such_module'")
    refused(call(*words, "timm:test_rsnet"), "timm has no model 'test_rsnet'; did you mean 'test_resnet'?")
    refused(call(*words, "huggingface:gone"), "there is no folder gone")
    refused(call(*words, "resnet18"), "--model resnet18 is not torchvision:NAME")
    for folders, names in (("four", ("blue", "green", "red", "violet")), ("two", ("blue", "green"))):
        for name in names:
            (tmp_path / folders / name).mkdir(parents=True)
            source = inside / "data" / ("red" if name == "violet" else name)
            for i, path in enumerate(sorted(source.iterdir())[:20]):
                (tmp_path / folders / name / f"{i}.png").write_bytes(path.read_bytes())
    words = ("init", "--model", f"{MODULE}:build", "--out", out, "--device", "cpu", "--from", "before.pt", "after.pt")
    refused(call(*words, tmp_path / "four"), "have 4 classes", "model 'before' has 3 outputs")
    refused(call(*words, tmp_path / "two"), "model 'before' has 3 outputs", "2 class folders (blue, green)")
    assert not out.exists()


def test_options_of_from_alone_are_wrong_use(tmp_path: Path) -> None:
    assert call("init", tmp_path, "--model", "torchvision:resnet18").exit_code == 2
    assert call("init", "--from", "a", "b", "c").exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "source"), [("timm:test_resnet", ("timm", "test_resnet")), ("huggingface:vit", ("huggingface", "../vit"))]
)
def test_the_source_is_written_as_a_contract_has_it(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, source: tuple[str, str]
) -> None:
    """Up to the models themselves, which the pilot would run."""
    seen: list[Head] = []
    monkeypatch.setattr("pytest_saliency.commands.init._proposal", lambda head, device: seen.append(head))
    (inside / "vit").mkdir(exist_ok=True)
    out = inside / "contracts" / "x.saliency.yaml"
    words = ("init", "--from", "before.pt", "after.safetensors", "data", "--out", out, "--model")
    assert call(*words, model).exit_code == 0
    text = contract_text(seen[0], (), {})
    spec = parse_contract(text.encode(), out).models["after"]
    assert (spec.source, spec.weights, spec.preprocess) == (source, "../after.safetensors", "weights")
    assert spec.num_classes == (3 if source[0] == "timm" else None)
    assert f"Assumed: what {seen[0].owner}'s own weights were trained with." in text
    assert call(*words, "timm:test_resnet", "--classes", 5).exit_code == 0
    assert parse_contract(contract_text(seen[1], (), {}).encode(), out).models["after"].num_classes == 5
