"""The methods once more, from their papers' formulas, in float64 and without hooks.

A is what the target layer returns, G[c] the derivative of the score of class c with respect to it, both taken by
differentiating the second half of a network (``Tiny.after``) on its own. Per image A and G[c] are (K, P) arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .nets import Tiny

Array = NDArray[np.float64]

METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")


@dataclass(frozen=True)
class Capture:
    """Activations (N, K, P), gradients (classes, N, K, P), scores (N, classes) and the grid of P."""

    a: Array
    g: Array
    scores: Array
    grid: tuple[int, ...]


def capture(model: Tiny, images: NDArray[np.float32], dtype: torch.dtype = torch.float64) -> Capture:
    """Split, differentiate, and bring (A, G) to channels-first rows of positions."""
    twin = copy.deepcopy(model).to(dtype).eval().requires_grad_(False)
    with torch.no_grad():
        raw = twin.until(torch.from_numpy(images).to(dtype))
    a = raw.clone().requires_grad_(True)
    with torch.enable_grad():
        scores = twin.after(a.clone())
        rows = [torch.autograd.grad(s, a, retain_graph=True)[0] for s in scores.sum(0)]
    grid = _grid(raw, model.layout)
    flat = [_rows(t, model.layout).numpy().astype(np.float64) for t in (raw, *rows)]
    return Capture(flat[0], np.stack(flat[1:]), scores.detach().numpy().astype(np.float64), grid)


def _grid(raw: Tensor, layout: str) -> tuple[int, ...]:
    if layout == "tokens":
        side = round((raw.shape[1] - 1) ** 0.5)
        return (side, side)
    return tuple(raw.shape[2:]) if layout == "first" else tuple(raw.shape[1:-1])


def _rows(t: Tensor, layout: str) -> Tensor:
    if layout == "tokens":
        return t[:, 1:].transpose(1, 2)
    return t.flatten(2) if layout == "first" else t.flatten(1, -2).transpose(1, 2)


def gradcam(a: Array, g: Array) -> Array:
    """Selvaraju et al. 2017, eq. 1 and 2 without the ReLU."""
    return g.mean(1) @ a


def hirescam(a: Array, g: Array) -> Array:
    """Draelos and Carin 2020: products before the sum over channels."""
    return (g * a).sum(0)


def xgradcam(a: Array, g: Array) -> Array:
    """Fu et al. 2020, eq. 8: each position's gradient weighted by its share of the channel's activation."""
    out = np.zeros(a.shape[1])
    for ak, gk in zip(a, g, strict=True):
        if abs(ak.sum()) > 1e-6 * np.abs(ak).sum():
            out += (gk * ak).sum() / ak.sum() * ak
    return out


def layercam(a: Array, g: Array) -> Array:
    """Jiang et al. 2021, eq. 6 and 7 without the outer ReLU."""
    return (np.maximum(g, 0) * a).sum(0)


def gradcam_plus_plus(a: Array, g: Array) -> Array:
    """Chattopadhay et al. 2018, eq. 19 with the first, second and third powers written out."""
    out = np.zeros(a.shape[1])
    for ak, gk in zip(a, g, strict=True):
        weight = 0.0
        for value in gk[gk > 0]:
            weight += value * value**2 / (2 * value**2 + ak.sum() * value**3)
        out += weight * ak
    return out


def case_parts(g_u: Array, g_contrast: Sequence[Array]) -> tuple[Array, Array]:
    """Williamson et al. 2025, eq. 4 and 5: the part of the pooled gradient orthogonal to the mean contrast."""
    own = g_u.mean(1)
    if not g_contrast:
        return own, np.zeros_like(own)
    shared = np.mean([g.mean(1) for g in g_contrast], axis=0)
    norm = shared @ shared
    return (own - (own @ shared) / norm * shared if norm > 0 else own), shared


def case(a: Array, g_u: Array, g_contrast: Sequence[Array]) -> Array:
    """Williamson et al. 2025, eq. 6 without ReLU and upsampling."""
    return case_parts(g_u, g_contrast)[0] @ a


SINGLE: Mapping[str, Callable[[Array, Array], Array]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "xgradcam": xgradcam,
    "layercam": layercam,
}


def contrast_size(classes: int, k: int = 3) -> int:
    """How many contrast classes are used: what was asked for, but at most half of the others."""
    return min(k, max(1, (classes - 1) // 2))


def contrast_logits(scores: Array, target: int, k: int = 3) -> tuple[int, ...]:
    """The classes with the highest scores of this image apart from the target."""
    order = [int(c) for c in np.argsort(-scores, kind="stable") if c != target]
    return tuple(order[: contrast_size(len(scores), k)])


def contrast_confusion(held_scores: Array, held_labels: Sequence[int], target: int, k: int = 3) -> tuple[int, ...]:
    """The classes most often predicted for held-out images of ``target``; ties by their mean probability."""
    rows = held_scores[np.asarray(held_labels) == target]
    shifted = np.exp(rows - rows.max(1, keepdims=True))
    probability = (shifted / shifted.sum(1, keepdims=True)).mean(0)
    count = np.bincount(rows.argmax(1), minlength=rows.shape[1])
    others = [c for c in range(rows.shape[1]) if c != target]
    others.sort(key=lambda c: (-count[c], -probability[c]))
    return tuple(others[: contrast_size(rows.shape[1], k)])


def maps(
    got: Capture,
    method: str,
    targets: Sequence[int],
    contrast: Callable[[int, int], Sequence[int]] | None = None,
) -> Array:
    """Maps (N, *grid) of ``method`` for one target class an image.

    ``contrast(image, target)`` names the contrast classes of CASE; by default those with the highest scores.
    """
    choose = contrast or (lambda i, u: contrast_logits(got.scores[i], u))
    out = []
    for i, u in enumerate(targets):
        if method == "case":
            out.append(case(got.a[i], got.g[u, i], [got.g[v, i] for v in choose(i, u)]))
        else:
            out.append(SINGLE[method](got.a[i], got.g[u, i]))
    return np.stack(out).reshape(len(out), *got.grid)


def ranked(scores: Array) -> NDArray[np.int64]:
    """Classes of each image from the highest score down."""
    return np.argsort(-scores, axis=1, kind="stable")


def distance(values: Array, expected: Array) -> float:
    """Largest difference of two stacks of maps, each relative to its own expected map's largest magnitude."""
    axes = tuple(range(1, expected.ndim))
    scale = np.abs(expected).max(axis=axes)
    error = np.abs(np.asarray(values, np.float64) - expected).max(axis=axes)
    return float(np.max(error / np.where(scale > 0, scale, 1.0)))
