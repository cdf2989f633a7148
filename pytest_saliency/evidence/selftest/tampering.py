"""A bundle as it was written is whole; whatever is changed in it is found, also where all hashes were made again."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_saliency.evidence import bundle, verify
from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.layout import MANIFEST, RESULTS
from pytest_saliency.evidence.manifest import Entry, manifest_of
from pytest_saliency.evidence.selftest.item import Item

GROUP = "bundle"
NOTHING = "nothing found"


def items(document: Mapping[str, Any]) -> Iterator[Item]:
    """Write ``document`` as a bundle in a temporary folder, and change copies of it."""
    with tempfile.TemporaryDirectory(prefix="saliency-selftest-") as scratch:
        folder = Path(scratch)
        written = bundle.write_bundle(folder / "whole", document, root=folder)
        found = [str(finding) for finding in verify.verify(written.path, 1, expected_id=written.id).findings]
        yield Item(GROUP, "untouched, verified with levels 0 and 1", NOTHING, "; ".join(found) or NOTHING, not found)
        names = sorted(path.relative_to(written.path).as_posix() for path in written.path.rglob("*") if path.is_file())

        def caught(name: str, change: Callable[[Path], None], level: int, expected_id: str | None = None) -> Item:
            copy = folder / "copy"
            shutil.copytree(written.path, copy)
            try:
                change(copy)
                report = verify.verify(copy, level, expected_id=expected_id)
            finally:
                shutil.rmtree(copy)
            said = str(report.findings[0])[:120] if report.findings else NOTHING
            return Item(GROUP, name, f"found at level {level}", said, bool(report.findings) and report.exit_code == 4)

        for name in names:
            # In the last byte, so that also what stands after all content is looked at.
            for where, place in (("first", 0), ("middle", (written.path / name).stat().st_size // 2), ("last", -1)):
                flipped = caught(f"one bit of the {where} byte of {name}", _flip(name, place), 0, written.id)
                yield flipped
        yield caught(f"{RESULTS} removed", lambda copy: (copy / RESULTS).unlink(), 0)
        yield caught("a file added", lambda copy: _add(copy / "notes.txt"), 0)
        yield caught("FAIL made PASS, all hashes made again", _edit(_passed), 1)
        yield caught("a limit loosened, all hashes made again", _edit(_loosened), 1)
        yield caught("the same, held against the identifier alone", _edit(_loosened), 0, written.id)


def _flip(name: str, place: int) -> Callable[[Path], None]:
    def change(copy: Path) -> None:
        content = bytearray((copy / name).read_bytes())
        content[place] ^= 1
        (copy / name).write_bytes(bytes(content))

    return change


def _add(path: Path) -> None:
    path.write_text("nothing\n", encoding="utf-8")


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Change the failed record of ``results.json`` and make the manifest again, as somebody with the tool would."""

    def edit(copy: Path) -> None:
        results = json.loads((copy / RESULTS).read_bytes())
        change(next(record for record in results["records"] if record["verdict"] == "FAIL"))
        (copy / RESULTS).write_bytes(canonical(results))
        paths = [path for path in copy.rglob("*") if path.is_file() and path.name != MANIFEST]
        entries = {path.relative_to(copy).as_posix(): Entry.of(path.read_bytes()) for path in paths}
        (copy / MANIFEST).write_bytes(manifest_of(entries))

    return edit


def _passed(record: dict[str, Any]) -> None:
    record["verdict"] = record["decision"]["verdict"] = "PASS"


def _loosened(record: dict[str, Any]) -> None:
    name = next(
        key for key, value in record["criterion"].items() if key.startswith("max_") and isinstance(value, float)
    )
    record["criterion"][name] = 1.0
