"""Several pairs of models in one check: ``before`` and ``after`` as lists of equal length, one item a pair."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pytest_saliency.checks.registry import PAIR, Kind
from pytest_saliency.contracts.loader import Path, shown
from pytest_saliency.contracts.problems import Findings

BETWEEN = "_. -"


@dataclass(frozen=True)
class Pair:
    """Two models and what their item is called."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return self.name


def takes_pairs(kind: Kind) -> bool:
    """Tell whether checks of this kind compare one model with another."""
    return all(role in kind.roles for role in PAIR)


def listed(kind: Kind, values: Mapping[Any, Any]) -> bool:
    """Tell whether a check writes its pairs as lists."""
    return takes_pairs(kind) and any(isinstance(values.get(role), tuple) for role in PAIR)


def pairs_of(values: Mapping[Any, Any], path: Path, section: str, findings: Findings) -> list[Pair]:
    """Return the pairs, zipped; every problem with their lists is reported, and then there are none."""
    written = [values.get(role) for role in PAIR]
    if not all(isinstance(one, tuple) for one in written):
        single = next(role for role, one in zip(PAIR, written, strict=True) if not isinstance(one, tuple))
        if single in values:
            findings.value(
                (*path, single),
                f"'before' and 'after' {section} are one list and one model; write two lists of equal length, whose"
                " entries belong together in order",
            )
        return []
    before, after = (tuple(one) for one in written if isinstance(one, tuple))
    if len(before) != len(after):
        findings.value(
            (*path, "after"),
            f"'before' {section} names {len(before)} models and 'after' {len(after)}; write two lists of equal length,"
            " whose entries belong together in order",
        )
        return []
    if not before:
        findings.value((*path, "before"), f"'before' {section} is an empty list, so nothing would be checked")
        return []
    if "nulls" in values:
        findings.value(
            (*path, "nulls"), f"'nulls' {section} belong to one pair of models; write a check for each pair instead"
        )
    if not all(isinstance(name, str) for name in (*before, *after)):
        return []  # reported where the names are looked up
    found = list(zip(before, after, strict=True))
    for i, (one, two) in enumerate(found):
        if one == two:
            findings.value((*path, "after", i), f"'before' and 'after' {section} are the same model '{shown(two)}'")
        if (one, two) in found[:i]:
            findings.value((*path, "after", i), f"'before' and 'after' {section} name '{shown(two)}' twice")
    return [Pair(name, *pair) for name, pair in zip(names_of(found), found, strict=True)]


def names_of(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return what items are called: what both names of a pair begin with, or end with, or else the model after.

    ``densenet-tl`` and ``densenet-ft`` are ``densenet``. One rule holds for all pairs: the first that gives every pair
    a name of its own.
    """
    for rule in (_beginning, _end):
        names = [rule(*pair) for pair in pairs]
        if all(names) and len(set(names)) == len(names):
            return names
    names = [after for _, after in pairs]
    return names if len(set(names)) == len(names) else [f"{before}~{after}" for before, after in pairs]


def _beginning(one: str, two: str) -> str:
    """Return the words that both names begin with; a word is what stands between separators."""
    return "".join(_shared(_words(one), _words(two))).strip(BETWEEN)


def _end(one: str, two: str) -> str:
    return "".join(reversed(_shared(_words(one)[::-1], _words(two)[::-1]))).strip(BETWEEN)


def _words(name: str) -> list[str]:
    return re.split(f"([{BETWEEN}])", name)


def _shared(one: list[str], two: list[str]) -> list[str]:
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))]
