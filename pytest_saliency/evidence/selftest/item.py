"""One known answer: what was expected, what came out, and whether that is good."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Item:
    """One known answer and what came out. ``group`` is the part of the tool that it is about."""

    group: str
    name: str
    expected: str
    got: str
    ok: bool
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, without the time, which is another in every run."""
        return {"group": self.group, "name": self.name, "expected": self.expected, "got": self.got, "ok": self.ok}


@dataclass(frozen=True)
class Part:
    """One part of the self test: its name, and what returns its items."""

    name: str
    run: Callable[[], Iterable[Item]]


def items_of(part: Part) -> list[Item]:
    """Run a part; whatever it raises is an item that is not ok, so that no error passes for a success."""
    started = time.perf_counter()
    made: list[Item] = []
    try:
        for item in part.run():
            now = time.perf_counter()
            made.append(replace(item, seconds=now - started))
            started = now
    except Exception as error:  # of any kind: the tool under test is what raises
        said = f"raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        made.append(Item(part.name, "runs to its end", "no error", said, False, time.perf_counter() - started))
    if not made:
        made.append(Item(part.name, "holds something", "at least one known answer", "none", False))
    return made
