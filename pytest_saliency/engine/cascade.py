"""From the top layer of a model down: the order in which a cascade draws its parameters anew.

Source: Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 3.1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import MethodError, raised


def from_the_top(runner: Runner, pixels: Tensor, who: str) -> list[str]:
    """Return the names of the modules with parameters (or running statistics) of their own, the last to run first.

    The order is that of the calls in one forward pass over ``pixels`` (N, C, *S), seen on a copy of the model. A
    module that is never called itself stands where the nearest module around it was called.

    Raises
    ------
    MethodError
        The model cannot be copied, or nothing in it is a parameter.
    """
    subject = runner.subject
    try:
        model = copy.deepcopy(subject.model)
    except Exception as error:
        raise MethodError(
            f"{who} needs a copy of model {type(subject.model).__name__}, but copy.deepcopy of it {raised(error)}."
            f" Leave {who} out, or give the model a __deepcopy__."
        ) from error
    called: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        def note(module: nn.Module, args: Any) -> None:
            called.setdefault(name, len(called))

        return note

    for name, module in model.named_modules():
        module.register_forward_pre_hook(watch(name))
    twin = Subject(model, preprocess=subject.preprocess, output=subject.output, name=subject.name, input=subject.input)
    other = Runner(twin, runner.device, runner.precision, runner.threads)
    with other.session(), torch.no_grad():
        other.call(pixels)
    found = [name for name, module in model.named_modules() if _has_own(module)]
    if not any(parameter.is_floating_point() for parameter in model.parameters()):
        raise MethodError(
            f"model '{subject.name}' has no parameters, so there is nothing to draw anew and {who} has no meaning;"
            f" leave {who} out."
        )
    places = {name: (_call(name, called), position) for position, name in enumerate(found)}
    return sorted(found, key=lambda name: places[name], reverse=True)


def stages_of(order: list[str], stages: int) -> list[list[str]]:
    """Return ``stages`` growing parts of ``order``: the first module alone, then equal steps short of the whole.

    Fewer where there are not as many different ones.
    """
    sizes = {1, *(round(len(order) * step / stages) for step in range(1, stages))} if stages else set()
    return [order[:size] for size in sorted(sizes) if 0 < size < len(order)]


def _has_own(module: nn.Module) -> bool:
    statistics = isinstance(module, _NormBase) and module.running_mean is not None
    return statistics or any(True for _ in module.parameters(recurse=False))


def _call(name: str, called: dict[str, int]) -> int:
    while name and name not in called:
        name = name.rpartition(".")[0]
    return called.get(name, -1)
