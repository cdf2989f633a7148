"""Running pytest on a contract as a user does, and reading what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError

Record = dict[str, Any]
PYTEST_INI = "[pytest]\n"
HELD, NOT_HELD = 0, 1
COMMAND = "from pytest_saliency.cli import main; main()"


@dataclass(frozen=True)
class Judged:
    """One finished ``pytest``: its exit code, what it printed, and the records of its checks."""

    exit_code: int
    printed: str
    records: tuple[Record, ...]
    html: Path | None
    bundle: Path | None


def judge(
    folder: Path, contracts: Sequence[str], name: str, report: bool = True, pythonpath: Sequence[Path] = ()
) -> Judged:
    """Run pytest on ``contracts`` in ``folder``; the files that it writes begin with ``name``.

    Raises
    ------
    SaliencyError
        pytest ended without verdicts; its last words are in the message.
    """
    ini = folder / "pytest.ini"
    if not ini.is_file():
        ini.write_text(PYTEST_INI, encoding="utf-8")
    records, html, bundles = folder / f"{name}.json", folder / f"{name}.html", folder / "bundles"
    records.unlink(missing_ok=True)
    asked = [*contracts, "-c", "pytest.ini", "--rootdir", ".", "--saliency-json", records.name]
    before = set(bundles.glob("*")) if bundles.is_dir() else set()
    if report:
        asked += ["--saliency-html", html.name, "--saliency-images", "all", "--saliency-bundle", bundles.name]
    paths = [*map(str, pythonpath), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode not in (HELD, NOT_HELD) or not records.is_file():
        said = "\n".join(done.stdout.strip().splitlines()[-20:])
        raise SaliencyError(f"pytest in {folder} ended with exit code {done.returncode}:\n{said}")
    read = json.loads(records.read_text(encoding="utf-8"))["records"]
    new = sorted(set(bundles.glob("*")) - before) if bundles.is_dir() else []
    return Judged(done.returncode, done.stdout, tuple(read), html if html.is_file() else None, new[-1] if new else None)


def calibrated(folder: Path, contract: str, runs: Sequence[str], level: float) -> dict[str, float]:
    """Return the limits that ``pytest-saliency calibrate`` proposes, the widest of a key over methods.

    A key that has no limit for one of its methods is left out: what the others would allow is no limit for it.

    Raises
    ------
    SaliencyError
        It could propose none; the message says why.
    """
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "calibrate", contract, *runs, "--level", f"{level}", "--json"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    try:
        checks = json.loads(done.stdout)["checks"]
    except (ValueError, KeyError):
        raise SaliencyError(f"calibrate proposed no limits: {(done.stderr or done.stdout).strip()}") from None
    found: dict[str, float] = {}
    without = {one["key"] for check in checks for one in check["proposals"] if one["limit"] is None}
    for check in checks:
        for one in check["proposals"]:
            if one["key"] not in without:
                wider = min if one["side"].startswith(">") else max
                found[one["key"]] = wider(found.get(one["key"], one["limit"]), one["limit"])
    return found


def verdict_lines(records: Sequence[Record]) -> list[str]:
    """Return one line a check: verdict, name, headline."""
    return [f"{one['verdict']:12s} {label(one)}: {one['headline']}" for one in records]


def label(record: Record) -> str:
    """Return the check's id with its axes, as pytest shows it."""
    axes = ",".join(map(str, record["axes"].values()))
    return f"{record['check']}[{axes}]" if axes else str(record["check"])
