"""The CASE paper's experiments on data that are cut off, named otherwise or trained otherwise: a sentence each."""

from __future__ import annotations

import sys
import urllib.error
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pytest_saliency
from pytest_saliency.contracts.contract import expand, load_contract

CASE = Path(pytest_saliency.__file__).resolve().parents[1] / "examples" / "papers" / "case"
sys.path.insert(0, str(CASE))

from case_paper import cifar, sampling, weights  # noqa: E402

from .programs import loaded  # noqa: E402
from .test_paper_case import Headed  # noqa: E402


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return loaded(CASE / "run.py", "case_paper_run")


def folders(root: Path, names: list[str], images: int = 2) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(images):
            (root / name / f"{number}.JPEG").write_bytes(b"not read")
    return root


# -- ImageNet ---------------------------------------------------------------------------------------------------------


def test_folders_named_by_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    """As text, 10 comes before 2: every image would have the label of another class."""
    root = folders(tmp_path, [str(number) for number in range(12)])
    rows = sampling.listed(root, 12, sampling.WORDNET)
    assert {(row.id.partition("/")[0], row.label) for row in rows} == {(str(n), n) for n in range(12)}


@pytest.mark.parametrize("names", [["goldfish", "tench"], ["n01440764", "tench"], ["1", "2"], ["n1440764", "n1443537"]])
def test_folders_whose_order_says_nothing_of_the_outputs_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(sampling.DataError, match="nothing says which of the model's outputs each of them is"):
        sampling.listed(folders(tmp_path, names), 2, sampling.WORDNET)
    assert len(sampling.listed(tmp_path)) == 4


def test_folders_as_torchvision_unpacks_them_are_taken_and_hidden_files_are_not(tmp_path: Path) -> None:
    root = folders(tmp_path / "val", ["n01443537", "n01440764"])
    (root / "n01440764" / "._0.JPEG").write_bytes(b"what another system left")
    rows = sampling.listed(tmp_path, 2, sampling.WORDNET)
    assert [(row.id, row.label) for row in rows] == [
        *((f"n01440764/{number}.JPEG", 0) for number in range(2)),
        *((f"n01443537/{number}.JPEG", 1) for number in range(2)),
    ]


def test_a_class_with_one_image_has_none_to_hold_out(tmp_path: Path) -> None:
    rows = sampling.listed(folders(tmp_path / "images", ["a", "b"], images=1))
    with pytest.raises(sampling.DataError, match="2 of the classes have one image only"):
        sampling.write_halves(rows, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_validation_images_without_class_folders_are_told(
    tmp_path: Path, program: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"as the archive has them")
    assert program.main(["--imagenet", str(tmp_path)]) == 2
    assert "val has 0 class folders, and 1,000 are needed" in capsys.readouterr().err


# -- CIFAR-100 --------------------------------------------------------------------------------------------------------


def test_pictures_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    given = SimpleNamespace(data=data, targets=[0, 1, 0], classes=["apple", "boat"])
    save = Image.Image.save

    def cut_off(self: Image.Image, file: Any, *args: Any, **settings: Any) -> None:
        save(self, file, *args, **settings)
        whole = Path(file).read_bytes()
        Path(file).write_bytes(whole[: len(whole) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            cifar.write_imagefolder(given, tmp_path)
    cifar.write_imagefolder(given, tmp_path)
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".png"] * 3
    for row in sampling.listed(tmp_path, 2):
        with Image.open(row.path) as image:
            assert (np.asarray(image) == data[int(row.path.stem)]).all()


def test_weights_of_another_recipe_are_not_taken_for_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try with one epoch would otherwise stand in the table as the network of twenty."""
    data = SimpleNamespace(data=np.zeros((8, 32, 32, 3), np.uint8), targets=[99, 0, 1, 2, 3, 4, 5, 6])
    monkeypatch.setattr(weights, "fetched", lambda name, download: tmp_path)
    monkeypatch.setattr(weights, "read", lambda folder, train, download: data)
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: Headed())

    def tuned(epochs: int) -> Path:
        recipe = cifar.Recipe(epochs=epochs, batch=4, size=32)
        return weights.tuned_on_cifar(tmp_path, tmp_path / "weights", 0, recipe, "cpu", say=lambda line: None)

    first = tuned(1)
    assert tuned(1) == first
    with pytest.raises(sampling.DataError, match=r"trained by another recipe, \{.*\"epochs\": 1,.*\"epochs\": 2,"):
        tuned(2)
    first.write_bytes(b"no weights")
    with pytest.raises(sampling.DataError, match=r"cannot be read .* delete it, and it is trained again"):
        tuned(1)


# -- what is fetched and said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no network"), RuntimeError('invalid hash value (expected "c79401a0")')]
)
def test_weights_that_cannot_be_fetched_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(self: object, *args: object, **settings: object) -> None:
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub").mkdir()
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", fails)
    with pytest.raises(sampling.DataError, match=r"could not be fetched .* put the file at .* by hand"):
        weights.fetched("vgg19_bn", download=True)


def test_a_cifar_that_cannot_be_fetched_is_not_told_to_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **settings: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR100", fails)
    with pytest.raises(
        sampling.DataError, match=r"could not be fetched into .*no network.*; put cifar-100-python"
    ) as told:
        cifar.read(tmp_path, train=False, download=True)
    assert "--download" not in str(told.value)


@pytest.mark.parametrize("words", [["--epochs", "0"], ["--epochs", "-1"], ["--batch", "0"], ["--batch", "many"]])
def test_numbers_that_train_nothing_are_refused(
    program: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        program.main(["--cifar100", "nowhere", *words])
    assert words[0] in capsys.readouterr().err


def test_a_device_that_is_not_there_is_a_sentence(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--cifar100", "nowhere", "--device", "abacus"]) == 2
    assert "run.py: --device abacus cannot be used" in capsys.readouterr().err


def test_an_interrupt_is_a_sentence(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(program.PREPARED, "imagenet", interrupted)
    assert program.main(["--imagenet", "anywhere"]) == 130
    assert "goes on where this one was" in capsys.readouterr().err


# -- what the contract says of channels -------------------------------------------------------------------------------


def test_several_hundred_channels_are_two_hundred() -> None:
    """Of the channels that each layer has, which the networks say themselves."""
    from torchvision.models import get_model

    contract = load_contract(CASE / "imagenet.saliency.yaml")
    limits = {item.check: item for item in expand(contract) if item.kind == "channel_activity"}
    for model in ("convnext", "resnet", "vgg"):
        spec = contract.models[model]
        with torch.device("meta"):
            layer: Any = get_model(str(spec.torchvision), weights=None).get_submodule(str(spec.layer))
        assert layer.out_channels * limits[f"channels-{model}"].parameters["min_active_share"] == pytest.approx(
            200, 0.01
        )
