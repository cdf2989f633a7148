"""A folder of baselines without a run: candidates written from hand-made records, approved by Ann."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fixtures.records import sample_record
from pytest_saliency.records.baseline_entry import Entry
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.baselines import approve, find, write_candidate

RUN = {"finished": "2026-11-21T10:00:00+00:00", "git": {"commit": "a" * 40, "dirty": False}}
APPROVAL = {"by": "Ann", "at": "2026-11-21T11:00:00+00:00", "reason": "release 1.0"}


def maps_for(record: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    name = "after" if record["kind"] == "no_semantic_drift" else "top1"
    shape = (len(record["per_image"]["id"]), 5, 4)
    return {name: np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


def candidate(folder: Path, record: dict[str, Any], compared: dict[str, Any] | None = None) -> Key:
    key = Key.of(record)
    write_candidate(folder, key, record, RUN, maps_for(record), compared)
    return key


def approved(folder: Path, record: dict[str, Any], compared: dict[str, Any] | None = None) -> Entry:
    key = candidate(folder, record, compared)
    waiting = find(folder, key).waiting
    assert waiting is not None
    return approve(folder, waiting, **APPROVAL)


def later(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the same check of a run with other numbers."""
    return sample_record(record["kind"], record["verdict"], check=record["check"], draw=1, **changes)
