"""Where every case went: kept, left out and why, without a usable map and why, by class and by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_saliency.report.classes import class_names

Record = Mapping[str, Any]
MEANINGS = {
    "blank": "no position speaks for the class",
    "flat": "the same value everywhere",
    "nonfinite": "numbers that are not finite",
    "degenerate": "the method has no meaning on this image",
}
NAMED_OF_UNITS = {"top1": "label", "top2": "counterpart"}
"""What the maps of images with several labels are for."""
PALER = "a slightly paler copy of the image is predicted as another class"
PALER_UNIT = "of the image and a slightly paler copy, the label is found in one only"


def accounting(record: Record) -> dict[str, Any] | None:
    """Return the case accounting of a record; None where no case was looked at."""
    cases = record.get("cases")
    if not cases:
        return None
    everyone = record.get("everyone") or {}
    undefined = undefined_maps(record)
    names = class_names(record)
    return {
        "n": cases.get("n"),
        "kept": cases.get("kept"),
        "source": cases.get("source"),
        "digest": cases.get("digest"),
        "unordered_digest": cases.get("unordered_digest"),
        "units": _units(cases.get("units") or {}),
        "keep": _keep(record.get("criterion") or {}),
        "dropped": [(reason, count) for reason, count in sorted((cases.get("dropped") or {}).items()) if count],
        "undefined": undefined,
        "classes": _by(everyone, "label", names, record) or _declared(cases),
        "groups": _by(everyone, "group", {}, record),
        "clusters": len(set((record.get("per_image") or {}).get("cluster") or ())) or None,
    }


def _units(units: Mapping[str, Any]) -> str | None:
    """Return what cases are where images have several labels; None for others."""
    if not units:
        return None
    cuts = units["thresholds"]
    pairs = [f"{label} against {other} (found above {cuts[label]:g})" for label, other in units["pairs"].items()]
    masks = "; each label has masks of its own" if units.get("masks") == "label" else ""
    return (
        f"labels that are present in {units['images']} images, each held against another one: {', '.join(pairs)}{masks}"
    )


def _keep(criterion: Mapping[str, Any]) -> str:
    """Return which images the check looks at; a comparison with a baseline looks at those of the check it is of."""
    keep = criterion.get("keep") or (criterion.get("of_criterion") or {}).get("keep") or "all"
    return str(keep).replace("_", " ")


def undefined_maps(record: Record) -> list[dict[str, Any]]:
    """Return how many maps of the kept cases were of no use, by which map and why."""
    rows, units = [], bool((record.get("cases") or {}).get("units"))
    for column, statuses in sorted((record.get("per_image") or {}).items()):
        if column != "status" and not column.startswith("status_"):
            continue
        which = column.removeprefix("status").removeprefix("_") or "map"
        for status, count in sorted(Counter(map(str, statuses)).items()):
            if status != "ok":
                which = NAMED_OF_UNITS.get(which, which) if units else which
                rows.append({"which": which, "why": status, "meaning": MEANINGS.get(status, ""), "count": count})
    changed = sum(map(bool, (record.get("per_image") or {}).get("prediction_changed") or ()))
    if changed:
        rows.append(
            {
                "which": "repeat",
                "why": "prediction changed",
                "meaning": PALER_UNIT if units else PALER,
                "count": changed,
            }
        )
    return rows


def _declared(cases: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "n": count, "kept": None, "undefined": None}
        for name, count in (cases.get("classes") or {}).items()
    ]


def _by(everyone: Mapping[str, Sequence[Any]], column: str, names: Mapping[Any, str], record: Record) -> list[Any]:
    values = everyone.get(column) or ()
    fates = everyone.get("fate") or ()
    if not values or len(values) != len(fates):
        return []
    lost = _unusable(record)
    ids = everyone.get("id") or ()
    rows: dict[Any, dict[str, Any]] = {}
    for case, value, fate in zip(ids, values, fates, strict=True):
        name = names.get(value) or (f"class {value}" if column == "label" else str(value))
        row = rows.setdefault(value, {"name": name, "n": 0, "kept": 0, "undefined": 0})
        row["n"] += 1
        row["kept"] += fate == "kept"
        row["undefined"] += case in lost
    return [rows[value] for value in sorted(rows, key=lambda value: (str(rows[value]["name"]), str(value)))]


def _unusable(record: Record) -> set[Any]:
    table = record.get("per_image") or {}
    columns = [values for name, values in table.items() if name == "status" or name.startswith("status_")]
    ids = table.get("id") or ()
    return {case for place, case in enumerate(ids) if any(column[place] != "ok" for column in columns)}
