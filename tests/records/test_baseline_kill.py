"""A process killed while it writes or approves baselines: there is the old entry or the new one, whole, every time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from fixtures.records import sample_record
from pytest_saliency.records.baseline_key import Key
from pytest_saliency.records.baselines import find, stray

from .baseline_files import later, maps_for

ROOT = Path(__file__).parents[2]
FIRST = sample_record("class_sensitive")
KEY = Key.of(FIRST)

# One process that has everything imported, and a child of it for every death. A child writes a candidate and approves
# it; it kills itself before the n-th call that has something on the disk (fsync) or puts it under its name (replace,
# unlink), or is killed from outside after a while. A line of the output: folder, how the child ended, how far it came.
DYING = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.records.baseline_files import APPROVAL, approved, candidate, later
from tests.records.test_baseline_kill import FIRST
from pytest_saliency.records.baselines import approve, find

records, whole = (later(FIRST), FIRST), (os.fsync, Path.replace, Path.unlink)

def work(folder, report, turns):
    for turn in range(turns):
        key = candidate(folder, records[turn % 2])
        os.write(report, b"w")
        waiting = find(folder, key).waiting
        if waiting is not None:
            approve(folder, waiting, **{{**APPROVAL, "by": "Ben"}})
        os.write(report, b"a")
    os._exit(0)

def at_step(step):
    left = [step]
    def counted(function):
        def call(*args, **kwargs):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **kwargs)
        return call
    os.fsync, Path.replace, Path.unlink = map(counted, whole)

def child(folder, step, turns, patience):
    approved(folder, FIRST)
    reading, report = os.pipe()
    process = os.fork()
    if process == 0:
        if step is not None:
            at_step(step)
        work(folder, report, turns)
    os.close(report)
    if patience is not None:
        time.sleep(patience)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reading, "rb") as told:
        come = told.read().decode()
    print(folder.name, os.waitstatus_to_exitcode(status), come[:2] or "-", flush=True)
    return status == 0

root, manner = Path(sys.argv[1]), sys.argv[2]
if manner == "steps":
    for step in range(100):
        if child(root / str(step), step, 1, None):
            break
else:
    draw = random.Random(7)
    for turn in range(40):
        child(root / str(turn), None, 10_000, draw.uniform(0.0, 0.05))
"""


def deaths(root: Path, manner: str) -> list[tuple[Path, int, str]]:
    done = subprocess.run(
        [sys.executable, "-c", DYING.format(root=str(ROOT)), str(root), manner],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(root / name, int(code), come) for name, code, come in rows]


def whole(folder: Path) -> tuple[str, str | None]:
    """Return who approved what is in force, and of whose numbers a candidate is; everything there is loaded."""
    numbers = {tuple(record["per_image"]["agreement"]): who for who, record in (("Ann", FIRST), ("Ben", later(FIRST)))}
    shelf = find(folder, KEY)
    assert shelf.approved is not None
    assert shelf.approved.approval is not None
    stored = shelf.approved.load()
    waiting = None if shelf.waiting is None else shelf.waiting.load()
    assert set(stored.maps) == set(maps_for(FIRST))
    return (
        numbers[tuple(stored.per_image["agreement"])],
        None if waiting is None else numbers[tuple(waiting.per_image["agreement"])],
    )


def test_killed_before_every_step(tmp_path: Path) -> None:
    assert later(FIRST)["per_image"] != FIRST["per_image"]
    seen = set()
    *dead, ended = deaths(tmp_path, "steps")
    for folder, code, come in dead:
        state = whole(folder)
        seen.add(state)
        assert code == -signal.SIGKILL
        if come == "w":
            assert state in (("Ann", "Ben"), ("Ben", None))
        # What is left over can be found again.
        assert all(path.name.endswith((".npz", ".part")) for path in stray(folder))
    assert ended[1:] == (0, "wa")
    assert whole(ended[0]) == ("Ben", None)
    assert len(dead) >= 8
    assert seen == {("Ann", None), ("Ann", "Ben"), ("Ben", None)}


def test_killed_at_any_time(tmp_path: Path) -> None:
    rows = deaths(tmp_path, "whenever")
    assert len(rows) == 40
    for folder, code, _ in rows:
        assert code == -signal.SIGKILL
        assert whole(folder)[0] in ("Ann", "Ben")
    assert len({come for _, _, come in rows}) > 1, "all died at the same place"
