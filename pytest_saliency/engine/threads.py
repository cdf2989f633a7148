"""How many threads of the CPU compute, and how they wait for each other; the process's own settings stay.

OpenMP threads that have nothing to do look again and again for a while before they sleep, and so do those that wait
for one that has no core because another process has it. On a machine that others use too (two pytest workers, a
compiler in the background) that costs up to ten milliseconds in every operation, tenfold slower in all.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import torch

SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
WAITS_SET_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SPREAD = 1 << 17  # more elements than torch works on without a team


def threads_for(workers: int) -> int | None:
    """Return how many CPU threads each of ``workers`` processes should use; None leaves the number as it is.

    A number that the environment sets (``OMP_NUM_THREADS``) is taken to be meant for each process.
    """
    if workers <= 1 or any(os.environ.get(name) for name in SET_BY_USER):
        return None
    return max(1, torch.get_num_threads() // workers)


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Run the calling thread's operations on ``count`` threads inside; None changes nothing.

    Other threads, and threads that begin later, keep the number they have.
    """
    if count is None:
        yield
        return
    found = torch.get_num_threads()
    set_own_threads(count)
    try:
        yield
    finally:
        set_own_threads(found)


def set_own_threads(count: int) -> None:
    """Run the calling thread's operations on ``count`` threads from now on, and no other thread's.

    ``torch.set_num_threads`` sets two things: the number of the calling thread, which OpenMP and MKL keep for each
    thread, and the number that threads take over when they first compute. The second is put back, from a thread
    that ends with it.
    """
    default = _in_new_thread(None)
    torch.get_num_threads()  # a thread takes the number over when it first asks, which would undo what comes next
    torch.set_num_threads(count)
    _in_new_thread(default)


def _in_new_thread(count: int | None) -> int:
    """Return the number of threads that a new thread takes over; set it first if ``count`` is given."""
    found: list[int] = []

    def work() -> None:
        if count is not None:
            torch.set_num_threads(count)
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=work, name="saliency-threads")
    thread.start()
    thread.join()
    return found[0]


@contextlib.contextmanager
def short_waits() -> Iterator[None]:
    """Let OpenMP threads sleep soon while they wait, inside.

    GCC's OpenMP, which torch uses on Linux, has no call for it, but shortens the wait three-hundredfold by itself
    where the process has more OpenMP threads than cores. So a few are made that sleep until the end. Does nothing
    where the environment says how to wait (``OMP_WAIT_POLICY``), with one thread, or with another OpenMP.
    """
    own = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
    if cores == 0 or own == 1 or any(os.environ.get(name) for name in WAITS_SET_BY_USER):
        yield
        return
    made, over = threading.Event(), threading.Event()

    def park() -> None:
        set_own_threads(max(2, cores - own + 2))
        torch.ones(SPREAD).add_(1.0)
        made.set()
        over.wait()

    thread = threading.Thread(target=park, name="saliency-waits", daemon=True)
    thread.start()
    try:
        made.wait()
        yield
    finally:
        over.set()
        thread.join()
