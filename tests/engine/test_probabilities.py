"""A network that ends in a softmax is told from one that gives logits; the logarithm of a softmax serves as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.errors import SubjectError
from pytest_saliency.measure.scores import log_odds


class Net(nn.Module):
    """Three colours of an image -> as many maps as classes -> ``last`` of their means."""

    def __init__(self, classes: int, last: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.features, self.last = nn.Conv2d(3, classes, 3, padding=1), last

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(4 * self.features(pixels).mean((2, 3)))  # type: ignore[no-any-return]


def explained(classes: int, last: nn.Module, images: int = 5) -> Explained:
    pixels = np.random.default_rng(2).random((images, 3, 8, 8), dtype=np.float32)
    cases = Cases.from_arrays(pixels, [i % classes for i in range(images)])
    return explain(Subject(Net(classes, last), layer="features"), cases, device="cpu")


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("images", [1, 5])
def test_a_softmax_is_told_in_one_sentence(classes: int, images: int) -> None:
    with pytest.raises(SubjectError, match=r"those of each image have the sum 1; give the logits .*logarithm"):
        _ = explained(classes, nn.Softmax(1), images).predicted


def test_a_head_that_was_fitted_to_ones_and_zeros_is_left_alone() -> None:
    """Its scores are not negative and have sums near 1, and are no probabilities all the same."""

    class Fitted(nn.Module):
        def forward(self, scores: Tensor) -> Tensor:
            fitted = nn.functional.one_hot(scores.argmax(1), scores.shape[1])
            return 0.999 * fitted + 1e-5 * scores.relu()  # in the graph, as every score is

    assert len(explained(7, Fitted()).predicted) == 5


def test_logits_that_happen_to_be_positive_are_left_alone() -> None:
    assert float(explained(7, nn.ReLU()).logits.min()) >= 0
    assert len(explained(7, nn.ReLU()).predicted) == 5


def test_the_logarithm_of_a_softmax_has_the_log_odds_of_the_logits() -> None:
    """log p - log(1 - p) is what the logits say; so the sentence gives a way out that changes nothing."""
    plain, logged = explained(7, nn.Identity()), explained(7, nn.LogSoftmax(1))
    assert (plain.predicted == logged.predicted).all()
    classes = torch.from_numpy(plain.predicted)
    assert torch.allclose(log_odds(plain.logits, classes, False), log_odds(logged.logits, classes, False), atol=1e-5)
