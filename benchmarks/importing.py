"""What the installed plugin adds to a pytest session that has no contract.

    python benchmarks/importing.py [--repeats 20] [--quick]

Whole pytest processes are timed in turns, in random order, over a folder with one trivial test: without any plugin,
with ours, with hypothesis' (which installing us brings), with both. Ratios would say little here, so these are
milliseconds; each difference is between two processes of the same round. Whatever other plugins are installed is
switched off in all of them. Beside that stand the import of ``pytest_saliency.plugin`` alone, as Python times it, and
the heavy modules that a session has imported by its end.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from common import about, say, spread, table

OURS, HYPOTHESIS = "saliency", "hypothesispytest"
VARIANTS = {"neither": (), "ours": (OURS,), "hypothesis": (HYPOTHESIS,), "both": (HYPOTHESIS, OURS)}
DIFFERENCES = {
    "pytest-saliency": ("ours", "neither"),
    "hypothesis": ("hypothesis", "neither"),
    "pytest-saliency, beside hypothesis": ("both", "hypothesis"),
}
HEAVY = ("torch", "torchvision", "numpy", "scipy", "yaml", "pydantic", "jinja2", "PIL", "safetensors", "filelock")
BUDGET = 10.0
WATCH = f"""
import sys
def pytest_unconfigure(config):
    print("HEAVY", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|( *)(\S+)")


def plugins() -> set[str]:
    """Return the names of all installed pytest plugins."""
    return {entry.name for entry in entry_points(group="pytest11")}


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the processes: compiled modules are kept between them, as they are for a user."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def session(folder: Path, wanted: Sequence[str], *arguments: str) -> tuple[float, str]:
    """Run pytest in ``folder`` with the plugins ``wanted`` alone; return its milliseconds and what it printed."""
    off = [part for name in sorted(plugins() - set(wanted)) for part in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *off, *arguments]
    start = time.perf_counter()
    ran = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    spent = 1000 * (time.perf_counter() - start)
    if ran.returncode:
        raise SystemExit(f"importing.py: pytest failed with {wanted}:\n{ran.stdout}{ran.stderr}")
    return spent, ran.stdout


def in_rounds(folder: Path, repeats: int, *arguments: str) -> dict[str, list[float]]:
    """Return the milliseconds of every variant, one a round; two rounds beforehand compile and fill caches."""
    order = list(VARIANTS)
    shuffled = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in order}
    for turn in range(-2, repeats):
        shuffled.shuffle(order)
        for name in order:
            spent, _ = session(folder, VARIANTS[name], *arguments)
            if turn >= 0:
                found[name].append(spent)
    return found


def differences(found: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return what each plugin added, round by round."""
    return {
        who: [one - other for one, other in zip(found[more], found[less], strict=True)]
        for who, (more, less) in DIFFERENCES.items()
    }


def import_times(folder: Path, repeats: int) -> list[float]:
    """Return the milliseconds of importing the plugin into a process that has imported pytest, one a process."""
    found = []
    for _ in range(repeats):
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import pytest, pytest_saliency.plugin"],
            env=environment(folder),
            capture_output=True,
            text=True,
            check=True,
        )
        # Top-level lines only: what they import themselves is in their second number.
        lines = (LINE.match(line) for line in ran.stderr.splitlines())
        ours = [line for line in lines if line and line[4].split(".")[0] == "pytest_saliency" and len(line[3]) <= 1]
        found.append(sum(int(line[2]) for line in ours) / 1000)
    return found


def heavy_modules(folder: Path) -> list[str]:
    """Return the heavy modules that a session with our plugin has imported by its end."""
    (folder / "conftest.py").write_text(WATCH, encoding="utf-8")
    try:
        _, printed = session(folder, (OURS,))
    finally:
        (folder / "conftest.py").unlink()
    line = next((line for line in printed.splitlines() if line.startswith("HEAVY")), None)
    if line is None:
        raise SystemExit(f"importing.py: the session did not say what it imported:\n{printed}")
    return line.split()[1:]


def quartiles(values: Sequence[float]) -> str:
    """Return the median with the quartiles, in ms."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} ({low:.1f} .. {high:.1f})"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--quick", action="store_true", help="3 rounds: a rough idea")
    options = parser.parse_args(argv)
    repeats = 3 if options.quick else max(2, options.repeats)
    if OURS not in plugins():
        raise SystemExit("importing.py: pytest-saliency is not installed here, so pytest does not load its plugin")
    lines = []
    with tempfile.TemporaryDirectory(prefix="saliency-benchmark-") as name:
        folder = Path(name)
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        for what, arguments in (("run one test", ()), ("only collect it", ("--collect-only",))):
            say(f"{what} ...")
            found = in_rounds(folder, repeats, *arguments)
            added = differences(found)
            lines.append([what, quartiles(found["neither"]), *(quartiles(values) for values in added.values())])
        heavy = heavy_modules(folder)
        imported = import_times(folder, repeats)
    note = f"Milliseconds, medians of {repeats} rounds (quartiles); budget: {BUDGET:.0f} ms for pytest-saliency."
    print(about(note, packages=("pytest", "hypothesis")))
    print()
    print(table(("pytest is asked to", "without plugins", *(f"added by {who}" for who in DIFFERENCES)), lines))
    print()
    print(f"Import of `pytest_saliency.plugin` after pytest: {spread(imported, '{:.1f}'.format)} ms.  ")
    print(f"Heavy modules at the end of a session with the plugin: {', '.join(heavy) or 'none'}.  ")


if __name__ == "__main__":
    main()
