"""How strongly a network says a class: log-odds, and the softmax probability beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.errors import CasesError
from pytest_saliency.measure.grid import exact, finite_rows


def _checked(logits: Tensor, classes: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    """Return ``logits`` in float64 and ``classes`` as a column of indices on the same device."""
    count = logits.shape[1] if logits.ndim == 2 else 0
    if count < 2 or (binary and count != 2):
        raise CasesError(
            f"Log-odds need logits of the shape (images, {'2' if binary else 'at least 2 classes'}), not"
            f" {tuple(logits.shape)}; a head with one logit z is scored as the two columns [-z, z]."
        )
    if classes.shape != logits.shape[:1] or bool(((classes < 0) | (classes >= count)).any()):
        raise CasesError(
            f"Classes of {classes.numel()} images, from {_extreme(classes, 'min')} to {_extreme(classes, 'max')}, do"
            f" not fit logits of {logits.shape[0]} images and {count} classes; pass one class index per image."
        )
    double = exact(logits)
    return double, classes.to(device=double.device, dtype=torch.int64)[:, None]


def _extreme(classes: Tensor, which: str) -> str:
    if classes.numel() == 0:
        return "none"
    return str(int(classes.min() if which == "min" else classes.max()))


def log_odds(logits: Tensor, classes: Tensor, binary: bool, sigmoid: bool = False) -> Tensor:
    """Return the log-odds of each image's class in ``classes`` (N,): (N,) float64, in nats.

    Softmax heads: logit minus logsumexp of all other logits, which is log(p / (1 - p)) and never saturates.
    ``binary`` (a one-logit head, ``logits`` = [-z, z]): z for class 1 and -z for class 0.
    ``sigmoid`` (labels that do not exclude each other): the label's own logit, whatever the others are.
    NaN where an image has a logit that is not finite. Raises ``CasesError`` for shapes or classes that do not fit.
    """
    double, column = _checked(logits, classes, binary)
    own = double.gather(1, column)[:, 0]
    if not (binary or sigmoid):
        own = own - torch.logsumexp(double.scatter(1, column, -torch.inf), dim=1)
    return own.masked_fill(~finite_rows(double), torch.nan)


def softmax_probability(logits: Tensor, classes: Tensor, binary: bool, sigmoid: bool = False) -> Tensor:
    """Return the probability of each image's class in ``classes`` (N,): (N,) float64 in [0, 1].

    Softmax over the logits; ``binary`` (``logits`` = [-z, z]): sigmoid of z for class 1 and of -z for class 0;
    ``sigmoid``: that of the label's own logit.
    NaN where an image has a logit that is not finite. Raises ``CasesError`` for shapes or classes that do not fit.
    """
    return torch.sigmoid(log_odds(logits, classes, binary, sigmoid))
