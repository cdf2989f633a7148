"""The CycloneDX document: valid by the official schema, complete, and honest about what did not pass."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft7Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from fixtures.records import hostile_document, sample_document, sample_record, sample_records
from pytest_saliency.evidence.canonical import canonical, settled
from pytest_saliency.evidence.cyclonedx import bom
from pytest_saliency.evidence.waivers import assess, check_name, read_waivers

from .waiving import file_of, waiver


@cache
def validator() -> Draft7Validator:
    """Return a validator of the official schema of CycloneDX 1.6, with all that it refers to, from files."""
    folder = files("cyclonedx.schema").joinpath("_res")
    names = ("bom-1.6", "spdx", "jsf-0.82")
    made = {name: json.loads(folder.joinpath(f"{name}.SNAPSHOT.schema.json").read_text("utf-8")) for name in names}
    resources = []
    for name, schema in made.items():
        one = Resource(contents=schema, specification=DRAFT7)
        resources += [(schema["$id"], one), (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", one)]
    registry: Registry[Any] = Registry().with_resources(resources)
    checker = FormatChecker()
    checker.checks("date-time", raises=ValueError)(lambda value: datetime.fromisoformat(value).tzinfo is not None)
    return Draft7Validator(made["bom-1.6"], registry=registry, format_checker=checker)


def problems(value: object) -> list[str]:
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in validator().iter_errors(value)]


def assessed(records: list[dict[str, Any]], **changes: str) -> list[dict[str, Any]]:
    """Return the waivers of the drift FAIL among ``records``, one that applies and one that expired."""
    failed = next(one for one in records if one["verdict"] == "FAIL" and one["kind"] == "no_semantic_drift")
    unmet = {n: m for n, m in failed["decision"]["measures"].items() if m["limit"] is not None}
    bound = "{" + ", ".join(f"{name}: 1.0" for name in unmet) + "}"
    given = {"check": f'"{check_name(failed)}"', "model": f'"{failed["subjects"]["after"]["weights_sha256"]}"'}
    given |= {"bound": bound, **changes}
    text = file_of(waiver(**given), waiver(**{**given, "id": "old", "expires": "2026-05-02T00:00:00Z"}))
    return assess(read_waivers(text, "w"), records, datetime(2026, 6, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    records = sample_records()
    return sample_document(records, waivers=assessed(records), deviations=["The work tree had changes."])


@pytest.fixture(scope="module")
def made(document: dict[str, Any]) -> dict[str, Any]:
    return bom(document)


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "bom-ref":
                yield entry
            yield from refs(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from refs(entry)


def links(made: dict[str, Any]) -> Iterator[str]:
    declared = made["declarations"]
    for attestation in declared["attestations"]:
        yield attestation["assessor"]
        for row in attestation["map"]:
            yield from (row["requirement"], *row.get("claims", ()), *row["conformance"].get("mitigationStrategies", ()))
    for claim in declared["claims"]:
        yield claim["target"]
        yield from (
            *claim.get("evidence", ()),
            *claim.get("counterEvidence", ()),
            *claim.get("mitigationStrategies", ()),
        )
    for component in made["components"]:
        for dataset in component.get("modelCard", {}).get("modelParameters", {}).get("datasets", ()):
            yield dataset["ref"]


def test_the_validator_is_the_real_one_and_refuses_damage(made: dict[str, Any]) -> None:
    assert validator().schema["$id"] == "http://cyclonedx.org/schema/bom-1.6.schema.json"
    for path, value in (
        (("specVersion",), 1.6),
        (("serialNumber",), "urn:uuid:1"),
        (("components", 0, "type"), "model"),
        (("components", 1, "hashes", 0, "alg"), "SHA256"),
        (("metadata", "timestamp"), "yesterday"),
        (("declarations", "attestations", 0, "map", 0, "conformance", "score"), 2),
        (("declarations", "claims", 0, "verdict"), "PASS"),
    ):
        damaged = copy.deepcopy(made)
        holder: Any = damaged
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value
        assert problems(damaged), path


def test_it_is_valid_by_the_official_schema(made: dict[str, Any]) -> None:
    assert problems(made) == []


@pytest.mark.parametrize("kind", ["class_sensitive", "faithful", "no_semantic_drift"])
@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE", "ERROR", "NOT_RUN"])
def test_each_kind_and_verdict_alone_is_valid(kind: str, verdict: str) -> None:
    assert problems(bom(sample_document([sample_record(kind, verdict)]))) == []


def test_odd_documents_are_valid_too() -> None:
    bare = sample_document([sample_record()], tester=None, git=None)
    for document in (sample_document([]), hostile_document(), bare, {"format": 2, "run": {}, "records": []}):
        assert problems(bom(document)) == []
    nameless = sample_record()
    nameless["subjects"]["model"] |= {"weights_sha256": None, "name": "", "architecture": None, "input_size": None}
    undefined = next(iter(nameless["decision"]["measures"].values()))
    undefined["estimate"] = undefined["interval"]["low"] = None
    assert problems(bom(sample_document([nameless]))) == []


def test_every_reference_leads_somewhere_and_none_is_there_twice(made: dict[str, Any]) -> None:
    found = list(refs(made))
    assert len(found) == len(set(found))
    assert set(links(made)) <= set(found)
    assert {one for one in found if one.startswith("requirement:")} == {
        row["requirement"] for attestation in made["declarations"]["attestations"] for row in attestation["map"]
    }


def test_several_checks_of_one_test_stay_apart() -> None:
    twice = [sample_record(draw=i, contract=None, contract_sha256=None, node="t.py::test_a") for i in range(2)]
    made = bom(sample_document(twice))
    assert problems(made) == []
    assert [one["bom-ref"] for one in made["declarations"]["claims"]] == ["claim:t.py::test_a", "claim:t.py::test_a#2"]
    assert [one["name"] for one in made["definitions"]["standards"]] == ["checks in Python tests"]
    assert len(set(refs(made))) == len(list(refs(made)))


def test_the_verdict_is_told_as_it_is(document: dict[str, Any], made: dict[str, Any]) -> None:
    rows = {row["requirement"]: row for one in made["declarations"]["attestations"] for row in one["map"]}
    claims = {one["bom-ref"]: one for one in made["declarations"]["claims"]}
    assert len(rows) == len(document["records"])
    for record in document["records"]:
        node, verdict = record["node"], record["verdict"]
        row = rows[f"requirement:{node}"]
        assert row["conformance"]["score"] == (1 if verdict == "PASS" else 0)
        assert row["conformance"]["rationale"] == f"{verdict}: {record['headline']}"
        assert "confidence" not in row
        if record["decision"] is None:
            assert "claims" not in row
            assert f"claim:{node}" not in claims
            continue
        claim = claims[f"claim:{node}"]
        assert row["claims"] == [f"claim:{node}"]
        assert claim.get("evidence") == ([f"evidence:{node}"] if verdict == "PASS" else None)
        assert claim.get("counterEvidence") == ([f"evidence:{node}"] if verdict == "FAIL" else None)
        assert claim["reasoning"].startswith(f"{verdict}: ")
        assert sum(claim["reasoning"].count(word) for word in ("Shown: ", "Not shown: ")) == len(
            record["decision"]["legs"]
        )


def test_models_data_and_measures_are_those_of_the_records(document: dict[str, Any], made: dict[str, Any]) -> None:
    models = {one["name"]: one for one in made["components"] if one["type"] == "machine-learning-model"}
    assert set(models) == {"tl", "ft", *models}
    for record in document["records"]:
        for subject in (record.get("subjects") or {}).values():
            assert {"alg": "SHA-256", "content": subject["weights_sha256"]} in models[subject["name"]]["hashes"]
    metrics = [
        (one["type"], one["value"], one["confidenceInterval"]["lowerBound"], one["confidenceInterval"]["upperBound"])
        for model in models.values()
        for one in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    ]
    wanted = [
        (name, *(str(float(v)) for v in (measure["estimate"], measure["interval"]["low"], measure["interval"]["high"])))
        for record in document["records"]
        for name, measure in ((record["decision"] or {}).get("measures") or {}).items()
    ]
    assert sorted(metrics) == sorted(wanted)
    limits = models["ft"]["modelCard"]["considerations"]["technicalLimitations"]
    assert any("not say that the model reasons correctly" in one for one in limits)
    digests = {
        entry["value"]
        for one in made["components"]
        if one["type"] == "data"
        for entry in one["properties"]
        if entry["name"] == "pytest-saliency:digest"
    }
    assert digests == {record["cases"]["digest"] for record in document["records"] if record.get("cases")}


def test_a_contract_is_a_standard_whose_version_is_its_digest(document: dict[str, Any], made: dict[str, Any]) -> None:
    (standard,) = made["definitions"]["standards"]
    first = document["records"][0]
    assert (standard["name"], standard["version"]) == ("explanation contract chest", first["contract_sha256"])
    identifiers = [one["identifier"] for one in standard["requirements"]]
    assert identifiers == [check_name(record) for record in document["records"]]
    drift = next(one for one in standard["requirements"] if one["identifier"] == "chest/evidence-kept[layercam]")
    assert {"name": "pytest-saliency:criterion:max_iou_drop", "value": "0.4"} in drift["properties"]
    assert drift["descriptions"] == ["Evidence for requirement REQ-13."]


def test_a_waiver_that_applies_is_a_mitigation_and_raises_no_score(made: dict[str, Any]) -> None:
    evidence = {one["bom-ref"]: one for one in made["declarations"]["evidence"]}
    waiver = evidence["waiver:pilot-site"]
    assert (waiver["author"]["name"], waiver["reviewer"]["name"]) == ("Ann Lee", "Bo Chen")
    assert (waiver["created"], waiver["expires"]) == ("2026-05-01T00:00:00Z", "2026-12-31T00:00:00Z")
    assert "waiver:old" not in evidence
    cited = [
        row
        for one in made["declarations"]["attestations"]
        for row in one["map"]
        if "mitigationStrategies" in row["conformance"]
    ]
    assert [(row["conformance"]["score"], row["conformance"]["mitigationStrategies"]) for row in cited] == [
        (0, ["waiver:pilot-site"])
    ]


def test_the_same_run_gives_the_same_bytes_and_another_result_another_number(document: dict[str, Any]) -> None:
    one, two = bom(document), bom(copy.deepcopy(document))
    assert canonical(one) == canonical(two)
    assert canonical(bom(settled(document))) == canonical(one), "a bundle writes 1.0 as 1"
    assert re.fullmatch(
        r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one["serialNumber"]
    )
    serials = {one["serialNumber"]}
    for path, value in (
        (("records", 0, "subjects"), None),
        (("records", 0, "headline"), "another"),
        (("run", "finished"), "2026-03-02T08:04:31+00:00"),
        (("records", 1, "verdict"), "PASS"),
    ):
        changed = copy.deepcopy(document)
        holder: Any = changed
        for part in path[:-1]:
            holder = holder[part]
        if path[-1] == "subjects":
            holder["subjects"]["after" if "after" in holder["subjects"] else "model"]["weights_sha256"] = "0" * 64
        else:
            holder[path[-1]] = value
        serials.add(bom(changed)["serialNumber"])
    assert len(serials) == 5


def test_who_and_when_are_those_of_the_run(made: dict[str, Any]) -> None:
    assert made["metadata"]["timestamp"] == "2026-03-02T08:04:30Z"
    (assessor,) = made["declarations"]["assessors"]
    assert assessor["organization"]["contact"] == [{"name": "A. Tester"}]
    assert assessor["thirdParty"] is False
    said = {one["name"]: one["value"] for one in made["metadata"]["properties"]}
    assert said["pytest-saliency:deviation"] == "The work tree had changes."
    assert said["pytest-saliency:uncommitted_changes"] == "false"
