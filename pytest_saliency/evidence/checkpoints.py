"""Level 1: the checkpoints of a record are files that the contract's pattern names, in natural order, one a point."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import ModelSpec

ROLE = "checkpoints."


def checkpoint_roles(subjects: Mapping[str, Any], pattern: object) -> list[str]:
    """Return the roles of checkpoints, in order; none where the contract names no pattern."""
    found = [role for role in subjects if role.startswith(ROLE) and role.removeprefix(ROLE).isdecimal()]
    return sorted(found, key=lambda role: int(role.removeprefix(ROLE))) if pattern else []


def about_checkpoints(record: Mapping[str, Any], pattern: str, after: ModelSpec) -> list[str]:
    """Return a sentence for everything in which a record's checkpoints are not those that the contract declares.

    Which files there were nobody can tell from the record; whether those it names fit the pattern, their order, their
    layer and the points of the trajectory everybody can.
    """
    from pytest_saliency.contracts.checkpoints import natural

    subjects = record["subjects"]
    roles = checkpoint_roles(subjects, pattern)
    if [int(role.removeprefix(ROLE)) for role in roles] != list(range(1, len(roles) + 1)) or not roles:
        return [f"its checkpoints are {roles or 'none'}, and the contract declares checkpoints '{pattern}'"]
    kind, value = after.source
    found, paths = [], []
    for role in roles:
        source = str(subjects[role].get("source"))
        head, _, rest = source.partition(" weights ")
        path = next((part for part in _without_remarks(rest) if _fits(part, pattern)), None)
        if head != f"{kind}:{value}" or path is None:
            found.append(f"{role} comes from {source!r}, and the contract declares {kind}:{value} with '{pattern}'")
        else:
            paths.append(path)
    if len(paths) == len(roles) and (paths != sorted(paths, key=natural) or len(set(paths)) != len(paths)):
        found.append("its checkpoints are not in natural order, or one is there twice")
    names = [subjects[role].get("name") for role in roles]
    points = [point.get("name") for point in record["inputs"].get("trajectory") or ()]
    ends = (record["subjects"].get("after") or {}).get("name")
    if points not in (names, [*names, ends]):
        found.append(f"the points of its trajectory are {points}, and its checkpoints {names}")
    return found


def _without_remarks(text: str) -> list[str]:
    """Return ``text`` and what is left when remarks in brackets, as "(under 'state_dict')", are taken from its end."""
    made = [text]
    while " (" in made[-1]:
        made.append(made[-1].rpartition(" (")[0])
    return made


def _fits(path: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(path, pattern.replace("**/", "*"))
    ours, theirs = path.split("/"), pattern.split("/")
    return len(ours) == len(theirs) and all(fnmatchcase(a, b) for a, b in zip(ours, theirs, strict=True))
