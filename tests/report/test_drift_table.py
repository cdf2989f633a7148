"""The table of architectures and methods, derived again by other means; and what plots of drift say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fixtures.drifting import drift_record
from fixtures.records import sample_document, sample_record
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.cli import main
from pytest_saliency.evidence.checkpoints import about_checkpoints
from pytest_saliency.report.drift_table import drift_tables, table_lines
from pytest_saliency.report.html.render import render_html
from pytest_saliency.report.plots.heat import heat_plots
from pytest_saliency.report.plots.registry import plots_of
from pytest_saliency.report.terminal import render_failure
from tests.report.drawn import Read

Record = dict[str, Any]


def table(drops: dict[tuple[str, str], list[float]], clusters: list[str] | None = None) -> list[Record]:
    """Return records of one check with these IoU drops by (pair, method); the rest of them is drawn."""
    made = []
    for (pair, method), values in drops.items():
        record = sample_record("no_semantic_drift", "PASS", criterion={"method": method})
        record["axes"] = {"pair": pair, "method": method}
        record["node"] = f"{record['node'].partition('[')[0]}[{pair}-{method}]"
        ids = [f"i{k:03d}" for k in range(len(values))]
        record["per_image"] = {"id": ids, "iou_drop": values, "displacement": values, "correlation": values}
        if clusters is not None:
            record["per_image"]["cluster"] = clusters
        made.append(record)
    return made


def drawn(mean: float, n: int = 40, seed: int = 0) -> list[float]:
    return np.clip(np.random.default_rng(seed).normal(mean, 0.15, n), 0, 1).tolist()  # type: ignore[no-any-return]


PAPER = {
    ("dense", "layercam"): drawn(0.30, seed=1),
    ("dense", "gradcam++"): drawn(0.32, seed=2),
    ("inception", "layercam"): drawn(0.20, seed=3),
    ("inception", "gradcam++"): drawn(0.60, seed=4),
}


def test_a_ranking_that_turns_round_is_flagged() -> None:
    (found,) = drift_tables(table(PAPER))
    (one,) = found.reversals
    assert (one.steadier, one.other, one.method, one.other_method) == ("dense", "inception", "gradcam++", "layercam")
    assert one.drops == pytest.approx((np.mean(PAPER["dense", "gradcam++"]), np.mean(PAPER["inception", "gradcam++"])))
    lines = table_lines(table(PAPER))
    assert lines[1].split() == ["mean", "IoU", "drop", "gradcam++", "layercam"]
    assert lines[2].split() == ["dense", *(f"{np.mean(PAPER['dense', m]):.2f}" for m in ("gradcam++", "layercam"))]
    assert "the stability ranking reverses: with gradcam++ dense moves less than inception" in lines[-1]


def test_how_sure_it_is_agrees_with_a_normal_approximation() -> None:
    """Two differences of means, independent here: the share is about the product of two normal probabilities."""
    from scipy.stats import norm

    near = dict(PAPER)
    near["inception", "layercam"] = drawn(0.27, seed=3)
    (found,) = drift_tables(table(near))
    (one,) = found.reversals
    expected = 1.0
    for method in ("layercam", "gradcam++"):
        difference = np.asarray(near["dense", method]) - np.asarray(near["inception", method])
        error = difference.std() / np.sqrt(len(difference))
        expected *= norm.cdf(abs(difference.mean()) / error)
    assert one.sure == pytest.approx(expected, abs=0.03)
    assert one.sure < 0.95
    assert one.sentence().endswith(", so it may be chance")


def test_clusters_are_drawn_whole() -> None:
    """All images of one cluster: there is nothing to resample, so the order never changes."""
    near = {key: drawn(0.3 + 0.001 * k, seed=k) for k, key in enumerate(PAPER)}
    (alone,) = drift_tables(table(near))
    (together,) = drift_tables(table(near, clusters=["one"] * 40))
    assert {one.sure for one in together.reversals} <= {1.0}
    assert all(one.sure < 1.0 for one in alone.reversals)


def test_the_same_order_everywhere_is_no_reversal() -> None:
    same = {key: drawn(0.2 if key[0] == "dense" else 0.6, seed=k) for k, key in enumerate(PAPER)}
    (found,) = drift_tables(table(same))
    assert not found.reversals
    assert table_lines(table(same))[-1].strip() == "the stability ranking is the same with every method"


def test_one_pair_makes_no_table_and_holes_are_shown() -> None:
    assert not drift_tables(table({key: value for key, value in PAPER.items() if key[0] == "dense"}))
    records = table(PAPER)[:3]
    records[0]["per_image"]["iou_drop"] = [None] * 40
    (found,) = drift_tables(records)
    assert not found.reversals
    assert "–" in table_lines(records)[2]
    assert all("nan" not in plot.svg and "nan" not in plot.alt for plot in heat_plots(found))


def test_the_heat_table_says_its_numbers_and_stands_in_the_report() -> None:
    (found,) = drift_tables(table(PAPER))
    plots = {plot.name: plot for plot in heat_plots(found)}
    read = Read.of(next(plot.svg for name, plot in plots.items() if "iou_drop" in name))
    words = read.words()
    for values in PAPER.values():
        assert f"{np.mean(values):.2f} ⇄" in words
    page = render_html(sample_document(table(PAPER)), lambda _: None)
    assert "Architectures and methods side by side" in page
    assert "2 pairs of models, 2 methods" in page
    assert "Architectures and methods" not in render_html(sample_document(), lambda _: None)


def test_the_plot_command_writes_the_table(tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text(json.dumps(sample_document(table(PAPER))))
    done = CliRunner().invoke(main, ["plot", str(run), "-o", str(tmp_path / "plots")])
    assert done.exit_code == 0, done.output
    (written,) = (tmp_path / "plots").glob("*architecture-by-method.json")
    made = json.loads(written.read_text())
    shown = {(row["pair"], row["method"]): row["means"]["iou_drop"] for row in made["rows"]}
    assert shown == {key: pytest.approx(np.mean(values)) for key, values in PAPER.items()}
    assert made["reversals"][0]["methods"] == ["gradcam++", "layercam"]
    assert len(list((tmp_path / "plots").glob("*heat*.svg"))) == 3


def test_further_numbers_of_a_drift_record_decide_again_and_are_shown() -> None:
    record = drift_record(checkpoints=6, planted_at=3, followed=(0.85, 0.02))
    assert decide_again(record).to_dict() == record["decision"]
    plots = {plot.name: plot for plot in plots_of(record)}
    assert {"trajectory-iou_drop", "trajectory-displacement", "pasted-regions"} <= set(plots)
    told = record["decision"]["readouts"]["pasted_regions"]
    assert f"{100 * told['region']['share']:.1f} % (" in plots["pasted-regions"].alt
    assert plots["pasted-regions"].title not in plots["pasted-regions"].alt  # which stands below it
    block = render_failure(record)
    assert "the evidence moved at epoch_4" in block
    assert "shortcut confirmed: " in block
    assert "5 checkpoints" in block
    page = render_html(sample_document([record]), lambda _: None)
    assert "Mean IoU drop over 6 checkpoints" in page


def test_the_trajectory_is_drawn_where_its_numbers_are() -> None:
    record = drift_record(checkpoints=6, planted_at=3)
    plot = next(plot for plot in plots_of(record) if plot.name == "trajectory-iou_drop")
    read = Read.of(plot.svg)
    means = [point["means"]["iou_drop"] for point in record["decision"]["readouts"]["trajectory"]["points"]]
    dots = [(float(one.get("cx", "nan")), float(one.get("cy", "nan"))) for one in read.all("circle", "f-accent")][1:]
    assert len(dots) == 6
    heights = np.asarray([y for _, y in dots])
    slope = np.polyfit(means, heights, 1)
    np.testing.assert_allclose(np.polyval(slope, means), heights, atol=0.2)
    assert slope[0] < 0, "more drift is higher up"
    assert np.all(np.diff([x for x, _ in dots]) > 0)


def test_a_plot_of_one_measure_does_not_say_that_this_measure_moved() -> None:
    """The checkpoint belongs to the check: the limit that is exceeded from there on may be another measure's."""
    kept = next(p for p in plots_of(drift_record(checkpoints=6, planted_at=3)) if p.name == "trajectory-displacement")
    assert kept.alt.endswith("From epoch_4 on a limit of the check is shown to be exceeded.")
    never = next(p for p in plots_of(drift_record("PASS", checkpoints=6)) if p.name == "trajectory-displacement")
    assert never.alt.endswith("From no checkpoint on a limit of the check is shown to be exceeded.")


@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_references_decide_again(verdict: str) -> None:
    for record in (drift_record(verdict, noise=0.1), drift_record(verdict, nulls=(0.1,) * 80)):
        assert decide_again(record).to_dict() == record["decision"]
        assert "less the" in record["decision"]["measures"]["iou_drop"]["title"]
        histogram = next(plot for plot in plots_of(record) if plot.name == "iou-drop")
        assert "less the reference" in Read.of(histogram.svg).words()


class After:
    source = ("python", "toy:build")


def checkpoints_record() -> Record:
    record = drift_record(checkpoints=4)
    for k in (1, 2, 3):
        record["subjects"][f"checkpoints.{k}"]["source"] = (
            f"python:toy:build weights weights/epoch_{k}.pt (under 'model')"
        )
    return record


def test_checkpoints_of_a_record_fit_their_pattern() -> None:
    assert about_checkpoints(checkpoints_record(), "weights/epoch_*.pt", After()) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["subjects"].pop("checkpoints.2"), "its checkpoints are"),
        (lambda r: r["subjects"]["checkpoints.2"].update(source="python:toy:build weights w/epoch_2.pt"), "comes from"),
        (lambda r: r["subjects"]["checkpoints.2"].update(source="python:toy:evil weights weights/epoch_2.pt"), "comes"),
        (
            lambda r: r["subjects"]["checkpoints.2"].update(source="python:toy:build weights weights/epoch_9.pt"),
            "not in natural order",
        ),
        (lambda r: r["inputs"]["trajectory"].pop(0), "the points of its trajectory are"),
    ],
)
def test_checkpoints_that_are_not_those_declared_are_found(change: Any, words: str) -> None:
    record = checkpoints_record()
    change(record)
    found = about_checkpoints(record, "weights/epoch_*.pt", After())  # type: ignore[arg-type]
    assert any(words in line for line in found), found
