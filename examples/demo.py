"""``make demo``: train the two small models, run their contracts as a user would, and say what was found.

Exits 0 only if the contract of ``digits`` holds and that of ``shortcut`` fails by FAIL verdicts.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "demo-output"
CAUGHT_BY = "no_semantic_drift"  # the kind that the planted marker must fail

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One finished ``pytest``: its exit code and the records of its checks."""

    exit_code: int
    records: tuple[Record, ...]

    def verdicts(self, verdict: str) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record["verdict"] == verdict)


def complaints(digits: Run, shortcut: Run) -> list[str]:
    """Everything that is not as the demo promises; empty if all is well."""
    found = []
    if digits.exit_code != 0:
        found.append(f"pytest in examples/digits ended with exit code {digits.exit_code}, 0 was expected")
    if not digits.records:
        found.append("examples/digits left no record of any check")
    found += [
        f"{label(record)} in examples/digits is {record['verdict']}, PASS was expected: {record['headline']}"
        for record in digits.records
        if record["verdict"] != "PASS"
    ]
    if shortcut.exit_code != 1:
        found.append(f"pytest in examples/shortcut ended with exit code {shortcut.exit_code}, 1 was expected")
    drift = [record for record in shortcut.records if record["kind"] == CAUGHT_BY]
    if not drift:
        found.append(f"examples/shortcut left no record of a {CAUGHT_BY} check")
    found += [
        f"{label(record)} in examples/shortcut is {record['verdict']}, FAIL was expected: {record['headline']}"
        for record in drift
        if record["verdict"] != "FAIL"
    ]
    return found


def label(record: Record) -> str:
    """The check's id with its axes, as pytest shows it."""
    axes = ",".join(record["axes"].values())
    return f"{record['check']}[{axes}]" if axes else str(record["check"])


def train(folder: Path, module: str) -> None:
    show(folder, ["python", "-m", module])
    if subprocess.run([sys.executable, "-m", module], cwd=folder, env=environment(), check=False).returncode:
        raise SystemExit(f"Training in {folder} failed; its own message is above.")


def check(folder: Path) -> Run:
    """Run pytest in ``folder`` and read the verdicts from the JSON that it writes."""
    path = OUT / f"{folder.name}.json"
    path.unlink(missing_ok=True)
    arguments = ["-v", "--saliency-images=all", f"--saliency-json={os.path.relpath(path, folder)}"]
    show(folder, ["pytest", *arguments])
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=folder, env=environment(), check=False)
    records = json.loads(path.read_text(encoding="utf-8"))["records"] if path.is_file() else []
    return Run(done.returncode, tuple(records))


def environment() -> dict[str, str]:
    """The shortcut's training imports the digits package; pytest.ini tells pytest where that is."""
    return {**os.environ, "PYTHONPATH": str(HERE / "digits"), "PYTHONUNBUFFERED": "1"}


def show(folder: Path, command: list[str]) -> None:
    print(f"\n[{folder.relative_to(HERE.parent)}]$ {shlex.join(command)}", flush=True)


def describe(digits: Run, shortcut: Run) -> None:
    print("\n" + "=" * 100 + "\nWhat was found\n")
    print(f"digits: {len(digits.verdicts('PASS'))} of {len(digits.records)} checks PASS.")
    for record in digits.records:
        print(f"  {record['verdict']:12s} {label(record)}: {record['headline']}")
    print("\nshortcut: the same network, data and recipe, but every picture carried a marker that names its digit.")
    for record in shortcut.records:
        print(f"  {record['verdict']:12s} {label(record)}: {record['headline']}")
    for record in shortcut.verdicts("FAIL"):
        accuracy = record["decision"]["readouts"].get("performance")
        if accuracy:
            before, after = (accuracy[when]["accuracy"] for when in ("before", "after"))
            print(
                f"\n  Accuracy on these pictures rose from {before:.2f} to {after:.2f}: by accuracy alone, a success."
            )
            break


def name_pictures(folder: Path, run: Run) -> None:
    for record in run.records:
        for picture in record["pictures"]:
            print(f"  {(folder / picture).relative_to(HERE.parent)}  ({record['verdict']}, {label(record)})")


def main() -> int:
    OUT.mkdir(exist_ok=True)
    train(HERE / "digits", "digits.train")
    train(HERE / "shortcut", "shortcut.train")
    digits, shortcut = check(HERE / "digits"), check(HERE / "shortcut")
    describe(digits, shortcut)
    print("\nPictures: the cases that stand out in each check, image beside maps.")
    name_pictures(HERE / "digits", digits)
    name_pictures(HERE / "shortcut", shortcut)
    wrong = complaints(digits, shortcut)
    if wrong:
        print("\nNot as expected:")
        for sentence in wrong:
            print(f"  {sentence}")
        return 1
    print("\nAs expected: the contract of digits holds, and the planted marker was caught. The red above is the catch.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
