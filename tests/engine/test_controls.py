"""The negative controls are what they say: fresh noise, a Gaussian, the class's average."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_saliency import Explained
from pytest_saliency.errors import MethodError

from .helpers import TOLERANCE, raw, run
from .nets import ConvNet, VolumeNet, make, pictures
from .oracles import distance


def explained(n: int = 12) -> Explained:
    model = make(ConvNet, 1108)
    return run(model, pictures(n, model.image, seed=1), batch_size=5)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_random_draws_afresh_for_every_call() -> None:
    run_once = explained(40)
    again = run_once.maps_jittered("random")
    assert again is not None
    draws = [raw(run_once, "random", t) for t in ("top1", "top2", "label")] + [again.values.double().numpy()]
    for i, a in enumerate(draws):
        for b in draws[i + 1 :]:
            assert not np.any(np.all(a == b, axis=(1, 2)))
            assert abs(correlation(a, b)) < 5 / a.size**0.5


def test_random_differs_between_images_and_repeats_between_runs() -> None:
    first, second = explained(), explained()
    for target in ("top1", "top2", "label"):
        a = raw(first, "random", target)
        assert np.array_equal(a, raw(second, "random", target))
        assert len({m.tobytes() for m in a}) == 12
    once, twice = first.maps_jittered("random"), second.maps_jittered("random")
    assert once is not None
    assert twice is not None
    assert np.array_equal(once.values, twice.values)


def test_random_belongs_to_the_image_not_to_its_place() -> None:
    model = make(ConvNet, 1108)
    whole = run(model, pictures(12, model.image, seed=1))
    part = run(model, cases=whole.cases.subset([7, 2]))
    assert np.array_equal(raw(part, "random"), raw(whole, "random")[[7, 2]])


@pytest.mark.parametrize("build", [ConvNet, VolumeNet])
def test_centre_is_a_gaussian_in_the_middle(build: type) -> None:
    """Standard deviation a quarter of each side, read at the centres of the cells."""
    model = make(build, 1700)
    found = run(model, pictures(4, model.image, seed=1))
    values = raw(found, "centre")
    assert values.shape[1:] == raw(found, "gradcam").shape[1:]
    assert all(np.array_equal(values[0], v) for v in values)
    assert np.array_equal(raw(found, "centre", "top2"), values)
    one = values[0]
    expected = np.ones(())
    for size in one.shape:
        position = (np.arange(size) + 0.5) / size - 0.5
        expected = expected[..., None] * np.exp(-0.5 * (position / 0.25) ** 2)
    assert distance(one[None] / one.max(), expected[None] / expected.max()) < TOLERANCE
    middle = tuple(s // 2 for s in one.shape)
    assert one[middle] == one.max()
    assert set(found.maps("centre").status) == {"ok"}


def test_class_mean_is_one_map_a_class() -> None:
    found = explained(30)
    plain = raw(found, "gradcam")
    for target in ("top1", "top2", "label"):
        maps = found.maps("class_mean", target)
        values = maps.values.double().numpy()
        for c in set(maps.classes.tolist()):
            rows = values[maps.classes == c]
            assert all(np.array_equal(rows[0], r) for r in rows)
    top = found.maps("class_mean", "top1")
    for c in set(top.classes.tolist()):
        members = top.classes == c
        scaled = [np.maximum(m, 0) / m.max() if m.max() > 0 else 0 * m for m in plain[members]]
        value = top.values.double().numpy()[members][0]
        assert distance(value[None], np.mean(scaled, axis=0)[None]) < TOLERANCE
    assert top.method == "class_mean[gradcam]"


def test_an_unknown_method_is_told_what_there_is() -> None:
    with pytest.raises(MethodError) as caught:
        explained().maps("gradcam+")
    for name in ("gradcam", "gradcam++", "case", "layercam"):
        assert name in str(caught.value)
