"""The page of plain text: what a ticket shows of a run, and nothing that does more than show."""

from __future__ import annotations

import re

from fixtures.records import HOSTILE, hostile_document, sample_document, sample_record
from pytest_saliency.report.text import render_text


def known() -> dict[str, object]:
    """Return a run of one FAIL whose numbers were written by hand."""
    record = sample_record("no_semantic_drift", "FAIL")
    measure = record["decision"]["measures"]["iou_drop"]
    measure |= {"estimate": 0.6789, "limit": 0.4, "n": 202, "verdict": "FAIL"}
    measure["interval"] |= {"low": 0.654321, "high": 0.71}
    record["decision"]["measures"] = {"iou_drop": measure}
    record["decision"]["n"] = 202
    record["headline"] = "the model looks elsewhere"
    record["policy"] = {"severity": "warn"}
    return sample_document([record], deviations=["Nobody is named as tester."])


def test_the_page_of_one_failure() -> None:
    lines = render_text(known()).splitlines()
    assert lines[:3] == [
        "Explanation checks: 1 of 1 did not pass",
        "1 FAIL.",
        "Release decision: no release. 1 check is not PASS and not excused by a waiver.",
    ]
    start = lines.index("What did not pass")
    assert lines[start : start + 5] == [
        "What did not pass",
        "  FAIL  chest/evidence-kept[layercam]: the model looks elsewhere (severity warn: does not fail the run)",
        "",
        "All checks",
        "  FAIL  chest/evidence-kept[layercam], method layercam, n = 202",
    ]
    assert lines[start + 5].strip() == "mean IoU drop: 0.68 [0.65, 0.71], limit <= 0.40"
    assert "  - Nobody is named as tester." in lines


def test_an_exact_zero_has_the_decimals_of_its_limit() -> None:
    document = known()
    measure = document["records"][0]["decision"]["measures"]["iou_drop"]  # type: ignore[index]
    measure |= {"estimate": 0.0, "interval": {**measure["interval"], "low": 0.0, "high": 0.0}}
    assert "mean IoU drop: 0.00 [0.00, 0.00], limit <= 0.40" in render_text(document)


def test_waivers_and_verdicts_without_numbers() -> None:
    text = render_text(sample_document())
    assert re.search(r"^  FAIL  chest/evidence-kept\[layercam\]: .* \(waived by W-2026-01\)$", text, flags=re.MULTILINE)
    assert re.search(r"^  NOT RUN  chest/class-sensitive-later: deselected: the weights", text, flags=re.MULTILINE)
    assert "  applies  W-2026-01 for " in text
    assert "&#" not in text


def test_nothing_foreign_breaks_a_line_or_commands_a_runner() -> None:
    text = render_text(hostile_document())
    lines = text.split("\n")[:-1]
    assert "".join(lines).isprintable()
    assert not any(line.lstrip().startswith("::") for line in lines)
    assert HOSTILE[0] in text  # plain text has no markup to escape
    heads = ("What did not pass", "All checks", "FAIL alarms together", "Models", "Waivers", "Run")
    inside = lines[lines.index(heads[0]) :]
    assert [line for line in inside if line and not line.startswith("  ")][:-1] == list(heads)
