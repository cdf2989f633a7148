"""Which checks belong to which shard of a session.

The same contracts and the same number of shards always give the same answer, whatever is selected, in whatever order,
on whichever machine; nothing but the text of the contracts decides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from pytest_saliency.contracts.contract import Contract

WRITTEN = re.compile(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*")


@dataclass(frozen=True)
class Shard:
    """Number ``index`` (from 1) of ``count`` shards."""

    index: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """Read ``2/5``.

        Raises
        ------
        SaliencyError
            It is not a shard of any number of shards.
        """
        found = WRITTEN.fullmatch(text)
        index, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= index <= count:
            raise SaliencyError(
                f"--saliency-shard (or ini saliency_shard) must be i/n with i from 1 to n, as 2/5; got {text!r}."
            )
        return cls(index, count)


Pass = tuple[str, str, str]
"""(contract, model, cases): what is explained once where checks share it."""


@dataclass(frozen=True)
class Dealt:
    """A check as something to be dealt out. ``place`` orders the checks: contract, position in its file."""

    node: str
    place: tuple[str, int]
    passes: frozenset[Pass]


def dealt_of(contracts: Mapping[str, Contract]) -> list[Dealt]:
    """Return every check of ``contracts``, which are given by the node id of their file."""
    from pytest_saliency.contracts.contract import expand

    made = []
    for file, contract in sorted(contracts.items()):
        for position, item in enumerate(expand(contract)):
            cases = item.cases.model_dump_json()
            passes = frozenset((file, model, cases) for model in item.roles.values())
            made.append(Dealt(f"{file}::{item.name}", (file, position), passes))
    return made


def deal(checks: Iterable[Dealt], count: int) -> dict[str, int]:
    """Return the shard, from 1 to ``count``, of each check by its node id.

    Checks of one contract over the same models and cases stay together; more of them than an even share of all
    checks are cut into parts of at most that share. The parts, largest first, go where the shard's load is smallest
    afterwards. The load counts one for each check and one for each model over its cases, so that a part rather goes
    where its models are explained anyway.
    """
    groups: dict[tuple[str, frozenset[Pass]], list[Dealt]] = {}
    for check in sorted(checks, key=lambda one: one.place):
        groups.setdefault((check.place[0], check.passes), []).append(check)
    total = sum(map(len, groups.values()))
    share = max(1, -(-total // count))
    parts = [part for group in groups.values() for part in _cut(group, share)]
    loads, explained = [0] * count, [set[Pass]() for _ in range(count)]
    shard_of: dict[str, int] = {}
    for part in sorted(parts, key=lambda one: (-len(one), one[0].place)):
        passes = part[0].passes
        after = [load + len(part) + len(passes - known) for load, known in zip(loads, explained, strict=True)]
        chosen = after.index(min(after))
        loads[chosen] = after[chosen]
        explained[chosen] |= passes
        shard_of |= {check.node: chosen + 1 for check in part}
    return shard_of


def _cut(group: Sequence[Dealt], share: int) -> list[Sequence[Dealt]]:
    """Return ``group`` in as few parts of at most ``share`` as there can be, of nearly one size."""
    number = -(-len(group) // share)
    edges = [len(group) * step // number for step in range(number + 1)]
    return [group[start:stop] for start, stop in pairwise(edges)]


def shard_of_file(file: str, count: int) -> int:
    """Return the shard of the tests in a Python file: by its name alone."""
    return int.from_bytes(hashlib.sha256(file.encode()).digest()[:8], "big") % count + 1
