"""Plots say the record's numbers: read back from the drawing and compared with numbers computed another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fixtures.records import sample_record
from pytest_saliency.decide.faithful import SwapBlock, make_blocks
from pytest_saliency.report.classes import class_names
from pytest_saliency.report.plots.drops import drop_table, fills_of, own_drops
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.registry import plots_of
from tests.report.drawn import Read

Record = dict[str, Any]


def named(record: Record) -> dict[str, Plot]:
    plots = plots_of(record)
    made = {plot.name: plot for plot in plots}
    assert len(made) == len(plots)
    return made


def given(record: Record, name: str) -> np.ndarray:
    values = np.asarray([np.nan if value is None else value for value in record["per_image"][name]], dtype=float)
    return values[~np.isnan(values)]


def shaded(read: Read) -> list[tuple[float, float]]:
    """Return from where to where the plot is shaded as forbidden, in the units of the axis."""
    a, b = read.axis("x")
    boxes = [(float(one.get("x", "nan")), float(one.get("width", "nan"))) for one in read.all("rect", "f-bad")]
    return sorted((a * x + b, a * (x + width) + b) for x, width in boxes)


def expect_bars(plot: Plot, values: np.ndarray, width: float) -> None:
    """Compare the bars with numpy's histogram; the values must lie off the edges."""
    bars = Read.of(plot.svg).bars()
    lefts = np.asarray([left for left, _, _ in bars])
    np.testing.assert_allclose(lefts / width, np.round(lefts / width), atol=0.05)
    low, high = np.floor(values.min() / width), np.ceil(values.max() / width)
    counts, edges = np.histogram(values, bins=np.arange(low, high + 1) * width)
    expected = [
        (left, left + width, count / len(values)) for left, count in zip(edges[:-1], counts, strict=True) if count
    ]
    assert len(bars) == len(expected)
    np.testing.assert_allclose([b[:2] for b in bars], [e[:2] for e in expected], atol=0.05 * width)
    np.testing.assert_allclose([b[2] for b in bars], [e[2] for e in expected], atol=2e-3)


@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_agreement_has_bins_of_five_percent_and_its_limit(verdict: str) -> None:
    record = sample_record("class_sensitive", verdict)
    plot = named(record)["agreement"]
    expect_bars(plot, given(record, "agreement"), 0.05)
    read = Read.of(plot.svg)
    a, b = read.axis("x")
    (limit,) = [line for line in read.lines("s-bad") if len(line) == 2 and line[0, 1] != line[1, 1]]
    np.testing.assert_allclose(a * limit[:, 0] + b, 0.5, atol=2e-3)
    assert shaded(read) == [pytest.approx((0.5, 1.0), abs=3e-3)]
    agreement = given(record, "agreement")
    assert f"{(agreement >= 0.5).sum()} of {len(agreement)} images beyond the limit" in plot.alt
    assert "limit < 0.50" in read.words()
    assert f"n = {record['cases']['kept']} images" in read.words()


def test_outlines_of_repeat_and_chance_are_histograms_too() -> None:
    record = sample_record("class_sensitive")
    read = Read.of(named(record)["agreement"].svg)
    (ax, bx), (ay, by) = read.axis("x"), read.axis("y")
    outlines = [line for line in read.lines("s-ink") if len(line) > 10]
    for outline, name in zip(outlines, ("self_agreement", "other_image_agreement"), strict=True):
        values = given(record, name)
        counts, edges = np.histogram(values, bins=20, range=(0.0, 1.0))
        middles = (outline[1:-1:2] + outline[2:-1:2]) / 2
        np.testing.assert_allclose(ax * middles[:, 0] + bx, (edges[1:] + edges[:-1]) / 2, atol=2e-3)
        np.testing.assert_allclose(ay * middles[:, 1] + by, counts / len(values), atol=3e-3)
    dashes = {one.get("stroke-dasharray") for one in read.all("path", "s-ink") if one.get("stroke-dasharray")}
    assert len(dashes) == 2, "told apart without colour"


def test_estimate_and_bounds_are_where_the_decision_says() -> None:
    record = sample_record("class_sensitive", "FAIL")
    measure = record["decision"]["measures"]["agreement"]
    read = Read.of(named(record)["agreement"].svg)
    a, b = read.axis("x")
    places = [a * float(one.get("cx", "nan")) + b for one in read.all("circle")]
    assert places[-1] == pytest.approx(measure["estimate"], abs=3e-3)
    spans = [line for line in read.lines("s-ink") if len(line) == 2 and line[0, 1] == line[1, 1] and line[0, 0] > 50]
    low, high = a * spans[-1][:, 0] + b
    assert (low, high) == pytest.approx((measure["interval"]["low"], measure["interval"]["high"]), abs=3e-3)
    assert f"{given(record, 'agreement').mean():.2f}" in read.words()


def test_clusters_are_the_units_as_they_are_in_the_decision() -> None:
    record = sample_record("class_sensitive", clusters=True, n=90)
    by_patient: dict[str, list[float]] = {}
    for name, value in zip(record["per_image"]["cluster"], record["per_image"]["agreement"], strict=True):
        by_patient.setdefault(name, []).append(value)
    means = np.asarray([np.mean(values) for values in by_patient.values()])
    plot = named(record)["agreement"]
    expect_bars(plot, means, 0.05)
    assert record["decision"]["n"] == len(means)
    assert f"n = {len(means)} clusters" in Read.of(plot.svg).words()


def test_drift_has_a_distribution_for_each_measure() -> None:
    record = sample_record("no_semantic_drift", "FAIL", undefined=2)
    plots = named(record)
    assert list(plots) == ["iou-drop", "displacement", "correlation", "concentration-change"]
    for plot in plots.values():
        assert "2 undefined" in Read.of(plot.svg).words()
        assert "2 undefined" in plot.alt
    drop = given(record, "iou_drop")
    expect_bars(plots["iou-drop"], np.where(drop == 1.0, 1.0 - 1e-9, drop), 0.05)
    assert f"{(drop > 0.4).sum()} of {len(drop)} images beyond the limit" in plots["iou-drop"].alt
    assert shaded(Read.of(plots["iou-drop"].svg)) == [pytest.approx((0.4, 1.0), abs=3e-3)]
    read = Read.of(plots["correlation"].svg)
    assert not read.all("path", "s-bad")
    assert "no limit declared" in read.words()


def test_a_limit_on_both_sides_of_zero_is_drawn_twice() -> None:
    record = sample_record("no_semantic_drift", "PASS", criterion={"max_concentration_change": 0.2})
    plot = named(record)["concentration-change"]
    read = Read.of(plot.svg)
    a, b = read.axis("x")
    upright = [line for line in read.lines("s-bad") if line[0, 0] == line[1, 0] and line[0, 1] != line[1, 1]]
    np.testing.assert_allclose(sorted(a * line[0, 0] + b for line in upright), [-0.2, 0.2], atol=3e-3)
    assert "±0.20" in read.words()
    (_, left), (right, _) = shaded(read)
    assert (left, right) == pytest.approx((-0.2, 0.2), abs=3e-3)


@pytest.mark.parametrize("undefined", [0, 3])
def test_advantages_are_those_of_the_swap_test(undefined: int) -> None:
    record = sample_record(
        "faithful", "PASS", undefined=undefined, against=("random",), criterion={"max_undefined": 0.2}
    )
    columns = record["per_image"]
    blocks = make_blocks(columns["class"], int(record["seed"], 16))
    unusable = np.asarray([status != "ok" for status in columns["status"]])
    for fill in ("blur", "mean"):
        expected, weights, places = [], [], []
        for block in blocks:
            drops = np.asarray([columns[f"drops[{fill}]"][i] for i in block])
            swap = SwapBlock(block, drops, unusable[list(block)])
            expected += swap.advantages().tolist()
            weights += [swap.weight] * len(block)
            places += block
        order = np.argsort(places)
        own, advantage, alone = own_drops(record, fill)
        np.testing.assert_allclose(advantage, np.asarray(expected)[order], rtol=1e-12)
        assert alone == len(columns["id"]) - len(places)
        assert np.isnan(advantage).sum() == undefined
        seen = ~np.isnan(advantage)
        estimate = record["decision"]["measures"][f"advantage[{fill}]"]["estimate"]
        assert np.average(advantage[seen], weights=np.asarray(weights)[order][seen]) == pytest.approx(estimate)
        plot = named(record)[f"advantage-{fill}"]
        expect_bars(plot, advantage[seen], 0.2)
        ((start, stop),) = shaded(Read.of(plot.svg))
        assert stop == pytest.approx(0.6, abs=0.01)
        assert start < advantage[seen].min() + 0.01
        assert f"{(advantage[seen] <= 0.6).sum()} of {seen.sum()} images beyond the margin" in plot.alt
        theirs = np.asarray([np.nan if v is None else v for v in columns[f"drop_of_random[{fill}]"]], dtype=float)
        measure = record["decision"]["measures"][f"against[random,{fill}]"]
        assert np.nanmean(own - theirs) == pytest.approx(measure["estimate"])


def test_the_drop_table_holds_the_decisions_means() -> None:
    first = sample_record("faithful", "PASS", undefined=1, against=("random", "centre"))
    second = sample_record("faithful", "FAIL", check="other", criterion={"method": "eigencam", "fill": ["zero"]})
    rows = drop_table([first, sample_record("class_sensitive"), second, sample_record("faithful", "ERROR")])
    assert [(row.method, row.tested) for row in rows] == [
        ("gradcam", True),
        ("centre", False),
        ("random", False),
        ("eigencam", True),
    ]
    assert fills_of(rows) == ["blur", "mean", "zero"]
    for row, record in ((rows[0], first), (rows[3], second)):
        for fill, cell in row.cells.items():
            readout = record["decision"]["readouts"]["softmax_drop"][fill]
            assert cell.softmax == pytest.approx(100 * readout["mean"])
            assert cell.n == readout["n"]
    measure = first["decision"]["measures"]["against[random,blur]"]
    difference = (rows[0].cells["blur"].log_odds or 0.0) - (rows[2].cells["blur"].log_odds or 0.0)
    assert difference == pytest.approx(measure["estimate"])
    assert rows[2].cells["blur"].softmax is None
    assert rows[0].cells["blur"].undefined == 1


@pytest.mark.parametrize("score", ["probability", "log_odds"])
def test_curves_pass_through_the_means(score: str) -> None:
    record = sample_record("faithful", "PASS", curves=True)
    plots = named(record)
    for fill in ("blur", "mean"):
        found = record["inputs"]["curves"][fill]
        plot = plots[f"curves-{fill}-{score}"]
        read = Read.of(plot.svg)
        for way, css in (("deletion", "s-accent"), ("insertion", "s-ink")):
            dots = read.dots(css)[1:]  # the first is the legend's
            np.testing.assert_allclose(dots[:, 0], found["shares"], atol=5e-3)
            values = np.asarray(found[way][score])
            np.testing.assert_allclose(dots[:, 1], values, atol=6e-3 * (1 if score == "probability" else 7))
            area = found[f"{way}_area" + ("" if score == "probability" else "_log_odds")]
            assert f"{way}, area {area:.2f}".replace("-", "−") in read.words()
        assert f"mean over {found['n']} images" in read.words()
        assert {one.get("stroke-dasharray") for one in read.all("path") if one.get("stroke-width") == "2"} == {
            None,
            "6 3",
        }


def test_densities_of_channel_activity_have_area_one_in_each_class() -> None:
    record = sample_record("class_sensitive")
    plot = named(record)["channel-activity"]
    read = Read.of(plot.svg)
    a, b = read.axis("x")
    labels, shares = np.asarray(record["per_image"]["label"]), given(record, "active_channels") / 512
    rects = read.all("rect", "s-accent")
    boxes = [[float(one.get(key, "nan")) for key in ("x", "y", "width", "height")] for one in rects]
    bases = sorted({round(y + height, 1) for _, y, _, height in boxes})
    assert len(bases) == 3
    units = []
    for base, label in zip(bases, (0, 1, 2), strict=True):
        mine = [(a * (x - 0.5) + b, height) for x, y, _, height in boxes if round(y + height, 1) == base]
        width = a * (boxes[0][2] + 1.0)
        edges = np.arange(0, 1 / width + 1) * round(width, 4)
        density, edges = np.histogram(shares[labels == label], bins=edges, density=True)
        drawn = {round(left, 2): height for left, height in mine}
        expected = {round(left, 2): value for left, value in zip(edges, density, strict=False) if value > 0}
        assert drawn.keys() == expected.keys()
        units += [drawn[left] / expected[left] for left in drawn]
    np.testing.assert_allclose(units, units[0], rtol=0.02, err_msg="one scale for all classes")
    for label, name in enumerate(("atelectasis", "effusion", "normal")):
        mean = 100 * shares[labels == label].mean()
        assert f"{name}: {(labels == label).sum()} images, mean {mean:.1f} %" in read.words()


def test_classes_are_named_where_the_record_names_them() -> None:
    record = sample_record("class_sensitive", n=61)
    assert class_names(record) == {0: "atelectasis", 1: "effusion", 2: "normal"}
    record["cases"]["class_names"] = {"0": "atelectasis", "x": "odd"}
    assert class_names(record) == {0: "atelectasis"}
    plot = named(record)["channel-activity"]
    assert "class 0 (atelectasis): " in Read.of(plot.svg).words()
    assert "class 2: " in Read.of(plot.svg).words()
    record["cases"]["class_names"] = ["not", "a", "mapping"]
    assert class_names(record) == {}


def test_more_than_ten_classes_are_one_density() -> None:
    record = sample_record("class_sensitive")
    record["per_image"]["label"] = list(range(len(record["per_image"]["label"])))
    plot = named(record)["channel-activity"]
    assert "all images: " in Read.of(plot.svg).words()
    assert (
        len(
            {
                round(float(one.get("y", "0")) + float(one.get("height", "0")), 1)
                for one in Read.of(plot.svg).all("rect")
            }
        )
        == 1
    )
