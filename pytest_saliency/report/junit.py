"""A record as JUnit properties of its test case."""

from __future__ import annotations

from pytest_saliency.report.measured import Record, measures_of


def properties(record: Record) -> list[tuple[str, str]]:
    """Return (name, value) pairs, all text: identity, verdict, every measured value and limit, model digests."""
    found: list[tuple[str, str]] = []

    def put(name: str, value: object) -> None:
        if value not in (None, ""):
            found.append((f"saliency.{name}", str(value)))

    put("contract", record.get("contract"))
    put("check", record.get("check"))
    put("kind", record.get("kind"))
    put("requirement", record.get("requirement"))
    put("verdict", record.get("verdict"))
    for name, measure in measures_of(record).items():
        put(f"measured.{name}", _text(measure.get("estimate")))
        if measure.get("limit") is not None:
            put(f"limit.{name}", f"{measure['side']} {_text(measure['limit'])}")
    for role, subject in (record.get("subjects") or {}).items():
        digest = subject.get("weights_sha256") or subject.get("state_sha256")
        put("model_sha256" if role == "model" else f"model_sha256.{role}", digest)
    source = record.get("source")
    if source:
        put("source", f"{source['file']}:{source['line']}")
    return found


def _text(value: object) -> str:
    if value is None:
        return "undefined"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
