"""Plots of controls, mosaics and the cascade, read back from the drawing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fixtures.records import sample_record
from pytest_saliency.decide.planted import SEEN
from pytest_saliency.report.plots.plot import Plot
from pytest_saliency.report.plots.registry import plots_of
from tests.report.drawn import Read


def named(record: dict[str, Any]) -> dict[str, Plot]:
    return {plot.name: plot for plot in plots_of(record)}


@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_each_control_has_its_estimate_and_bounds(verdict: str) -> None:
    record = sample_record("beats_null_explainers", verdict)
    plot = named(record)["advantages"]
    read = Read.of(plot.svg)
    a, b = read.axis("x")
    measures = list(record["decision"]["measures"].values())
    places = [a * float(one.get("cx", "nan")) + b for one in read.all("circle")]
    np.testing.assert_allclose(places, [one["estimate"] for one in measures], atol=0.01)
    spans = [line for line in read.lines("s-ink") if len(line) == 2 and line[0, 1] == line[1, 1]]
    ends = [(a * line[:, 0] + b).tolist() for line in spans]
    np.testing.assert_allclose(ends, [(m["interval"]["low"], m["interval"]["high"]) for m in measures], atol=0.01)
    (limit,) = [line for line in read.lines("s-bad") if len(line) == 2]
    np.testing.assert_allclose(a * limit[:, 0] + b, 0.5, atol=0.01)
    assert "edges with mean" in read.words()
    assert f"n = {record['decision']['n']} images" in read.words()


def test_mosaics_that_the_model_does_not_see_are_left_out() -> None:
    record = sample_record("planted_evidence", "PASS", undefined=1)
    plot = named(record)["own-share"]
    table = record["per_image"]
    rows = [i for i, drop in enumerate(table["cell_drop"]) if drop > SEEN]
    lost = len(table["id"]) - len(rows)
    assert lost > 0
    by_set: dict[int, list[float]] = {}
    for i in rows:
        if table["own_share"][i] is not None:
            by_set.setdefault(table["set"][i], []).append(table["own_share"][i])
    defined = [float(np.mean(shares)) for shares in by_set.values()]
    words = Read.of(plot.svg).words()
    assert f"n = {len(defined)} sets" in words
    assert f"{lost} images that the model does not see" in words
    assert "chance 0.25" in words
    assert f"{sum(share < 0.5 for share in defined)} of {len(defined)} sets beyond the limit" in plot.alt


def test_the_cascade_is_drawn_stage_by_stage() -> None:
    record = sample_record("model_dependent", "PASS")
    plots = named(record)
    read = Read.of(plots["cascade"].svg)
    (ax, bx), (ay, by) = read.axis("x"), read.axis("y")
    dots = [(float(one.get("cx", "nan")), float(one.get("cy", "nan"))) for one in read.all("circle")][-4:]
    stages = record["inputs"]["cascade"]
    np.testing.assert_allclose([ax * x + bx for x, _ in dots], [0, *(one["modules"] for one in stages)], atol=0.5)
    np.testing.assert_allclose([ay * y + by for _, y in dots], [1.0, *(one["mean"] for one in stages)], atol=0.01)
    assert "down to layer3.1.conv2" in plots["cascade"].alt
    table = record["per_image"]
    each, names = np.asarray(table["similarity"]) - np.asarray(table["floor"]), np.asarray(table["set"])
    excess = np.asarray([each[names == name].mean() for name in np.unique(names)])
    assert f"{(excess > 0.3).sum()} of {len(excess)} sets beyond the limit" in plots["excess"].alt


@pytest.mark.parametrize("kind", ["beats_null_explainers", "planted_evidence", "model_dependent"])
def test_damaged_records_draw_less_and_break_nothing(kind: str) -> None:
    record = sample_record(kind)
    for name in list(record["per_image"]):
        for damage in (None, [], "text", [None] * 3, [float("inf")] * len(record["per_image"]["id"])):
            plots_of({**record, "per_image": {**record["per_image"], name: damage}})
    for inputs in ({}, {"cascade": 3}, {"cascade": [3, {"modules": "x"}, {"modules": 2, "mean": 7.0}]}):
        plots_of({**record, "inputs": inputs})
    plots_of({**record, "decision": {"measures": {"advantage[a,b]": 3}}})
