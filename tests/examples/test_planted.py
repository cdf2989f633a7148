"""The generator of planted failures does what it says, counts what it says, and finds a real plant and no false one."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from scipy import stats

from fixtures.phantom import phantom

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = (
    "artefacts",
    "contract",
    "data",
    "effects",
    "kinds",
    "nets",
    "scoring",
    "store",
    "tables",
    "training",
    "work",
)
SIGNS = ("corner", "border", "resolution", "colour", "background")
CLASSES = 4


@pytest.fixture(scope="module")
def planting() -> Iterator[dict[str, Any]]:
    """The modules of the benchmark, as the script sees them."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    made: dict[str, ModuleType] = {name: importlib.import_module(f"planting.{name}") for name in MODULES}
    made["planted"] = importlib.import_module("planted")
    yield made
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def part(planting: dict[str, Any]) -> Any:
    made = phantom(48, 9)
    body = made.healthy[:, 0] > 0.2
    return planting["data"].Part(made.images, made.labels, torch.arange(48) % 5 < 2, body)


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_changes_what_it_says_and_nothing_else(planting: dict[str, Any], part: Any, name: str) -> None:
    artefacts = planting["artefacts"]
    sign = artefacts.ARTEFACTS[name]
    codes = sign.code(part.labels, CLASSES)
    original = part.images.clone()
    made = sign.put(part.images, codes, CLASSES, part.object)
    assert torch.equal(part.images, original)
    assert float(made.min()) >= 0.0
    assert float(made.max()) <= 1.0
    changed = (made != part.images).any(1)
    assert not bool((changed & ~artefacts.touched(sign, part.object)).any())
    seen = changed.flatten(1).any(1)
    assert bool(seen[codes != 0].all())  # the lowest code of the resolution is the picture as it is
    nobody = sign.put(part.images, torch.full_like(codes, -1), CLASSES, part.object)
    assert torch.equal(nobody, part.images)
    assert torch.equal(made, sign.put(part.images, codes, CLASSES, part.object))


@pytest.mark.parametrize("name", SIGNS)
def test_each_code_is_another_sign(planting: dict[str, Any], part: Any, name: str) -> None:
    sign = planting["artefacts"].ARTEFACTS[name]
    one = part.images[:1].expand(CLASSES, -1, -1, -1)
    inside = part.object[:1].expand(CLASSES, -1, -1)
    count = sign.codes(CLASSES)
    made = sign.put(one, torch.arange(CLASSES) % count, CLASSES, inside)
    assert len({bytes(picture.numpy().tobytes()) for picture in made}) == count


def test_who_carries_a_sign(planting: dict[str, Any], part: Any) -> None:
    kinds = planting["kinds"]
    for name, failure in kinds.FAILURES.items():
        carried = kinds.carriers(failure, part, 0)
        codes = kinds.codes_of(failure, part, CLASSES, 0)
        assert torch.equal(codes >= 0, carried), name
        if failure.fault != "artefact":
            assert not bool(carried.any())
            assert torch.equal(kinds.planted(failure, part, codes, CLASSES), part.images)
            continue
        other, asked = kinds.other_codes(failure, part, CLASSES, 0)
        assert bool((other[asked] != codes[asked]).all()), name
        wanted = {
            "all": torch.ones(48, dtype=torch.bool),
            "one_class": part.labels == kinds.ONE_CLASS,
            "portable": part.portable,
        }.get(failure.who)
        assert wanted is None or torch.equal(carried, wanted), name
        changed = (kinds.planted(failure, part, codes, CLASSES) != part.images).flatten(1).any(1)
        assert not bool((changed & ~carried).any()), name


def test_noisy_labels_are_wrong_as_often_as_declared(planting: dict[str, Any]) -> None:
    kinds = planting["kinds"]
    labels = torch.arange(4000) % 10
    noisy = kinds.noisy_labels(labels, 10, 1)
    wrong = int((noisy != labels).sum())
    assert stats.binomtest(wrong, 4000, kinds.NOISE).pvalue > 1e-4
    assert torch.equal(noisy, kinds.noisy_labels(labels, 10, 1))
    assert set(noisy.tolist()) == set(range(10))


def test_an_effect_counts_where_its_bound_clears_that_of_the_control(planting: dict[str, Any]) -> None:
    effect = planting["effects"].Effect("x", 40, 100, 5, 100)
    assert effect.low == pytest.approx(stats.beta.ppf(0.05, 40, 61))
    assert effect.control_high == pytest.approx(stats.beta.ppf(0.95, 6, 95))
    assert effect.took
    assert not planting["effects"].Effect("x", 20, 100, 5, 100).took
    assert not planting["effects"].Effect("x", 0, 0, 0, 0).took


def test_a_reader_of_the_sign_follows_it_and_a_reader_of_the_object_does_not(planting: dict[str, Any]) -> None:
    """Two models by construction: one reads the tone of the border, one always knows the label."""
    made = phantom(80, 2)
    data_of, effects = planting["data"], planting["effects"]
    body = made.healthy[:, 0] > 0.2
    part = data_of.Part(made.images, made.labels, torch.zeros(80, dtype=torch.bool), body)
    data = data_of.Data("phantom", CLASSES, part, part, part)

    class ByBorder(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tones = 0.15 + 0.8 * torch.arange(CLASSES) / (CLASSES - 1)
            return -(x[:, 0, 0, 0, None] - tones).abs()

    class ByLabel(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.eye(CLASSES)[made.labels[: len(x)]]

    found = effects.followed("border", ByLabel(), ByBorder(), data, 0)
    assert (found.seen, found.of, found.control_seen, found.control_of) == (80, 80, 0, 80)
    assert found.took
    assert not effects.followed("border", ByBorder(), ByLabel(), data, 0).took


def row(failure: str, took: bool, **verdicts: str) -> dict[str, Any]:
    effect = None
    if failure != "clean":
        effect = {"what": "x", "seen": 8, "of": 10, "control_seen": 0, "control_of": 10, "low": 0.5, "took": took}
    checks = {name: {"verdict": verdict, "headline": name, "measures": {}} for name, verdict in verdicts.items()}
    return {"key": f"{failure}-{len(verdicts)}", "failure": failure, "effect": effect, "checks": checks}


def test_tables_count_every_red_item_and_no_plant_that_did_not_take(planting: dict[str, Any]) -> None:
    tables = planting["tables"]
    rows = [
        row("corner", True, drift="FAIL", faithful="PASS"),
        row("corner", True, drift="PASS", faithful="PASS"),
        row("corner", False, drift="FAIL", faithful="FAIL"),
        row("border", True, drift="INCONCLUSIVE", faithful="ERROR"),
        row("clean", False, drift="PASS", faithful="PASS"),
        row("clean", False, drift="PASS", faithful="INCONCLUSIVE"),
    ]
    first, second = tables.summary(rows)
    assert first.startswith("Plants that took: 3; caught 2 (66.7%, at least 13.5%)")
    assert second.startswith("Clean fine-tunings that proposed no limit: 2; alarmed 1 (50.0%, at most 97.5%)")
    by_failure = tables.failures_table(rows).splitlines()
    assert next(line for line in by_failure if "marker of each class" in line).split(" | ")[1:5] == ["3", "2", "1", "1"]
    by_check = tables.checks_table(rows).splitlines()
    assert by_check[0] == "| failure | runs | drift | faithful |"
    assert "| marker of each class in the margin | 2 | 1 (1 alone) | 0 |" in by_check
    assert "| tone of the border | 1 | 1 (1 not FAIL) | 1 (1 not FAIL) |" in by_check
    assert by_check[-1] == "| clean fine-tuning | 2 | 0 | 1 (1 not FAIL) (1 alone) |"
    assert [line.split(":")[0] for line in tables.listed(rows)] == ["- did not take", "- false alarm", "- missed"]


def test_a_plan_has_each_run_once_and_judges_no_run_that_proposes_limits(planting: dict[str, Any]) -> None:
    plan = planting["work"].Plan(("resnet", "vgg"), ("digits", "phantom"), 1, 8, 15, 2)
    calibrating, judged = list(plan.calibration()), list(plan.judged())
    assert len(calibrating) == 32
    assert sum(run.failure == "clean" for run in judged) == 60
    assert len(judged) == 60 + 2 * 4 * len(planting["kinds"].PLANTS)
    assert len({run.key for run in (*calibrating, *judged)}) == len(calibrating) + len(judged)


def test_a_real_plant_is_caught_and_a_clean_fine_tuning_is_not(
    planting: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small networks, trained: two clean ones propose limits, a third one and a planted one are judged by them."""
    work, training = planting["work"], planting["training"]
    small = planting["data"].phantoms(train=300, held_out=80)
    monkeypatch.setitem(planting["data"].DATA, "phantom", lambda: small)
    quick = training.Recipe(base_epochs=18, tune_epochs=4, tune_erased=0.3)
    monkeypatch.setitem(training.RECIPES, "phantom", quick)
    drafts = tuple(one for one in planting["contract"].DRAFTS if one.kind in ("no_semantic_drift", "not_vacuous"))
    monkeypatch.setattr(planting["contract"], "DRAFTS", drafts)
    said: list[str] = []
    shop = work.Workshop(planting["store"].Store(tmp_path), said.append)

    def run(failure: str, seed: int) -> Any:
        return planting["store"].Run("vgg", "phantom", 0, failure, seed)

    contract = planting["contract"].ruled([shop.numbers(run("clean", seed)) for seed in (0, 1)])
    clean, plant = (planting["planted"].row_of(one, shop, contract) for one in (run("clean", 5), run("colour", 5)))
    assert planting["tables"].alarmed(clean) == []
    assert plant["effect"]["took"]
    assert "evidence-kept" in planting["tables"].alarmed(plant)
    json.dumps([clean, plant], allow_nan=False)

    made = len(said)
    again = work.Workshop(planting["store"].Store(tmp_path), said.append)  # as after an interruption
    assert planting["planted"].row_of(run("colour", 5), again, contract) == plant
    assert len(said) == made
