from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_saliency.errors import CriterionError, MethodError
from pytest_saliency.measure.activity import THRESHOLD, channel_activity, pooled


def test_counts_equal_the_definition() -> None:
    """a_c = sum_ij A_c(i, j) / (H W), active if above tau: channel by channel, position by position."""
    layer = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0)) * 0.01
    found = channel_activity(pooled(layer))
    values = layer.double().numpy()
    for n in range(6):
        active = 0
        for c in range(5):
            active += sum(values[n, c, i, j] for i in range(3) for j in range(4)) / 12 > 0.001
        assert found.counts[n] == active
        assert found.shares[n] == active / 5
    assert 0 < found.counts.mean() < 5
    assert found.channels == 5
    assert found.threshold == THRESHOLD == 0.001


def test_the_threshold_itself_is_not_active() -> None:
    values = torch.tensor([[0.5, 0.5000001, 0.4, 0.6]], dtype=torch.float64)
    assert channel_activity(values, 0.5).counts.tolist() == [2.0]
    assert channel_activity(-values, -0.5).counts.tolist() == [1.0]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 7), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_pooling_takes_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    layer = torch.rand(*shape, generator=torch.Generator().manual_seed(1))
    expected = layer.double().numpy().reshape(2, 3, -1).mean(2)
    np.testing.assert_allclose(pooled(layer).numpy(), expected)


def test_classes_average_their_correct_images() -> None:
    counts = torch.zeros(7, 4)
    for row, active in enumerate([4, 2, 1, 3, 0, 4, 1]):
        counts[row, :active] = 1.0
    counts[5, 0] = torch.inf
    labels, correct = [0, 0, 0, 2, 2, 2, 5], [True, True, False, True, True, True, False]
    table = channel_activity(counts).by_class(labels, correct)
    assert [(row.label, row.images, row.undefined) for row in table] == [(0, 2, 0), (2, 2, 1), (5, 0, 0)]
    assert [row.count for row in table[:2]] == [3.0, 1.5]
    assert [row.share for row in table[:2]] == [0.75, 0.375]
    assert np.isnan(table[2].count)
    assert np.isnan(table[2].share)


def test_activations_that_are_not_finite_are_undefined() -> None:
    found = channel_activity(torch.tensor([[1.0, torch.nan], [torch.inf, 1.0], [1.0, 0.0]]))
    assert np.isnan(found.counts).tolist() == [True, True, False]
    assert found.shares[2] == 0.5


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MethodError, match="average over the positions"):
        channel_activity(torch.rand(2, 3, 4, 4))
    with pytest.raises(MethodError, match="images, channels"):
        pooled(torch.rand(3))
    with pytest.raises(CriterionError, match="finite"):
        channel_activity(torch.rand(2, 3), float("nan"))
    with pytest.raises(CriterionError, match="as many labels"):
        channel_activity(torch.rand(2, 3)).by_class([0], [True])
