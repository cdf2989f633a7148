"""Every method on every network against its float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_saliency import Cases, Explained, explain

from .helpers import BY_NAME, GRADIENT, TOLERANCE, cases_of, six, subject_of
from .nets import Tiny
from .oracles import Capture, capture, distance, maps, ranked

Made = tuple[Tiny, Cases, Explained, Capture]


@pytest.fixture(scope="module", params=sorted(BY_NAME))
def made(request: pytest.FixtureRequest) -> Made:
    net = BY_NAME[request.param]
    model = net.model()
    images = six(model)
    cases = cases_of(images, model.classes, shift=1)
    return model, cases, explain(subject_of(net, model), cases, device="cpu", batch_size=4), capture(model, images)


def test_scores_and_layer(made: Made) -> None:
    model, cases, explained, got = made
    np.testing.assert_allclose(explained.logits.numpy(), got.scores, rtol=1e-5, atol=1e-5)
    assert explained.logits.shape == (6, model.classes)
    assert explained.binary == (model.classes == 2)
    assert explained.layer.name == model.layer
    assert explained.input_size == model.image[1:]
    top = ranked(got.scores)[:, 0]
    assert np.array_equal(explained.predicted, top)
    assert np.array_equal(explained.correct, top == np.asarray(cases.labels))


@pytest.mark.parametrize("target", ["top1", "top2", "label", "index"])
@pytest.mark.parametrize("method", GRADIENT)
def test_method_agrees_with_its_oracle(made: Made, method: str, target: str) -> None:
    model, cases, explained, got = made
    order = ranked(got.scores)
    last = model.classes - 1
    classes = {"top1": order[:, 0], "top2": order[:, 1], "label": np.asarray(cases.labels), "index": [last] * 6}[target]
    found = explained.maps(method, last if target == "index" else target)
    assert np.array_equal(found.classes, classes)
    assert found.ids == cases.ids
    assert tuple(found.values.shape) == (6, *got.grid)
    assert str(found.values.dtype) == "torch.float32"
    assert not found.values.requires_grad
    if method == "case" and model.classes == 2:
        assert set(found.status) == {"degenerate"}
        return
    expected = maps(got, method, classes)
    assert distance(found.values.numpy(), expected) < TOLERANCE
    blank = (expected <= 0).reshape(6, -1).all(1)
    assert list(found.status) == ["blank" if b else "ok" for b in blank]


@pytest.mark.parametrize("method", GRADIENT)
def test_full_name_and_version(made: Made, method: str) -> None:
    found = made[2].maps(method)
    size = max(1, min(3, (made[0].classes - 1) // 2))
    assert found.method == (f"case[logits:{size}]" if method == "case" else method)
    assert found.target == "top1"
    assert found.version >= 1


def test_repeat_under_contrast_is_the_map_of_the_changed_image(made: Made) -> None:
    """The repeat explains the original's top-1 class on the image with 0.9 times the contrast about its mean."""
    model, _, explained, got = made
    images = six(model)
    centre = images.mean(axis=tuple(range(1, images.ndim)), keepdims=True)
    changed = capture(model, (0.9 * images + 0.1 * centre).astype(np.float32))
    top = ranked(got.scores)[:, 0]
    kept = ranked(changed.scores)[:, 0] == top
    assert np.array_equal(explained.jitter_kept_prediction, kept)
    for method in GRADIENT:
        found = explained.maps_jittered(method)
        assert found is not None
        assert np.array_equal(found.classes, top)
        if method == "case" and model.classes == 2:
            continue
        assert distance(found.values.numpy(), maps(changed, method, top)) < TOLERANCE
        assert distance(found.values.numpy(), maps(got, method, top)) > 1e-4
