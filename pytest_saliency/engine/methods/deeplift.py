"""DeepLIFT through captum, which hooks the model's activations: what it leaves is cleared, what it cannot do is told.

captum's rule needs every activation module to run once in a forward pass. Two of its rules let the images of a batch
meddle with each other: that of MaxPool takes the first image's gradient for all where input and baseline are the same,
and that of Softmax a mean over the whole batch. Models with such modules are explained image by image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pytest_saliency.engine.methods.inputs import in_groups, no_gradient, scored, together
from pytest_saliency.engine.methods.perturbation import Site
from pytest_saliency.errors import MethodError

MEDDLING = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Softmax)
ALONE = 2**31  # inputs an image is said to bring, so that no group has two
LEFT = ("input", "output", "input_ref")  # attributes by which captum's hooks hand on what a module saw


class _Scores(nn.Module):
    """The user's model as one from inputs to class scores (n, C): captum's hooks need a tensor."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.model = site.runner.subject.model
        self._site = [site]  # in a list, so that nothing of it is taken for a part of the module
        self.training = False

    def forward(self, inputs: Tensor) -> Tensor:
        scores, _ = scored(self._site[0], inputs)
        return scores


def deeplift(site: Site, inputs: Tensor, baselines: Tensor, classes: Tensor) -> Tensor:
    """Return attributions (k, n, C, *S) to ``inputs`` (n, C, *S) against ``baselines`` for ``classes`` (k, n).

    Raises
    ------
    MethodError
        An activation module runs more than once in a forward pass (names it), or no gradient reaches the input.
    """
    from captum.attr import DeepLift

    model = site.runner.subject.model
    if "deeplift" not in site.state:
        _check(site, inputs[:1])
        site.state["deeplift"] = any(isinstance(module, MEDDLING) for module in model.modules())
    rows = ALONE if site.state["deeplift"] else 2
    wrapped = _Scores(site)

    def group(at: slice) -> Tensor:
        made = []
        for wanted in classes[:, at]:
            with _cleared(model):
                given = inputs[at].clone().requires_grad_()
                made.append(DeepLift(wrapped).attribute(given, baselines[at], target=wanted.to(given.device)).detach())
            site.count("gradients", 2 * len(wanted))
        return torch.stack(made)

    return in_groups(site, len(inputs), rows, group, together(site, inputs))


def _check(site: Site, inputs: Tensor) -> None:
    """Run the model once on ``inputs`` and raise a MethodError for what would fail within captum's hooks."""
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    subject = site.runner.subject
    calls: Counter[str] = Counter()
    handles = []
    for name, module in subject.model.named_modules():
        if type(module) in SUPPORTED_NON_LINEAR:

            def count(module: nn.Module, args: object, name: str = name) -> None:
                calls[name] += 1

            handles.append(module.register_forward_pre_hook(count))
    try:
        with torch.enable_grad():
            scores, _ = scored(site, inputs.clone().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    site.count("capture", len(inputs))
    if not scores.requires_grad:
        raise MethodError(no_gradient(site, "captum:DeepLift", "the scores do not depend on it through autograd"))
    again = [name for name, times in calls.items() if times > 1]
    if again:
        raise MethodError(
            f"captum:DeepLift needs every activation module to run once in a forward pass, but {len(again)} of model"
            f" '{subject.name}' run more often (for one, '{again[0]}', {calls[again[0]]} times); give each use a module"
            " of its own, or use captum:IntegratedGradients."
        )


@contextmanager
def _cleared(model: nn.Module) -> Iterator[None]:
    """Put back what captum's hooks overwrite on the modules of ``model``, and leave behind where they are cut short."""
    own = [(module, {name: vars(module)[name] for name in LEFT if name in vars(module)}) for module in model.modules()]
    try:
        yield
    finally:
        for module, kept in own:
            for name in LEFT:
                vars(module).pop(name, None)
            vars(module).update(kept)
