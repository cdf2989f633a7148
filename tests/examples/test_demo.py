"""``make demo`` ends well only if the clean model passed and the cheat was caught by FAIL verdicts."""

from __future__ import annotations

from typing import Any

import pytest
from demo import Run, complaints


def record(verdict: str, kind: str = "no_semantic_drift", **axes: str) -> dict[str, Any]:
    return {"check": kind, "kind": kind, "axes": axes, "verdict": verdict, "headline": "so it was", "pictures": []}


HELD = Run(0, (record("PASS"), record("PASS", "faithful")))
CAUGHT = Run(1, (record("FAIL", method="layercam"), record("PASS", "class_sensitive")))


def test_all_as_promised() -> None:
    assert complaints(HELD, CAUGHT) == []


@pytest.mark.parametrize(
    ("digits", "shortcut", "said"),
    [
        (Run(1, (record("FAIL"),)), CAUGHT, "in examples/digits is FAIL"),
        (Run(1, (record("INCONCLUSIVE"),)), CAUGHT, "in examples/digits is INCONCLUSIVE"),
        (Run(0, ()), CAUGHT, "examples/digits left no record"),
        (Run(4, (record("PASS"),)), CAUGHT, "examples/digits ended with exit code 4"),
        (HELD, Run(0, (record("PASS"),)), "in examples/shortcut is PASS"),
        (HELD, Run(1, (record("INCONCLUSIVE"),)), "in examples/shortcut is INCONCLUSIVE"),
        (HELD, Run(1, (record("FAIL"), record("PASS"))), "in examples/shortcut is PASS"),
        (HELD, Run(1, (record("FAIL", "faithful"),)), "no record of a no_semantic_drift check"),
        (HELD, Run(1, ()), "no record of a no_semantic_drift check"),
        (HELD, Run(2, CAUGHT.records), "examples/shortcut ended with exit code 2"),
    ],
)
def test_anything_else_is_said_and_counts(digits: Run, shortcut: Run, said: str) -> None:
    assert any(said in sentence for sentence in complaints(digits, shortcut))
