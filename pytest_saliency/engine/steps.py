"""The module calls of a forward pass up to a layer's last, and a second pass that is led along them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pytest_saliency.engine.runner import Runner, guarded
from pytest_saliency.engine.stubs import NoReplayError, overridden, sketch


@dataclass(frozen=True)
class Step:
    """A call of a module that has a stub.

    Attributes
    ----------
    kind
        ``stub``, ``layer``, or ``live``: a container of the layer that was a stub in another call.
    shapes
        What it returned for one image, tensors as their shapes; None if that cannot be kept.
    """

    module: nn.Module
    kind: str
    shapes: list[Any] | None


@dataclass
class _Call:
    module: nn.Module
    parent: _Call | None
    shapes: list[Any] | None = None


class Steps:
    """Every call that a replay of what follows ``layer`` meets, in order, learnt from ``inputs`` (1, ...).

    These are the outermost calls that ended before the layer's last one began, and that one. ``calls`` is how often
    the layer ran, ``inside`` how deep a pass that is being led is in one of them.

    Raises
    ------
    NoReplayError
        The layer runs in a way that cannot be led.
    """

    def __init__(self, runner: Runner, layer: str, inputs: Tensor) -> None:
        self._model = runner.subject.model
        self._names = {module: name for name, module in self._model.named_modules()}
        self._layer = dict(self._model.named_modules())[layer]
        self._layer_name = layer
        self._cursor, self._arrived = 0, False
        self.inside = 0
        self._steps, self.calls = self._trace(runner, inputs)

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, number: int) -> Step:
        return self._steps[number]

    def where(self, number: int) -> str:
        """Return the words for a step's module."""
        return f"module '{self._names[self._steps[number].module]}'"

    def _trace(self, runner: Runner, inputs: Tensor) -> tuple[list[Step], int]:
        calls: list[_Call] = []
        running: list[_Call] = []
        at_layer: list[list[Any]] = []

        def noting(module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def forward(*args: Any, **kwargs: Any) -> Any:
                call = _Call(module, running[-1] if running else None)
                calls.append(call)
                running.append(call)
                try:
                    output = original(*args, **kwargs)
                finally:
                    running.pop()
                with contextlib.suppress(NoReplayError):
                    call.shapes = sketch(output, "")
                return output

            return forward

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            at_layer.append(sketch(output, f"layer '{self._layer_name}'"))

        modules = [module for module in self._model.modules() if module is not self._model]
        handle = self._layer.register_forward_hook(hook)
        try:
            with overridden({module: noting(module, module.forward) for module in modules}):
                guarded(runner.subject, inputs, lambda: runner.subject.model_output(inputs))
        finally:
            handle.remove()
        last = max((i for i, call in enumerate(calls) if call.module is self._layer), default=None)
        if last is None or not at_layer:
            raise NoReplayError(f"layer '{self._layer_name}' does not run through its own forward method")
        layer = calls[last]
        layer.shapes = at_layer[-1]  # behind the user's own hooks, where it is replaced
        around: list[_Call] = []
        above = layer.parent
        while above is not None:
            around.append(above)
            above = above.parent
        met = [(call, "live" if _among(call, around) else "stub") for call in calls[:last]]
        met = [(call, kind) for call, kind in met if call.parent is None or _among(call.parent, around)]
        met.append((layer, "layer"))
        stubbed = {call.module for call, kind in met if kind != "live"}
        steps = [Step(call.module, kind, call.shapes) for call, kind in met if call.module in stubbed]
        return steps, len(at_layer)

    @contextlib.contextmanager
    def led(self, stub: Callable[[int, Callable[[], Any]], Any], at_layer: Callable[[Any], Any]) -> Iterator[None]:
        """Lead the model's next forward pass: ``stub`` makes what the module of a step returns, given its number and
        its own forward; ``at_layer`` gets what the layer returns in its last call and returns what it shall.

        The modules are as they were afterwards, whatever happens.

        Raises
        ------
        NoReplayError
            The calls are not those that were learnt.
        """
        self._cursor, self._arrived, self.inside = 0, False, 0

        def leading(module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def forward(*args: Any, **kwargs: Any) -> Any:
                if self.inside or self._cursor == len(self._steps):
                    return original(*args, **kwargs)
                number, step = self._cursor, self._steps[self._cursor]
                if step.module is not module:
                    raise NoReplayError(
                        f"its modules do not run in the same order each time: '{self._names[module]}' ran in the place"
                        f" of '{self._names[step.module]}'"
                    )
                self._cursor += 1
                if step.kind == "live":
                    return original(*args, **kwargs)
                self.inside += 1
                try:
                    output = stub(number, lambda: original(*args, **kwargs))
                finally:
                    self.inside -= 1
                self._arrived = step.kind == "layer"
                return output

            return forward

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if not self._arrived:
                return None
            self._arrived = False
            return at_layer(output)

        handle = self._layer.register_forward_hook(hook)
        try:
            with overridden({step.module: leading(step.module, step.module.forward) for step in self._steps}):
                yield
        finally:
            handle.remove()
        if self._cursor < len(self._steps):
            raise NoReplayError(f"{self.where(self._cursor)} does not run each time")


def _among(call: _Call, calls: list[_Call]) -> bool:
    return any(call is other for other in calls)
