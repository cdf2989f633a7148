"""Level 1 against somebody who changes what a bundle says and makes everything anew, and against false alarms."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.evidence.read import read_bundle
from pytest_saliency.evidence.verify import verify
from pytest_saliency.evidence.waivers import assess, load_waivers

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
