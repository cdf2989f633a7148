from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, logsumexp, softmax
from sklearn.metrics import accuracy_score, roc_auc_score

from pytest_saliency.errors import CasesError
from pytest_saliency.measure.performance import accuracy, all_log_odds, macro_auc, macro_auc_of, rank_auc


def problem(seed: int, n: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return logits, labels


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_macro_auc_equal_scikit_learn(seed: int) -> None:
    logits, labels = problem(seed)
    assert accuracy(logits, labels) == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    expected = roc_auc_score(labels, softmax(logits, axis=1), multi_class="ovr", average="macro")
    assert macro_auc(logits, labels) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_rank_auc_with_ties_equals_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([float(s) for s, _ in pairs])
    truth = np.array([t for _, t in pairs])
    truth[0], truth[1] = True, False
    assert rank_auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


def test_two_columns_equal_the_plain_binary_auc() -> None:
    logits, labels = problem(7, classes=2)
    assert macro_auc(logits, labels) == pytest.approx(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))


def test_a_class_without_images_is_left_out() -> None:
    logits, labels = problem(8, classes=5)
    keep = labels != 3
    logits, labels = logits[keep], labels[keep]
    p = softmax(logits, axis=1)
    expected = np.mean([roc_auc_score(labels == c, p[:, c]) for c in (0, 1, 2, 4)])
    found = macro_auc_of(logits, labels)
    assert found.value == pytest.approx(expected)
    assert found.classes == (0, 1, 2, 4)
    assert found.reason is None


def test_ranking_survives_probabilities_that_round_to_one() -> None:
    logits = np.array([[100.0, 0.0], [200.0, 0.0], [300.0, 0.0], [400.0, 0.0]])
    assert macro_auc(logits, [1, 1, 0, 0]) == 1.0
    assert macro_auc(logits, [0, 0, 1, 1]) == 0.0


@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_log_odds_of_all_classes_equal_their_definition(scale: float) -> None:
    logits = scale * np.random.default_rng(3).normal(size=(20, 6))
    expected = np.stack([logits[:, c] - logsumexp(np.delete(logits, c, 1), axis=1) for c in range(6)], axis=1)
    np.testing.assert_allclose(all_log_odds(logits), expected, rtol=1e-9, atol=1e-9)
    p = np.exp(log_softmax(logits, axis=1))
    np.testing.assert_allclose(expit(all_log_odds(logits)), p, atol=1e-12)


@pytest.mark.parametrize(
    ("logits", "labels", "word"),
    [
        (np.zeros((3, 2)), [1, 1, 1], "only class 1"),
        (np.zeros((0, 2)), [], "no class"),
        (np.array([[0.0, np.nan], [0.0, 1.0]]), [0, 1], "not finite"),
    ],
)
def test_an_undefined_auc_says_why(logits: np.ndarray, labels: list[int], word: str) -> None:
    found = macro_auc_of(logits, labels)
    assert math.isnan(found.value)
    assert found.reason is not None
    assert word in found.reason
    assert math.isnan(macro_auc(logits, labels))


def test_broken_logits_count_as_wrong_and_no_images_as_undefined() -> None:
    assert accuracy([[0.0, 1.0], [np.nan, 9.0]], [1, 1]) == 0.5
    assert accuracy([[np.nan, 1.0]], [0]) == 0.0
    assert math.isnan(accuracy(np.zeros((0, 2)), []))


@pytest.mark.parametrize(("shape", "labels"), [((2, 2), [0, 2]), ((2, 2), [-1, 0]), ((2, 2), [0]), ((2,), [0, 0])])
def test_labels_that_do_not_fit_are_refused(shape: tuple[int, ...], labels: list[int]) -> None:
    for figure in (accuracy, macro_auc):
        with pytest.raises(CasesError, match="abels"):
            figure(np.zeros(shape), labels)


def test_performance_and_registry_need_no_torch() -> None:
    code = (
        "import sys, pytest_saliency.measure.performance, pytest_saliency.measure.registry;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
