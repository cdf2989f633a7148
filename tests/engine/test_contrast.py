"""CASE: which classes it contrasts with, what it records, and when it has no meaning."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from pytest_saliency import Cases
from pytest_saliency.engine.contrast import Contrast, similar_table, soft_sets, soft_table
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


# -- by the likeness of classes ----------------------------------------------------------------------------------------


def test_similar_classes_by_hand() -> None:
    """Angles on a circle: length has no say, the opposite row is the least alike, ties go to the lower class."""
    angles = np.radians([0, 10, 60, 170, -10, 30])
    rows = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array([1, 5, 0.1, 3, 2, 1])[:, None]
    table = similar_table(torch.from_numpy(rows), 2)
    assert [tuple(np.flatnonzero(row)) for row in table.numpy()] == [(1, 4), (0, 4), (1, 5), (2, 5), (0, 1), (0, 1)]
    # Class 1 is 20 degrees from both 4 and 5, class 5 is 30 degrees from both 0 and 2, class 0 is 10 from 1 and 4.
    assert tuple(np.flatnonzero(similar_table(torch.from_numpy(rows), 1)[0].numpy())) == (1,)


def test_similar_classes_with_equal_and_zero_rows() -> None:
    rows = torch.tensor([[1.0, 2, 3], [0, 0, 0], [1, 2, 3], [-1, -2, -3], [1, 2, 3], [0, 0, 0]])
    table = similar_table(rows, 2)
    assert [tuple(np.flatnonzero(row)) for row in table.numpy()] == [(2, 4), (0, 2), (0, 4), (1, 5), (0, 2), (0, 1)]


def test_similar_weights_use_the_rows_of_the_classifier() -> None:
    model = make(ConvNet, 1108)
    images = six(model)
    w = model.fc.weight.detach().double().numpy()
    unit = w / np.sqrt((w**2).sum(1))[:, None]
    nearest = {u: sorted((c for c in range(5) if c != u), key=lambda c: -(unit[c] @ unit[u])) for u in range(5)}
    explained = run(model, images, contrast={"select": "similar_weights"})
    got = capture(model, images)
    assert any(set(nearest[u][:2]) != set(contrast_logits(got.scores[i], u)) for i, u in enumerate(explained.predicted))
    for target, rank in (("top1", 0), ("top2", 1)):
        expected = maps(got, "case", ranked(got.scores)[:, rank], lambda _, u: nearest[u][:2])
        assert distance(raw(explained, "case", target), expected) < TOLERANCE
    assert explained.maps("case").method == "case[similar_weights:2]"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("classes", [1, 2])
def test_similar_weights_of_two_classes_is_the_other_one(classes: int) -> None:
    model = make(OneLogit, 2202) if classes == 1 else make(lambda: PooledLinear(2), 2005)
    similar, logits = (
        run(model, six(model), contrast={"select": s}).maps("case") for s in ("similar_weights", "logits")
    )
    assert torch.equal(similar.values, logits.values)
    assert set(similar.status) == set(logits.status)
    assert similar.method == "case[similar_weights:1]"


def test_similar_weights_without_a_linear_classifier_is_a_sentence() -> None:
    class Tail(ConvNet):
        def after(self, a: torch.Tensor) -> torch.Tensor:
            return a.mean((2, 3))[:, :5] * 1.0

    model = make(Tail, 1108)
    with pytest.raises(MethodError, match="Tail shows none"):
        run(model, six(model), contrast={"select": "similar_weights"}).maps("case")


# -- weighted ----------------------------------------------------------------------------------------------------------


def test_soft_weights_by_hand() -> None:
    logits = torch.log(torch.tensor([[8.0, 3.0, 1.0, 4.0, 0.5], [1.0, 1.0, 1.0, 1.0, 9.0]]))
    weights = soft_sets(logits, torch.tensor([0, 4]), 2).numpy()
    np.testing.assert_allclose(weights, [[0, 3 / 7, 0, 4 / 7, 0], [0.5, 0.5, 0, 0, 0]], rtol=1e-6)


def weighted_oracle(got: Any, u: int, i: int, weights: dict[int, float]) -> np.ndarray:
    shared = sum(weight * got.g[v, i].mean(1) for v, weight in weights.items())
    own = got.g[u, i].mean(1)
    return (own - (own @ shared) / (shared @ shared) * shared) @ got.a[i]


def softmax_of(scores: np.ndarray, chosen: tuple[int, ...]) -> dict[int, float]:
    total = sum(np.exp(scores[v]) for v in chosen)
    return {v: float(np.exp(scores[v]) / total) for v in chosen}


def test_soft_maps() -> None:
    model = make(lambda: ConvNet(classes=9), 71)
    model.classes = 9
    images = six(model)
    got = capture(model, images)
    explained = run(model, images, contrast={"select": "soft"})
    for rank, target in enumerate(("top1", "top2")):
        expected = []
        for i, u in enumerate(ranked(got.scores)[:, rank]):
            weights = softmax_of(got.scores[i], contrast_logits(got.scores[i], u))
            expected.append(weighted_oracle(got, u, i, weights).reshape(got.grid))
        assert distance(raw(explained, "case", target), np.stack(expected)) < TOLERANCE
    assert explained.maps("case").method == "case[soft:3]"
    assert distance(raw(explained, "case"), raw(run(model, images), "case")) > 1e-3


def test_the_soft_mean_is_the_gradient_of_the_log_sum_exp_of_the_competitors() -> None:
    model = make(ConvNet, 1108)
    images = six(model)
    twin = copy.deepcopy(model).double()
    a = twin.until(torch.from_numpy(images).double()).detach().requires_grad_(True)
    scores = twin.after(a)
    target = scores.argmax(1)
    weights = soft_sets(scores.detach(), target, 2)
    competing = torch.where(weights > 0, scores, torch.full_like(scores, float("-inf"))).logsumexp(1)
    (direct,) = torch.autograd.grad(competing.sum(), a, retain_graph=True)
    (mean,) = torch.autograd.grad((weights * scores).sum(), a)
    np.testing.assert_allclose(mean, direct, rtol=1e-9, atol=1e-12)


def test_a_constant_added_to_all_logits_changes_no_soft_map_and_a_factor_does() -> None:
    model = make(ConvNet, 1108)
    shifted, scaled = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        shifted.fc.bias.add_(2.5)
        scaled.fc.weight.mul_(20.0)
        scaled.fc.bias.mul_(20.0)
    plain, more, longer = (raw(run(m, six(m), contrast={"select": "soft"}), "case") for m in (model, shifted, scaled))
    assert distance(more, plain) < TOLERANCE
    assert distance(longer / 20.0, plain) > 1e-3


def test_soft_weights_leave_more_than_half_of_the_classes_out() -> None:
    """Rows that add up to zero: a flat softmax over all the others is the target's own direction, turned round."""
    rows = np.random.default_rng(3).normal(size=(9, 20))
    rows -= rows.mean(0)
    flat = torch.zeros(1, 9)

    def cosine(k: int) -> float:
        shared = soft_sets(flat, torch.tensor([8]), k).double().numpy()[0] @ rows
        return float(shared @ rows[8] / np.linalg.norm(shared) / np.linalg.norm(rows[8]))

    assert cosine(8) == pytest.approx(-1)
    assert abs(cosine(Contrast.of({"select": "soft", "k": 100}).size(9))) < 0.9
    assert Contrast.of({"select": "soft", "k": 100}).label(9) == "soft:4"


def test_soft_weights_by_confusions_by_hand() -> None:
    """Class 0: six of ten right, three taken for 2, one for 3. Class 1 is always right, so that softmax speaks."""
    logits = torch.full((12, 5), -9.0)
    for i, predicted in enumerate([0] * 6 + [2] * 3 + [3]):
        logits[i, predicted] = 9.0
    logits[10:] = torch.log(torch.tensor([0.1, 0.6, 0.05, 0.2, 0.05]))
    logits = torch.cat([logits, torch.eye(5)[2:] * 9])
    labels = torch.tensor([0] * 10 + [1] * 2 + [2, 3, 4])
    table = soft_table(logits, labels, 2).numpy()
    np.testing.assert_allclose(table[0], [0, 0, 0.75, 0.25, 0], rtol=1e-6)
    np.testing.assert_allclose(table[1], [1 / 3, 0, 0, 2 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(table.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(soft_table(logits, labels, 1).numpy()[0], [0, 0, 1, 0, 0])


def test_soft_weights_of_a_model_beyond_doubt_are_equal() -> None:
    """Every softmax value but the target's is 0 in float64, and yet no row may be empty."""
    table = soft_table(torch.eye(4) * 1e6, torch.arange(4), 1).numpy()
    np.testing.assert_array_equal(table, [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])


def test_soft_maps_by_confusions() -> None:
    model = make(ConvNet, 1108)
    images = six(model)
    held, labels = held_out(model)
    scores = capture(model, held).scores
    explained = run(model, images, contrast={"select": "soft", "k": 2, "cases": Cases.from_arrays(held, labels)})
    got = capture(model, images)
    expected = []
    for i, u in enumerate(explained.predicted):
        rows = scores[np.asarray(labels) == u]
        counts = np.bincount(rows.argmax(1), minlength=5)
        chosen = contrast_confusion(scores, labels, int(u), 2)
        assert counts[list(chosen)].any()
        weights = {v: counts[v] / counts[list(chosen)].sum() for v in chosen}
        expected.append(weighted_oracle(got, u, i, weights).reshape(got.grid))
    assert distance(raw(explained, "case"), np.stack(expected)) < TOLERANCE
    assert explained.identity()["contrast"]["weights"] == "confusion"
    same = Cases.from_arrays(images, [0, 1, 2, 3, 4, 0])
    under_test = run(model, cases=same, contrast={"select": "soft", "cases": same})
    with pytest.raises(MethodError, match="'soft' counts on cases of which 6 are also under test"):
        under_test.maps("case")


@pytest.mark.parametrize("flat", [False, True])
def test_soft_contrast_of_one_logit_is_degenerate(flat: bool) -> None:
    model = make(lambda: OneLogit(flat), 2202)
    assert set(run(model, six(model), contrast={"select": "soft"}).maps("case").status) == {"degenerate"}


def test_soft_contrast_of_two_classes_is_the_other_one() -> None:
    model = make(lambda: PooledLinear(2), 2005)
    soft, logits = (run(model, six(model), contrast={"select": s}).maps("case") for s in ("soft", "logits"))
    assert torch.equal(soft.values, logits.values)
    assert soft.method == "case[soft:1]"


@pytest.mark.parametrize("select", ["similar_weights", "soft"])
def test_variants_stand_behind_the_contrast_in_the_full_name(select: str) -> None:
    model = make(ConvNet, 1108)
    found = run(model, six(model), contrast={"select": select}).maps("case[elementwise]")
    assert found.method == f"case[{select}:2,elementwise]"


@pytest.mark.parametrize("select", ["logits", "similar_weights", "explicit"])
def test_held_out_cases_without_a_use_are_refused(select: str) -> None:
    cases = Cases.from_arrays(pictures(2, (3, 12, 16)), [0, 1])
    declared = {"select": select, "cases": cases, "classes": {0: [1]} if select == "explicit" else None}
    with pytest.raises(MethodError, match=f"'{select}' has no use for 'cases'; .* cooccurrence and soft"):
        Contrast.of({key: value for key, value in declared.items() if value is not None})


@pytest.mark.parametrize("select", ["logits", "similar_weights", "soft"])
def test_declared_classes_without_a_use_are_refused(select: str) -> None:
    with pytest.raises(MethodError, match=f"'{select}' has no use for 'classes'"):
        Contrast.of({"select": select, "classes": {0: [1]}})


def test_what_a_record_says_of_soft_and_similar() -> None:
    assert Contrast.of({"select": "soft"}).describe() == {"select": "soft", "k": 3, "weights": "softmax"}
    assert Contrast.of({"select": "similar_weights", "k": 2}).describe() == {"select": "similar_weights", "k": 2}
