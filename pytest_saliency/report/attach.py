"""From a running pytest item to its records: completed when made, attached to the item's report."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result
    from pytest_saliency.records.record import Setting, Source

RECORDS = pytest.StashKey[list[dict[str, Any]]]()
MADE = pytest.StashKey[int]()
"""How many records the item has left so far, in whichever phase of it."""


@runtime_checkable
class Declared(Protocol):
    """An item that comes from a contract and knows what was declared."""

    def saliency_setting(self) -> Setting: ...


class Completer:
    """Completes the result of a check with what the running item knows, and keeps the record on the item."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def __call__(self, result: Result) -> dict[str, Any]:
        from pytest_saliency.records.hashing import plain_json
        from pytest_saliency.records.record import complete
        from pytest_saliency.report.junit import properties

        item = self._item
        kept = item.stash.setdefault(RECORDS, [])
        record: dict[str, Any] = plain_json(complete(result.to_record(), setting_of(item)))
        record["cases"]["source"] = str(record["cases"]["source"]).replace(f"{item.config.rootpath}/", "")
        made = item.stash[MADE] = item.stash.get(MADE, 0) + 1
        # One test in Python may decide several checks; everything that names a check takes it from here.
        name = record["node"] = numbered(record["node"], made)
        draw(result, record, item.config, name)
        keep_maps(result, record, item.config, name)
        kept.append(record)
        item.user_properties.extend(properties(record))
        return record

    def folder(self, name: str) -> Path | None:
        """Return the folder ``name`` in pytest's cache; None where that is off, or this run keeps nothing."""
        config = self._item.config
        cache = getattr(config, "cache", None)
        if cache is None or config.getoption("saliency_no_cache") or config.getini("saliency_no_cache"):
            return None
        try:
            return Path(cache.mkdir(name))
        except OSError:  # pytest's own cache says so itself
            return None


def numbered(node: str, place: int) -> str:
    """Return the name of the record that is number ``place`` (from 1) of the test ``node``."""
    return node if place == 1 else f"{node}#{place}"


def setting_of(item: pytest.Item) -> Setting:
    """Return what the run knows of the check that ``item`` is running."""
    from pytest_saliency.records.record import Setting

    if isinstance(item, Declared):
        return item.saliency_setting()
    return Setting(node=item.nodeid, source=_caller(item))


def _caller(item: pytest.Item) -> Source:
    """Return the innermost line of the test file that is being executed, or where the test begins."""
    from pytest_saliency.records.record import Source

    path, line, _ = item.reportinfo()
    wanted, number = str(path), (line or 0) + 1
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == wanted:
            number = frame.f_lineno
            break
        if frame.f_back is None:
            break
        frame = frame.f_back
    return Source(file=below_root(Path(wanted), item.config), line=number)


def below_root(path: Path, config: pytest.Config) -> str:
    """Return ``path`` relative to pytest's root with forward slashes, or as it is outside of it."""
    try:
        return path.resolve().relative_to(config.rootpath.resolve()).as_posix()
    except ValueError:
        return str(path)


def draw(result: Result, record: dict[str, Any], config: pytest.Config, node: str) -> None:
    """Draw the pictures the run asked for and put their paths into ``record``; a problem becomes a note.

    The verdict is what matters, so nothing that goes wrong while drawing may hide it.
    """
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.report.paths import option_text
    from pytest_saliency.session import Settings

    gallery = result.gallery
    if gallery is None:
        return
    try:
        wanted = Settings.of(config).images
    except SaliencyError as error:
        record["notes"].append(f"no pictures kept: {error}")
        return
    if wanted == "none" or (wanted == "failed" and record["verdict"] == "PASS"):
        return
    cache = getattr(config, "cache", None)
    if cache is None:
        record["notes"].append("no pictures kept: pytest's cache is off (-p no:cacheprovider)")
        return
    try:
        folder = cache.mkdir("saliency")
        drawn = gallery.sheet(folder / f"{file_name(node)}.png")
        # Single tiles are for the report, which may be made from the records at any later time.
        reported = any(option_text(config, name) for name in ("json", "html", "bundle"))
        tiles = gallery.tiles(folder / file_name(node)) if reported else []
    except Exception as error:
        record["notes"].append(f"no pictures kept: {type(error).__name__}: {error}")
        return
    if drawn is not None:
        record["pictures"].append(below_root(Path(drawn), config))
    for row in tiles:
        for tile in row["tiles"]:
            tile["path"] = below_root(Path(tile["path"]), config)
    record["gallery"] = tiles


def keep_maps(result: Result, record: dict[str, Any], config: pytest.Config, node: str) -> None:
    """Write the maps of ``result`` to a file where a baseline or a bundle with maps is made at the end of the run."""
    from pytest_saliency.report.paths import option_flag, option_text

    if result.maps is None:
        return
    for_bundle = option_text(config, "bundle") is not None and option_flag(config, "bundle-maps")
    if not for_bundle and option_text(config, "baseline") not in ("new", "update"):
        return
    cache = getattr(config, "cache", None)
    if cache is None:
        record["notes"].append("no maps kept: pytest's cache is off (-p no:cacheprovider)")
        return
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.records.arrays import write_arrays

    try:
        path = cache.mkdir("saliency-maps") / f"{file_name(node)}.npz"
        written = write_arrays(path, result.maps())
    except (SaliencyError, OSError) as error:
        record["notes"].append(f"no maps kept: {error}")
        return
    record["maps"] = {**written, "path": below_root(path, config)}


def file_name(node: str) -> str:
    """Return a file name for a node id: safe on every system, readable, and not shared by two node ids."""
    import hashlib

    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", node).strip("-")[-80:].strip("-")
    return f"{readable}-{hashlib.sha256(node.encode()).hexdigest()[:8]}"


def attach(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Move the item's records onto ``report`` as one JSON text, the only thing that travels between processes."""
    records = item.stash.get(RECORDS, [])
    if call.when == "teardown":
        item.stash[MADE] = 0  # whoever runs the test again starts anew
    if isinstance(item, Declared):
        _close(item, item, call, report, records)
    if not records:
        return
    from pytest_saliency.records.hashing import to_json

    vars(report)["saliency_records"] = to_json(records)
    item.stash[RECORDS] = []


def _close(
    item: pytest.Item,
    declared: Declared,
    call: pytest.CallInfo[None],
    report: pytest.TestReport,
    records: list[dict[str, Any]],
) -> None:
    """See to it that a declared check leaves a record whatever happened, and that a skip names the contract."""
    if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
        path, line, _ = item.reportinfo()
        report.longrepr = (str(path), (line or 0) + 1, report.longrepr[2])
    if records or report.passed or report.when == "teardown":
        return
    from pytest_saliency.records.record import without_result

    if report.failed:
        reason = str(call.excinfo.value) if call.excinfo is not None else report.longreprtext
        records.append(without_result(declared.saliency_setting(), "ERROR", reason or "unknown error"))
    else:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "skipped")
        records.append(without_result(declared.saliency_setting(), "NOT_RUN", str(reason)))
    item.stash[RECORDS] = records
