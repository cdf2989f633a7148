"""The attention weights of a forward pass, seen by whoever stands beside it: no hook, no setting of the model changes.

Attention is computed in one of three ways: ``scaled_dot_product_attention`` (timm, Hugging Face and most of today's
code), which returns no weights, so that they are computed beside it; ``multi_head_attention_forward`` (torch's own
``nn.MultiheadAttention``, as in torchvision), likewise; or a softmax over the last axis of a square matrix, whose
result is the weights. torch tells of each such call in a ``TorchFunctionMode``. Code that calls a kernel of its own
(flash-attn, xformers) or is compiled into TorchScript is not seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pytest_saliency.engine.precision import at_least_float32, outside_autocast

Call = Callable[..., Any]
SOFTMAX: tuple[Call, ...] = (F.softmax, torch.softmax, Tensor.softmax)
WHOLE = inspect.signature(F.multi_head_attention_forward)


class Watch(TorchFunctionMode):
    """Keeps the weights (n, heads, T, T) of every self-attention inside the block, in the order of the calls.

    ``seen`` is told of each as soon as it is computed, so that they need not be kept. ``images`` is the size of the
    batch.
    """

    def __init__(self, images: int, seen: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._images, self._seen = images, seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._tell(_dot_product(*args, **kwargs))
        elif func is F.multi_head_attention_forward:
            self._tell(_multi_head(args, kwargs))
        elif func in SOFTMAX and isinstance(found, Tensor) and found.dim() in (3, 4) and _along_last(args, kwargs):
            self._tell(found)
        return found

    def _tell(self, weights: Tensor) -> None:
        weights = at_least_float32(weights.detach())
        if weights.dim() == 3:  # heads and images in one axis, images first, as torch once did it
            if len(weights) % self._images:
                return
            weights = weights.reshape(self._images, -1, *weights.shape[1:])
        self._seen(weights)


def _along_last(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether a softmax goes along the last axis of a square."""
    given = args[0] if args else kwargs["input"]
    axis = args[1] if len(args) > 1 else kwargs.get("dim")
    return axis in (-1, given.dim() - 1) and given.shape[-1] == given.shape[-2]


def _dot_product(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(q k^T * scale + mask), (n, heads, T, T'), which the fused kernel computes and does not return."""
    query, key = at_least_float32(query.detach()), at_least_float32(key.detach())
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    with outside_autocast(query):
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~causal, -torch.inf)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1)


def _multi_head(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the weights (n, heads, T, T') of torch's own attention, which computes them when it is asked to."""
    given = WHOLE.bind(*args, **kwargs).arguments
    given |= {"need_weights": True, "average_attn_weights": False, "training": False}
    if given.get("is_causal") and given.get("attn_mask") is None:
        given["is_causal"] = False
    with torch.no_grad():
        _, weights = F.multi_head_attention_forward(**given)
    assert weights is not None
    return weights
