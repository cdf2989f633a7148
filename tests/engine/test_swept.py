"""What a pass leaves is the same after it was put together, cut, or kept as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_saliency.engine.methods.evidence import RawMaps
from pytest_saliency.engine.swept import Part, Swept, on_cpu

GRID = (2, 3)
CHANNELS = 7


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def part(n: int, seed: int, *, degenerate: bool = False, active: bool = True) -> Part:
    made = draw(seed)
    classes = {"top1": torch.randint(0, 4, (n,), generator=made), "2": torch.full((n,), 2)}
    maps: dict[tuple[str, str], RawMaps] = {}
    for method in ("gradcam", "case[elementwise]"):
        for word in classes:
            details: dict[str, Tensor] = {}
            if method != "gradcam":
                details = {"kept": torch.rand(n, generator=made, dtype=torch.float64), "contrast": torch.ones(n, 4)}
            mask = torch.rand(n, generator=made) < 0.5 if degenerate and method != "gradcam" else None
            maps[method, word] = RawMaps(torch.randn(n, *GRID, generator=made), mask, details)
    return Part(
        scores=torch.randn(n, 4, generator=made),
        binary=False,
        size=(12, 16),
        classes=classes,
        maps=maps,
        active=torch.rand(n, generator=made, dtype=torch.float64) if active else None,
    )


def parts(**settings: Any) -> list[Part]:
    return [part(3, 1, degenerate=True, **settings), part(1, 2, **settings), part(2, 3, **settings)]


def alike(one: Swept, two: Swept) -> None:
    assert torch.equal(one.scores, two.scores)
    assert (one.binary, one.input_size, one.channels) == (two.binary, two.input_size, two.channels)
    assert (one.active is None) == (two.active is None)
    assert one.active is None or torch.equal(one.active, two.active)  # type: ignore[arg-type]
    for left, right in ((one.classes, two.classes), (one.values, two.values), (one.degenerate, two.degenerate)):
        assert list(left) == list(right)
        for a, b in zip(left.values(), right.values(), strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)
    assert list(one.details) == list(two.details)
    for key, found in one.details.items():
        assert list(found) == list(two.details[key])
        assert all(torch.equal(value, two.details[key][name]) for name, value in found.items())


def test_parts_are_put_together_in_order() -> None:
    given = parts()
    whole = Swept.joined(given, CHANNELS)
    assert len(whole.scores) == 6
    assert whole.channels == CHANNELS
    for key in given[0].maps:
        assert torch.equal(whole.values[key], torch.cat([one.maps[key].values for one in given]))
    # One part knows of degenerate maps, so that those of the others are not.
    assert set(whole.degenerate) == {("case[elementwise]", "top1"), ("case[elementwise]", "2")}
    for key, mask in whole.degenerate.items():
        assert torch.equal(mask[:3], given[0].maps[key].degenerate)  # type: ignore[arg-type]
        assert not mask[3:].any()


@pytest.mark.parametrize("active", [True, False])
def test_arrays_and_back(active: bool) -> None:
    whole = Swept.joined(parts(active=active), CHANNELS)
    arrays, meta = whole.to_arrays()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    alike(Swept.from_arrays(arrays, meta), whole)


def test_arrays_survive_being_written(tmp_path: Any) -> None:
    import json

    whole = Swept.joined(parts(), CHANNELS)
    arrays, meta = whole.to_arrays()
    np.savez(tmp_path / "kept.npz", **arrays)
    with np.load(tmp_path / "kept.npz") as found:
        alike(Swept.from_arrays(dict(found), json.loads(json.dumps(meta))), whole)


def test_rows_are_those_of_each_array() -> None:
    whole = Swept.joined(parts(), CHANNELS)
    chosen = [4, 0, 4]
    some = whole.rows(chosen)
    assert torch.equal(some.scores, whole.scores[chosen])
    for key, values in whole.values.items():
        assert torch.equal(some.values[key], values[chosen])
    for key, mask in whole.degenerate.items():
        assert torch.equal(some.degenerate[key], mask[chosen])
    assert torch.equal(
        some.details["case[elementwise]", "2"]["kept"], whole.details["case[elementwise]", "2"]["kept"][chosen]
    )
    alike(whole.rows(range(6)), whole)


def test_maps_come_to_the_cpu_as_float32_on_their_grid() -> None:
    raw = RawMaps(
        torch.arange(12, dtype=torch.float64).reshape(2, 6), torch.tensor([True, False]), {"kept": torch.ones(2)}
    )
    made = on_cpu(raw, GRID)
    assert made.values.dtype == torch.float32
    assert made.values.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert made.degenerate is not None
    assert made.degenerate.tolist() == [True, False]
