"""The chest X-ray example: patients stay on one side, a run goes on where it ended, and one command gives verdicts."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fixtures.phantom import phantom
from pytest_saliency.contracts.contract import load_contract
from pytest_saliency.errors import SaliencyError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chest_xray"
sys.path[:0] = [one for one in (str(EXAMPLE),) if one not in sys.path]

import chest_xray  # noqa: E402
from twostage import contract, images, networks, training  # noqa: E402

CLASSES = {"bright": 0.5, "dark": -0.4, "plain": 0.0}  # what is added to the lesion
QUICK = {
    "--size": "48",
    "--width": "8",
    "--epochs": "3",
    "--pretext-epochs": "2",
    "--head-epochs": "20",
    "--step": "3e-3",
    "--batch": "16",
    "--device": "cpu",
}


def asked(data: Path, out: Path, **more: str) -> list[str]:
    """Return the command line of a quick run."""
    options = {"--data": str(data), "--out": str(out), **QUICK, **{f"--{key}": value for key, value in more.items()}}
    return [word for pair in options.items() for word in pair]


def write_phantoms(root: Path, count: int, patients: int | None = None) -> Path:
    """Write ``count`` phantoms a class, whose lesion is the class; with ``patients`` each of them has several."""
    made = phantom(count * len(CLASSES), 3, classes=len(CLASSES))
    lift = torch.tensor(list(CLASSES.values()))[made.labels][:, None, None]
    pixels = (made.healthy[:, 0] + lift * made.masks).clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    for row, (image, label) in enumerate(zip(pixels, made.labels.tolist(), strict=True)):
        name = f"{row:05d}.png" if patients is None else f"{row * 7 % patients:08d}_{row:03d}.png"
        file = root / list(CLASSES)[label] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return root


def _enough(root: Path) -> None:
    write_phantoms(root, 10)


def _one_class(root: Path) -> None:
    write_phantoms(root, 12)
    for name in list(CLASSES)[1:]:
        for file in (root / name).iterdir():
            file.unlink()
        (root / name).rmdir()


def _broken(root: Path) -> None:
    write_phantoms(root, 12)
    (root / "bright" / "00004.png").write_bytes(b"\x89PNG, but no picture")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms"), 80, patients=160)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """One run of the whole command: its folder, exit code and last words."""
    out = tmp_path_factory.mktemp("run") / "out"
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chest_xray, "say", said.append)
        code = chest_xray.main(asked(data, out, **{"held-out": "0.5"}))
    return out, code, "\n".join(said)


def test_one_command_trains_writes_a_contract_and_tells_its_verdicts(finished: tuple[Path, int, str]) -> None:
    out, code, said = finished
    document = json.loads((out / "report.json").read_text())
    verdicts = {chest_xray.judging.label(one): one["verdict"] for one in document["records"]}
    assert set(verdicts) == {
        *(f"some-map[{method}]" for method in ("gradcam", "case")),
        *(f"class-sensitive[{method}]" for method in ("case", "layercam")),
        *(f"evidence-kept[{method}]" for method in ("layercam", "gradcam++")),
        *("faithful", "not-the-border", "since-when"),
    }
    assert set(verdicts.values()) <= {"PASS", "FAIL", "INCONCLUSIVE"}
    assert code == (0 if set(verdicts.values()) == {"PASS"} else 1)
    for name, verdict in verdicts.items():
        assert f"{verdict:12s} {name}: " in said
    assert (out / "report.html").stat().st_size > 10_000
    assert len(list((out / "bundles").iterdir())) == 1
    assert load_contract(out / "chest-xray.saliency.yaml").slug == "chest-xray"


def test_drift_is_measured_on_images_that_both_stages_classify_correctly(
    finished: tuple[Path, int, str], data: Path
) -> None:
    """The kept images, found again with the weights alone: no engine, no contract."""
    out = finished[0]
    record = next(
        one for one in json.loads((out / "report.json").read_text())["records"] if one["check"] == "evidence-kept"
    )
    with (out / "held_out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})
    pixels = torch.stack(
        [torch.from_numpy(np.asarray(Image.open(out / row["image"]), np.float32)) / 255 for row in rows]
    )[:, None]
    small = torch.nn.functional.interpolate(pixels, (48, 48), mode="bilinear", align_corners=False, antialias=True)
    model = networks.Network.of("small").build(len(names), 8)
    right = []
    for stage in ("tl", "ft"):
        model.load_state_dict(load_file(out / "weights" / f"{stage}.safetensors"))
        with torch.inference_mode():
            found = model.eval()((small - 0.5) / 0.25).argmax(1)
        right.append(found == torch.tensor([names.index(row["label"]) for row in rows]))
    kept = {row["id"] for row, both in zip(rows, right[0] & right[1], strict=True) if both}
    assert set(record["per_image"]["id"]) == kept
    assert 0 < len(kept) < len(rows)


def test_every_epoch_leaves_its_weights_and_the_last_is_the_result(finished: tuple[Path, int, str]) -> None:
    weights = finished[0] / "weights"
    assert sorted(one.name for one in weights.glob("epoch_*")) == [f"epoch_0{n}.safetensors" for n in range(1, 4)]
    assert (weights / "epoch_03.safetensors").read_bytes() == (weights / "ft.safetensors").read_bytes()
    before, after = load_file(weights / "tl.safetensors"), load_file(weights / "ft.safetensors")
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


def test_a_finished_run_is_not_trained_again_and_another_one_is_not_mixed_in(
    finished: tuple[Path, int, str], data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished[0]
    monkeypatch.setattr(training, "fit", None)  # training would end in an error
    monkeypatch.setattr(chest_xray.judging, "judge", _not_reached)
    with pytest.raises(_ReachedError):
        chest_xray.main(asked(data, out, **{"held-out": "0.5"}))
    assert chest_xray.main(asked(data, out, **{"held-out": "0.5", "seed": "1"})) == 2
    assert f"{out} holds a run with other seed" in capsys.readouterr().err


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    labels = torch.arange(24) % 2
    pixels = (torch.rand(24, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8).numpy()
    data = training.Data(pixels, labels, 2)
    recipe = training.Recipe((0.5,), (0.25,), tune_epochs=3, batch=8)
    training.prepare("cpu")

    def trained(state: Path, keep: Callable[[int], Path]) -> dict[str, Any]:
        trainer = training.Trainer(recipe, 5, "cpu", state, lambda text: None)
        torch.manual_seed(2)
        model = networks.Network.of("small").build(2, 4)
        training.fine_tune(model, data, trainer, keep)
        return model.state_dict()

    def interrupts(epoch: int) -> Path:
        if epoch == 3:
            raise KeyboardInterrupt
        return tmp_path / f"cut-{epoch}"

    whole = trained(tmp_path / "one", lambda epoch: tmp_path / f"whole-{epoch}")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "two", interrupts)
    seen: list[int] = []

    def goes_on(epoch: int) -> Path:
        seen.append(epoch)
        return tmp_path / f"cut-{epoch}"

    resumed = trained(tmp_path / "two", goes_on)
    assert seen == [3]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list((tmp_path / "two").iterdir())  # nothing is left of what was needed to go on


def test_stage_one_leaves_the_backbone_as_it_was(tmp_path: Path) -> None:
    training.prepare("cpu")
    pixels = (torch.rand(20, 1, 32, 32) * 255).to(torch.uint8).numpy()
    model = networks.Network.of("small").build(2, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = training.Trainer(training.Recipe((0.5,), (0.25,)), 0, "cpu", tmp_path, lambda text: None)
    training.transfer(model, training.Data(pixels, torch.arange(20) % 2, 2), trainer)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_patients_stay_on_one_side_and_classes_are_divided_alike(data: Path) -> None:
    folder = images.find(data)
    assert folder.patients == "patients from file names"
    split = images.split(folder, 0.25, 0)
    sides = [{one.patient for one in part} for part in (split.train, split.held_out)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 160
    assert len(split.train) + len(split.held_out) == 240
    assert 40 <= len(split.held_out) <= 64
    assert images.split(folder, 0.25, 0) == split
    assert images.split(folder, 0.25, 1) != split


def test_equal_files_are_never_on_both_sides(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 20)
    for number, file in enumerate(sorted((tmp_path / "bright").iterdir())[:15]):
        (tmp_path / "dark" / f"copy{number}.png").write_bytes(file.read_bytes())
    split = images.split(images.find(tmp_path), 0.4, 0)
    sides: dict[str, set[str]] = defaultdict(set)
    for word, part in (("train", split.train), ("held out", split.held_out)):
        for one in part:
            sides[one.digest].add(word)
    assert all(len(found) == 1 for found in sides.values())
    assert len(sides) == 60


def test_patients_come_from_a_table_or_a_pattern(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "data", 12)
    assert images.find(root).patients == "no patients known: split by file"
    names = [one.path for one in images.find(root).pictures]
    table = tmp_path / "patients.csv"
    table.write_text("image,patient\n" + "".join(f"{name},p{row % 9}\n" for row, name in enumerate(names)))
    assert [one.patient for one in images.find(root, table).pictures] == [f"p{row % 9}" for row in range(36)]
    found = images.find(root, pattern=r"^(\d{4})").pictures
    assert [one.patient for one in found] == [Path(one.path).name[:4] for one in found]
    table.write_text("image,patient\n" + "".join(f"{name},p\n" for name in names[1:]))
    with pytest.raises(SaliencyError, match=f"names no patient for 1 of 36 images, the first {names[0]}"):
        images.find(root, table)


@pytest.mark.parametrize(
    ("spoil", "more", "said"),
    [
        (lambda root: None, [], "is not a folder"),
        (lambda root: root.mkdir(), [], "there is no image in"),
        (lambda root: write_phantoms(root, 9), [], "class 'bright' in .* has 9 images; 10 are needed"),
        (lambda root: _one_class(root), [], "has one class, 'bright'"),
        (lambda root: _broken(root), [], "image 'bright/00004.png' cannot be read"),
        (
            _enough,
            ["--architecture", "torchvision:resnet81"],
            "no architecture 'resnet81'",
        ),
        (
            _enough,
            ["--architecture", "resnet18"],
            "give weights of resnet18 with --start",
        ),
        (_enough, ["--start", "nowhere.pth"], "there is no file nowhere.pth"),
        (_enough, ["--patient-pattern", "[0-9]+"], "has no group"),
        (_enough, ["--patients", "none.csv"], "patients in none.csv cannot be read"),
        (_enough, ["--clean", "2"], "limits need 3 clean repeats at least"),
        (_enough, ["--epochs", "0"], "--epochs 0 is below 1"),
        (_enough, ["--device", "abacus"], "--device abacus cannot be used"),
    ],
)
def test_bad_input_is_one_sentence(
    spoil: Callable[[Path], object],
    more: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(tmp_path / "data")
    words = [*asked(tmp_path / "data", tmp_path / "out"), *more]
    assert chest_xray.main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("chest_xray: ")
    assert len(told.strip().splitlines()) == 1
    assert re.search(said, told)


def test_weights_of_another_network_are_refused() -> None:
    small, wide = (networks.Network.of("small").build(3, width) for width in (4, 8))
    with pytest.raises(SaliencyError, match=r"the file does not fit SmallNet: \d+ of \d+ tensors"):
        networks.load_backbone(small, wide.state_dict(), 3, "the file")


def test_a_backbone_is_loaded_without_its_head_and_under_older_names() -> None:
    from torchvision.models import densenet121

    first, second = densenet121(num_classes=7), densenet121(num_classes=3)
    older = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for name, value in first.state_dict().items()
    }
    head = second.classifier.weight.clone()
    networks.load_backbone(second, older, 3, "the file")
    assert torch.equal(second.features.norm5.weight, first.features.norm5.weight)
    name = "features.denseblock2.denselayer3.conv2.weight"
    assert torch.equal(second.state_dict()[name], first.state_dict()[name])
    assert torch.equal(second.classifier.weight, head)


def test_calibrated_limits_are_in_the_contract_and_say_so(tmp_path: Path) -> None:
    made = contract.Written(
        "chest",
        'python: "small_network:build", args: {classes: 2}',
        ("1", 'a "b": c'),
        32,
        1,
        (0.5,),
        (0.25,),
        "c.csv",
        epochs=False,
        limits={"max_iou_drop": 0.33},
        origin="clean",
    )
    (tmp_path / "c.csv").write_text("image,label\n")
    (tmp_path / "weights").mkdir()
    for stage in ("tl", "ft"):
        (tmp_path / "weights" / f"{stage}.safetensors").write_bytes(b"")
    file = tmp_path / "chest.saliency.yaml"
    file.write_text(made.text())
    read = load_contract(file)
    assert "calibrate" in made.text().splitlines()[1]
    assert read.cases.classes == ("1", 'a "b": c')
    drift = next(one for one in read.checks if one.id == "evidence-kept")
    assert drift.items[0].parameters["max_iou_drop"] == 0.33
    assert drift.items[0].parameters["min_correlation"] == contract.DECLARED["min_correlation"]


def test_calibrate_is_really_asked_and_what_it_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(SaliencyError, match=r"(?s)calibrate proposed no limits: .*none\.saliency\.yaml"):
        chest_xray.judging.calibrated(tmp_path, "none.saliency.yaml", ["clean-1.json"], 0.95)


class _ReachedError(Exception):
    pass


def _not_reached(*arguments: object, **options: object) -> None:
    raise _ReachedError
