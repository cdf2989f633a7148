"""Processes that share a cache: each entry is computed once, nobody waits for the dead, nobody waits in a circle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pytest_saliency.records import cache_lock
from pytest_saliency.records.cache import Cache, address

HEAD = """
import os, sys, time
from pathlib import Path
import numpy as np
from pytest_saliency.records.cache import Cache, address
folder = Path(sys.argv[1])
cache = Cache(folder / "c", 1 << 20, lambda sentence: print(sentence, flush=True))
key = address({"name": "a"})
"""
KEY = address({"name": "a"})
PATIENCE = 60.0


def process(folder: Path, text: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(text), str(folder), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def wait_for(path: Path, by: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert by.poll() is None, by.communicate()[0]
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.01)


def test_processes_compute_an_entry_once(tmp_path: Path) -> None:
    work = """
        (folder / sys.argv[2]).touch()
        while not (folder / "go").exists():
            time.sleep(0.002)
        with cache.locked(key):
            entry = cache.get(key)
            if entry is None:
                with (folder / "count").open("a") as file:
                    file.write("computed ")
                time.sleep(0.3)
                assert cache.put(key, {"x": np.arange(4)}, {"by": sys.argv[2]})
                entry = cache.get(key)
            print(entry.arrays["x"].sum(), entry.meta["by"])
    """
    workers = [process(tmp_path, work, name) for name in ("one", "two", "three")]
    for worker, name in zip(workers, ("one", "two", "three"), strict=True):
        wait_for(tmp_path / name, worker)
    (tmp_path / "go").touch()
    said = {worker.communicate(timeout=PATIENCE)[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "computed "
    assert len(said) == 1, "all have the same entry, and none said anything else"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_a_killed_writer_leaves_nothing_that_reads_and_no_lock(tmp_path: Path) -> None:
    writer = process(
        tmp_path,
        """
        def stuck(descriptor):
            (folder / "writing").touch()
            time.sleep(600)
        os.fsync = stuck
        with cache.locked(key):
            cache.put(key, {"x": np.arange(1000)}, {})
        """,
    )
    wait_for(tmp_path / "writing", writer)
    parts = list((tmp_path / "c").glob("??/*.part"))
    assert len(parts) == 1
    assert parts[0].stat().st_size > 8000, "it was killed after everything was written, but not renamed"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate(timeout=PATIENCE)
    said: list[str] = []
    cache = Cache(tmp_path / "c", 1 << 20, said.append)
    assert cache.get(KEY) is None
    with cache.locked(KEY):  # would wait without limit for a living one
        assert cache.put(KEY, {"x": np.arange(2)}, {})
    hours_ago = time.time() - 2 * 3600
    os.utime(parts[0], (hours_ago, hours_ago))
    assert cache.put(address({"name": "b"}), {}, {})
    assert not parts[0].exists()
    assert said == []


def test_a_living_process_is_waited_for_and_an_error_inside_releases(tmp_path: Path) -> None:
    holder = process(
        tmp_path,
        """
        try:
            with cache.locked(key):
                (folder / "held").touch()
                while not (folder / "finish").exists():
                    time.sleep(0.005)
                (folder / "finished").touch()
                raise KeyError("the computation failed")
        except KeyError:
            time.sleep(600)
        """,
    )
    wait_for(tmp_path / "held", holder)
    threading.Timer(0.5, (tmp_path / "finish").touch).start()
    cache = Cache(tmp_path / "c", 1 << 20, pytest.fail)
    with cache.locked(KEY):
        assert (tmp_path / "finished").exists()
    holder.kill()
    holder.communicate(timeout=PATIENCE)


def test_a_process_may_take_the_same_key_twice(tmp_path: Path) -> None:
    one, two = (Cache(tmp_path / "c", 1 << 20, pytest.fail) for _ in range(2))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "c")
    three = Cache(link, 1 << 20, pytest.fail)
    with one.locked(KEY), one.locked(KEY), two.locked(KEY), three.locked(KEY):
        (lock,) = (tmp_path / "c" / "locks").iterdir()
        assert not free(lock)
    assert free(lock)
    assert not cache_lock._held


def free(lock: Path) -> bool:
    """Ask the operating system from outside whether a file is locked."""
    import fcntl

    with lock.open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def key(digits: str) -> str:
    return digits.ljust(64, "0")


def test_keys_share_a_bounded_number_of_lock_files(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, pytest.fail)
    for number in range(64):
        with cache.locked(key(f"abc{number:02x}")), cache.locked(key("abd")):
            pass
    assert sorted(path.name for path in (tmp_path / "c" / "locks").iterdir()) == ["abc.lock", "abd.lock"]


def test_two_processes_with_two_keys_in_opposite_orders_do_not_stop_each_other(tmp_path: Path) -> None:
    work = """
        first, second = (digits.ljust(64, "0") for digits in sys.argv[2:4])
        with cache.locked(first):
            (folder / sys.argv[2]).touch()
            while not (folder / sys.argv[3]).exists():  # both hold one, and each wants the other's
                time.sleep(0.005)
            with cache.locked(second):
                print("done")
    """
    workers = [process(tmp_path, work, *digits) for digits in (("001", "002"), ("002", "001"))]
    assert [worker.communicate(timeout=PATIENCE)[0] for worker in workers] == ["done\n", "done\n"]


def test_threads_of_a_process(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", 1 << 20, pytest.fail)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(20):
                with cache.locked(key(f"00{number % 3}")):
                    pass
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)
    assert not cache_lock._held


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    said: list[str] = []
    cache = Cache(tmp_path / "c", 1 << 20, said.append)
    for _ in range(2):
        with cache.locked(KEY):
            pass
    assert len(said) == 1
    assert "Function not implemented" in said[0]
    assert not cache_lock._held
