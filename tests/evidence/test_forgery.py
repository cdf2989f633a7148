"""Level 1 against somebody who changes what a bundle says and makes everything anew, and against false alarms."""

from __future__ import annotations

import copy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.records import sample_record, sample_records
from pytest_saliency.checks.numbers import Numbers, decide_again
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.worst import rows_of
from pytest_saliency.cli import main
from pytest_saliency.engine.methods.names import resolves_to
from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.evidence.canonical import settled
from pytest_saliency.evidence.columns import about_images, about_results
from pytest_saliency.evidence.read import read_bundle
from pytest_saliency.evidence.verify import verify
from pytest_saliency.evidence.waivers import assess, load_waivers
from pytest_saliency.records.runfile import write_run

from .bundles import CONTRACT, FILE, PASSING, Change, bundle_of, copy_of, document_of, repository, rewrite
from .waiving import file_of, waiver

VERDICTS = {**PASSING, "kept": "FAIL"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("bundle"), VERDICTS).path


def findings(folder: Path) -> list[str]:
    return [str(finding) for finding in verify(folder, 1).findings]


def record(document: dict[str, Any], check: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in document["records"] if one["check"] == check)
    return found


def found_after(bundle: Path, to: Path, change: Change) -> list[str]:
    """Return what is found after ``change`` to the document, with everything that follows from it made anew."""
    folder = copy_of(bundle, to / "copy")
    assert findings(folder) == []
    rewrite(folder, change)
    assert verify(folder, 0).whole
    return findings(folder)


@pytest.fixture(scope="module")
def waived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("waived")
    root = repository(tmp_path / "repository")
    document = document_of(root, {**PASSING, "kept": "FAIL", "sensitive": "FAIL"})
    model = record(document, "kept")["subjects"]["after"]["weights_sha256"]
    path = tmp_path / "waivers.yaml"
    path.write_bytes(
        file_of(
            waiver(
                check="chest/kept",
                model=f'"{model}"',
                bound="{iou_drop: 1.0}",
                reason="see /srv/qa/81.txt, image cx-0003",
                created="2026-01-01T00:00:00Z",
            )
        )
    )
    document["waivers"] = assess(
        load_waivers(path), document["records"], datetime.fromisoformat(document["run"]["finished"])
    )
    assert document["waivers"][0]["state"] == "applies"
    return write_bundle(tmp_path / "e", document, root=root, waivers=path).path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nodes", [f"{FILE}::kept", f"{FILE}::sensitive"]),
        ("bound", {"iou_drop": 0.5}),
        ("reason", "accepted by the authority"),
        ("risk", "none"),
        ("model", "0" * 64),
        ("why", "It is all right."),
        ("line", 99),
        ("problems", ["1:1 none"]),
        ("scope", "everything"),
    ],
)
def test_no_word_of_a_waivers_assessment_can_be_changed(waived: Path, tmp_path: Path, key: str, value: Any) -> None:
    found = found_after(waived, tmp_path, lambda document: document["waivers"][0].update({key: value}))
    assert [line for line in found if f"waiver pilot-site: {key}" in line], found


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("requirement: REQ-1", 'requirement: "/SRS/REQ-1 (see /srv/docs/req.pdf, cx-0000)"'),
        (
            "max_iou_drop: 0.4}",
            'max_iou_drop: 0.4, known_failure: {reason: "CR-81, /srv/cx-0000.txt /QA", expires: 2026-12-31}}',
        ),
        ('ft: {python: "zoo:ft"', 'ft: {name: "/models/cx-0000", python: "zoo:ft"'),
    ],
)
def test_words_of_the_contract_that_look_like_places_or_cases_are_no_forgery(
    tmp_path: Path, old: str, new: str, keyed: bool
) -> None:
    assert old in CONTRACT
    root = repository(tmp_path / "repository", CONTRACT.replace(old, new))
    document = document_of(root, VERDICTS)
    for one in document["records"]:
        for role, name in (("model", "ft"), ("after", "ft")):
            if one["subjects"].get(role) is not None and "name:" in new:
                assert one["subjects"][role]["name"] == name
                one["subjects"][role]["name"] = "/models/cx-0000"
    written = write_bundle(tmp_path / "e", document, root=root, case_key=b"k" * 32 if keyed else None)
    assert findings(written.path) == []


def test_a_headline_stays_that_of_its_decision_and_an_errors_names_no_place(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    document = document_of(root, {**PASSING, "sensitive": "ERROR"})
    record(document, "sensitive")["headline"] = "the file /srv/patients/jane.png cannot be read"
    plain = read_bundle(write_bundle(tmp_path / "plain", document, root=root).path).document
    assert record(plain, "sensitive")["headline"] == "the file .../jane.png cannot be read"
    keyed = read_bundle(write_bundle(tmp_path / "keyed", document, root=root, case_key=b"k" * 32).path).document
    assert "jane" not in record(keyed, "sensitive")["headline"]
    one = record(document, "kept")
    one["headline"] = one["decision"]["headline"] = "on cx-0000, /srv/a: evidence moved"
    for folder, key in (("one", None), ("two", b"k" * 32)):
        back = read_bundle(write_bundle(tmp_path / folder, document, root=root, case_key=key).path).document
        assert record(back, "kept")["headline"] == record(back, "kept")["decision"]["headline"]


def without(check: str) -> Change:
    """Return the deletion of every trace of a check."""

    def change(document: dict[str, Any]) -> None:
        document["records"] = [one for one in document["records"] if one["check"] != check]

    return change


def test_a_deleted_failure_is_no_release(bundle: Path, tmp_path: Path) -> None:
    found = found_after(bundle, tmp_path, without("kept"))
    assert [line for line in found if "declares kept, and there is no record" in line], found


def test_a_check_that_did_not_run_has_a_record_and_is_no_finding(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    report = verify(write_bundle(tmp_path / "e", document_of(root, {"kept": "PASS"}), root=root).path, 1)
    assert report.findings == ()
    assert sorted(report.verdicts.values()) == ["NOT_RUN", "NOT_RUN", "PASS"]
    assert report.exit_code == 3


def test_a_deletion_is_not_excused_by_saying_that_the_contract_changed(bundle: Path, tmp_path: Path) -> None:
    said = f"contract chest ({FILE}) changed during the run; the bundle does not hold what was run."

    def change(document: dict[str, Any]) -> None:
        without("kept")(document)
        document["deviations"].append(said)

    found = found_after(bundle, tmp_path, change)
    assert [line for line in found if "there is no record" in line], found
    assert [line for line in found if "follows from nothing" in line and said in line], found


def test_a_contract_that_did_change_is_told_and_no_finding(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    document = document_of(root, {"kept": "PASS"})
    document["records"] = [one for one in document["records"] if one["verdict"] == "PASS"]
    document["deviations"] = []
    (root / FILE).write_text("saliency: 1\n", encoding="utf-8")
    report = verify(write_bundle(tmp_path / "e", document, root=root).path, 1)
    assert report.findings == ()
    assert [line for line in report.skipped if "changed during the run" in line]


def _backwards(document: dict[str, Any]) -> None:
    document["run"] |= {"started": "2030-01-01T00:00:00+00:00", "finished": "2020-01-01T00:00:00+00:00"}


def _twice(document: dict[str, Any]) -> None:
    document["records"].insert(1, copy.deepcopy(document["records"][0]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_backwards, "before it started at 2030"),
        (_twice, "has 2 records of"),
        (lambda document: document["records"].reverse(), "in the order of their nodes"),
        (lambda document: document["deviations"].append("No deviations."), "follows from nothing in it: No dev"),
        (
            lambda document: document["deviations"].append(
                "This is the self test of the tool: 9 of 9 known answers came out."
            ),
            "follows from nothing in it: This is the self test",
        ),
        (
            lambda document: document["deviations"].append(
                "The waivers stand as each run assessed them; they were not assessed again when the runs were merged."
            ),
            "follows from nothing in it: The waivers stand",
        ),
    ],
)
def test_a_run_that_no_run_writes_is_found(bundle: Path, tmp_path: Path, change: Change, said: str) -> None:
    found = found_after(bundle, tmp_path, change)
    assert [line for line in found if said in line], found


def test_merged_runs_are_whole_with_waivers_that_expired_since_and_what_differs_told(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    model = record(document_of(root), "kept")["subjects"]["after"]["weights_sha256"]
    waivers = tmp_path / "w.yaml"
    waivers.write_bytes(
        file_of(
            waiver(
                check="chest/kept",
                model=f'"{model}"',
                bound="{iou_drop: 1.0}",
                created="2026-03-01T00:00:00Z",
                expires="2026-03-03T00:00:00Z",
            )
        )
    )
    for name, verdicts in (("a", {"kept": "FAIL"}), ("b", {"sensitive": "PASS", "faithful": "PASS"})):
        document = document_of(root, verdicts, id=name * 32)
        document["run"]["versions"]["torch"] = name
        write_run(tmp_path / f"{name}.json", document)
    words = ["merge", *(tmp_path / f"{name}.json" for name in "ab"), "-o", tmp_path / "m.json", "--root", root]
    words += ["--bundle", tmp_path / "e", "--waivers", waivers]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "e").iterdir()
    assert findings(folder) == []
    merged = read_bundle(folder).document
    assert [row["state"] for row in merged["waivers"]] == ["applies"]  # at the end of the runs, long ago
    assert [line for line in merged["deviations"] if line.startswith("The version of torch differs")]
    rewrite(folder, lambda document: document["deviations"].append("The commit differs between the runs: no."))
    assert [line for line in findings(folder) if "follows from nothing" in line]


def _decided(one: dict[str, Any]) -> None:
    """Make the decision of a forged record again, so that it follows from its numbers."""
    one["decision"] = settled(decide_again(one).to_dict())
    for key in ("verdict", "headline", "seed", "kind"):
        one[key] = one["decision"][key]


def _dropped(document: dict[str, Any]) -> None:
    """Leave out images that speak against the model, as not correct, in every column and count."""
    one = record(document, "kept")
    table, everyone = one["per_image"], one["everyone"]
    gone = {row["id"] for row in one["worst"]}
    rows = [i for i, name in enumerate(table["id"]) if name not in gone]
    one["per_image"] = {name: [column[i] for i in rows] for name, column in table.items()}
    everyone["fate"] = [
        "not correct in both" if name in gone else fate
        for name, fate in zip(everyone["id"], everyone["fate"], strict=True)
    ]
    dropped = one["cases"]["dropped"]
    one["cases"]["kept"] -= len(gone)
    dropped["not correct in both"] = dropped.get("not correct in both", 0) + len(gone)
    _ranked(one)
    _decided(one)


def _dropped_with_flags(document: dict[str, Any]) -> None:
    _dropped(document)
    everyone = record(document, "kept")["everyone"]
    everyone["correct_after"] = [
        correct and fate == "kept" for correct, fate in zip(everyone["correct_after"], everyone["fate"], strict=True)
    ]
    _decided(record(document, "kept"))


def _ranked(one: dict[str, Any]) -> None:
    kind, numbers = KINDS[one["kind"]], Numbers.of(one)
    ranked = kind.ranked(kind.parameters(**one["criterion"]), numbers)
    one["worst"] = rows_of(ranked, numbers, one["cases"]["class_names"])


def _worst_values(document: dict[str, Any]) -> None:
    row = record(document, "kept")["worst"][0]
    row["values"] = dict.fromkeys(row["values"], 0.0)


def _region(document: dict[str, Any]) -> None:
    one = record(document, "sensitive")
    one["inputs"]["region"] = 100000
    _decided(one)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_dropped, "fate["),
        (_dropped_with_flags, "correct is where the prediction is the label"),
        (_worst_values, "worst[0].values"),
        (lambda document: record(document, "kept").update(worst=[]), "worst has 0 entries"),
        (lambda document: record(document, "faithful")["worst"].reverse(), "worst[0]"),
        (lambda document: record(document, "sensitive")["worst"][0].update(label="hidden"), "worst[0].label"),
        (_region, "inputs.region is 100000"),
        (lambda document: record(document, "kept")["method"].update(name="gradcam"), "says method 'gradcam'"),
        (lambda document: record(document, "sensitive")["method"].update(name="case[shared_only]"), "says method"),
    ],
)
def test_what_follows_from_the_tables_is_made_again(bundle: Path, tmp_path: Path, change: Change, said: str) -> None:
    found = found_after(bundle, tmp_path, change)
    assert [line for line in found if said in line], found


@pytest.mark.parametrize("other", ["class", "draw"])
def test_another_image_of_a_patient_is_no_draw(other: str) -> None:
    one = sample_record("faithful", clusters=True, n=120)
    assert about_images(one) == []
    everyone = one["everyone"]
    fates, clusters = everyone["fate"], everyone["cluster"]
    place = fates.index("another image of the same cluster")
    kept = next(i for i, fate in enumerate(fates) if fate == "kept" and clusters[i] == clusters[place])
    if other == "draw":
        fates[place], fates[kept] = fates[kept], fates[place]
    else:
        fates[place] = "not correct"
    assert [line for line in about_images(one) if line.startswith("fate[")]


@pytest.mark.parametrize("record", sample_records(), ids=lambda one: f"{one['check']}-{one['verdict']}")
def test_records_of_every_kind_follow_from_their_numbers(record: dict[str, Any]) -> None:
    if record["decision"] is not None:
        assert [*about_images(record), *about_results(record)] == []


@pytest.mark.parametrize(
    ("declared", "resolved", "fits"),
    [
        ("case", "case[logits:3]", True),
        ("case", "case[explicit]", True),
        ("case[elementwise]", "case[soft:1,elementwise]", True),
        ("case", "case[logits:3,elementwise]", False),
        ("case[elementwise]", "case[logits:3]", False),
        ("case", "gradcam", False),
        ("gradcam", "gradcam[logits:3]", False),
        ("scorecam[channels:64]", "scorecam[channels:64]", True),
        ("scorecam[channels:64]", "scorecam[channels:8]", False),
        ("random_model", "random_model[gradcam]", True),
        ("random", "random", True),
        ("ours", "ours", True),
        ("ours", "ours2", False),
        ("maps:mine", "maps:mine", True),
    ],
)
def test_a_method_is_named_as_the_engine_names_it(declared: str, resolved: str, fits: bool) -> None:
    assert resolves_to(declared, resolved) is fits
