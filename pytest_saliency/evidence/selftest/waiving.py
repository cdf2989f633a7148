"""What a waiver excuses, on a file of waivers that is part of the package and a check made for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from pytest_saliency.evidence.release import release
from pytest_saliency.evidence.selftest.item import Item
from pytest_saliency.evidence.waivers import assess, read_waivers

GROUP = "waivers"
FILE = "selftest-waivers.yaml"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
"""The instant at which the waivers are judged, whatever the clock says."""

MODEL = "5e1f" * 16
EXPECTED = {
    "in-force": "applies",
    "expired": "expired",
    "no-such-day": "unreadable",
    "own-approval": "invalid",
    "other-model": "other model",
    "narrow-bound": "lapsed",
    "other-measure": "lapsed",
    "other-check": "unused",
}
"""The waivers of the file and what each of them is worth."""


def record() -> dict[str, Any]:
    """Return a failed check, with no more than waivers look at."""
    measure = {"estimate": 0.45, "limit": 0.4, "side": "<=", "verdict": "FAIL", "n": 60, "undefined": 0}
    shift = {**measure, "estimate": 0.05, "limit": 0.15, "verdict": "PASS"}
    return {
        "contract": "selftest",
        "check": "waived",
        "axes": {},
        "node": "selftest::waived",
        "kind": "no_semantic_drift",
        "verdict": "FAIL",
        "criterion": {"max_undefined": 0.05, "min_kept": 0.5},
        "subjects": {"before": {"weights_sha256": "0" * 64}, "after": {"weights_sha256": MODEL}},
        "decision": {
            "measures": {"iou_drop": measure, "displacement": shift},
            "undefined_share": 0.0,
            "counts": {"kept": 60, "total": 60},
        },
    }


def items() -> Iterator[Item]:
    """Judge every waiver of the file, and the release decision with it alone."""
    content = files("pytest_saliency.evidence.selftest").joinpath(FILE).read_bytes()
    failed = record()
    assessed = {one["id"]: one for one in assess(read_waivers(content, FILE), [failed], NOW)}
    for name, state in EXPECTED.items():
        one = assessed.get(name, {"state": "not there"})
        decision = release({"records": [failed], "waivers": [one]})["decision"]
        right = "release with waivers" if state == "applies" else "no release"
        got = f"{one['state']}, {decision}"
        yield Item(GROUP, f"waiver '{name}'", f"{state}, {right}", got, got == f"{state}, {right}")
    untouched = failed == record()
    yield Item(GROUP, "the verdict of the waived check", "FAIL", str(failed["verdict"]), untouched)
