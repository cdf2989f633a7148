"""At the end of a run: candidates for approval (``--saliency-baseline new|update``), and what was loosened since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.baseline_changes import key_of, loosened_lines
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.baseline_mode import folder_of, mode_of
from pytest_saliency.records.baselines import candidate_path, find, write_candidate

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = 5


def write(document: Mapping[str, Any], config: pytest.Config) -> list[str]:
    """Write what the run was asked to write; return lines on that, and on limits that were loosened.

    Raises
    ------
    SaliencyError
        A candidate could not be written, or two records are of one baseline; the others are written all the same.
    """
    records, folder, mode = document["records"], folder_of(config), mode_of(config)
    lines = loosened_lines(records)
    if mode == "check":
        return lines
    problems: list[str] = []
    written: list[Key] = []
    kept: list[Key] = []
    for key, record in _measured(records, problems).items():
        try:
            shelf = find(folder, key)
            if mode == "new" and (shelf.approved or shelf.waiting or candidate_path(folder, key).is_file()):
                kept.append(key)
                continue
            maps = maps_of(record, config.rootpath)
            write_candidate(folder, key, record, document["run"], maps, _compared(key, record, config.rootpath))
            written.append(key)
        except SaliencyError as error:
            problems.append(str(error))
    lines += _told(written, kept, folder, mode, config.rootpath)
    if problems:
        raise SaliencyError(" ".join([*lines, *problems]))
    return lines


def maps_of(record: Mapping[str, Any], root: Path) -> dict[str, NDArray[Any]]:
    """Return the maps that the run kept for ``record``, by name; none where it kept none.

    Raises
    ------
    SaliencyError
        Their file is gone or damaged.
    """
    from pytest_saliency.records.arrays import read_arrays

    held = record.get("maps")
    if not held:
        return {}
    found = read_arrays(root / str(held["path"]), held.get("sha256"))
    count = len(record["per_image"]["id"])
    return {name: values for name, values in found.items() if values.ndim > 1 and len(values) == count}


def _compared(key: Key, record: Mapping[str, Any], root: Path) -> Mapping[str, Any]:
    """Return the checks of the record's contract that compare with this baseline, and their limits."""
    from pytest_saliency.contracts.contract import load_contract
    from pytest_saliency.errors import ContractError
    from pytest_saliency.records.baseline_status import comparisons

    if key.contract is None or not record.get("source"):
        return {}
    try:
        contract = load_contract(root / str(record["source"]["file"]))
    except ContractError:  # changed while the tests ran
        return {}
    return comparisons(contract).get(key, {})


def _measured(records: Sequence[Mapping[str, Any]], problems: list[str]) -> dict[Key, Mapping[str, Any]]:
    """Return by key the records that reached a verdict."""
    found: dict[Key, Mapping[str, Any]] = {}
    for record in records:
        key = key_of(record)
        if key is None or not record.get("decision"):
            continue
        if key in found:
            problems.append(
                f"the baseline {key.selector} would be of two checks, {found[key]['node']} and {record['node']};"
                " give each its own name."
            )
        found.setdefault(key, record)
    return found


def _told(written: Sequence[Key], kept: Sequence[Key], folder: Path, mode: str, root: Path) -> list[str]:
    shown = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)
    lines = []
    if written:
        names = ", ".join(key.selector for key in written[:SHOWN])
        more = f" and {len(written) - SHOWN} more" if len(written) > SHOWN else ""
        lines.append(
            f"{_count(len(written), 'baseline')} written to {shown}, waiting for approval: {names}{more}; look at each"
            " with 'pytest-saliency baseline diff', then 'pytest-saliency baseline approve ... --reason ...'"
        )
    if kept:
        lines.append(f"{_count(len(kept), 'baseline')} there already, left as they are (--saliency-baseline update)")
    if not written and not kept:
        lines.append(f"no baseline written (--saliency-baseline {mode}): no check reached a verdict that has one")
    return lines


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count != 1 else ''}"
