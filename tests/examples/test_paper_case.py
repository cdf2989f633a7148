"""The CASE paper's experiments: tables from known numbers, data left alone, contracts that say what the paper says."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pytest_saliency
from pytest_saliency.contracts.contract import Contract, expand, load_contract

ROOT = Path(pytest_saliency.__file__).resolve().parents[1]
CASE = ROOT / "examples" / "papers" / "case"
sys.path.insert(0, str(CASE))

from case_paper import cifar, published, sampling, tables, textures, weights  # noqa: E402
from case_paper.grid import decimal, grid, p_text  # noqa: E402
from case_paper.records import Drop, found, paired_t  # noqa: E402

LAYERS = {f"channels-{name}" for name in ("conv2", "norm5", "convnext", "resnet", "vgg")}
METHODS = ["ablationcam", "case", "gradcam", "gradcam++", "layercam", "scorecam"]


@pytest.fixture(scope="module")
def contracts() -> dict[str, Contract]:
    return {name: load_contract(CASE / f"{name}.saliency.yaml") for name in ("imagenet", "cifar100", "small")}


# -- numbers as the paper prints them ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.00009, "< .0001"), (0.0179, ".0179"), (0.8734, ".8734"), (1.0, "1."), (None, "–"), (math.nan, "–")],
)
def test_p_values_look_as_in_the_paper(p: float | None, text: str) -> None:
    assert p_text(p) == text


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.1411, False, ".1411"), (-0.0072, True, "-.0072"), (0.0072, True, "+.0072"), (1.25, False, "1.2500")],
)
def test_decimals_have_no_leading_zero(value: float, signed: bool, text: str) -> None:
    assert decimal(value, signed=signed) == text


def test_a_grid_is_a_markdown_table() -> None:
    assert grid(["a", "bb"], [["ccc", "d"]]).splitlines() == ["| a   | bb |", "|-----|----|", "| ccc | d  |"]


# -- the published numbers, held against what the paper says of them in words -----------------------------------------


def rejecting(cells: published.Cells, model: str) -> set[str]:
    return {method for (of, method), p in cells.items() if of == model and published.rejects(p)}


def test_the_typed_p_values_agree_with_the_text() -> None:
    """Sections V-A and VI-A: CASE rejects everywhere, on DenseNet all do, ScoreCAM fails on VGG only."""
    assert len(published.TABLE_ONE) == 24
    assert len(published.TABLE_TWO) == 6
    assert rejecting(published.TABLE_ONE, "densenet") == set(METHODS)
    assert rejecting(published.TABLE_ONE, "resnet") == {"case", "scorecam"}
    assert rejecting(published.TABLE_ONE, "vgg") == {"case", "gradcam++"}
    assert rejecting(published.TABLE_ONE, "convnext") == {"case", "gradcam++", "layercam", "scorecam"}
    assert rejecting(published.TABLE_TWO, "densenet-norm5") == {"case", "scorecam"}


def test_the_typed_drops_agree_with_the_text() -> None:
    """The means in bold, and section V-C: which methods differ from CASE, on which models."""
    drops = {key: (float(mean), float(sd), p) for key, (mean, sd, p) in published.TABLE_THREE.items()}
    assert len(drops) == 24
    assert all(0.2 < sd < 0.32 for _, sd, _ in drops.values())
    best = {"convnext": {"scorecam"}, "densenet": {"layercam", "scorecam"}, "resnet": {"case"}, "vgg": {"layercam"}}
    other = {
        "convnext": {"ablationcam", "layercam"},
        "densenet": set(),
        "resnet": set(),
        "vgg": {"gradcam++", "layercam", "scorecam"},
    }
    for model in best:
        mine = {method: drops[model, method] for method in METHODS}
        highest = max(mean for mean, _, _ in mine.values())
        assert {method for method, (mean, _, _) in mine.items() if mean == highest} == best[model]
        assert {method for method, (_, _, p) in mine.items() if p and published.rejects(p)} == other[model]
        assert mine["case"][2] == ""


# -- tables from records with known numbers ---------------------------------------------------------------------------


def sensitive(check: str, model: str, method: str, p: float | None, verdict: str = "PASS") -> dict[str, Any]:
    decision = None
    if p is not None:
        measure = {"estimate": 0.25, "n": 800, "undefined": 12}
        decision = {"legs": [{"name": "wilcoxon", "p": p}], "measures": {"agreement": measure}, "n": 800}
    axes = {"method": method, "model": model}
    return {"check": check, "axes": axes, "verdict": verdict, "decision": decision, "headline": "why"}


def faithful(model: str, method: str, drops: dict[str, float | None], verdict: str = "PASS") -> dict[str, Any]:
    return {
        "check": "table-3",
        "axes": {"method": method, "model": model},
        "verdict": verdict,
        "criterion": {"fill": ["mean"]},
        "per_image": {"id": list(drops), "softmax_drop[mean]": list(drops.values())},
    }


def cells(text: str) -> list[list[str]]:
    """Return the rows of a table without the line under its header."""
    lines = [line for line in text.splitlines() if line[:1] == "|" and not line.startswith("|-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_one_says_where_ours_and_the_paper_decide_otherwise() -> None:
    records = [
        sensitive("table-1-published", "vgg", "gradcam", 0.03),
        sensitive("table-1-published", "convnext", "gradcam", 0.9, "INCONCLUSIVE"),
        sensitive("table-1-published", "vgg", "case", 0.2, "INCONCLUSIVE"),
        sensitive("table-1-published", "convnext", "case", None, "ERROR"),
        sensitive("table-1-ours", "vgg", "case", 0.2, "FAIL"),
        sensitive("table-1-published", "own", "case", 0.00001),
        sensitive("table-2-published", "densenet-norm5", "case", 0.00001),
    ]
    assert cells(tables.sensitivity(records, "table-1", published.TABLE_ONE)) == [
        ["Method", "", "ConvNeXt", "VGG", "own"],
        ["CASE", "p", "ERROR", ".2000", "< .0001"],
        ["", "paper", "< .0001", "< .0001", "–"],
        ["", "decided", "–", "paper rejects only", "–"],
        ["", "median agreement", "–", "0.25, n 788 of 800", "0.25, n 788 of 800"],
        ["", "our rule", "–", "FAIL", "–"],
        ["Grad-CAM", "p", ".9000", ".0300", "–"],
        ["", "paper", "0.8734", "1.", "–"],
        ["", "decided", "alike", "ours rejects only", "–"],
        ["", "median agreement", "0.25, n 788 of 800", "0.25, n 788 of 800", "–"],
        ["", "our rule", "–", "–", "–"],
    ]


def test_table_three_by_hand() -> None:
    """Differences of 0.1, 0.2 and 0.3 have t = 2 sqrt(3); with two degrees of freedom p = 1 - t / sqrt(t^2 + 2)."""
    case = {"a": 0.3, "b": 0.2, "c": 0.4, "d": None}
    other = {"a": 0.2, "b": 0.0, "c": 0.1, "d": 0.5}
    records = [faithful("vgg", "case", case), faithful("vgg", "layercam", other, "FAIL")]
    t = 2.0 * math.sqrt(3.0)
    p = 1.0 - t / math.sqrt(t * t + 2.0)
    kept = found(records, "table-3")
    drop = Drop.of(kept["vgg", "layercam"], kept["vgg", "case"])
    assert drop.p == pytest.approx(p)
    assert (drop.mean, drop.n) == (pytest.approx(0.2), 4)
    assert drop.sd == pytest.approx(math.sqrt((0.0 + 0.04 + 0.01 + 0.09) / 3))
    rows = {tuple(row[:2]): row[2:] for row in cells(tables.faithfulness(records))}
    assert rows["CASE", "ours"] == [".3000*", ".1000", "–"]
    assert rows["LayerCAM", "ours"] == [".2000", ".2160", f"{p:.4f}"[1:]]
    assert "Images with a map: VGG 3 to 4." in tables.faithfulness(records)
    lines = [row[1:] for row in cells(tables.faithfulness(records)) if row[0] == ""]
    assert ["paper", ".1539", ".2650", "< .0001"] in lines
    assert ["difference", "+.0461", "-.0490", "differs"] in lines
    assert ["difference", "+.1683", "-.1420", "–"] in lines
    assert ["our rule", "FAIL", "", ""] in lines


def test_a_t_test_over_equal_differences_has_no_value() -> None:
    assert paired_t({"a": 0.3, "b": 0.4}, {"a": 0.2, "b": 0.3}) is None
    assert paired_t({"a": 0.3}, {"a": 0.2}) is None
    assert paired_t({"a": 0.3, "b": 0.2}, {"b": 0.1, "a": 0.1}) == pytest.approx(1.0 - 2.0 / math.pi * math.atan(3.0))


def test_seeds_and_channels_by_hand() -> None:
    p = {"1: seed-0": 0.001, "2: seed-1": 0.2}
    trainings = {name: {"measures": {"agreement": {"p_pass": value}}} for name, value in p.items()}
    seeds = {
        "check": "seeds-published",
        "axes": {"method": "case"},
        "verdict": "FAIL",
        "decision": {"readouts": {"trainings": trainings}},
        "inputs": {"names": ["seed-0", "seed-1"]},
        "per_image": {"agreement.1": [0.1, None, 0.3], "agreement.2": [0.6, 0.8, 1.0]},
    }
    assert cells(tables.seeds([seeds]))[1] == ["CASE", ".2000", ".8000", "1 of 2", "–"]
    activity = {
        "check": "channels-conv2",
        "axes": {"model": "densenet"},
        "verdict": "PASS",
        "decision": {"readouts": {"channels": 32, "by_class": {"0": {"count": 16.0}, "7": {"count": 24.0}}}},
        "subjects": {"model": {"layer": "features.x", "name": "densenet"}},
    }
    lost = {"check": "channels-others", "axes": {"model": "vgg"}, "verdict": "ERROR", "decision": None}
    rows = cells(tables.channels([activity, lost]))
    assert rows[1] == ["DenseNet", "features.x", "20.0", "32", "62%", "fewer than 20"]
    assert rows[2] == ["VGG", "ERROR", "–", "–", "–", "several hundred"]


def test_no_records_no_tables() -> None:
    assert tables.all_tables([]) == ""


# -- the images -------------------------------------------------------------------------------------------------------


def folder_of(root: Path, classes: int, images: int) -> Path:
    for label in range(classes):
        (root / "val" / f"n{label:03d}").mkdir(parents=True)
        for number in range(images):
            (root / "val" / f"n{label:03d}" / f"{number}.JPEG").write_bytes(b"not read")
    return root


def test_halves_share_no_image_and_have_all_of_them(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "imagenet", 4, 7)
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    rows = sampling.listed(root, 4)
    assert sampling.write_halves(rows, tmp_path / "data") == (16, 12)
    tested, held_out = sampling.halves(rows)
    assert sampling.halves(rows[::-1]) == (tested, held_out)
    assert sorted(row.id for row in (*tested, *held_out)) == sorted(row.id for row in rows)
    for part, size in ((tested, 4), (held_out, 3)):
        assert [sum(row.label == label for row in part) for label in range(4)] == [size] * 4
    assert sampling.halves(rows, seed=1) != (tested, held_out)
    lines = (tmp_path / "data" / "tested.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image,label,id"
    assert lines[1] == f"{tested[0].path},{tested[0].label},{tested[0].id}"
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["held-out.csv", "tested.csv"]


def test_folders_that_cannot_be_are_told_in_a_sentence(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "some", 3, 1)
    with pytest.raises(sampling.DataError, match="has 3 class folders, and 1,000 are needed"):
        sampling.listed(root, 1000)
    with pytest.raises(sampling.DataError, match="is not a folder"):
        sampling.listed(tmp_path / "none")
    (root / "val" / "empty").mkdir()
    with pytest.raises(sampling.DataError, match="empty holds no image"):
        sampling.listed(root)


def test_generated_pictures_show_their_class_and_one_other() -> None:
    made = textures.pictures(60, 3)
    assert (made.images == textures.pictures(60, 3).images).all()
    assert (made.images != textures.pictures(60, 4).images).any()
    assert list(textures.CLASSES) == sorted(textures.CLASSES)  # an image folder numbers its classes so
    assert np.bincount(made.labels).tolist() == [10] * 6
    strong = np.abs(made.images / 255.0 - 0.5) > 0.4
    weak = (np.abs(made.images / 255.0 - 0.5) > 0.15) & (np.abs(made.images / 255.0 - 0.5) < 0.3)
    assert (strong.sum((1, 2)) > 0.6 * textures.PATCH**2).all()
    assert (weak.sum((1, 2)) > 0.6 * textures.PATCH**2).all()
    assert (strong.sum((1, 2)) <= textures.PATCH**2).all()


# -- CIFAR-100 --------------------------------------------------------------------------------------------------------


def test_cifar_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(sampling.DataError, match=r"holds no cifar-100-python folder as published.*say --download"):
        cifar.read(tmp_path, train=False)
    assert list(tmp_path.iterdir()) == []


def test_cifar_images_become_a_folder_a_class_in_the_order_of_the_labels(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    labels = [11 - number % 12 for number in range(24)]
    classes = [f"name{number}" for number in range(12)]  # as text, name10 comes before name2
    cifar.write_imagefolder(SimpleNamespace(data=data, targets=labels, classes=classes), tmp_path)
    rows = sampling.listed(tmp_path, 12)
    assert len(rows) == 24
    for row in rows:
        number = int(row.path.stem)
        assert row.label == labels[number]
        with Image.open(row.path) as image:
            assert (np.asarray(image) == data[number]).all()


def test_variation_moves_turns_and_flips_and_nothing_else() -> None:
    pixels = torch.rand((64, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    still = cifar.Recipe(size=8, pad=0, turn=0.0)
    made = cifar.varied(pixels, still, torch.Generator().manual_seed(1))
    ways = [pixels, pixels.flip(3), pixels.flip(2), pixels.flip((2, 3))]
    like = torch.stack([(made - way).abs().flatten(1).amax(1) < 1e-5 for way in ways])
    assert like.sum(0).tolist() == [1] * 64
    assert (like.sum(1) > 4).all()
    turned = cifar.varied(torch.ones(64, 3, 8, 8), cifar.Recipe(size=32), torch.Generator().manual_seed(1))
    assert turned.shape == (64, 3, 32, 32)
    assert bool((turned[:, :, 12:20, 12:20] > 0.999).all())
    assert 0.7 < float(turned.mean()) < 0.99  # corners are turned out of the picture


def tiny() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_fine_tuning_is_repeatable_and_learns() -> None:
    labels = torch.arange(64) % 2
    images = np.full((64, 8, 8, 3), 60, np.uint8)
    images[labels.numpy() == 1] = 190
    recipe = cifar.Recipe(epochs=6, batch=16, step=3e-2, size=8, pad=1)
    said: list[str] = []
    one, again, other = (
        cifar.fine_tune(tiny(), images, labels, seed, recipe, "cpu", said.append) for seed in (0, 0, 1)
    )
    assert torch.equal(one[4].weight, again[4].weight)
    assert not torch.equal(one[4].weight, other[4].weight)
    assert not one.training
    losses = [float(line.rpartition(" ")[2]) for line in said[:6]]
    assert losses[-1] < 0.5 * losses[0]


class Headed(nn.Module):
    """A network with a head where DenseNet-201 has it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(4, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.classifier(self.features(x))
        return made


def test_a_trained_network_is_kept_and_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    data = SimpleNamespace(data=np.zeros((8, 32, 32, 3), np.uint8), targets=[99, 0, 1, 2, 3, 4, 5, 6])
    monkeypatch.setattr(weights, "fetched", lambda name, download: tmp_path)
    monkeypatch.setattr(weights, "read", lambda folder, train, download: data if train else None)
    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: Headed())
    recipe, said = cifar.Recipe(epochs=2, batch=4, size=32), []

    def tuned(seed: int) -> Path:
        return weights.tuned_on_cifar(tmp_path, tmp_path / "weights", seed, recipe, "cpu", say=said.append)

    first = tuned(0)
    assert load_file(first)["classifier.weight"].shape == (100, 4)
    assert len(said) == 2
    written = first.stat().st_mtime_ns
    assert tuned(0) == first
    assert first.stat().st_mtime_ns == written
    assert said[-1] == "  seed 0: densenet201-cifar100-0.safetensors is there, and is used"
    assert tuned(1).name == "densenet201-cifar100-1.safetensors"
    assert sorted(path.suffix for path in (tmp_path / "weights").iterdir()) == [".safetensors"] * 2


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Not by torch.hub.set_dir: what it sets stays for the whole process, whatever TORCH_HOME says afterwards.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    made = tmp_path / "hub"
    made.mkdir()
    return made / "checkpoints"


def test_weights_are_fetched_only_when_asked_for(empty_hub: Path) -> None:
    with pytest.raises(sampling.DataError, match=r"vgg19_bn-\w+\.pth is not there; say --download"):
        weights.fetched("vgg19_bn", download=False)
    assert not empty_hub.exists()
    empty_hub.mkdir()
    (empty_hub / "vgg19_bn-c79401a0.pth").write_bytes(b"here already")
    assert weights.fetched("vgg19_bn", download=False).name == "vgg19_bn-c79401a0.pth"


# -- the contracts ----------------------------------------------------------------------------------------------------


def test_the_contracts_ask_what_the_paper_asks(contracts: dict[str, Contract]) -> None:
    items = expand(contracts["imagenet"])
    for model in ("convnext", "densenet", "resnet", "vgg"):
        for check in ("table-1-published", "table-1-ours", "table-3"):
            mine = [item for item in items if item.check == check and item.roles["model"] == model]
            assert [item.parameters["method"] for item in mine] == METHODS, (check, model)
    for item in items:
        if item.kind == "class_sensitive":
            assert (item.parameters["top_k"], item.parameters["max_agreement"], item.parameters["alpha"]) == (
                0.05,
                0.5,
                0.05,
            )
            assert item.parameters["rule"] == ("published" if item.check.endswith("published") else "full")
        if item.kind == "channel_activity":
            assert item.parameters["threshold"] == 0.001
        if item.kind != "channel_activity":
            assert item.parameters["keep"] == "correct"
        assert item.severity == "warn"
        assert item.cases.sample is not None
        assert (item.cases.sample.n, item.cases.sample.per_class) == (1000, "natural")
    seeds = [item for item in expand(contracts["cifar100"]) if item.kind == "seed_robust"]
    assert len(seeds) == 12
    assert all(sorted(item.roles.values()) == [f"seed-{n}" for n in cifar.SEEDS] for item in seeds)


def test_the_small_contract_has_the_checks_of_the_large_ones(contracts: dict[str, Contract]) -> None:
    def asked(name: str) -> dict[str, Any]:
        left_out = ("blocks", "min_active_share", "max_active_share", "of_criterion")
        return {
            item.check: {key: value for key, value in item.parameters.items() if key not in (*left_out, "method")}
            for item in expand(contracts[name])
        }

    small, large = asked("small"), asked("imagenet") | asked("cifar100")
    for check in set(small) - {"channels"}:
        assert small[check] == large[check], check
    assert set(large) - set(small) == {"seeds-ours", *LAYERS}


def test_the_layers_are_the_last_convolutions_and_the_last_normalisation(contracts: dict[str, Contract]) -> None:
    from torchvision.models import get_model

    for name, spec in contracts["imagenet"].models.items():
        with torch.device("meta"):
            network = get_model(spec.torchvision, weights=None)
        wanted = nn.BatchNorm2d if name == "densenet-norm5" else nn.Conv2d
        assert [key for key, module in network.named_modules() if isinstance(module, wanted)][-1] == spec.layer, name
        assert spec.weights == weights.SHIPPED[str(spec.torchvision)]


# -- all of it --------------------------------------------------------------------------------------------------------


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def copied(folder: Path) -> Path:
    left_out = shutil.ignore_patterns("data", "weights", "results", "__pycache__", ".pytest_cache")
    return Path(shutil.copytree(CASE, folder / "case", ignore=left_out))


def test_the_small_run_from_training_to_tables(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    # Our rule for CASE alone, and Table III for one network: the others are the same code on other maps.
    chosen = ["-k", "not (-ours[ and not [case) and not (table-3[ and -dense])"]
    quick = ["--saliency-device=cpu", "--saliency-images=none", "-p", "no:cacheprovider"]
    done = run(folder, "--small", "--", *quick, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    records = json.loads((folder / "results" / "small.json").read_text(encoding="utf-8"))["records"]
    assert len(records) == 59
    ran = [record for record in records if record["verdict"] != "NOT_RUN"]
    assert {record["verdict"] for record in ran} <= {"PASS", "FAIL", "INCONCLUSIVE"}
    assert len(ran) == 59 - 15 - 6
    assert {record["check"] for record in ran} == {record["check"] for record in records}
    text = (folder / "results" / "small.md").read_text(encoding="utf-8")
    assert text.strip() in done.stdout
    for title in ("Table I:", "Table II:", "Table III:", "CASE against", "Figure 4:", "Section V-B:"):
        assert f"## {title}" in text or f"## {title.removesuffix(':')}" in text
    by_node = {record["node"].partition("::")[2]: record for record in records}
    # The two textures of a picture lie apart, so a map that tells classes apart has to agree less than half.
    assert by_node["table-1-published[case-plain]"]["verdict"] == "PASS"
    assert by_node["table-1-ours[case-plain]"]["decision"]["measures"]["agreement"]["estimate"] < 0.2
    for (model, method), record in found(ran, "table-3").items():
        told = record["decision"]["readouts"]["softmax_drop"]["mean"]
        drop = Drop.of(record, None)
        assert (drop.mean, drop.sd) == (pytest.approx(told["mean"]), pytest.approx(told["sd"])), (model, method)
    assert "dense-seed-1" in text
    assert "paper" not in text.partition("## Section V-B")[0]  # it printed nothing about these networks


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --imagenet FOLDER"),
        (["--imagenet", "nowhere"], "run.py: nowhere is not a folder"),
    ],
)
def test_a_wrong_call_is_told_in_a_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    folder = copied(tmp_path)
    done = run(folder, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "results").exists()
