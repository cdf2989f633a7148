"""Numbers agree across batch size, order and threads within the stated tolerance; decisions on the same ones exactly.

``python -m tests.checks.test_same_numbers`` prints the largest differences, from which the table in
``pytest_saliency.decide.tolerance`` was made; it takes a few minutes, the tests look at fewer images.
"""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fixtures.planted import MatchedFilters, planted_images
from pytest_saliency import Cases, Result, Subject, explain
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide import class_sensitive, drift
from pytest_saliency.decide.decision import Decision
from pytest_saliency.decide.tolerance import FEW, tolerance_of

TOP, FRACTION = 0.05, 0.20
METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")
Numbers = Mapping[tuple[str, str], np.ndarray]
"""Per-image numbers by (measure, method), in the order of the ids."""


@dataclass(frozen=True)
class Pair:
    """Two models that are compared, the layer that is explained, and images for them."""

    name: str
    before: nn.Module
    after: nn.Module
    layer: str
    images: Tensor
    labels: Tensor

    def first(self, count: int) -> Pair:
        return Pair(self.name, self.before, self.after, self.layer, self.images[:count], self.labels[:count])

    @property
    def positions(self) -> int:
        return int(self.images[0, 0].numel())


@dataclass(frozen=True)
class Way:
    """One way to compute the same numbers."""

    batch: int = 32
    shuffled: bool = False
    threads: int = 1
    double: bool = False


WAYS = {
    "batch 1": Way(batch=1),
    "batch 4": Way(batch=4),
    "shuffled": Way(shuffled=True),
    "threads 2": Way(threads=2),
    "float64": Way(double=True),
}


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def matched(count: int) -> Pair:
    made = planted_images(count, seed=0, marker=True)
    return Pair("matched", MatchedFilters(), MatchedFilters(jitter=0.01, seed=1), "features", made.images, made.labels)


@cache
def digits(count: int, scale: int = 1) -> Pair:
    """Return networks from two seeds, trained for seconds on the scikit-learn digits, ``scale`` times enlarged."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images = torch.tensor(source.images[:, None] / 16.0, dtype=torch.float32)
    images = nn.functional.interpolate(images, scale_factor=scale, mode="bilinear").clamp(0.0, 1.0)
    labels = torch.tensor(source.target)
    models = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 1):
            torch.manual_seed(seed)
            model = SmallNet()
            optimiser = torch.optim.Adam(model.parameters(), 3e-3)
            for _ in range(4):
                for rows in torch.randperm(len(images) - 200).split(64):
                    optimiser.zero_grad()
                    loss = nn.functional.cross_entropy(model(images[200 + rows]), labels[200 + rows])
                    loss.backward()
                    optimiser.step()
            models.append(model.eval())
    return Pair(f"digits {8 * scale}x{8 * scale}", *models, "features", images[:count], labels[:count])


def resnet(count: int, layer: str, side: int = 64) -> Pair:
    """Return two ResNet-18 with random weights, far worse conditioned than trained ones."""
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = [torchvision.models.resnet18().eval() for _ in range(2)]
        coarse = torch.rand(count, 3, side // 8, side // 8)
    images = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear").clamp(0.0, 1.0)
    return Pair(f"resnet18 {side}x{side} {layer}", *models, layer, images, torch.arange(count) % 10)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def numbers(pair: Pair, way: Way, methods: tuple[str, ...] = METHODS) -> Numbers:
    """Return what the three kinds measure, taken from their records as a decision gets it."""
    count = len(pair.labels)
    order = np.random.default_rng(1).permutation(count) if way.shuffled else np.arange(count)
    cases = Cases.from_arrays(
        pair.images[order].numpy(), pair.labels[order].numpy(), ids=[f"case-{i:04d}" for i in order]
    )
    models = [copy.deepcopy(model).double() if way.double else model for model in (pair.before, pair.after)]
    with threads(way.threads):
        before, after = (
            explain(Subject(model, layer=pair.layer), cases, device="cpu", batch_size=way.batch) for model in models
        )

        def run(kind: str, **options: object) -> Result:
            declared = KINDS[kind]
            parameters = declared.parameters.from_keywords(declared.assertion, {"keep": "all", **options})
            given = {"before": before, "after": after} if kind == "no_semantic_drift" else {"model": before}
            return declared.run(given, parameters, "check")

        found: dict[tuple[str, str], np.ndarray] = {}
        for method in methods:
            result = run("class_sensitive", method=method, top_k=TOP)
            assert result.per_image["id"] == sorted(result.per_image["id"])
            for name in ("agreement", "self_agreement"):
                found[name, method] = np.array(result.per_image[name], dtype=float)
            result = run("no_semantic_drift", method=method, max_iou_drop=0.9, top_fraction=FRACTION)
            for name in ("iou_drop", "displacement", "correlation", "concentration_change"):
                found[name, method] = np.array(result.per_image[name], dtype=float)
        for method in methods[:2]:
            result = run("faithful", method=method, top_k=TOP, min_advantage=0.0, blocks="any")
            for fill in ("blur", "mean"):
                rows = [row for row in result.per_image[f"drops[{fill}]"] if row is not None]
                found["log_odds_drop", f"{method}, {fill}"] = np.array([drop for row in rows for drop in row])
    return found


def region_of(measure: str, pair: Pair) -> int | None:
    shares = {"agreement": TOP, "self_agreement": TOP, "iou_drop": FRACTION}
    return round(shares[measure] * pair.positions) if measure in shares else None


def differences(one: Numbers, other: Numbers) -> dict[str, np.ndarray]:
    """Return the differences by measure, all methods together; undefined images must be the same ones."""
    found: dict[str, list[np.ndarray]] = {}
    for key, values in one.items():
        np.testing.assert_array_equal(np.isnan(values), np.isnan(other[key]), err_msg=str(key))
        found.setdefault(key[0], []).append(np.abs(values - other[key])[~np.isnan(values)])
    return {measure: np.concatenate(parts) for measure, parts in found.items()}


PAIRS = {
    "matched": lambda: matched(24),
    "digits8": lambda: digits(40),
    "digits32": lambda: digits(12, 4),
    "resnet18": lambda: resnet(8, "layer4"),
}


@cache
def pair_of(name: str) -> Pair:
    return PAIRS[name]()


@cache
def reference(name: str) -> Numbers:
    return numbers(pair_of(name), Way())


@pytest.mark.parametrize("way", ["batch 1", "batch 4", "shuffled", "float64"])
@pytest.mark.parametrize("name", PAIRS)
def test_numbers_agree_within_the_stated_tolerance(name: str, way: str) -> None:
    pair = pair_of(name)
    found = differences(reference(name), numbers(pair, WAYS[way]))
    for measure, gaps in found.items():
        tolerance = tolerance_of(measure.removeprefix("self_"), region_of(measure, pair))
        assert gaps.size >= 10, f"{measure}: hardly a number is defined, so nothing is compared"
        # ``every`` is 0 for small regions, whose sums are in float32 nevertheless.
        beyond = gaps > max(tolerance.every, 1e-7)
        assert beyond.sum() <= math.ceil(FEW * gaps.size), (measure, np.sort(gaps)[-5:])
        assert gaps.max() <= max(tolerance.few, 1e-7), measure


def test_a_second_thread_changes_no_number_beyond_the_tolerance() -> None:
    """Threads wait for each other by spinning, which takes long where cores are shared; so few images."""
    pair = digits(40).first(6)
    one, two = (numbers(pair, Way(threads=count), ("gradcam", "case")) for count in (1, 2))
    for measure, gaps in differences(one, two).items():
        tolerance = tolerance_of(measure.removeprefix("self_"), region_of(measure, pair))
        assert gaps.max() <= max(tolerance.every, 1e-7), measure


def test_the_comparison_would_notice() -> None:
    """Other weights are not the same numbers: the tolerance is far below what a change of the model does."""
    pair = pair_of("digits8")
    other = Pair(pair.name, pair.after, pair.before, pair.layer, pair.images, pair.labels)
    one, two = reference("digits8"), numbers(other, Way())
    for measure in ("agreement", "log_odds_drop"):
        gaps = [np.abs(values - two[key]) for key, values in one.items() if key[0] == measure]
        tolerance = tolerance_of(measure, region_of(measure, pair))
        beyond = np.concatenate(gaps) > max(tolerance.every, 1e-7)
        assert beyond.mean() > 0.5, measure


def decided(values: Numbers, seed: int = 3) -> list[Decision]:
    count = len(values["agreement", "gradcam"])
    drifts = {
        name: values[name, "gradcam"] for name in ("iou_drop", "displacement", "correlation", "concentration_change")
    }
    return [
        class_sensitive.decide(
            values["agreement", "gradcam"], values["self_agreement", "gradcam"], max_agreement=0.5, seed=seed
        ),
        drift.decide(
            drifts,
            limits={"max_iou_drop": 0.8, "max_displacement": 0.5, "min_correlation": -0.5},
            max_drifted_share=0.9,
            max_undefined=0.5,
            kept=count,
            total=count,
            seed=seed,
        ),
    ]


def text_of(decisions: list[Decision]) -> str:
    return json.dumps([decision.to_dict() for decision in decisions], allow_nan=False)


ELSEWHERE = """
import json, sys
import numpy as np
from tests.checks.test_same_numbers import decided, text_of
given = json.load(sys.stdin)
print(text_of(decided({tuple(key): np.array(values, dtype=float) for key, values in given})))
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_numbers_give_the_same_bytes_in_another_process(
    hash_seed: str, request: pytest.FixtureRequest
) -> None:
    values = reference("digits8")
    here = text_of(decided(values))
    assert here == text_of(decided({key: column.copy() for key, column in values.items()}))
    given = json.dumps([[list(key), [None if math.isnan(v) else v for v in column]] for key, column in values.items()])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "2" if hash_seed == "2" else "1"}
    made = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        cwd=request.config.rootpath,
        env=environment,
    )
    assert made.stdout.strip() == here


@dataclass
class Met:
    """How often a verdict of another run was seen, and how often it differed."""

    seen: int = 0
    differed: list[str] = field(default_factory=list)


@pytest.mark.parametrize("name", ["digits8", "resnet18"])
def test_a_verdict_of_another_run_was_announced(name: str) -> None:
    """Limits that lie exactly on the bound of one run: whatever the other says, the first named it as possible."""
    one, other = reference(name), numbers(pair_of(name), WAYS["float64"])
    met = Met()
    for method in METHODS:
        for measure, limit_name in (("displacement", "max_displacement"), ("correlation", "min_correlation")):
            a, b = one[measure, method], other[measure, method]
            count = len(a)

            def decide(values: np.ndarray, limit: float, key: Any = (measure, limit_name, count)) -> Decision:
                return drift.decide(
                    {key[0]: values}, limits={key[1]: limit}, max_undefined=1.0, kept=key[2], total=key[2], seed=1
                )

            start = decide(a, 0.9 if measure == "displacement" else -0.9)
            interval = start.measures[measure].interval
            bound = interval.high if measure == "displacement" else interval.low
            for nudge in (-1e-6, 0.0, 1e-6):
                first, second = decide(a, bound + nudge), decide(b, bound + nudge)
                assert first.within_tolerance is not None
                assert second.verdict in first.within_tolerance.verdicts
                assert not first.within_tolerance.settled, "a limit on the bound itself is near the limit"
                met.seen += 1
                if second.verdict is not first.verdict:
                    met.differed.append(method)
    assert met.seen == 36
    assert met.differed, "the numbers of both runs are so alike that the test shows nothing"


def main() -> None:
    torch.set_num_threads(1)
    pairs = [
        matched(60),
        digits(100),
        digits(100, 4),
        *(resnet(40, f"layer{layer}") for layer in (4, 3, 2)),
        resnet(12, "layer4", 224),
    ]
    for pair in pairs:
        straight = numbers(pair, Way())
        for name, way in WAYS.items():
            if way.threads > 1 and pair.positions > 64:
                continue  # minutes where cores are shared
            for measure, gaps in differences(straight, numbers(pair, way)).items():
                tolerance = tolerance_of(measure.removeprefix("self_"), region_of(measure, pair))
                beyond = float(np.mean(gaps > max(tolerance.every, 1e-7)))
                print(
                    f"{pair.name:26} {name:10} {measure:21} largest {gaps.max():.1e}"
                    f"   beyond {tolerance.every:g}: {beyond:.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
