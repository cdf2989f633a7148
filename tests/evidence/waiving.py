"""Texts of waivers for tests, and records to hold them against."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
MODEL = hashlib.sha256(b"model under test").hexdigest()
OTHER = hashlib.sha256(b"another model").hexdigest()
HEAD = "format: 1\nwaivers:\n"
KEYS = {
    "id": "pilot-site",
    "check": "chest/evidence-kept[gradcam]",
    "model": f'"{MODEL}"',
    "bound": "{iou_drop: 0.55}",
    "reason": "the pilot site's scanner prints a marker",
    "risk": "RISK-7",
    "requested_by": "Ann Lee",
    "approved_by": "Bo Chen",
    "created": "2026-05-01T00:00:00Z",
    "expires": "2026-12-31T00:00:00Z",
}


def waiver(without: tuple[str, ...] = (), **changes: str) -> str:
    """Return one waiver in YAML; ``changes`` replace or add values as they are written."""
    keys = {key: value for key, value in {**KEYS, **changes}.items() if key not in without}
    return "  - " + "\n    ".join(f"{key}: {value}" for key, value in keys.items()) + "\n"


def file_of(*waivers: str, head: str = HEAD) -> bytes:
    return (head + "".join(waivers)).encode()


def measure(estimate: float | None, limit: float | None, side: str, verdict: str | None, **more: Any) -> dict[str, Any]:
    return {"estimate": estimate, "limit": limit, "side": side, "verdict": verdict, "n": 60, "undefined": 0, **more}


def record(verdict: str = "FAIL", **changes: Any) -> dict[str, Any]:
    """Return what a waiver looks at of a drift check that misses its one limit, 0.45 against 0.4."""
    made: dict[str, Any] = {
        "contract": "chest",
        "check": "evidence-kept",
        "axes": {"method": "gradcam"},
        "node": "chest.saliency.yaml::evidence-kept[gradcam]",
        "kind": "no_semantic_drift",
        "verdict": verdict,
        "policy": {"severity": "fail", "on_inconclusive": "fail", "known_failure": None},
        "criterion": {"max_iou_drop": 0.4, "max_undefined": 0.05, "min_kept": 0.5},
        "subjects": {"before": {"weights_sha256": OTHER}, "after": {"weights_sha256": MODEL, "state_sha256": None}},
        "decision": {
            "measures": {
                "iou_drop": measure(0.45, 0.4, "<=", verdict),
                "displacement": measure(0.9, None, "", None),
            },
            "undefined_share": 0.0,
            "counts": {"kept": 60, "total": 60},
        },
    }
    return {**made, **changes}


def decision(**changes: Any) -> dict[str, Any]:
    return {**record()["decision"], **changes}
