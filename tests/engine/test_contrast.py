"""CASE: which classes it contrasts with, what it records, and when it has no meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_saliency import Cases
from pytest_saliency.errors import MethodError, SaliencyError

from .helpers import TOLERANCE, raw, run, six
from .nets import ConvNet, OneLogit, PooledLinear, make, pictures
from .oracles import (
    capture,
    case_parts,
    contrast_confusion,
    contrast_logits,
    contrast_size,
    distance,
    maps,
    ranked,
)


@pytest.mark.parametrize("classes", [3, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_logit_sets_take_at_most_half_of_the_other_classes(classes: int, k: int) -> None:
    model = make(lambda: ConvNet(classes=classes), 71)
    model.classes = classes
    images = six(model)
    got = capture(model, images)
    explained = run(model, images, contrast={"select": "logits", "k": k})
    for target, top in (("top1", ranked(got.scores)[:, 0]), ("top2", ranked(got.scores)[:, 1])):
        expected = maps(got, "case", top, lambda i, u: contrast_logits(got.scores[i], u, k))
        found = explained.maps("case", target)
        assert distance(found.values.numpy(), expected) < TOLERANCE
        assert found.method == f"case[logits:{contrast_size(classes, k)}]"


def test_recorded_cosine_and_kept_share() -> None:
    """kept = 1 - cosine^2 is Pythagoras: it holds exactly when the rest is orthogonal to what was removed."""
    model = make(PooledLinear, 2005)
    images = six(model)
    got = capture(model, images)
    found = run(model, images).maps("case")
    cosine, kept = found.details["cosine"], found.details["kept"]
    for i, u in enumerate(found.classes):
        others = contrast_logits(got.scores[i], u)
        left, shared = case_parts(got.g[u, i], [got.g[v, i] for v in others])
        own = got.g[u, i].mean(1)
        np.testing.assert_allclose(
            cosine[i], own @ shared / np.linalg.norm(own) / np.linalg.norm(shared), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(kept[i], left @ left / (own @ own), rtol=1e-4)
    np.testing.assert_allclose(kept, 1 - np.square(cosine), rtol=1e-4)


def test_recorded_contrast_classes() -> None:
    model = make(PooledLinear, 2005)
    got = capture(model, six(model))
    found = run(model, six(model)).maps("case", "top2")
    recorded = found.details["contrast"]
    assert recorded.shape == (6, 6)
    for i, u in enumerate(found.classes):
        assert set(np.flatnonzero(recorded[i])) == set(contrast_logits(got.scores[i], u))


def test_a_longer_contrast_direction_removes_the_same() -> None:
    """Class 5's row is three times class 4's: contrasting with either leaves the same map."""
    model = make(PooledLinear, 2005)
    with torch.no_grad():
        model.fc.weight[5] = 3 * model.fc.weight[4]
    images = six(model)
    first = run(model, images, contrast={"select": "explicit", "classes": {0: [4]}})
    second = run(model, images, contrast={"select": "explicit", "classes": {0: [5]}})
    expected = raw(first, "case", 0)
    assert distance(expected, raw(first, "gradcam", 0)) > 1e-2
    assert distance(raw(second, "case", 0), expected) < TOLERANCE


def test_the_stabiliser_is_relative() -> None:
    """With gradients of 1e-7 an absolute stabiliser would leave Grad-CAM; the map must only shrink."""
    model = make(PooledLinear, 2005)
    small = make(PooledLinear, 2005)
    with torch.no_grad():
        small.fc.weight.mul_(1e-7)
        small.fc.bias.mul_(1e-7)
    expected = raw(run(model, six(model)), "case")
    assert distance(raw(run(small, six(model)), "case") * 1e7, expected) < TOLERANCE


@pytest.mark.parametrize(
    "classes", [{0: [1, 2], 1: [0], 2: [0, 4], 3: [1], 4: [2, 3]}, {u: [(u + 1) % 5] for u in range(5)}]
)
def test_explicit_sets(classes: dict[int, list[int]]) -> None:
    model = make(ConvNet, 1108)
    got = capture(model, six(model))
    explained = run(model, six(model), contrast={"select": "explicit", "classes": classes})
    for target, rank in (("top1", 0), ("top2", 1)):
        expected = maps(got, "case", ranked(got.scores)[:, rank], lambda _, u: classes[u])
        assert distance(raw(explained, "case", target), expected) < TOLERANCE
    assert "explicit" in explained.maps("case").method


def test_a_class_without_contrast_gets_gradcam_and_a_warning() -> None:
    model = make(ConvNet, 1108)
    got = capture(model, six(model))
    top = ranked(got.scores)[:, 0]
    lonely = int(top[0])
    classes = {u: [(u + 1) % 5] for u in range(5) if u != lonely}
    explained = run(model, six(model), contrast={"select": "explicit", "classes": classes})
    found = explained.maps("case")
    assert any("no_contrast" in w for w in found.warnings)
    alone = top == lonely
    plain = maps(got, "gradcam", top)
    assert distance(found.values.numpy()[alone], plain[alone]) < TOLERANCE
    expected = maps(got, "case", top, lambda _, u: classes.get(u, []))
    assert distance(found.values.numpy(), expected) < TOLERANCE
    assert "degenerate" not in set(found.status)


def test_full_contrast_has_no_warning() -> None:
    model = make(ConvNet, 1108)
    assert not any("no_contrast" in w for w in run(model, six(model)).maps("case").warnings)


def held_out(model: Any, n: int = 40) -> tuple[np.ndarray, list[int]]:
    images = pictures(n, model.image, seed=9)
    return images, [i % model.classes for i in range(n)]


def test_confusion_sets_come_from_the_held_out_images() -> None:
    model = make(ConvNet, 1108)
    images = six(model)
    held, labels = held_out(model)
    held_scores = capture(model, held).scores
    explained = run(model, images, contrast={"select": "confusion", "k": 2, "cases": Cases.from_arrays(held, labels)})
    got = capture(model, images)
    sets = {u: contrast_confusion(held_scores, labels, u, 2) for u in range(5)}
    by_logit = [set(contrast_logits(got.scores[i], u, 2)) for i, u in enumerate(ranked(got.scores)[:, 0])]
    assert any(set(sets[u]) != s for u, s in zip(ranked(got.scores)[:, 0], by_logit, strict=True))
    for target, rank in (("top1", 0), ("top2", 1)):
        expected = maps(got, "case", ranked(got.scores)[:, rank], lambda _, u: sets[u])
        assert distance(raw(explained, "case", target), expected) < TOLERANCE
    assert explained.maps("case").method == "case[confusion:2]"


def test_a_class_that_is_never_confused_still_has_a_contrast() -> None:
    """Labels equal to the predictions: every count off the diagonal is 0 and mean softmax ranks alone."""
    model = make(ConvNet, 1108)
    held, _ = held_out(model, 60)
    scores = capture(model, held).scores
    labels = [int(v) for v in scores.argmax(1)]
    assert len(set(labels)) == 5
    explained = run(model, six(model), contrast={"select": "confusion", "cases": Cases.from_arrays(held, labels)})
    got = capture(model, six(model))
    top = ranked(got.scores)[:, 0]
    expected = maps(got, "case", top, lambda _, u: contrast_confusion(scores, labels, u))
    assert distance(raw(explained, "case"), expected) < TOLERANCE
    assert not explained.maps("case").warnings


def test_confusion_without_cases_names_the_alternatives() -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(MethodError) as caught:
        run(model, six(model), contrast={"select": "confusion"}).maps("case")
    assert "cases" in str(caught.value)
    assert "logits" in str(caught.value)
    assert "explicit" in str(caught.value)


def test_the_tested_cases_are_not_the_held_out_ones() -> None:
    model = make(ConvNet, 1108)
    images = pictures(10, model.image, seed=1)
    labels = [i % 5 for i in range(10)]
    same = Cases.from_arrays(images.copy(), labels)
    with pytest.raises(MethodError, match="under test"):
        run(
            model,
            cases=Cases.from_arrays(images, labels),
            contrast={"select": "confusion", "cases": same},
        ).maps("case")


def test_held_out_labels_beyond_the_classes_are_refused() -> None:
    model = make(ConvNet, 1108)
    held, labels = held_out(model)
    labels[3] = 5
    with pytest.raises(SaliencyError) as caught:
        run(model, six(model), contrast={"select": "confusion", "cases": Cases.from_arrays(held, labels)}).maps("case")
    assert "5" in str(caught.value)


@pytest.mark.parametrize(
    "contrast",
    [
        {"select": "nearest"},
        {"select": "logits", "k": 0},
        {"select": "logits", "size": 2},
        {"select": "explicit"},
        {"select": "explicit", "classes": {0: [9]}},
        {"select": "explicit", "classes": {0: [0]}},
    ],
)
def test_a_contrast_that_makes_no_sense_is_a_method_error(contrast: dict[str, Any]) -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(MethodError):
        run(model, six(model), contrast=contrast).maps("case")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_two_class_head_with_tied_rows_is_degenerate(sign: float) -> None:
    model = make(lambda: PooledLinear(2), 2005)
    with torch.no_grad():
        model.fc.weight[1] = sign * model.fc.weight[0]
    explained = run(model, six(model))
    assert set(explained.maps("case", "top1").status) == {"degenerate"}
    assert set(explained.maps("case", "top2").status) == {"degenerate"}
    assert "degenerate" not in set(explained.maps("gradcam").status)


def test_two_class_head_with_free_rows_has_a_map() -> None:
    model = make(lambda: PooledLinear(2), 2005)
    got = capture(model, six(model))
    explained = run(model, six(model))
    found = explained.maps("case")
    assert "degenerate" not in set(found.status)
    assert distance(found.values.numpy(), maps(got, "case", found.classes)) < TOLERANCE


@pytest.mark.parametrize("flat", [False, True])
def test_one_logit_head_is_degenerate_for_case_and_signed_for_gradcam(flat: bool) -> None:
    model = make(lambda: OneLogit(flat), 2202)
    explained = run(model, six(model))
    assert set(explained.maps("case").status) == {"degenerate"}
    np.testing.assert_allclose(raw(explained, "gradcam", 0), -raw(explained, "gradcam", 1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(explained.logits[:, 0], -explained.logits[:, 1])
    top = (explained.logits[:, 1] > 0).numpy().astype(int)
    assert len(set(top)) == 2
    assert np.array_equal(explained.predicted, top)
