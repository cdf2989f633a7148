"""A process that is killed at any step of writing leaves no bundle, or a whole one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_saliency.evidence.verify import verify

from .bundles import bundle_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills itself as a process can on POSIX")

WRITER = """
import os, signal, sys, threading
from pathlib import Path

target, k = Path(sys.argv[1]), None
from tests.evidence.bundles import document_of, repository
from pytest_saliency.evidence import bundle
from pytest_saliency.evidence.bundle import write_bundle

made = {}
for name in ("document_files", "bundle_document"):  # made once: what is killed is the writing
    real = getattr(bundle, name)
    setattr(bundle, name, lambda *a, real=real, name=name, **k: made.get(name) or made.setdefault(name, real(*a, **k)))

root = repository(target / "repository")
document = document_of(root, {"kept": "PASS"}, id="0" * 32)
write_bundle(target / "warm", document, root=root)  # so that nothing is imported or read later
steps = 0

def step():
    global steps
    steps += 1
    if steps == k:
        os.kill(os.getpid(), signal.SIGKILL)

def hook(event, args):
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and str(parent) in str(args[0]):
        step()

parent = target / "evidence"
sys.addaudithook(hook)
real_sync, real_write = os.fsync, Path.write_bytes

def fsync(descriptor):
    step()
    real_sync(descriptor)
    step()

def write_bytes(path, content):
    with path.open("wb") as file:
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            file.write(part)
            file.flush()
            step()
    return len(content)

os.fsync, Path.write_bytes = fsync, write_bytes
for wanted in range(1, 10_000):
    parent = target / f"evidence-{wanted}"
    child = os.fork()
    if child == 0:
        k, steps = wanted, 0
        write_bundle(parent, document, root=root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(wanted, os.WTERMSIG(status) if os.WIFSIGNALED(status) else "done", flush=True)
    if not os.WIFSIGNALED(status):
        break
"""


def test_killed_at_every_step_there_is_no_bundle_or_a_whole_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows, done.stderr
    assert rows[-1][1] == "done", done.stdout + done.stderr
    assert {row[1] for row in rows[:-1]} == {str(int(signal.SIGKILL))}
    assert len(rows) > 50
    whole = verify(bundle_of(tmp_path / "reference", {"kept": "PASS"}).path, 0).id
    seen = set()
    for number, _ in rows:
        parent = tmp_path / f"evidence-{number}"
        left = sorted(path.name for path in parent.iterdir()) if parent.exists() else []
        shown = [name for name in left if not name.startswith(".")]
        assert all(name.endswith(".part") for name in left if name.startswith(".")), left
        assert len(shown) <= 1, left
        for name in shown:
            report = verify(parent / name, 0)
            assert report.whole, (number, report.findings)
        seen.add(len(shown))
    assert seen == {0, 1}  # the last steps come after the rename, when the bundle is there
    assert whole is not None


def test_an_error_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match="No space left"):
        bundle_of(tmp_path, {"kept": "PASS"})
    assert list((tmp_path / "evidence").iterdir()) == []
