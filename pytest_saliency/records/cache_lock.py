"""Who computes an entry: one process at a time, the others wait for it.

The locks are the operating system's own on open files, so they vanish with a process however it ends. They only save
work: an entry appears in one step and is the same whoever computed it, so that going on without a lock costs a second
computation and nothing else. Where waiting could be forever, that is what happens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

PREFIX = 3  # hexadecimal digits of the key: at most 4096 empty files, and two keys seldom share one


@dataclass
class _Held:
    lock: BaseFileLock
    count: int


_held: dict[Path, _Held] = {}  # of this process, whichever cache object asked: its own lock must not stop it
_guard = threading.Lock()


def acquire(folder: Path, key: str) -> Callable[[], None]:
    """Take the lock of ``key`` below ``folder``, waiting as long as another process holds it; returns its release.

    A process that holds the lock already goes straight on. Keys share a fixed number of lock files, because a lock
    file can never be deleted safely while others may be about to lock it. Sharing must not make processes wait for
    each other in a circle: whoever holds a lock waits for a further one only if its file comes later in the order of
    names, and otherwise takes it if it is free, or goes on without.

    Raises
    ------
    OSError
        The lock file cannot be made, or the file system knows no locks.
    """
    path = folder.resolve() / f"{key[:PREFIX]}.lock"
    with _guard:
        if path in _held:
            _held[path].count += 1
            return lambda: _release(path)
        may_wait = all(path.name > held.name for held in _held)
    _make(path)
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=-1 if may_wait else 0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return lambda: None
    with _guard:
        _held[path] = _Held(lock, 1)
    return lambda: _release(path)


def _release(path: Path) -> None:
    with _guard:
        held = _held[path]
        held.count -= 1
        if held.count == 0:
            del _held[path]
            held.lock.release()


def _make(path: Path) -> None:
    """Make the lock file as the user's umask has it, and find out whether files can be locked there at all.

    Without such locks filelock would make do with the mere existence of a file, which outlives a killed process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            import fcntl
        except ImportError:  # Windows, whose file locks are always there
            return
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # someone holds it, so it works
