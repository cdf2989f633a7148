"""The schemas of our own files: real files are valid, and a misspelt key is an error wherever keys are fixed."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from fixtures.records import sample_document, sample_record, sample_records, with_gallery
from pytest_saliency.cli import main
from pytest_saliency.contracts.contract import load_contract
from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.evidence.lock import lock_of
from pytest_saliency.evidence.schemas import NAMES, schema, schema_text
from pytest_saliency.evidence.schemas.build import FILES, identifier, render
from pytest_saliency.evidence.waiver_file import read_waivers
from pytest_saliency.evidence.waivers import assess, check_name
from pytest_saliency.records.baseline_entry import entry_of
from pytest_saliency.records.baseline_key import Key

from .waiving import file_of, waiver

OPEN = re.compile(
    r"/(axes|counts|dropped|classes|class_names|readouts|effect_size|smallest_detectable|measures|measured|tolerance|work|stages|"
    r"images|check_seconds|versions|per_image|everyone|inputs|values|lines|bound|compared|models|parameters|roles|contrast|subjects|preprocess|method|"
    r"executions?|selftest)(/.*)?$"
)
"""Objects whose keys are named by somebody else, and what lies in them; those with fixed keys again are below."""
CLOSED_AGAIN = re.compile(
    r"^(?!.*/(readouts|inputs)/).*(/(measures|measured)/[^/]+(/interval)?|/subjects/[^/]+|/work/[^/]+|/stages/[^/]+"
    r"|/tolerance/[^/]+|/models/[^/]+)$"
)


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name))


def invalid(name: str, value: object) -> list[str]:
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in validator(name).iter_errors(value)
    ]


def small(document: dict[str, Any]) -> dict[str, Any]:
    """Cut all tables to one row: a schema knows nothing of their length."""
    for record in document["records"]:
        for name in ("per_image", "everyone"):
            if record.get(name):
                record[name] = {column: values[:1] for column, values in record[name].items()}
    return document


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A document with records of every kind and verdict, pictures, waivers, policy and a baseline."""
    records = sample_records()
    records[1] = with_gallery(records[1], tmp_path_factory.mktemp("pictures"))
    records[1]["policy"]["known_failure"] = {"reason": "known", "expires": "2027-01-01", "expired": False}
    records[4]["maps"] = {"path": "maps/a.npz", "sha256": "0" * 64, "bytes": 7}
    approved = {"by": "Ann", "at": "2026-01-01T00:00:00Z", "reason": "release 1"}
    change = {"parameter": "max_iou_drop", "then": 0.3, "now": 0.4, "way": "looser"}
    records[4]["baseline"] = {
        "selector": "chest/evidence-kept[layercam]",
        "state": "approved",
        "sha256": "0" * 64,
        "approved": approved,
        "changes": [change],
    }
    model = records[4]["subjects"]["after"]["weights_sha256"]
    given = {"check": check_name(records[4]), "model": f'"{model}"'}
    text = file_of(waiver(**given), waiver(id="old", expires="x", **given), "  - nothing\n")
    assessed = assess(read_waivers(text, "w"), records, datetime(2026, 6, 1, tzinfo=UTC))
    lock = {
        "contract": "chest",
        "file": "c.saliency.yaml",
        "changes": ["a: x 1 -> 2 (looser)"],
        "at": None,
        "commit": None,
    }
    locks = [{**lock, "state": "changed", "why": "Contract chest changed."}]
    return small(sample_document(records, waivers=assessed, locks=locks, deviations=["The work tree had changes."]))


@pytest.fixture(scope="module")
def bundled(run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain = sample_document(
        [
            sample_record(verdict="PASS"),
            sample_record("no_semantic_drift", "FAIL"),
            sample_record(verdict="NOT_RUN", check="later"),
        ]
    )
    folder = tmp_path_factory.mktemp("bundle")
    for record in plain["records"]:
        record["contract"] = record["contract_sha256"] = None  # as of Python tests, which have no contract to bundle
    return write_bundle(folder, plain, root=folder).path


def documents(run: dict[str, Any], bundled: Path) -> Iterator[tuple[str, Any]]:
    yield "run", run
    yield "bundle-run", json.loads((bundled / "run.json").read_bytes())
    yield "results", json.loads((bundled / "results.json").read_bytes())
    yield "manifest", json.loads((bundled / "manifest.json").read_bytes())
    yield "cases-line", json.loads((bundled / "cases.jsonl").read_bytes().splitlines()[0])
    yield "waivers", yaml.safe_load(file_of(waiver(created='"2026-05-01T00:00:00Z"', expires='"2026-12-31T00:00:00Z"')))
    contract = load_contract(Path(__file__).parents[2] / "fixtures" / "contracts" / "good" / "chest-xray.saliency.yaml")
    yield "lock", json.loads(json.dumps(lock_of(contract)))
    record = sample_record("no_semantic_drift", "FAIL")
    arrays = {"path": "0" * 64 + ".npz", "sha256": "0" * 64, "bytes": 9}
    compared = {"no-worse": {"max_worsening": {"iou_drop": 0.1}}}
    entry = entry_of(Key.of(record), record, arrays, run["run"], ["after"], compared)
    approval = {"by": "Ann", "at": "2026-01-01T00:00:00Z", "reason": "x"}
    yield "baseline", json.loads(json.dumps({**entry, "approval": approval}))


@pytest.mark.parametrize("name", NAMES)
def test_each_schema_is_a_schema_with_its_own_id_and_is_what_the_code_makes(name: str) -> None:
    made = schema(name)
    Draft202012Validator.check_schema(made)
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["$id"] == identifier(name) == f"urn:pytest-saliency:schema:{name}:1"
    assert schema_text(name) == render(name), "the shipped file is not what evidence/schemas makes"
    assert set(FILES) == set(NAMES)


def test_real_files_are_valid(run: dict[str, Any], bundled: Path) -> None:
    seen = set()
    for name, document in documents(run, bundled):
        assert invalid(name, document) == []
        seen.add(name)
    assert seen == set(NAMES)
    for line in (bundled / "cases.jsonl").read_bytes().splitlines():
        assert validator("cases-line").is_valid(json.loads(line))


def test_a_full_sample_is_valid_as_it_is() -> None:
    assert invalid("run", sample_document(sample_records())) == []


def spots(value: Any, path: str = "") -> Iterator[tuple[str, list[str | int]]]:
    """Return the path of every key, with list places left out, and one way to it."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield path, [key]
            for shown, way in spots(entry, f"{path}/{key}"):
                yield shown, [key, *way]
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            for shown, way in spots(entry, path):
                yield shown, [place, *way]


def at(document: Any, way: list[str | int]) -> Any:
    for part in way:
        document = document[part]
    return document


def test_a_misspelt_key_fails_wherever_keys_are_fixed(run: dict[str, Any], bundled: Path) -> None:
    tried = 0
    for name, document in documents(run, bundled):
        seen = set()
        for path, way in spots(document):
            known = (re.sub(r"(?<=measures/)[^/]+|(?<=measured/)[^/]+", "*", path), str(way[-1]))
            if known in seen or (OPEN.search(path) and not CLOSED_AGAIN.search(path)):
                continue
            seen.add(known)
            holder = at(document, way[:-1])
            changed = dict(holder)
            holder[f"{way[-1]}s"] = holder.pop(way[-1])
            try:
                assert not validator(name).is_valid(document), f"{name}: {path}/{way[-1]}s is taken"
            finally:
                holder.clear()
                holder.update(changed)
            tried += 1
    assert tried > 250


@pytest.mark.parametrize(
    ("name", "way", "value"),
    [
        ("run", ["format"], 3),
        ("run", ["records", 0, "verdict"], "PASSED"),
        ("run", ["records", 0, "decision"], None),
        ("run", ["records", 0, "decision", "verdict"], "NOT_RUN"),
        ("run", ["records", 0, "decision", "n"], -1),
        ("run", ["records", 0, "decision", "alpha"], "0.05"),
        ("run", ["records", 0, "decision", "undefined_share"], 1.5),
        ("run", ["records", 0, "seed"], "12"),
        ("run", ["records", 0, "cases", "digest"], "0" * 63),
        ("run", ["records", 0, "pictures"], ["/etc/passwd"]),
        ("run", ["records", 0, "per_image"], {"label": []}),
        ("run", ["run", "started"], "2026-01-01T00:00:00+02:00"),
        ("run", ["run", "id"], "x"),
        ("run", ["waivers", 0, "state"], "fine"),
        ("results", ["records", 0, "has"], ["everything"]),
        ("manifest", ["files"], []),
        ("manifest", ["files", 0, "sha256"], "A" * 64),
        ("manifest", ["files", 0, "path"], "/etc/passwd"),
        ("cases-line", ["table"], "some"),
        ("cases-line", ["row"], -1),
        ("waivers", ["format"], 2),
        ("waivers", ["waivers", 0, "bound"], {}),
        ("waivers", ["waivers", 0, "model"], "v1"),
        ("waivers", ["waivers", 0, "expires"], "2026-12"),
        ("waivers", ["waivers", 0, "expires"], "2026-12-31T00:00:00+02:00"),
        ("lock", ["resolved", "items"], []),
        ("lock", ["resolved", "items", 0, "severity"], "ignore"),
        ("lock", ["resolved_sha256"], ""),
        ("baseline", ["arrays", "path"], "../x.npz"),
        ("baseline", ["verdict"], "ERROR"),
        ("baseline", ["images", "n"], "many"),
    ],
)
def test_damage_is_refused(name: str, way: list[str | int], value: object, run: dict[str, Any], bundled: Path) -> None:
    document = copy.deepcopy(dict(documents(run, bundled))[name])
    at(document, way[:-1])[way[-1]] = value
    assert invalid(name, document)


def test_a_verdict_needs_what_it_was_made_from_and_no_verdict_has_none(run: dict[str, Any]) -> None:
    for key in ("criterion", "subjects", "cases", "per_image", "everyone", "inputs", "seed"):
        document = copy.deepcopy(run)
        decided = next(record for record in document["records"] if record["decision"] is not None)
        del decided[key]
        assert invalid("run", document)
    document = copy.deepcopy(run)
    record = next(record for record in document["records"] if record["verdict"] == "ERROR")
    record["decision"] = document["records"][0]["decision"]
    assert invalid("run", document)


def test_the_schema_of_waivers_never_refuses_what_is_read(run: dict[str, Any]) -> None:
    for written in ('"2026-12-31T00:00:00Z"', '"2016-12-31T23:59:60.5Z"', '"2026-12-31t00:00:00+00:00"'):
        document = yaml.safe_load(file_of(waiver(created='"2010-05-01T00:00:00Z"', expires=written)))
        assert invalid("waivers", document) == []
        (entry,) = read_waivers(file_of(waiver(created="2010-05-01T00:00:00Z", expires=written)), "w").entries
        assert entry.problems == ()


def test_the_command_prints_each_schema(tmp_path: Path) -> None:
    for name in NAMES:
        assert CliRunner().invoke(main, ["schema", name]).output == schema_text(name)
    contract = CliRunner().invoke(main, ["schema"]).output
    assert CliRunner().invoke(main, ["schema", "contract"]).output == contract
    done = CliRunner().invoke(main, ["schema", "waivers", "-o", str(tmp_path / "w.json")])
    assert (done.exit_code, (tmp_path / "w.json").read_text(encoding="utf-8")) == (0, schema_text("waivers"))
    wrong = CliRunner().invoke(main, ["schema", "waiver"])
    assert wrong.exit_code == 2
    assert "'waiver' is not one of" in wrong.output


def test_no_other_name_reaches_a_file() -> None:
    with pytest.raises(SaliencyError, match="there is no schema"):
        schema("../../contracts/contract-1")
