"""What differs between two resolved contracts, line by line, and whether that makes PASS easier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.records.baseline_changes import changes

STRICT = {"severity": ("fail", "warn"), "on_inconclusive": ("fail", "warn", "skip")}
"""Words of a policy, from strict to easy."""

Resolved = Mapping[str, Any]


def changed_lines(then: Resolved, now: Resolved) -> list[str]:
    """Return a line for everything that differs, checks first; looser, tighter or changed stands behind each."""
    lines = []
    before, after = _by_name(then), _by_name(now)
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            lines.append(f"{name}: removed (looser)")
        elif name not in before:
            lines.append(f"{name}: added (tighter)")
        else:
            lines += [f"{name}: {line}" for line in _item(before[name], after[name])]
    for key in ("contract", "requirement"):
        if then.get(key) != now.get(key):
            lines.append(_line(key, then.get(key), now.get(key), "changed"))
    models, later = then.get("models") or {}, now.get("models") or {}
    for name in dict.fromkeys((*models, *later)):
        if name not in models or name not in later:
            lines.append(f"model {name}: {'added' if name in later else 'removed'}")
            continue
        lines += [f"model {name}: {line}" for line in _differences(models.get(name), later.get(name))]
    return lines or ["in a way that has no words here"]


def _by_name(resolved: Resolved) -> dict[str, Any]:
    items = resolved.get("items")
    return (
        {str(item.get("name")): item for item in items if isinstance(item, Mapping)} if isinstance(items, list) else {}
    )


def _item(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    one, two = then.get("parameters"), now.get("parameters")
    lines = [change.text for change in changes(one if isinstance(one, Mapping) else {}, two or {})]
    for key, order in STRICT.items():
        a, b = then.get(key), now.get(key)
        if a != b:
            known = a in order and b in order
            way = "changed" if not known else "looser" if order.index(str(b)) > order.index(str(a)) else "tighter"
            lines.append(_line(key, a, b, way))
    a, b = then.get("known_failure"), now.get("known_failure")
    if a != b:
        lines.append(_line("known_failure", a, b, "looser" if a is None else "tighter" if b is None else "changed"))
    rest = [key for key in dict.fromkeys((*then, *now)) if key not in ("parameters", "known_failure", *STRICT)]
    for key in rest:
        lines += _differences(then.get(key), now.get(key), key)
    return lines


def _differences(then: Any, now: Any, where: str = "") -> list[str]:
    if then == now:
        return []
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        rows = []
        for key in dict.fromkeys((*then, *now)):
            rows += _differences(then.get(key), now.get(key), f"{where}.{key}" if where else str(key))
        return rows
    return [_line(where or "all of it", then, now, "changed")]


def _line(key: str, then: Any, now: Any, way: str) -> str:
    return f"{key} {_shown(then)} -> {_shown(now)} ({way})"


def _shown(value: Any) -> str:
    text = " ".join(_text(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _text(value: Any) -> str:
    """Return a value of a contract in words, never as code."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items()) or "nothing"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)
