"""Attention rollout: which patches reach the token that is classified, through all layers of a vision transformer.

Abnar and Zuidema, arXiv 2005.00928, eq. 1: of each layer A^ = 1/2 A + 1/2 I, where A is the attention with the heads
brought together and I is the residual connection; rows scaled to a sum of 1; multiplied over the layers, the last one
leftmost. The map is the row of the token that the head reads, over the patches.

- ``heads:mean`` is the paper's; ``max`` and ``min`` over the heads are variants in use, after which the rows no longer
  sum to 1 of themselves.
- The row is that of the class token; with a second classifier on a distillation token (DeiT), the mean of both rows; in
  a model that averages its patches, or has no token in front of them, the mean of the patches' rows.

No class enters: maps for all classes are the same. Like ``eigencam`` it is what must fail where class-sensitive
methods pass. Values are shares, nowhere negative. One forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from pytest_saliency.engine.layout import Layout, find_layout
from pytest_saliency.engine.methods.attention import Watch
from pytest_saliency.engine.methods.evidence import RawMaps
from pytest_saliency.engine.methods.inputs import scored
from pytest_saliency.engine.methods.names import MethodName
from pytest_saliency.engine.methods.perturbation import PerturbationMethod, Perturbed, Site, TargetsOf
from pytest_saliency.engine.methods.pixels import model_inputs
from pytest_saliency.engine.precision import outside_autocast
from pytest_saliency.errors import MethodError

SOURCE = "arXiv 2005.00928, eq. 1"
DISTILLED = ("head_dist", "distillation_classifier")  # the second classifier's name in timm and in transformers
AVERAGING = ("avg", "avgmax", "max")  # timm's global_pool where the head does not read the class token
INSTEAD = "Use a method that works at a layer, as gradcam, or on the pixels, as captum:IntegratedGradients."


def rollout_method(variants: tuple[str, ...] = ()) -> PerturbationMethod:
    """Return attention rollout with ``variants`` as ``parse_method`` orders them."""
    name = MethodName("rollout", variants)
    return PerturbationMethod(str(name), 1, partial(_compute, name), SOURCE, str(name.in_full()))


@dataclass
class Rolling:
    """The product of what was seen so far, (n, T, T); ``refused`` once something was seen that is no layer of it."""

    heads: str
    images: int
    product: Tensor | None = None
    refused: str = ""
    layers: int = field(default=0)

    def add(self, weights: Tensor) -> None:
        """Multiply the attention (n, heads, T, T) of one layer to it."""
        if self.refused:
            return
        tokens = weights.shape[-1]
        if weights.dim() != 4:  # as Hiera's, whose windows have an axis of their own
            self.refused = f"attends within groups of its tokens (weights of shape {tuple(weights.shape)})"
        elif len(weights) != self.images:
            self.refused = f"attends within windows ({len(weights) // self.images} an image)"
        elif weights.shape[-2] != tokens:
            self.refused = f"pools its tokens by attention ({weights.shape[-2]} ask {tokens})"
        elif self.product is not None and self.product.shape[-1] != tokens:
            self.refused = f"changes the number of its tokens between layers ({self.product.shape[-1]}, then {tokens})"
        if self.refused:
            return
        layer = layer_of(weights, self.heads)
        with outside_autocast(layer):
            self.product = layer if self.product is None else layer @ self.product
        self.layers += 1


def layer_of(weights: Tensor, heads: str) -> Tensor:
    """Return A^ (n, T, T) of one layer's attention (n, heads, T, T), rows summing to 1."""
    joined = weights.mean(1) if heads == "mean" else weights.amax(1) if heads == "max" else weights.amin(1)
    made = 0.5 * joined + 0.5 * torch.eye(joined.shape[-1], dtype=joined.dtype, device=joined.device)
    return made / made.sum(-1, keepdim=True)


def _compute(name: MethodName, site: Site, pixels: Tensor, targets_of: TargetsOf) -> Perturbed:
    inputs = model_inputs(site, pixels, str(name))
    subject = site.runner.subject

    def work(part: slice) -> tuple[Tensor, bool, Tensor]:
        rolling = Rolling(name.setting("heads"), part.stop - part.start)
        with torch.no_grad(), Watch(rolling.images, rolling.add):
            scores, binary = scored(site, inputs[part])
        site.count("capture", len(scores))
        if rolling.refused:
            raise MethodError(
                f"{name} needs layers that attend between all patches, but model '{subject.name}' {rolling.refused}."
                f" {INSTEAD}"
            )
        if rolling.product is None:
            raise MethodError(
                f"{name} needs a vision transformer, but no attention was seen in model '{subject.name}': it has none,"
                f" or computes it by a kernel of its own. {INSTEAD}"
            )
        layout = find_layout((*rolling.product.shape[:2], 1), tuple(pixels.shape[2:]), "tokens")
        if layout is None:
            raise MethodError(
                f"{name} cannot tell which of the {rolling.product.shape[1]} tokens of model '{subject.name}' are the"
                f" patches of an image of {'x'.join(map(str, pixels.shape[2:]))}. {INSTEAD}"
            )
        return scores, binary, _row(rolling.product, layout, subject.model)

    parts = site.size.each(len(inputs), work)
    scores = torch.cat([part[0] for part in parts])
    raw = RawMaps(torch.cat([part[2] for part in parts]))
    return Perturbed(scores, parts[0][1], dict.fromkeys(targets_of(scores), raw))


def _row(product: Tensor, layout: Layout, model: nn.Module) -> Tensor:
    """Return what reaches the token that is classified, (n, *grid)."""
    first, last = _read_tokens(model, layout.prefix)
    row = product[:, first:last].mean(1)
    return layout.read(row.unsqueeze(2)).squeeze(1)


def _read_tokens(model: nn.Module, prefix: int) -> tuple[int, int | None]:
    """Return which tokens the head reads, first and one after the last."""
    modules = dict(model.named_modules())
    averaged = any(getattr(module, "global_pool", None) in AVERAGING for module in modules.values())
    if prefix == 0 or averaged:
        return prefix, None
    second = any(name.rpartition(".")[2] in DISTILLED for name in modules)
    return 0, 2 if prefix > 1 and second else 1
