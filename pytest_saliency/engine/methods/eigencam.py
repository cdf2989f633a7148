"""Eigen-CAM: the activations projected on their first right singular vector (arXiv 2008.00299).

Per image M = A^T (P positions x K channels) = U S V^T and L = M v_1. M is not centred, as in the paper; a projection of
the centred matrix is another method. No class enters: where a class-sensitive method is tested, this is the control
that must fail.

The paper leaves the sign of v_1 open. Here it is the one with <L, mean_k A_k> >= 0. That is the plain inner product:
for activations that are nowhere negative v_1 has one sign throughout (Perron-Frobenius), so L is nowhere negative
either, which a correlation around the means would not guarantee. Where nothing is active (negative values throughout,
in front of an activation function) L is negative, a blank map. Where the mean activation says nothing, as behind a
normalisation over channels, the entry of L that is largest in magnitude is positive.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps

# Relative gap of the two largest eigenvalues of the Gram matrix below which float32 rounding of the activations, some
# 1e-6, would turn the direction by more than about one per cent.
TIE = 1e-4
# Cosine of v_1 with equal weights for all channels below which the mean activation fixes no sign.
UNDECIDED = 1e-5
TOGETHER = 2**22  # activations in work at a time: their copies in float64 would otherwise outweigh the capture itself
DENSE = 128  # up to this side the whole eigendecomposition costs less than iterating
BLOCK = 8  # directions iterated together: the first converges like the ratio of the ninth eigenvalue to the first
STEPS = 40
CONVERGED = 1e-9  # residual, as a share of the gap: bounds the sine of the angle to the true direction


def _compute(evidence: Evidence) -> RawMaps:
    given = evidence.activations
    step = max(1, TOGETHER // max(1, given[0].numel()))
    parts = [_project(given[start : start + step]) for start in range(0, len(given), step)]
    values, degenerate, energy = (torch.cat(found).to(given.device) for found in zip(*parts, strict=True))
    return RawMaps(values.to(given), degenerate, {"energy": energy.to(given)})


def _project(given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return maps (n, P), who is degenerate (n,), and the share of the squared activations along v_1 (n,)."""
    # Apple's GPU has neither float64 nor eigendecompositions.
    activations = (given.cpu() if given.device.type == "mps" else given).double()
    finite = torch.isfinite(activations).flatten(1).all(1)
    activations = torch.where(finite[:, None, None], activations, torch.zeros_like(activations))
    size = activations.abs().flatten(1).amax(1)
    scaled = activations / torch.where(size > 0, size, torch.ones_like(size))[:, None, None]
    wide = scaled.shape[1] > scaled.shape[2]
    gram = scaled.mT @ scaled if wide else scaled @ scaled.mT
    values, direction = _leading(gram)
    if wide:  # from the left singular vector (P) to the right one (K)
        direction = (scaled @ direction.unsqueeze(2)).squeeze(2)
        direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=torch.finfo(direction.dtype).tiny)
    maps = (direction.unsqueeze(1) @ scaled).squeeze(1)
    leaning = direction.sum(1) / scaled.shape[1] ** 0.5
    low, high = maps.amin(1), maps.amax(1)
    decided = leaning.abs() > UNDECIDED
    maps = torch.where(torch.where(decided, leaning, low + high) < 0, -1.0, 1.0)[:, None] * maps
    signless = ~decided & ((low + high).abs() <= TIE * high)
    tied = values[:, 0] - values[:, 1] <= TIE * values[:, 0]
    # Zero activations have no direction either, but every projection of them is the same: a blank map.
    degenerate = (values[:, 0] > 0) & (tied | signless)
    maps = torch.where(finite[:, None], maps * size[:, None], torch.full_like(maps, torch.nan))
    energy = scaled.square().sum((1, 2))
    share = values[:, 0] / torch.where(energy > 0, energy, torch.ones_like(energy))
    return maps, degenerate, share


def _leading(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two largest eigenvalues (N, 2) and the unit eigenvector (N, m) of the larger, of ``gram`` (N, m, m).

    The second eigenvalue of a 1 x 1 matrix is 0.
    """
    if gram.shape[1] <= DENSE:
        return _dense(gram)
    values, direction, converged = _iterated(gram)
    left = ~converged
    if bool(left.any()):
        values[left], direction[left] = _dense(gram[left])
    return values, direction


def _dense(gram: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(gram)
    if gram.shape[1] == 1:
        values = torch.cat([torch.zeros_like(values), values], dim=1)
    return values[:, -2:].flip(1), vectors[:, :, -1]


def _iterated(gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Iterate a block of directions; also return (N,) which images converged.

    Each image's result is taken at the step at which it converged, so that it does not depend on who else is in the
    batch. A tie never converges and is left to the whole decomposition.
    """
    count, side = gram.shape[:2]
    start = torch.randn(side, BLOCK, dtype=gram.dtype, generator=torch.Generator().manual_seed(0))
    block = start.to(gram.device).expand(count, -1, -1)
    values, direction = gram.new_zeros(count, 2), gram.new_zeros(count, side)
    done = torch.zeros(count, dtype=torch.bool, device=gram.device)
    for _ in range(STEPS):
        basis = torch.linalg.qr(block).Q
        block = gram @ basis
        # Rayleigh-Ritz: the best approximations within the block.
        ritz, turn = torch.linalg.eigh(basis.mT @ block)
        vector = (basis @ turn[:, :, -1:]).squeeze(2)
        residual = ((block @ turn[:, :, -1:]).squeeze(2) - ritz[:, -1:] * vector).norm(dim=1)
        now = ~done & (residual <= CONVERGED * (ritz[:, -1] - ritz[:, -2])) & (ritz[:, -1] > 0)
        values = torch.where(now[:, None], ritz[:, -2:].flip(1), values)
        direction = torch.where(now[:, None], vector, direction)
        done = done | now
        if bool(done.all()):
            break
    return values, direction, done


EIGENCAM = GradientMethod("eigencam", 1, _compute, "arXiv 2008.00299", classless=True)
