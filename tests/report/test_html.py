"""What the report says of a run, read back from its HTML."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fixtures import records as fixtures
from fixtures.records import HOSTILE, hostile_document, sample_waiver, with_gallery
from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.layout import REPORT
from pytest_saliency.evidence.rendered import rendered
from pytest_saliency.report.html import pictures_below, render_html
from pytest_saliency.report.merge import merge

from .html_page import Element, read

ELEMENTS = frozenset(
    (
        *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer", "section", "div"),
        *("h1", "h2", "h3", "h4", "h5", "p", "span", "b", "strong", "code", "wbr", "a", "ul", "li", "dl", "dt", "dd"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption", "img"),
        *("svg", "g", "defs", "desc", "path", "circle", "rect", "line", "polyline", "polygon", "text", "tspan"),
        *("lineargradient", "stop", "clippath"),
    )
)
VERDICTS = ("NOT RUN", "ERROR", "FAIL", "INCONCLUSIVE", "PASS")


@cache
def _made(make: Callable[..., Any], words: str) -> str:
    given, named = json.loads(words)
    return json.dumps(make(*given, **named))


def sample_record(*given: Any, **named: Any) -> dict[str, Any]:
    """Return a fresh copy of a record; drawing one decides it, which takes a while."""
    made: dict[str, Any] = json.loads(_made(fixtures.sample_record, json.dumps([given, named])))
    return made


def sample_document(records: list[dict[str, Any]] | None = None, **run: Any) -> dict[str, Any]:
    if records is not None:
        return fixtures.sample_document(records, **run)
    made: dict[str, Any] = json.loads(_made(fixtures.sample_document, json.dumps([[], run])))
    return made


def nothing(path: str) -> bytes | None:
    return None


def page_of(document: dict[str, Any], **options: Any) -> Element:
    return read(render_html(document, nothing, **options))


def shuffled(value: Any, draw: random.Random) -> Any:
    """Return the same JSON with the keys of every mapping in another order."""
    if isinstance(value, dict):
        keys = list(value)
        draw.shuffle(keys)
        return {key: shuffled(value[key], draw) for key in keys}
    return [shuffled(entry, draw) for entry in value] if isinstance(value, list) else value


def known(**changes: Any) -> dict[str, Any]:
    """Return a FAIL whose numbers were written by hand."""
    record = sample_record("no_semantic_drift", "FAIL")
    measure = record["decision"]["measures"]["iou_drop"]
    measure |= {"estimate": 0.6789, "limit": 0.4, "n": 202, "undefined": 3, "verdict": "FAIL"}
    measure["interval"] |= {"low": 0.654321, "high": 0.71, "level": 0.95}
    return {**record, **changes}


# The whole page


def test_the_same_run_gives_the_same_bytes_in_whatever_order_its_keys_come() -> None:
    document = sample_document()
    first = render_html(document, nothing)
    for seed in range(3):
        assert render_html(shuffled(document, random.Random(seed)), nothing) == first


def test_the_bytes_do_not_depend_on_the_process() -> None:
    program = (
        "import sys, hashlib; from fixtures.records import sample_document;"
        " from pytest_saliency.report.html import render_html;"
        " print(hashlib.sha256(render_html(sample_document(), lambda path: None).encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "TZ": zone, "LC_ALL": "C"},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(made) == 1


def test_nothing_in_it_runs_or_loads() -> None:
    html = render_html(sample_document(), nothing)
    page = read(html)
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "script-src" not in rules
    assert {element.tag for element in page.all()} <= ELEMENTS
    for element in page.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                assert value.startswith(("#", "data:")), value
    style = page.one("style").text if len(page.all("style")) == 1 else "".join(s.text for s in page.all("style"))
    assert "@import" not in style
    assert "url(" not in style


def test_the_structure_is_sound() -> None:
    document = sample_document()
    page = page_of(document)
    assert page.one("html").attributes["lang"] == "en"
    levels = [int(e.tag[1]) for e in page.all() if e.tag in ("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels)), levels
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids)), "an id stands twice"
    for link in page.all("a"):
        assert link.attributes["href"].removeprefix("#") in ids
    for table in page.all("table"):
        for head in table.all("th"):
            assert "scope" in head.attributes
    for element in page.all():
        for label in element.attributes.get("aria-labelledby", "").split():
            assert label in ids


def test_the_verdict_comes_first() -> None:
    document = sample_document()
    body = page_of(document).one("body").text
    order = [body.index(word) for word in ("No release", "It does not say", "Deviations", "Requirements and results")]
    assert order == sorted(order)
    counts = [" ".join(item.text.split()) for item in page_of(document).one("ul", cls="counts").all("li")]
    made = [record["verdict"].replace("_", " ") for record in document["records"]]
    expected = [f"{made.count(word)} {word}" for word in VERDICTS if word in made]
    assert counts == [*expected, f"of {len(made)} checks"]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([sample_record("class_sensitive", "PASS")], "Release"),
        ([sample_record("class_sensitive", "FAIL")], "No release"),
        ([], "No release"),
    ],
)
def test_the_release_decision(records: list[dict[str, Any]], expected: str) -> None:
    page = page_of(sample_document(records))
    assert page.one("p", cls="decision").one("strong").text == expected


def test_an_applying_waiver_changes_the_decision_and_no_verdict() -> None:
    record = sample_record("no_semantic_drift", "FAIL")
    check = "chest/evidence-kept[layercam]"
    waiver = {**sample_waiver(record), "check": check, "nodes": [record["node"]]}
    page = page_of(sample_document([record], waivers=[waiver]))
    assert page.one("p", cls="decision").one("strong").text == "Release with waivers"
    assert page.one("table", cls="matrix").one("span", cls="badge").text.strip() == "FAIL"
    row = page.one("table", cls="matrix").one("td", data_label="Waiver").text
    assert row.strip() == "waiver W-2026-01: applies"
    assert "accepted for the pilot site" in page.one("main").text
    assert "Q. Manager" in page.one("main").text


def test_who_when_and_from_what() -> None:
    page = page_of(sample_document(git={"commit": "a" * 40, "dirty": True}))
    facts = {one.one("dt").text: one.one("dd").text for one in page.one("dl", cls="facts").all("div")}
    assert facts["Finished"] == "2026-03-02 08:04:30 UTC"
    assert facts["Tested by"] == "A. Tester (as declared)"
    assert facts["Commit"] == "a" * 40
    assert facts["Work tree"] == "had changes that are not in the commit"
    assert facts["Run"] == "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(("untracked", "told"), [(0, ""), (1, "; beside it 1 file in no commit"), (None, "")])
def test_files_that_are_in_no_commit_are_told(untracked: int | None, told: str) -> None:
    """A contract or a model's code among them is not what the commit says: "as committed" alone would hide it."""
    git = {"commit": "a" * 40, "dirty": False, "changed": [], "untracked": untracked}
    facts = page_of(sample_document([], git=git)).one("dl", cls="facts").text
    assert f"as committed{told}" in facts.replace("\n", " ")
    assert ("in no commit" in facts) == bool(told)


def test_what_was_not_recorded_is_said() -> None:
    facts = page_of(sample_document(git=None, tester=None)).one("dl", cls="facts").text
    assert "not recorded (no git work tree)" in facts
    assert "not recorded (name the tester with --saliency-tester)" in facts


def test_deviations_are_listed() -> None:
    page = page_of(sample_document(deviations=["The contract changed after it was locked."]))
    assert [one.text for one in page.one("ul", cls="deviations").all("li")] == [
        "The contract changed after it was locked."
    ]
    assert "recorded no deviation" in page_of(sample_document([])).one("main").text


def test_the_decision_says_how_many_deviations_stand_beside_it() -> None:
    one, two = ({"deviations": [f"Something {k}." for k in range(count)]} for count in (1, 2))
    assert page_of(sample_document(**one)).one("p", cls="decision").text.endswith("1 deviation to be read with it.")
    assert page_of(sample_document(**two)).one("p", cls="decision").text.endswith("2 deviations to be read with it.")
    assert "deviation" not in page_of(sample_document([])).one("p", cls="decision").text


# The matrix


def test_what_was_not_tested_stands_on_top_in_red() -> None:
    table = page_of(sample_document()).one("table", cls="matrix")
    bodies = table.all("tbody")
    untested = ["untested" in body.attributes["class"].split() for body in bodies]
    assert sum(untested) == 2
    assert untested[:2] == [True, True]
    first = bodies[0].one("td", data_label="Not tested").text
    assert "the weights weights/ft.pt are not there" in first
    assert bodies[0].one("td", data_label="Requirement").text == "REQ-16"
    words = [body.all("span", cls="badge")[0].text.strip() for body in bodies]
    assert words == sorted(words, key=VERDICTS.index)


def test_a_row_says_criterion_and_what_was_observed() -> None:
    body = page_of(sample_document([known()])).one("table", cls="matrix").one("tbody")
    pairs = [
        (
            " ".join(row.one("td", data_label="Criterion").text.split()),
            row.one("td", data_label="Observed").text.strip(),
        )
        for row in body.all("tr")
    ]
    assert ("mean IoU drop ≤ 0.40", "0.68 [0.65, 0.71]") in pairs
    assert body.one("td", data_label="Model").text == "tl → ft"
    assert body.one("td", data_label="Method").text == "layercam"
    spans = {cell.attributes.get("rowspan") for cell in body.all("tr")[0].all("td", data_label="Verdict")}
    assert spans == {str(len(pairs))}


def test_each_limit_has_the_number_of_images_that_it_is_of() -> None:
    record = known()
    record["decision"]["measures"]["accuracy_drop"]["n"] = 400
    body = page_of(sample_document([record])).one("table", cls="matrix").one("tbody")
    by_title = {
        " ".join(row.one("td", data_label="Criterion").text.split()): row.one("td", data_label="n").text
        for row in body.all("tr")
    }
    assert by_title["mean IoU drop ≤ 0.40"] == "202"
    assert by_title["mean accuracy drop ≤ 0.15"] == "400"


def test_the_head_names_the_model_under_test_and_what_it_is_compared_with() -> None:
    document = sample_document()
    subjects = [one for record in document["records"] for one in record.get("subjects", {}).items()]
    rows = [
        " ".join(" ".join(cell.text for cell in (*row.all("dt"), *row.all("dd"))).split())
        for row in page_of(document).one("dl", cls="models").all("div")
    ]
    digests = {role: subject["weights_sha256"] for role, subject in subjects}
    assert digests["model"] == digests["after"] != digests["before"]
    assert rows == [
        f"Model under test ft SHA-256 of the weights file {digests['after']}",
        f"Compared with tl SHA-256 of the weights file {digests['before']}",
    ]


def test_a_model_without_a_weights_file_is_known_by_its_state() -> None:
    record = known()
    record["subjects"]["after"]["weights_sha256"] = None
    first = page_of(sample_document([record])).one("dl", cls="models").all("div")[0].text
    assert f"(not from a weights file) {record['subjects']['after']['state_sha256']}" in " ".join(first.split())


def test_a_joined_run_has_a_row_for_every_run() -> None:
    records = fixtures.sample_records()[:2]
    parts = [sample_document([record], id=f"{place}" * 32) for place, record in enumerate(records, start=1)]
    parts[1]["run"] |= {"tester": None, "platform": "Windows-11", "finished": "2026-03-03T08:00:00+00:00"}
    table = page_of(merge(parts)).one("table", cls="runs")
    rows = [
        {cell.attributes["data-label"]: " ".join(cell.text.split()) for cell in (*row.all("th"), *row.all("td"))}
        for row in table.one("tbody").all("tr")
    ]
    assert [row["Run"] for row in rows] == ["1" * 8, "2" * 8]
    assert [row["Checks"] for row in rows] == ["1", "1"]
    assert [row["Tested by"] for row in rows] == ["A. Tester", "nobody named"]
    assert rows[1]["Times"] == "2026-03-02 08:00:00 UTC to 2026-03-03 08:00:00 UTC"
    assert rows[1]["Made with"].startswith("Windows-11; numpy 1.26.4, ")
    assert not page_of(parts[0]).all("table", cls="runs")


def test_each_row_leads_to_its_check() -> None:
    page = page_of(sample_document())
    for link in page.one("table", cls="matrix").all("a"):
        target = page.one("details", id=link.attributes["href"][1:])
        assert target.one("h3").text == link.text


# A check


def check_of(record: dict[str, Any], *more: dict[str, Any]) -> Element:
    page = page_of(sample_document([record, *more]))
    name = record["node"].rpartition("::")[2]
    return next(one for one in page.all("details") if one.one("h3").text == name)


def test_what_decides_nothing_is_named_in_plain_words() -> None:
    record = sample_record("no_semantic_drift", "FAIL")
    record["decision"]["readouts"] = {
        "cause": "magnitude only, cause not identified",
        "low_margin": {"iou_drop": 0.25},
        "mean_bca": {"low": 0.1, "high": 0.3, "level": 0.95},
        "means": {"advantage[blur]": {"then": 0.5, "now": 0.25}},
    }
    rows = check_of(record).one("div", cls="readouts").all("div")
    shown = {row.all("dt")[0].text: row.all("dd")[0].text for row in rows}
    assert shown == {
        "Cause of a change": "not known: the check measures how much the maps changed, not why",
        "The quarter of images that the model before is least sure of: IoU drop": "0.25",
        "Mean, bootstrap bounds": "0.10 .. 0.30 (95 %)",
        "Mean: advantage with blur: approved baseline": "0.50",
        "Mean: advantage with blur: this run": "0.25",
    }


def test_a_comparison_with_a_baseline_says_whose_images_and_columns_these_are() -> None:
    record = known()
    del record["criterion"]["keep"]
    record["criterion"]["of_criterion"] = {"keep": "both_correct"}
    record["worst"] = [{"id": "a", "label": "b", "values": {"advantage[blur] now": 0.5, "advantage[blur] then": 0.75}}]
    text = check_of(record).text
    assert "(keep: both correct)" in text
    assert "advantage with blur now" in text


def test_a_bundle_says_how_pictures_get_into_it() -> None:
    document = sample_document([known()])
    inside = read(render_html(document, nothing, bundle=True)).text
    assert "No pictures in this bundle (--saliency-bundle-maps puts them in; they may show patients)." in inside
    assert "--saliency-images" not in inside
    assert "pytest --saliency-images=all keeps them" in page_of(document).text
    assert rendered(document, {}, nothing)[REPORT] == render_html(document, nothing, bundle=True).encode()


def test_the_guide_explains_the_words_of_the_tables() -> None:
    guide = page_of(sample_document()).one("section", cls="guide")
    words = " ".join(one.text for one in guide.all("dt"))
    for word in (
        "Agreement",
        "IoU drop",
        "Displacement",
        "log-odds",
        "Worsening",
        "Fill",
        "in brackets",
        "SHA-256",
        "Control",
        "chance",
    ):
        assert word in words


def test_only_what_passed_is_folded() -> None:
    page = page_of(sample_document())
    for one in page.all("details"):
        assert ("open" in one.attributes) == (one.one("summary").one("span", cls="badge").text.strip() != "PASS")


def test_measures_with_bounds_limit_and_undefined() -> None:
    table = check_of(known()).one("table", cls="measures")
    row = next(row for row in table.all("tr") if row.all("th", data_label="Measure") and "IoU" in row.text)
    cells = {cell.attributes["data-label"]: " ".join(cell.text.split()) for cell in row.all("td")}
    assert cells == {
        "Estimate": "0.68",
        "Bounds": "0.65 .. 0.71 (95 %)",
        "Limit": "≤ 0.40",
        "n": "202",
        "Undefined": "3",
        "Verdict": "FAIL",
    }


def test_legs_in_words_with_p_values() -> None:
    record = known()
    record["decision"]["legs"] = [
        {"name": "a", "statement": "the one thing", "p": 0.00001, "holds": True, "estimate": 0.1, "bound": 0.2},
        {"name": "b", "statement": "the other thing", "p": 0.31, "holds": False, "estimate": 0.1, "bound": 0.2},
        {"name": "c", "statement": "the third thing", "p": None, "holds": False, "estimate": None, "bound": None},
    ]
    legs = [" ".join(item.text.split()) for item in check_of(record).one("ul", cls="legs").all("li")]
    assert legs == [
        "shown: the one thing (p < 0.0001)",
        "not shown: the other thing (p = 0.31)",
        "not shown: the third thing (p undefined)",
    ]


def test_models_are_named_with_their_whole_digests() -> None:
    record = known()
    text = check_of(record).text
    for role in ("before", "after"):
        assert record["subjects"][role]["weights_sha256"] in text
        assert record["subjects"][role]["state_sha256"] in text
    assert text.index("Model before") < text.index("Model after")
    assert "resize: 256" in text
    assert record["cases"]["digest"] in text
    assert record["seed"] in text
    assert "contracts/chest.saliency.yaml:12" in text


def test_every_case_is_accounted_for() -> None:
    record = sample_record("no_semantic_drift", "FAIL", groups=True, undefined=2)
    check = check_of(record)
    everyone, cases = record["everyone"], record["cases"]
    assert f"{cases['kept']} of {cases['n']} cases were kept (keep: both correct)" in check.text
    for reason, count in cases["dropped"].items():
        assert f"{count} left out: {reason}" in check.text
    for heading, column in (("Class", "label"), ("Group", "group")):
        (table,) = (one for one in check.all("table") if one.all("th")[0].text == heading)
        rows = [[int(cell.text) for cell in row.all("td")] for row in table.one("tbody").all("tr")]
        assert sum(row[0] for row in rows) == len(everyone["id"])
        assert sorted(row[0] for row in rows) == sorted(everyone[column].count(v) for v in set(everyone[column]))
        assert sum(row[1] for row in rows) == everyone["fate"].count("kept")
        assert all(total == kept + left for total, kept, left, _ in rows)
        statuses = zip(record["per_image"]["status_before"], record["per_image"]["status_after"], strict=True)
        assert sum(row[3] for row in rows) == sum(pair != ("ok", "ok") for pair in statuses) > 0


def test_class_names_come_from_the_record() -> None:
    record = sample_record("class_sensitive", "FAIL")
    labels = sorted(set(record["everyone"]["label"]))
    record["cases"]["class_names"] = {str(label): f"finding {label}" for label in labels}
    (table,) = (one for one in check_of(record).all("table") if one.all("th")[0].text == "Class")
    assert [row.one("th").text for row in table.one("tbody").all("tr")] == [f"finding {label}" for label in labels]


def test_the_drop_table_puts_methods_of_one_check_side_by_side() -> None:
    ours = sample_record("faithful", "FAIL", criterion={"method": "gradcam"}, against=("random",))
    other = sample_record("faithful", "PASS", criterion={"method": "layercam"})
    foreign = sample_record("faithful", "PASS", check="another", criterion={"method": "eigencam"})
    table = check_of(ours, other, foreign).one("table", cls="drops")
    names = [" ".join(row.one("th").text.split()) for row in table.one("tbody").all("tr")]
    assert names == ["gradcam (this check)", "random (compared with)", "layercam"]
    # The mean of the column itself, over the images that are in a block.
    inside = [place for place, block in enumerate(ours["per_image"]["block"]) if block >= 0]
    drops = [ours["per_image"]["softmax_drop[blur]"][place] for place in inside]
    seen = [drop for drop in drops if drop is not None]
    first = table.one("tbody").all("tr")[0].all("td")
    assert first[0].text == f"{100 * sum(seen) / len(seen):.1f} %"


def test_notes_and_what_the_contract_makes_of_a_failure_are_shown() -> None:
    record = known(notes=["a note of the run"])
    record["decision"]["notes"] = ["a note of the decision"]
    record["policy"] = {
        "severity": "warn",
        "on_inconclusive": "fail",
        "known_failure": {"reason": "scanner B", "expires": "2026-05-01", "expired": True},
    }
    check = check_of(record)
    assert [one.text for one in check.one("ul", cls="notes").all("li")] == [
        "a note of the decision",
        "a note of the run",
    ]
    assert "expired known failure until 2026-05-01: scanner B" in check.text
    assert "severity warn: does not fail the run" in check.text


def test_a_loosened_limit_is_shown_on_top_and_at_its_check() -> None:
    record = known()
    record["baseline"] = {
        "selector": "chest/evidence-kept[layercam]",
        "state": "approved",
        "sha256": "b" * 64,
        "approved": {"by": "Q. Manager", "at": "2026-01-02T03:04:05+00:00", "reason": "release 1"},
        "changes": [
            {"parameter": "max_iou_drop", "then": 0.3, "now": 0.4, "way": "looser"},
            {"parameter": "max_displacement", "then": 0.2, "now": 0.15, "way": "tighter"},
        ],
    }
    page = page_of(sample_document([record]))
    (top,) = page.one("section", aria_labelledby="loosened").all("li")
    assert "max_iou_drop was 0.3, is 0.4 (approved by Q. Manager, 2026-01-02 03:04:05 UTC)" in top.text
    said = page.one("details").text
    assert "looser since: max_iou_drop was 0.3, is 0.4" in said
    assert "tighter since: max_displacement was 0.2, is 0.15" in said


def test_locks_are_shown_whatever_they_hold() -> None:
    changed = {"contract": "chest", "file": "a.yaml", "state": "changed", "why": "It changed.", "commit": None}
    changed |= {"at": "2026-01-02T03:04:05Z", "changes": ["kept: max_iou_drop 0.3 -> 0.4 (looser)", "kept: note"]}
    bare = {"contract": "other", "state": "unlocked", "why": "It is not locked.", "new": [1, 2]}
    section = page_of(sample_document([known()], locks=[changed, bare])).one("section", aria_labelledby="locks")
    assert [one.text for one in section.all("li", cls="loose")] == ["kept: max_iou_drop 0.3 -> 0.4 (looser)"]
    for text in ("chest", "changed", "2026-01-02 03:04:05 UTC", "kept: note", "unlocked", "It is not locked.", "new"):
        assert text in section.text


def test_every_kind_has_plots_with_words() -> None:
    for record in (known(), sample_record("class_sensitive", "FAIL"), sample_record("faithful", "FAIL", curves=True)):
        figures = check_of(record).all("figure", cls="plot")
        assert figures
        for figure in figures:
            assert figure.all("svg")
            assert len(figure.one("figcaption").text) > 20


# What is wrong with the input


def test_hostile_text_stays_text() -> None:
    document = hostile_document()
    html = render_html(document, nothing)
    page = read(html)
    assert {element.tag for element in page.all()} <= ELEMENTS
    for element in page.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href"):
                assert value.startswith(("#", "data:")), value
    assert HOSTILE[0] in page.one("body").text, "it is shown as it is"
    assert "49" not in page.one("ul", cls="counts").text
    assert "{{ 7*7 }}" in page.one("body").text, "a template in a name is not filled in"
    for character in "\u202e\u2028\u0000\u001b\u0007":
        assert character not in html
    assert "[U+202E]gnp.exe[U+2028]" in page.one("body").text


@pytest.mark.parametrize("text", ["x" * 10_000, "\u0301" * 10_000, "\U0001f600" * 10_000, "\ud800", "\u202e" * 9, ""])
def test_extreme_names_are_cut_and_said(text: str) -> None:
    record = known(requirement=text, headline=text, check=text)
    record["node"] = f"a.yaml::{text}"
    record["subjects"]["after"]["name"] = text
    record["worst"][0] |= {"id": text, "label": text}
    html = render_html(sample_document([record]), nothing)
    html.encode("utf-8")
    longest = max(map(len, read(html).one("body").text.split()))
    assert longest <= 2100
    if text == "x" * 10_000:
        assert "x" * 160 + " … (10,000 characters)" in read(html).one("table", cls="matrix").text


@pytest.mark.parametrize(
    "damage",
    [
        {"decision": [1]},
        {"decision": {"measures": {"a": {}}}},
        {"cases": "none"},
        {"gallery": [{"tiles": [3]}]},
        {"source": {"snippet": [1]}},
        {"subjects": {"model": None}},
        {"policy": 7},
    ],
)
def test_a_damaged_record_gives_a_sentence_that_names_it(damage: dict[str, Any]) -> None:
    record = known(**damage)
    with pytest.raises(SaliencyError, match=r"the report cannot be made, as (the run|the record of .*) is not as"):
        render_html(sample_document([record]), nothing)


def test_a_run_without_checks_says_that_nothing_was_shown() -> None:
    text = page_of(sample_document([])).one("body").text
    assert "No check ran" in text
    assert "No release" in text


# Pictures


@pytest.fixture
def pictured(tmp_path: Path) -> dict[str, Any]:
    return sample_document([with_gallery(known(), tmp_path), with_gallery(sample_record("faithful"), tmp_path)])


def test_pictures_are_embedded_with_words(pictured: dict[str, Any], tmp_path: Path) -> None:
    page = read(render_html(pictured, pictures_below(tmp_path)))
    tiles = [tile for record in pictured["records"] for row in record["gallery"] for tile in row["tiles"]]
    images = page.all("img")
    assert len(images) == len(tiles) > 0
    assert all(image.attributes["src"].startswith("data:image/") for image in images)
    assert {image.attributes["alt"] for image in images} == {tile["alt"] for tile in tiles}
    assert len(page.all("figure", cls="scale")) == 1
    assert "worst 1" in page.one("main").text


def test_no_pixel_with_images_none(pictured: dict[str, Any], tmp_path: Path) -> None:
    def forbidden(path: str) -> bytes | None:
        raise AssertionError(f"{path} was read")

    html = render_html(pictured, forbidden, images="none")
    assert "data:image" not in html
    assert "<img" not in html
    assert "<image" not in html
    assert "no pixel of any image" in html
    assert read(html).all("svg"), "plots stay: they are numbers"


def test_pictures_of_failed_checks_only(pictured: dict[str, Any], tmp_path: Path) -> None:
    page = read(render_html(pictured, pictures_below(tmp_path), images="failed"))
    by_verdict = {one.one("summary").one("span", cls="badge").text.strip(): one for one in page.all("details")}
    assert by_verdict["FAIL"].all("img")
    assert not by_verdict["PASS"].all("img")
    assert "Pictures are shown for checks that are not PASS." in by_verdict["PASS"].text


def test_another_word_for_images_is_refused() -> None:
    with pytest.raises(SaliencyError, match="'some' is none of the pictures"):
        render_html(sample_document([]), nothing, images="some")


def test_checks_of_several_contracts_are_told_apart() -> None:
    ours = sample_record("class_sensitive")
    other = {
        **sample_record("class_sensitive"),
        "contract": "another",
        "node": "another.saliency.yaml::class-sensitive",
    }
    page = render_html(sample_document([ours, other]), nothing).replace("<wbr>", "")
    for shown in (f"{ours['contract']}/class-sensitive", "another/class-sensitive"):
        assert page.count(shown) >= 2, "in the table and above the section"
    assert f"{ours['contract']}/class-sensitive" not in render_html(sample_document([ours]), nothing).replace(
        "<wbr>", ""
    )
