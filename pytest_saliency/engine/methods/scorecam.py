"""Score-CAM: L = sum_k alpha_k A_k, alpha_k from what the model says of the image seen through channel k.

Wang et al., arXiv 1910.01279, eq. 8-10: channel k at the layer is resized to the input (linearly, corners not
aligned), brought to [0, 1] and multiplied into the input; alpha is the softmax over the channels of the target's
pre-softmax score. Two choices the paper leaves open:

- What is masked is the model's input after normalisation, as in the authors' code: 0 is the mean image there, not
  black. (The paper subtracts the score of an empty baseline image from every channel's, which the softmax cancels.)
- A channel that is the same everywhere masks nothing. It has no range to divide by, costs no pass, and has no part in
  the softmax.

Variants: ``reference-code`` weights a channel by the class probability of the masked image, without a softmax over the
channels, as the authors' code does (their maps are summed after resizing, which is linear, so that the order does not
matter). ``channels:n`` uses each image's n channels of highest energy, the sum of A^2 over positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_saliency.engine.methods.evidence import RawMaps, weighted_sum
from pytest_saliency.engine.methods.names import MethodName
from pytest_saliency.engine.methods.perturbation import PerturbationMethod, Perturbed, Site, TargetsOf
from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.runner import guarded
from pytest_saliency.errors import MethodError, SubjectError

SOURCE = "arXiv 1910.01279, eq. 8-10"
FLAT = 1e-6  # of a channel's largest magnitude: the same value everywhere comes out of float32 kernels this far apart
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def scorecam_method(variants: tuple[str, ...] = ()) -> PerturbationMethod:
    """Return Score-CAM with ``variants`` (``reference-code``, ``channels:n``), as ``parse_method`` orders them.

    Its maps carry ``channels`` (n,), how many channels each image was seen through, and with ``channels:n`` also
    ``energy_kept`` (n,): their share of the energy of all channels that are not flat, 1 where that is all of them.
    """
    name = MethodName("scorecam", variants)
    most = name.option("channels")
    compute = partial(_compute, reference="reference-code" in variants, most=None if most is None else int(most))
    return PerturbationMethod(str(name), 1, compute, SOURCE)


@dataclass(frozen=True)
class _Seen:
    """A batch as the model saw it: input x (n, C, *S), scores (n, classes), activations (n, K, *grid)."""

    inputs: Tensor
    scores: Tensor
    binary: bool
    activations: Tensor


def _compute(site: Site, pixels: Tensor, targets_of: TargetsOf, *, reference: bool, most: int | None) -> Perturbed:
    with torch.no_grad():
        seen = _capture(site, pixels)
        targets = targets_of(seen.scores)
        masks = _shrunk(seen.activations, tuple(seen.inputs.shape[2:]))
        used = _not_flat(masks)
        details: dict[str, Tensor] = {}
        if most is not None:
            used, details["energy_kept"] = _most_energetic(seen.activations, used, most)
        details["channels"] = used.sum(1)
        said = _masked_scores(site, seen, masks, used, targets, reference)
        flat = seen.activations.flatten(2)
        maps = {}
        for target, scores in said.items():
            weights = _weights(scores, used, reference).to(flat.dtype)
            maps[target] = RawMaps(weighted_sum(weights, flat), ~used.any(1), details)
    return Perturbed(seen.scores, seen.binary, maps)


def _capture(site: Site, pixels: Tensor) -> _Seen:
    """Run the model on ``pixels`` with a hook on the target layer; the only passes that have one."""
    parts = site.size.each(len(pixels), lambda part: _capture_part(site, pixels[part]))
    return _Seen(
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.scores for part in parts]),
        parts[0].binary,
        torch.cat([part.activations for part in parts]),
    )


def _capture_part(site: Site, pixels: Tensor) -> _Seen:
    subject, where = site.runner.subject, f"layer '{site.layer.name}' of model '{site.runner.subject.name}'"
    kept: list[Tensor | str] = []

    def keep(module: nn.Module, args: object, output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        usable = isinstance(first, Tensor) and first.is_floating_point()
        # Copied, because an operation behind the layer may work in place. The last of several calls counts.
        kept[:] = [first.detach().clone() if usable and isinstance(first, Tensor) else type(output).__name__]

    inputs = site.runner.model_input(pixels)
    module = dict(subject.model.named_modules())[site.layer.name]
    handle = module.register_forward_hook(keep)
    try:
        # The model gets a copy: its first layer may work in place, and the same input is masked afterwards.
        scores, binary = _scores(site, inputs.clone())
    finally:
        handle.remove()
    if not kept or isinstance(kept[0], str):
        what = f"returns {kept[0]}, not a floating-point tensor" if kept else "did not run in the forward pass"
        raise SubjectError(f"{where} {what}; choose another layer.")
    activations = _at_least_float32(site.layer.layout.read(kept[0]))
    if inputs.dim() != activations.dim() or inputs.dim() - 2 not in MODES:
        raise MethodError(
            f"scorecam multiplies masks into the input of model '{subject.name}', whose shape is"
            f" {tuple(inputs.shape[1:])} an image, but {where} has a grid of {tuple(activations.shape[2:])}; both must"
            " have the same number of spatial dimensions. Use a method that needs no masks, as gradcam."
        )
    site.count("capture", len(pixels))
    return _Seen(inputs, scores, binary, activations)


def _scores(site: Site, inputs: Tensor) -> tuple[Tensor, bool]:
    """Return class scores (n, C) of inputs that are normalised already, and whether the head has one logit."""
    subject = site.runner.subject
    output = guarded(subject, inputs, lambda: subject.model_output(inputs))
    scores, binary = two_sided(subject.select(output, len(inputs)))
    return _at_least_float32(scores.detach()).clone(), binary


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _shrunk(activations: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return ``activations`` (n, K, *grid) resized along those axes in which the input is smaller than the grid.

    Resizing goes axis by axis, so this is the first half of it. What varies afterwards still varies when the other
    axes grow; only shrinking can make a channel flat.
    """
    grid = tuple(activations.shape[2:])
    small = tuple(map(min, grid, size))
    return activations if small == grid else _resized(activations, small)


def _resized(values: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(values, size=size, mode=MODES[len(size)], align_corners=False)


def _not_flat(activations: Tensor) -> Tensor:
    """Return where a channel takes more than one value, (n, K). One with NaN counts: its map must not look whole."""
    flat = activations.flatten(2)
    high, low = flat.amax(2), flat.amin(2)
    return ~(high - low <= FLAT * torch.maximum(high.abs(), low.abs()))


def _most_energetic(activations: Tensor, used: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return ``used`` (n, K) cut to each image's ``most`` channels of highest energy, and the share kept (n,).

    Ties go to the lower index. An image without a usable channel has a share of 0.
    """
    energy = activations.flatten(2).to(_precise(activations)).square().sum(2)
    energy = energy.masked_fill(~used, 0.0)
    # Unused channels sort behind all others, also behind those whose energy underflows to 0.
    order = torch.sort(energy.masked_fill(~used, -1.0), dim=1, descending=True, stable=True)
    first = torch.zeros_like(used).scatter_(1, order.indices[:, :most], True)
    kept, total = used & first, energy.sum(1)
    share = energy.masked_fill(~kept, 0.0).sum(1) / torch.where(total > 0, total, torch.ones_like(total))
    whole = (kept == used).all(1) & used.any(1)
    return kept, torch.where(whole, torch.ones_like(share), share)


def _precise(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _masked_scores(
    site: Site, seen: _Seen, masks: Tensor, used: Tensor, targets: Mapping[str, Tensor], reference: bool
) -> dict[str, Tensor]:
    """Return for every target what the model says of each image through each used channel, (n, K); 0 elsewhere.

    Images and channels are one long list of masked images, cut into batches: what one image leaves of a batch is
    filled with the next image's channels. Masks exist for one batch at a time.
    """
    images, channels = used.nonzero(as_tuple=True)
    size = tuple(seen.inputs.shape[2:])
    made = {target: torch.zeros(used.shape, dtype=_precise(used), device=used.device) for target in targets}

    def work(part: slice) -> None:
        rows, ks = images[part], channels[part]
        scores, binary = _scores(site, _masked(seen.inputs, masks, rows, ks, size))
        scores = scores.to(_precise(scores))
        if reference:
            # The softmax of a head with one logit z is the sigmoid of z, and not the softmax of (-z, z).
            scores = scores.sigmoid() if binary or site.sigmoid else scores.softmax(1)
        for target, classes in targets.items():
            made[target][rows, ks] = scores.gather(1, classes.to(rows.device)[rows].unsqueeze(1)).squeeze(1)
        site.count("channels", len(rows))
        site.progress(part.stop / len(images))

    site.size.each(len(images), work)
    return made


def _masked(inputs: Tensor, activations: Tensor, rows: Tensor, channels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return inputs (m, C, *S), image ``rows[i]`` multiplied with its channel ``channels[i]`` as a mask in [0, 1]."""
    mask = _resized(activations[rows, channels].unsqueeze(1), size)
    flat = mask.flatten(1)
    shape = (-1, *(1,) * (mask.dim() - 1))
    low, high = flat.amin(1).reshape(shape), flat.amax(1).reshape(shape)
    masked = inputs[rows]
    # Resizing can round away what little a nearly flat channel varies.
    span = torch.where(high == low, torch.ones_like(high), high - low)
    return masked.mul_(((mask - low) / span).to(masked.dtype))


def _weights(scores: Tensor, used: Tensor, reference: bool) -> Tensor:
    """Return alpha (n, K), 0 for unused channels; NaN for an image of which a masked score is not finite."""
    broken = (used & ~torch.isfinite(scores)).any(1, keepdim=True)
    # torch subtracts the largest score first; an image without a channel would be 0 / 0.
    shares = scores.masked_fill(~used, -math.inf).softmax(1).masked_fill(~used, 0.0)
    return (scores if reference else shares).masked_fill(broken, math.nan)
