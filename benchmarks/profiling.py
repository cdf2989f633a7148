"""Where the time of a row goes: operations that take longer than in the plain forward pass of the same images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import number, table
from rows import Row
from subjects import Bench
from torch.profiler import ProfilerActivity

SHOWN = 12


def profile(bench: Bench, row: Row) -> str:
    """Return a markdown table of the operations with the most time beyond the forward pass, in ms an image."""
    row.ours(bench)
    bench.forward()
    done: list[float] = []
    ours = _times(bench, lambda: done.append(row.ours(bench).count))
    plain = {name: spent / len(bench.cases) for name, spent in _times(bench, bench.forward).items()}
    count = done[-1]
    more = {name: spent / count - plain.get(name, 0.0) for name, spent in ours.items()}
    order = sorted(more, key=lambda name: -more[name])[:SHOWN]
    whole = sum(plain.values())
    lines = [[f"`{name}`", number(max(0.0, more[name])), number(max(0.0, more[name] / whole))] for name in order]
    heading = f"{row.title}, {bench.name}: a forward pass takes {number(whole)} ms in all operations."
    return "\n\n".join([heading, table(("operation", "ms beyond the forward pass", "in forward passes"), lines)])


def _times(bench: Bench, work: Callable[[], Any]) -> dict[str, float]:
    """Return the milliseconds that each operation took itself, without those it called."""
    cuda = bench.device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as made:
        work()
        bench.wait()
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    return {event.key: getattr(event, spent) / 1000 for event in made.key_averages()}
