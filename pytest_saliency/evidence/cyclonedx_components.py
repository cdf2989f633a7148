"""Models and images of a run as CycloneDX components, each once, however many checks are about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.outcome import names_of

Record = Mapping[str, Any]
Component = dict[str, Any]

PREFIX = "pytest-saliency:"
DIGESTS = ("weights_sha256", "state_sha256")
NOT_CLAIMED = (
    "What was tested are maps of where a model looks, made with the attribution methods that the checks name; another"
    " method can give other maps.",
    "That a check passes does not say that the model reasons correctly, that the maps show why it decides, or that it"
    " is safe or accurate.",
    "The intervals are about the population that the named cases were drawn from, and about no other images.",
    "This is not a statement of compliance with any law or standard.",
)


def properties(
    values: Mapping[str, object], lists: Mapping[str, Sequence[object]] | None = None
) -> list[dict[str, str]]:
    """Return CycloneDX properties in our namespace; None is left out, a list gives one property an entry."""
    pairs = [(name, value) for name, value in values.items() if value is not None]
    pairs += [(name, value) for name, entries in (lists or {}).items() for value in entries]
    return [{"name": f"{PREFIX}{name}", "value": text(value)} for name, value in pairs]


def text(value: object) -> str:
    """Return a value as text: numbers as Python writes a float or an integer, words for what is no text."""
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    return canonical(value).decode("utf-8")


def number(value: float | None) -> str:
    """Return a measured number as text; 1 and 1.0 are one number, and None is undefined."""
    return "undefined" if value is None else repr(float(value))


def model_ref(subject: Mapping[str, Any]) -> str:
    """Return the reference of a model: its name and digests, whatever layer of it was looked at."""
    return _ref("model", {key: subject.get(key) for key in ("name", "source", "architecture", *DIGESTS)})


def data_ref(cases: Mapping[str, Any]) -> str:
    """Return the reference of a set of images."""
    return _ref("data", {key: cases.get(key) for key in ("source", "digest", "n")})


def tested(record: Record) -> Mapping[str, Any] | None:
    """Return the subject that a check is about: the model, or the one after; None where there is none."""
    subjects = record.get("subjects") or {}
    found: Mapping[str, Any] | None = subjects.get("after") or subjects.get("model")
    return found or next(iter(subjects.values()), None)


def model_components(records: Sequence[Record]) -> list[Component]:
    """Return the models."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        for subject in (record.get("subjects") or {}).values():
            found.setdefault(model_ref(subject), subject)
    return [_model(ref, found[ref], records) for ref in sorted(found)]


def data_components(records: Iterable[Record]) -> list[Component]:
    """Return the sets of images."""
    found: dict[str, Component] = {}
    for record in records:
        cases = record.get("cases")
        if not cases:
            continue
        ref = data_ref(cases)
        said = {
            "cases": cases.get("n"),
            "digest": cases.get("digest"),
            "unordered_digest": cases.get("unordered_digest"),
        }
        name = str(cases.get("source") or "cases")
        found[ref] = {
            "type": "data",
            "bom-ref": ref,
            "name": name,
            "data": [{"type": "dataset", "name": name}],
            "properties": properties(said),
        }
    return [found[ref] for ref in sorted(found)]


def _model(ref: str, subject: Mapping[str, Any], records: Sequence[Record]) -> Component:
    made: Component = {"type": "machine-learning-model", "bom-ref": ref, "name": str(subject.get("name") or "unnamed")}
    if subject.get("weights_sha256"):
        made["hashes"] = [{"alg": "SHA-256", "content": str(subject["weights_sha256"])}]
    about = [record for record in records if (one := tested(record)) is not None and model_ref(one) == ref]
    layers = [one.get("layer") for record in records for one in _seen_as(record, ref)]
    made["modelCard"] = {
        "modelParameters": {
            "task": "image classification",
            "modelArchitecture": str(subject.get("architecture") or "unknown"),
            "datasets": [{"ref": one} for one in sorted({data_ref(r["cases"]) for r in about if r.get("cases")})],
            "inputs": [{"format": f"image, {' x '.join(map(str, subject.get('input_size') or ())) or 'any size'}"}],
            "outputs": [{"format": "scores of classes, before softmax or sigmoid"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(about, records))},
        "considerations": {"technicalLimitations": list(NOT_CLAIMED)},
    }
    said = {"source": subject.get("source"), "state_sha256": subject.get("state_sha256")}
    said |= {"parameters": subject.get("parameters"), "preprocess": subject.get("preprocess")}
    made["properties"] = properties(said, {"layer": sorted({str(layer) for layer in layers if layer})})
    return made


def _seen_as(record: Record, ref: str) -> list[Mapping[str, Any]]:
    return [subject for subject in (record.get("subjects") or {}).values() if model_ref(subject) == ref]


def _metrics(about: Sequence[Record], records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    names = dict(zip(map(id, records), names_of(records), strict=True))
    for record in about:
        for measure in ((record.get("decision") or {}).get("measures") or {}).values():
            interval = measure["interval"]
            yield {
                "type": str(measure["name"]),
                "value": number(measure["estimate"]),
                "slice": f"{names[id(record)]}, n = {measure['n']}",
                "confidenceInterval": {"lowerBound": number(interval["low"]), "upperBound": number(interval["high"])},
            }


def _ref(kind: str, identity: Mapping[str, Any]) -> str:
    return f"{kind}:{hashlib.sha256(canonical(identity)).hexdigest()[:32]}"
