"""Checks that refer to another one, from records alone: verdicts, what is named, and the same decision made again."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from fixtures.records import sample_document, sample_record
from fixtures.referring import gap_record, result_of, trainings, trainings_record
from pytest_saliency.checks import no_subgroup_gap, seed_robust
from pytest_saliency.checks.numbers import decide_again, seed_again
from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.again import check_records
from pytest_saliency.evidence.canonical import settled
from pytest_saliency.evidence.findings import Found
from pytest_saliency.evidence.schemas import schema_text
from pytest_saliency.report.html.plots import problem_of
from pytest_saliency.report.plots.registry import plots_of
from pytest_saliency.report.terminal import render_failure

Record = dict[str, Any]


def verified(*records: Record) -> list[str]:
    found = Found(1)
    check_records({"records": list(records)}, found)
    return [finding.what for finding in found.findings]


@pytest.fixture(scope="module")
def made() -> dict[str, Record]:
    return {
        "alike": gap_record(),
        "apart": gap_record(0.4),
        "small": gap_record(small=5),
        "clusters": gap_record(clusters=True, limits={"agreement": 0.3}, n=240),
        "drift": gap_record(of="no_semantic_drift", limits={"iou_drop": 0.2, "correlation": 0.4}),
        "all": trainings_record(),
        "one fails": trainings_record(("PASS", "FAIL", "PASS"), groups=True),
        "one unsure": trainings_record(("PASS", "INCONCLUSIVE", "PASS")),
        "most": trainings_record(("PASS", "PASS", "INCONCLUSIVE"), min_share=0.6),
    }


def test_verdicts(made: dict[str, Record]) -> None:
    assert {name: record["verdict"] for name, record in made.items()} == {
        "alike": "PASS",
        "apart": "FAIL",
        "small": "INCONCLUSIVE",
        "clusters": "PASS",
        "drift": "PASS",
        "all": "PASS",
        "one fails": "FAIL",
        "one unsure": "INCONCLUSIVE",
        "most": "PASS",
    }


def test_each_record_is_decided_again_without_a_finding(made: dict[str, Record]) -> None:
    records = list(made.values())
    for record in records:
        assert settled(decide_again(record).to_dict()) == settled(record["decision"])
        assert f"{seed_again(record):016x}" == record["seed"]
    assert verified(*records) == []


def test_records_are_as_the_schema_says(made: dict[str, Record]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text("run")))
    assert [error.message for error in validator.iter_errors(sample_document(list(made.values())))] == []


def test_a_training_that_was_dropped_or_turned_is_found(made: dict[str, Record]) -> None:
    turned = copy.deepcopy(made["one fails"])
    column = turned["per_image"]["agreement.2"]
    turned["per_image"]["agreement.2"] = [None if value is None else value * 0.2 for value in column]
    assert any("does not follow" in line for line in verified(turned))
    left = copy.deepcopy(made["one fails"])
    left["inputs"]["trainings"].pop(1)
    left["inputs"]["names"].pop(1)
    assert verified(left)
    kept = copy.deepcopy(made["all"])
    place = kept["everyone"]["fate.2"].index("kept")
    kept["everyone"]["fate.2"][place] = "not correct"
    assert any("training 2" in line for line in verified(kept))
    seeded = copy.deepcopy(made["all"])
    seeded["inputs"]["trainings"][0]["seed"] = "0" * 16
    assert any("seed of training 1" in line for line in verified(seeded))


def test_a_group_that_was_renamed_is_found(made: dict[str, Record]) -> None:
    forged = copy.deepcopy(made["apart"])
    forged["per_image"]["group"] = ["scanner A", "scanner B"] * (len(forged["per_image"]["id"]) // 2) + (
        ["scanner A"] if len(forged["per_image"]["id"]) % 2 else []
    )
    assert any("does not follow" in line for line in verified(forged))


def test_what_is_said_of_groups(made: dict[str, Record]) -> None:
    apart, small = made["apart"]["headline"], made["small"]["headline"]
    assert apart.startswith("groups differ: largest difference between groups in agreement 0.4")
    assert "for 'scanner A'" in apart
    assert "for 'scanner B'" in apart
    assert "'scanner C' (" in small
    assert "too small to decide" in small
    assert "add images of it" in small


def test_what_is_said_of_trainings(made: dict[str, Record]) -> None:
    assert made["all"]["headline"].endswith("'class-sensitive' passes for 3 of 3 trainings, 3 needed")
    assert "'seed-1' is FAIL" in made["one fails"]["headline"]
    assert "'seed-1' is INCONCLUSIVE" in made["one unsure"]["headline"]
    # 3 of 3: the share of trainings for which it passes is 0.05 ** (1 / 3) at least.
    passing = made["all"]["decision"]["measures"]["passing"]
    assert passing["interval"]["low"] == pytest.approx(0.05 ** (1 / 3))
    assert set(made["all"]["subjects"]) == {"models.1", "models.2", "models.3"}


def test_each_training_has_its_line_and_the_reason_of_one_that_does_not_pass(made: dict[str, Record]) -> None:
    """Against the records that each training would have by itself."""
    from pytest_saliency.report.html.render import render_html

    record = made["one unsure"]
    alone = [sample_record("class_sensitive", v, draw=k) for k, v in enumerate(("PASS", "INCONCLUSIVE", "PASS"))]
    lines = [line.strip() for line in render_failure(record).splitlines()]
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["training"])
    page = render_html(sample_document([record]), lambda path: None)
    for k, one in enumerate(alone):
        measure = one["decision"]["measures"]["agreement"]
        cells = lines[start + 1 + k].split()
        assert cells[:2] == [f"seed-{k}", one["verdict"]]
        assert float(cells[-4]) == pytest.approx(measure["estimate"], abs=0.006)
        assert float(cells[-3]) == pytest.approx(measure["interval"]["high"], abs=0.006)
        assert (cells[-2], float(cells[-1])) == ("<", 0.5)
        assert f'data-label="Training">seed-{k}</th>' in page
    assert lines[start + 4].startswith("seed-1 is INCONCLUSIVE: not demonstrated")
    assert not any(line.startswith(("seed-0 is", "seed-2 is")) for line in lines)
    assert "not demonstrated" in page.partition("Each training")[2].partition("</table>")[0]


def test_models_of_a_list_are_headed_in_words(made: dict[str, Record]) -> None:
    from pytest_saliency.report.html.render import render_html
    from pytest_saliency.report.roles import role_title

    record = made["all"]
    page = render_html(sample_document([record]), lambda path: None)
    assert "Model models" not in page
    for k in (1, 2, 3):
        assert page.count(f"Training {k} of every-training") == 2  # at the top, and with the check
    assert "3 trainings" in render_failure(record)
    assert role_title("nulls.12") == "null 12"
    assert role_title("models") == "models"


def test_the_images_shown_are_those_of_the_training_that_does_not_pass(made: dict[str, Record]) -> None:
    record = made["one fails"]
    assert record["decision"]["readouts"]["shown_training"] == "seed-1"
    assert made["all"]["decision"]["readouts"]["shown_training"] == "seed-0"
    alone = sample_record("class_sensitive", "FAIL", groups=True, draw=1)
    assert [(row["id"], row["values"]) for row in record["worst"]] == [
        (row["id"], row["values"]) for row in alone["worst"]
    ]
    assert "cases as training 'seed-1' has them:" in render_failure(record)


def test_pictures_name_their_training() -> None:
    from dataclasses import replace

    from pytest_saliency.checks.gallery import Gallery

    parameters, results = trainings(("PASS", "FAIL"))

    def caption(k: int) -> Any:
        return lambda i: [f"i{i}", f"of {k}"]

    nothing: Any = None
    results = [
        replace(one, gallery=Gallery(nothing, nothing, np.zeros(3), (), (), caption(k), "alone"))
        for k, one in enumerate(results)
    ]
    drawn = seed_robust.join(results, parameters, "any-seed").gallery
    assert drawn is not None
    assert drawn.heading.startswith("any-seed: ")
    assert drawn.heading.endswith("; maps of training seed-1, which is FAIL")
    assert drawn.caption(2) == ["i2", "of 1", "training seed-1"]


def test_groups_are_told_of_every_training_and_in_the_block(made: dict[str, Record]) -> None:
    rows = made["one fails"]["decision"]["readouts"]["groups"]
    assert {(row["measure"], row["group"]) for row in rows} == {
        (f"agreement, seed-{k}", f"scanner {letter}") for k in range(3) for letter in "AB"
    }
    assert "scanner B" in render_failure(made["apart"])


def test_too_few_or_equal_trainings_are_sentences() -> None:
    base = result_of(sample_record("class_sensitive", "PASS"))
    parameters = seed_robust.SeedRobustParameters(
        method="case", of="class-sensitive", of_kind="class_sensitive", of_criterion=dict(base.parameters)
    )
    with pytest.raises(SaliencyError, match="was given 1; give two"):
        seed_robust.join([base], parameters, "x")
    with pytest.raises(SaliencyError, match="are one: they have the same numbers"):
        seed_robust.join([base, base], parameters, "x")


def test_cases_without_groups_or_with_one_are_sentences() -> None:
    base = sample_record("class_sensitive", "PASS")
    parameters = no_subgroup_gap.NoSubgroupGapParameters(
        method="case",
        of="class-sensitive",
        of_kind="class_sensitive",
        of_criterion=base["criterion"],
        max_gap={"agreement": 0.1},
    )
    with pytest.raises(SaliencyError, match="declare none; name the group"):
        no_subgroup_gap.compare(result_of(base), parameters, "x")
    for table in ("per_image", "everyone"):
        base[table]["group"] = ["only"] * len(base[table]["id"])
    with pytest.raises(SaliencyError, match="one group only, 'only'"):
        no_subgroup_gap.compare(result_of(base), parameters, "x")


@pytest.mark.parametrize("kind", ["no_subgroup_gap", "seed_robust", "not_worse_than_baseline", "nothing"])
def test_what_measures_nothing_cannot_be_referred_to(kind: str) -> None:
    with pytest.raises(ValueError, match=r"measures nothing itself|no numbers of single images"):
        seed_robust.SeedRobustParameters(method="case", of="x", of_kind=kind, of_criterion={})
    with pytest.raises(ValueError, match=r"measures nothing itself|no numbers of single images"):
        no_subgroup_gap.NoSubgroupGapParameters(
            method="case", of="x", of_kind=kind, of_criterion={}, max_gap={"agreement": 0.1}
        )


def test_groups_are_drawn_with_their_bounds(made: dict[str, Record]) -> None:
    for name in ("apart", "small", "one fails"):
        record = made[name]
        rows = record["decision"]["readouts"]["groups"]
        plots = [plot for plot in plots_of(record) if plot.name.startswith("groups")]
        assert len(plots) == len({row["measure"] for row in rows})
        for plot in plots:
            assert problem_of(plot.svg) == ""
        for row in rows:
            said = f"{row['group']}: n = {row['n']}, {row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            assert any(said in plot.alt for plot in plots)


def test_reports_show_groups_power_and_the_adjusted_alarm(made: dict[str, Record]) -> None:
    from pytest_saliency.report.html.render import render_html
    from pytest_saliency.report.markdown import render_markdown
    from pytest_saliency.report.text import render_text

    document = sample_document([made["apart"], made["all"]])
    page = render_html(document, lambda path: None)
    for said in ("Declared groups, each by itself", "scanner B", "could show with 80 % power", "adjusted over the"):
        assert said in page
    for text in (render_text(document), render_markdown(document)):
        assert "FAIL adjusted over its 2 checks" in text.replace("\\", "")
    block = render_failure(made["apart"])
    assert any(line.split()[:2] == ["scanner", "B"] for line in block.splitlines())
    assert "80 % power at this n for: gap[agreement]" in block


def test_bounds_of_a_group_are_those_of_its_images_alone(made: dict[str, Record]) -> None:
    """Against the decision on a mean of this group's numbers alone, with the same bets."""
    from pytest_saliency.decide import means

    record = made["apart"]
    per_image, seed = record["per_image"], int(record["seed"], 16)
    for row in record["decision"]["readouts"]["groups"]:
        values = np.array(
            [v for v, g in zip(per_image["agreement"], per_image["group"], strict=True) if g == row["group"]]
        )
        ordered = means.canonical(values, seed)
        assert row["estimate"] == pytest.approx(values.mean())
        assert row["low"] == pytest.approx(means.lower_bound(ordered, 0.0, 1.0, 0.05))
        assert row["high"] == pytest.approx(means.upper_bound(ordered, 0.0, 1.0, 0.05))
        assert row["n"] == values.size
