"""What a check was run on and how, as rows of (name, value): models, method, criterion, conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.report.html.models import LISTED
from pytest_saliency.report.html.text import amount, setting, words
from pytest_saliency.report.roles import role_title

Record = Mapping[str, Any]
Rows = list[tuple[str, str]]
ROLES = ("model", "before", "after")
SUBJECT = (
    ("name", "Name"),
    ("source", "Source"),
    ("architecture", "Architecture"),
    ("parameters", "Parameters"),
    ("weights_sha256", "SHA-256 of the weights file"),
    ("state_sha256", "SHA-256 of the model's state"),
    ("layer", "Layer"),
    ("layer_kind", "Kind of layer"),
    ("layer_shape", "Shape of the layer's output"),
    ("layer_layout", "Layout"),
    ("input_size", "Input size"),
    ("preprocess", "Preprocessing"),
    ("contrast", "Contrast classes"),
)
STATISTICS = ("alpha", "max_undefined")


def subject_views(record: Record) -> list[dict[str, Any]]:
    """Return each model with everything that identifies it; the model before stands before the one after."""
    subjects = record.get("subjects") or {}
    order = [role for role in ROLES if role in subjects]
    order += sorted(set(subjects) - set(ROLES), key=lambda role: (len(role), role))
    views = [
        {"title": _title(role, record), "rows": _subject(subjects[role])}
        for role in order
        if role.partition(".")[0] not in LISTED
    ]
    return views + [{"title": kind.capitalize(), "rows": rows} for kind in LISTED if (rows := _listed(subjects, kind))]


def _title(role: str, record: Record) -> str:
    words = role_title(role, str(record.get("check")))
    if words != role:
        return words[0].upper() + words[1:]
    return "Model" if role == "model" else f"Model {role}"


def _listed(subjects: Mapping[str, Any], kind: str) -> Rows:
    """Return a row for each model of a list, in its order: what it is called and its digest."""
    found = {role: one for role, one in subjects.items() if role.startswith(f"{kind}.")}
    order = sorted(found, key=lambda role: (len(role), role))
    return [
        (
            f"{role_title(role).capitalize()}: {found[role].get('name')}",
            str(found[role].get("weights_sha256") or found[role].get("state_sha256")),
        )
        for role in order
    ]


def _subject(subject: Mapping[str, Any]) -> Rows:
    known = [key for key, _ in SUBJECT]
    rows = [(title, _value(key, subject[key])) for key, title in SUBJECT if key in subject]
    return rows + [(words(key), setting(subject[key])) for key in sorted(subject) if key not in known]


def _value(key: str, value: Any) -> str:
    if key.endswith("sha256") and value is None:
        return "none: the model did not come from a weights file"
    if key in ("layer_shape", "input_size") and isinstance(value, list):
        return " × ".join(map(str, value))
    if key == "preprocess" and not value:
        return "none"
    return amount(value) if isinstance(value, int) else setting(value)


def subject_line(record: Record) -> str:
    """Return the models in a few words: "ft", or "tl → ft" where two are compared."""
    subjects = record.get("subjects") or {}
    if "before" in subjects and "after" in subjects:
        return f"{subjects['before'].get('name')} → {subjects['after'].get('name')}"
    order = sorted(subjects, key=lambda role: (len(role), role))
    return ", ".join(str(subjects[role].get("name")) for role in order)


def method_line(record: Record) -> str:
    """Return the method with the version of its definition; of a check that never ran the one it asked for."""
    method = record.get("method") or {}
    if method.get("name"):
        return f"{method['name']} (version {method.get('version')})"
    return str((record.get("axes") or {}).get("method") or "")


def criterion_rows(record: Record) -> Rows:
    """Return every resolved parameter of the check, the contract's own first and the statistics last."""
    criterion = record.get("criterion") or {}
    order = sorted(criterion, key=lambda key: (key in STATISTICS, criterion[key] is None, key))
    return [(key, setting(criterion[key])) for key in order]


def condition_rows(record: Record) -> Rows:
    """Return how the check was run: method, seed, device, images, seconds, versions."""
    method, execution = record.get("method") or {}, record.get("execution") or {}
    rows: Rows = []
    if method:
        rows.append(("Method", method_line(record)))
    rows += [
        (f"Method: {words(key)}", setting(method[key])) for key in sorted(method) if key not in ("name", "version")
    ]
    for key, title in (("device", "Device"), ("precision", "Precision")):
        if execution.get(key):
            rows.append((title, str(execution[key])))
    batch = execution.get("batch") or {}
    if batch:
        halved = batch.get("out_of_memory")
        extra = f"; memory ran out {halved} times" if halved else ""
        rows.append(("Batch", f"{batch.get('final')} images (asked for: {batch.get('wanted')}{extra})"))
    if execution.get("threads"):
        rows.append(("CPU threads", str(execution["threads"])))
    if execution.get("scored_images") is not None:
        rows.append(("Changed images scored", amount(execution["scored_images"])))
    for key, work in sorted((execution.get("work") or {}).items(), key=lambda pair: (len(pair[0]), pair[0])):
        role = role_title(key)
        stages = work.get("stages") or {}
        if stages:
            seconds = sum(float(stage.get("seconds") or 0.0) for stage in stages.values())
            passes = sum(int(stage.get("passes") or 0) for stage in stages.values())
            rows.append((f"Work of {role}", f"{passes:,} passes, {seconds:.1f} s ({', '.join(sorted(stages))})"))
        rows += [(f"Note on {role}", str(note)) for note in work.get("notes") or ()]
    if record.get("seed"):
        rows.append(("Seed", str(record["seed"])))
    if record.get("contract_sha256"):
        rows.append(("SHA-256 of the contract", str(record["contract_sha256"])))
    versions = execution.get("versions") or {}
    if versions:
        rows.append(("Versions", ", ".join(f"{key} {versions[key]}" for key in sorted(versions))))
    return rows
