"""The benchmarks work and count what they say they count; nothing here depends on how long anything takes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("common", "subjects", "floor", "peers", "rows", "profiling", "speed")
K = 12  # channels of the tiny network
CLASSES = 7


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, K, 3, stride=4, padding=1), nn.ReLU())
        self.head = nn.Linear(K, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean((2, 3)))


class Tokens(nn.Module):
    """A class token and a grid of 4 x 4, read by attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        rows = self.patches(x).flatten(2).transpose(1, 2)
        seen = self.norm(torch.cat([self.token.expand(len(rows), -1, -1), rows], 1))
        return self.head(self.attention(seen, seen, seen, need_weights=False)[0][:, 0])


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The benchmarks as scripts see each other, with two tiny models beside the others."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    made = {name: importlib.import_module(name) for name in (*MODULES, "published_case", "measures")}
    specs, spec = made["subjects"].SPECS, made["subjects"].Spec
    specs["tiny"] = spec("body", 32, build=Net)
    specs["tokens"] = spec("norm", 32, tokens=True, build=Tokens)
    yield made
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.fixture
def bench(modules: dict[str, ModuleType]) -> Any:
    return modules["subjects"].prepare("tiny", batches=2)


def table_under(printed: str, heading: str) -> list[list[str]]:
    """Return the cells of the markdown table whose first line begins with ``heading``."""
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading}"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert all(len(row) == len(rows[0]) for row in rows if set(row[0]) != {"-"} and "---" not in row[0])
    return rows


@pytest.mark.parametrize("model", ["tiny", "tokens"])
def test_one_command_prints_the_whole_table(
    model: str, modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    modules["speed"].main(["--models", model, "--batches", "2", "--repeats", "1", "--threads", "1"])
    printed = capsys.readouterr().out
    assert printed.startswith("Machine: ")
    assert "Versions: Python" in printed
    assert "Command: `python " in printed
    unit = table_under(printed, "model | layer")
    assert [row[0] for row in unit[2:]] == [model]
    lines = table_under(printed, "model | work")
    keys = list(modules["rows"].ROWS)
    assert [row[1] for row in lines[2:]] == [modules["rows"].ROWS[key].title for key in keys]
    by_key = {key: dict(zip(lines[0], row, strict=True)) for key, row in zip(keys, lines[2:], strict=True)}
    for row in by_key.values():
        assert float(row["ours"].split()[0]) > 0
    assert "five of them" in by_key["six"]["grad-cam"]
    assert by_key["ablationcam"]["grad-cam"].split()[0].replace(".", "").isdigit()
    assert by_key["ablationcam"]["captum"] == "no such method"
    assert "4.00 passes counted, 4.00 planned" in by_key["faithful"]["of which"]
    assert "32 of 48 images through the model" in by_key["cached"]["of which"]
    if model == "tokens":
        assert by_key["gradcam"]["captum"] == "takes tokens for channels"


def test_a_row_is_measured_where_it_says_unless_models_are_named(modules: dict[str, ModuleType]) -> None:
    models_of, rows = modules["speed"].models_of, modules["rows"].ROWS
    assert models_of(rows["scorecam"], None) == ("resnet18",)
    assert set(models_of(rows["gradcam"], None)) == set(modules["subjects"].USUAL)
    assert models_of(rows["scorecam"], ["vgg19"]) == ("vgg19",)


def test_half_precision_leaves_the_peers_out(
    modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--models", "tiny", "--rows", "gradcam", "six", "--quick", "--threads", "1", "--precision", "bf16"]
    modules["speed"].main(asked)
    lines = table_under(capsys.readouterr().out, "model | work")
    assert [row[-3:] for row in lines[2:]] == [["float32 only"] * 3] * 2


def test_a_peer_that_is_not_installed_says_so(
    modules: dict[str, ModuleType], bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(modules["peers"].MODULES, "torch-cam", "a_package_that_is_not_there")
    taking, absent = modules["rows"].ROWS["gradcam"].contenders(bench, dear=True)
    assert absent == {"torch-cam": "not installed"}
    assert [one.who for one in taking] == ["ours", "grad-cam", "captum"]


def test_dear_peers_can_be_left_out(modules: dict[str, ModuleType], bench: Any) -> None:
    taking, absent = modules["rows"].ROWS["ablationcam"].contenders(bench, dear=False)
    assert [one.who for one in taking] == ["ours"]
    assert absent["grad-cam"] == "left out"


def test_ratios_are_to_the_unit_measured_just_before(modules: dict[str, ModuleType]) -> None:
    common = modules["common"]
    asked: list[str] = []
    seconds = iter([9.0, 0.5, 0.25, 0.125, 0.5])  # the first only warms up

    def unit() -> float:
        asked.append("unit")
        return next(seconds)

    def work(name: str, count: float, spent: float) -> Any:
        def run() -> Any:
            asked.append(name)
            return common.Done(count, spent, {"stage": spent / 2})

        return run

    contenders = [common.Contender("a", work("a", 4, 4.0)), common.Contender("b", work("b", 1, 1.0), dear=True)]
    found, units = common.in_turns(contenders, unit, 2, lambda: None)
    assert asked == ["unit", "a", "unit", "a", "unit", "b", "unit", "a"]
    assert units == [0.5, 0.25, 0.125]
    assert found["a"].ratios == [4.0 / (0.5 * 4), 4.0 / (0.125 * 4)]
    assert found["b"].ratios == [1.0 / 0.25]
    assert found["a"].parts == {"stage": [1.0, 4.0]}
    assert found["a"].shown() == "5.00 (2.00 .. 8.00)"


def test_operations_are_those_of_the_layers(modules: dict[str, ModuleType], bench: Any) -> None:
    costs = modules["floor"].Costs.of(bench)
    # A product of (n, m) and (m, k) is 2nmk operations, a convolution one of its patches with its kernels.
    linear = 2 * 8 * K * CLASSES
    convolution = 2 * 8 * (8 * 8) * (3 * 3 * 3) * K
    assert costs.forward.operations == linear + convolution
    assert costs.tail.operations == linear
    assert costs.channels == K
    gradient, _ = costs.gradients(("gradcam",), 1)
    assert gradient.operations == linear  # a row of scores times the head's weights
    both, _ = costs.gradients(("gradcam", "case"), 2)
    assert both.operations == 4 * linear  # two classes, and the contrast of each
    assert costs.replays().operations == pytest.approx(1 + (1 + K) * linear / (linear + convolution))


def test_bytes_are_read_and_written_once_an_operation(modules: dict[str, ModuleType]) -> None:
    count = modules["floor"].count
    a, b = torch.ones(10, 20), torch.ones(20)
    cost, _ = count(lambda: (a + b).t().reshape(-1, 10)[:, :5])
    # One sum; transposing and cutting move nothing, and reshaping what was transposed back to rows does not either.
    assert cost.bytes == 4 * (200 + 20 + 200)
    assert cost.operations == 0
    cost, _ = count(lambda: a @ torch.ones(20, 3))
    assert cost.operations == 2 * 10 * 20 * 3


@pytest.mark.parametrize("model", ["tiny", "tokens"])
def test_the_published_procedure_gives_the_same_maps(model: str, modules: dict[str, ModuleType]) -> None:
    published_case = modules["published_case"]
    question = published_case.Question.of(modules["subjects"].prepare(model, batches=1), 3, epsilon=0.0)
    mine = published_case.ours(question)
    for batch in (1, 8):
        theirs = published_case.published(question, batch)
        for target in ("top1", "top2"):
            correlation, difference = published_case.agreement(mine[target], theirs[target])
            assert correlation > 0.99999
            assert difference < 1e-4
    assert not np.allclose(mine["top1"], mine["top2"])


def test_a_fixed_stabiliser_changes_small_gradients(modules: dict[str, ModuleType]) -> None:
    """Why the two may differ: the paper adds a constant to a squared norm."""
    published_case = modules["published_case"]
    bench = modules["subjects"].prepare("tiny", batches=1)
    question = published_case.Question.of(bench, 3)
    theirs = {eps: published_case.published(replace(question, epsilon=eps), 8)["top1"] for eps in (0.0, 10.0)}
    _, difference = published_case.agreement(published_case.ours(question)["top1"], theirs[10.0])
    assert difference > 0.01
    plain = bench.explain(("gradcam",), ("top1",)).maps("gradcam", "top1").values.numpy()
    huge = published_case.published(replace(question, epsilon=1e12), 8)["top1"]
    assert published_case.agreement(plain, huge)[1] < 1e-4  # nothing is subtracted any more: Grad-CAM


def test_published_and_measures_print_a_block(
    modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    modules["published_case"].main(["--model", "tiny", "--quick", "--threads", "1"])
    printed = capsys.readouterr().out
    assert [row[1] for row in table_under(printed, "model | CASE")[2:]] == [
        "ours",
        "published, batches of 8",
        "published, image by image",
    ]
    modules["measures"].main(["--model", "tiny", "--quick", "--threads", "1"])
    printed = capsys.readouterr().out
    assert "Machine: " in printed
    assert {row[0] for row in table_under(printed, "work")} >= {"forward pass", "all measures", "`iou` alone"}


def test_a_profile_names_operations(modules: dict[str, ModuleType], bench: Any) -> None:
    shown = modules["profiling"].profile(bench, modules["rows"].ROWS["six"])
    assert "`aten::" in shown
    assert "in forward passes" in shown


def test_scaling_counts_what_is_kept(modules: dict[str, ModuleType]) -> None:
    scaling = importlib.import_module("scaling")
    order = {"images": 24, "warm": 8, "channels": 8, "classes": 10, "threads": 1, "methods": ["gradcam", "case"]}
    for work in scaling.WORKS:
        found = scaling.child({**order, "work": work})
        maps = 2 * 3 * 8 * 8 * 4  # two methods, three targets, a grid of 8 x 8, float32
        recorded = 3 * (8 + 8 + 10)  # cosine and share kept in float64, and whether each class is in the contrast set
        assert found["kept"] == 24 * (maps + recorded + 3 * 8 + 10 * 4)
        assert found["seconds"] > 0
        assert found["growth"] >= 0
        assert found["start"] > 50 * scaling.MIB


def test_scaling_makes_images_when_they_are_asked_for(modules: dict[str, ModuleType]) -> None:
    scaling = importlib.import_module("scaling")
    pictures = scaling.Pictures(1_000_000)
    image, label = pictures[999_999]
    assert tuple(image.shape) == (3, scaling.SIZE, scaling.SIZE)
    assert label == 1
    assert torch.equal(image, pictures[999_999][0])
    assert not torch.equal(image, pictures[0][0])


def test_scaling_shows_every_process(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling = importlib.import_module("scaling")
    asked = []

    def measured(order: dict[str, Any]) -> dict[str, float]:
        asked.append((order["work"], order["images"], order["channels"]))
        growth = 2 * len(asked) * scaling.MIB
        return {"seconds": 1.0, "start": 7 * scaling.MIB, "growth": growth, "kept": order["images"] * 1024}

    monkeypatch.setattr(scaling, "_measured", measured)
    scaling.main(["--images", "10", "20", "--works", "maps", "--channels", "5", "--repeats", "2"])
    printed = capsys.readouterr().out
    assert asked == [("maps", n, 64) for n in (10, 10, 20, 20)] + [("maps", 8, 5)] * 4
    lines = table_under(printed, "work")[2:]
    assert [row[1] for row in lines] == ["10", "20"]
    assert lines[0][4:] == ["3 (2 .. 4)", "0.010", "1.00"]
    assert [row[0] for row in table_under(printed, "method")[2:]] == ["`scorecam`", "`ablationcam`"]


def test_an_idle_session_is_measured_with_one_plugin_at_a_time(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    importing = importlib.import_module("importing")
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")
    (tmp_path / "conftest.py").write_text(
        "def pytest_unconfigure(config):\n"
        "    names = [name for name, _ in config.pluginmanager.list_name_plugin()]\n"
        "    print('HAS', *(name in names and not config.pluginmanager.is_blocked(name)"
        " for name in ('saliency', 'hypothesispytest')))\n"
    )
    for variant, line in (("neither", "HAS False False"), ("ours", "HAS True False"), ("both", "HAS True True")):
        spent, printed = importing.session(tmp_path, importing.VARIANTS[variant])
        assert line in printed
        assert spent > 0


def test_heavy_modules_are_seen(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    importing = importlib.import_module("importing")
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")
    assert importing.heavy_modules(tmp_path) == []
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): import yaml")
    assert importing.heavy_modules(tmp_path) == ["yaml"]
    (imported,) = importing.import_times(tmp_path, 1)
    assert 0 < imported < 10_000


def test_what_a_plugin_adds_is_taken_round_by_round(modules: dict[str, ModuleType]) -> None:
    importing = importlib.import_module("importing")
    found = {"neither": [100, 200], "ours": [101, 203], "hypothesis": [150, 260], "both": [152, 264]}
    assert importing.differences(found) == {
        "pytest-saliency": [1, 3],
        "hypothesis": [50, 60],
        "pytest-saliency, beside hypothesis": [2, 4],
    }
