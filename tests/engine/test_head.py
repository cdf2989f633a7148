"""Which layer makes the scores, and whether CAM may use its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_saliency.engine.head import classifier_rows, head_rows
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.errors import MethodError

from .nets import PooledLinear, make, pictures, seed_weights


def net(*layers: nn.Module, seed: int = 3) -> nn.Module:
    return seed_weights(nn.Sequential(*layers), seed).eval()


def scored(model: nn.Module, size: tuple[int, ...] = (3, 6, 7), n: int = 3) -> Callable[[], Tensor]:
    images = torch.from_numpy(pictures(n, size))

    def run() -> Tensor:
        with torch.no_grad():
            return two_sided(model(images))[0]

    return run


def features(*after: nn.Module) -> tuple[nn.Module, ...]:
    return (nn.Conv2d(3, 4, 3), nn.ReLU(), *after)


POOL = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


def rows_of(model: Any, at: int) -> Tensor:
    """The rows that CAM would use at the output of layer ``at``."""
    images = torch.from_numpy(pictures(3, (3, 6, 7)))
    with torch.no_grad():
        activations = model[: at + 1](images)
        scores, _ = two_sided(model[at + 1 :](activations).flatten(1))
    return head_rows(model, "net", scores, activations)


# -- CAM's condition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "at"),
    [
        ((*POOL, nn.Linear(4, 5)), 1),
        ((*POOL, nn.Dropout(0.5), nn.Linear(4, 5, bias=False)), 1),
        ((nn.Conv2d(4, 5, 1), *POOL), 1),
        ((nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1)), 1),
    ],
)
def test_a_linear_head_behind_the_mean_is_found(head: tuple[nn.Module, ...], at: int) -> None:
    model = net(*features(*head))
    linear: Any = next(m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear | nn.Conv2d))
    assert torch.equal(rows_of(model, at), linear.weight.detach().flatten(1))


def test_one_logit_has_the_row_and_its_negative() -> None:
    model: Any = net(*features(*POOL, nn.Linear(4, 1)))
    w = model[-1].weight.detach()
    assert torch.equal(rows_of(model, 1), torch.cat([-w, w]))


def test_of_several_layers_of_one_shape_the_one_that_makes_the_scores_is_taken() -> None:
    model: Any = net(*features(nn.Conv2d(4, 4, 1), *POOL, nn.Linear(4, 4)))
    assert torch.equal(rows_of(model, 2), model[-1].weight.detach())


REFUSED: dict[str, tuple[tuple[nn.Module, ...], int]] = {
    "two layers": ((*POOL, nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5)), 1),
    "two layers of one width": ((*POOL, nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), 1),
    "max pooling": ((nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)), 1),
    "flattened grid": ((nn.Flatten(), nn.Linear(4 * 4 * 5, 5)), 1),
    "something between layer and pooling": ((nn.Conv2d(4, 4, 1), nn.Tanh(), *POOL, nn.Linear(4, 5)), 1),
    "a layer before the activation": ((*POOL, nn.Linear(4, 5)), 0),
    "scores that are not the linear layer's": ((*POOL, nn.Linear(4, 5), nn.LogSoftmax(1)), 1),
    "a normalisation in between": ((*POOL, nn.LayerNorm(4), nn.Linear(4, 5)), 1),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_every_other_head_is_refused(what: str) -> None:
    head, at = REFUSED[what]
    model = net(*features(*head))
    with pytest.raises(MethodError, match=r"only where global average pooling and one linear layer.*'net'.*gradcam"):
        rows_of(model, at)


def test_a_large_bias_does_not_hide_a_wrong_head() -> None:
    """The tolerance is a share of what the rows contribute, not of the scores."""
    model: Any = net(*features(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)))
    with torch.no_grad():
        model[-1].bias.add_(1e3)
    with pytest.raises(MethodError):
        rows_of(model, 1)


def test_half_precision_heads_are_recognised() -> None:
    model: Any = net(*features(*POOL, nn.Linear(4, 5))).to(torch.bfloat16)
    images = torch.from_numpy(pictures(3, (3, 6, 7))).to(torch.bfloat16)
    with torch.no_grad():
        activations = model[:2](images)
        scores = model[2:](activations)
    found = head_rows(model, "net", scores.float(), activations.float())
    assert torch.equal(found, model[-1].weight.detach().float())


# -- the classifier ----------------------------------------------------------------------------------------------------


class Heads(nn.Module):
    """An auxiliary head that runs last, and scores from the other one."""

    def __init__(self, *, runs: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.main, self.auxiliary = nn.Linear(4, 5), nn.Linear(4, 5)
        self.runs = runs

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.conv(x).mean((2, 3))
        scores: Tensor = self.main(pooled)
        if self.runs:
            self.auxiliary(pooled)
        return scores


@pytest.mark.parametrize("runs", [False, True])
def test_an_auxiliary_head_is_not_mistaken_for_the_classifier(runs: bool) -> None:
    model: Any = seed_weights(Heads(runs=runs), 5).eval()
    assert torch.equal(classifier_rows(model, scored(model)), model.main.weight.detach().double())


def test_a_hidden_layer_as_wide_as_the_classes_is_not_mistaken_for_the_classifier() -> None:
    model: Any = net(*features(*POOL, nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5)))
    assert torch.equal(classifier_rows(model, scored(model)), model[-1].weight.detach().double())


@pytest.mark.parametrize("after", [nn.LogSoftmax(1), nn.Softmax(1), nn.Hardtanh(-0.1, 0.1)])
def test_functions_without_weights_may_follow(after: nn.Module) -> None:
    model: Any = net(*features(*POOL, nn.Linear(4, 5), after))
    assert torch.equal(classifier_rows(model, scored(model)), model[-2].weight.detach().double())


class Tokens(nn.Module):
    """Owns a parameter beside its children, as a ViT does, and scores every token."""

    def __init__(self, reduce: str) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 30, 3))
        self.fc = nn.Linear(3, 5)
        self.reduce = reduce

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(x.flatten(2).mT + self.position[:, : x.shape[2] * x.shape[3]])
        return scores.mean(1) if self.reduce == "mean" else scores.amax(1)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_a_layer_on_tokens_is_found(reduce: str) -> None:
    model: Any = seed_weights(Tokens(reduce), 5).eval()
    assert torch.equal(classifier_rows(model, scored(model, (3, 4, 5))), model.fc.weight.detach().double())


def test_a_convolution_with_kernels_of_one_is_a_linear_layer() -> None:
    model: Any = net(*features(nn.Conv2d(4, 5, 1), *POOL))
    assert torch.equal(classifier_rows(model, scored(model)), model[2].weight.detach().double().flatten(1))
    squeezed: Any = net(*features(nn.Conv2d(4, 5, 1), nn.ReLU(), *POOL))
    assert torch.equal(classifier_rows(squeezed, scored(squeezed)), squeezed[2].weight.detach().double().flatten(1))


def test_one_logit_has_two_opposite_rows() -> None:
    model: Any = net(*features(*POOL, nn.Linear(4, 1)))
    w = model[-1].weight.detach().double()
    assert torch.equal(classifier_rows(model, scored(model)), torch.cat([-w, w]))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) @ self.weight.T


class Summed(nn.Module):
    """Two linear layers add up to the scores: neither's rows are the classifier's."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 5), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        scores: Tensor = self.one(pooled) + self.two(pooled)
        return scores


@pytest.mark.parametrize("build", [Functional, Summed])
def test_no_classifier_is_a_sentence_that_names_the_alternatives(build: Callable[[], nn.Module]) -> None:
    model = seed_weights(build(), 5).eval()
    with pytest.raises(MethodError, match=rf"{build.__name__} shows none.*5 outputs.*logits, confusion or explicit"):
        classifier_rows(model, scored(model))


class Twice(nn.Module):
    """Two layers return the very scores: the second hands on what the first made."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.two(self.one(x.mean((2, 3))))
        return scores


@pytest.mark.parametrize("same", [True, False])
def test_candidates_that_cannot_be_told_apart(same: bool) -> None:
    model: Any = seed_weights(Twice(), 5).eval()
    with torch.no_grad():
        model.two.weight.copy_(torch.eye(5))
        model.two.bias.zero_()
        if same:
            model.one.weight.copy_(torch.eye(5))
    run = scored(model, (5, 4, 4))
    if same:
        assert torch.equal(classifier_rows(model, run), torch.eye(5, dtype=torch.float64))
    else:
        with pytest.raises(MethodError, match="several of Twice return exactly them: one, two"):
            classifier_rows(model, run)


def test_no_hook_stays_behind_also_after_an_exception() -> None:
    model: Any = make(PooledLinear, 2005)

    def broken() -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        classifier_rows(model, broken)
    classifier_rows(model, scored(model, model.image))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
