"""Running only what follows a layer: the modules in front of it hand back what they returned before.

A model is a program, and modules are the places where it can be met. Every module call that ended before the layer's
last call began becomes a stub; of nested ones the outermost, for what happens inside them is of no interest. The
containers around the layer, functional operations between modules and everything behind the layer run for real. That
needs no graph of the model and works for whatever Python its ``forward`` consists of, as long as its modules speak to
each other through arguments and results. Whether they do is not assumed here: see :mod:`pytest_saliency.engine.replay`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor

from pytest_saliency.engine.outputs import two_sided
from pytest_saliency.engine.precision import at_least_float32
from pytest_saliency.engine.runner import Runner, guarded
from pytest_saliency.engine.steps import Steps
from pytest_saliency.engine.stubs import (
    Kept,
    NoReplayError,
    Slot,
    Watch,
    first_of,
    leaves,
    sketch,
    walk,
    with_first,
)
from pytest_saliency.errors import SubjectError


class Front(Enum):
    """With how many rows the part in front of the layer runs again, and in what memory.

    One row is enough where what follows broadcasts it (``identity + features``), and costs least. Concatenation needs
    as many rows as the layer has; an operation in place needs memory of its own for each of them.
    """

    ONE = "one row"
    EXPANDED = "rows that share memory"
    COPIED = "rows of their own"


@dataclass
class Record:
    """A batch that went through the whole model once.

    Attributes
    ----------
    scores
        Class scores (n, C), at least float32, two-sided.
    binary
        Whether the head has one logit.
    output
        The layer's output (its first element where it is a tuple), as the layer lays it out, (n, ...).
    inputs
        What the model was given, (n, ...).
    calls
        How often the layer ran.
    kept
        The tensors that stubs hand back, by slot.
    """

    scores: Tensor
    binary: bool
    output: Tensor
    inputs: Tensor
    calls: int
    kept: dict[int, Tensor] = field(default_factory=dict)


def scores_of(runner: Runner, output: object, count: int) -> tuple[Tensor, bool]:
    """Return class scores (count, C), at least float32, of what the model returned, and whether it has one logit."""
    scores, binary = two_sided(runner.subject.select(output, count))
    return at_least_float32(scores.detach()), binary


def layer_tensor(runner: Runner, layer: str, output: Any) -> Tensor:
    """Return a layer's own tensor in what it returned.

    Raises
    ------
    SubjectError
        It is none, or not of floating point.
    """
    first = first_of(output)
    if not isinstance(first, Tensor) or not first.is_floating_point():
        raise SubjectError(
            f"layer '{layer}' of model '{runner.subject.name}' returns {type(output).__name__}, not a floating-point"
            " tensor; choose a layer inside it."
        )
    return first


class Tail:
    """What follows a layer, learnt from two passes: of one image, and of that image twice.

    Use everything inside the runner's session and under ``torch.no_grad``.

    Raises
    ------
    NoReplayError
        A module in front of the layer returns something that cannot be handed back, or not for any number of images.
    """

    def __init__(self, runner: Runner, layer: str, pixels: Tensor) -> None:
        self._runner, self._name = runner, layer
        self._run = runner.subject.model_output
        self._steps = Steps(runner, layer, runner.model_input(pixels[:1]))
        self._kept: list[Kept] = []
        self._templates: dict[int, Any] = {}
        self._changed = -1  # the slot of the layer's own tensor
        self._learn(runner.model_input(pixels[:1].expand(2, *pixels.shape[1:])))

    def _learn(self, inputs: Tensor) -> None:
        """Run two images; note what each stub returns, which of it is read again, and what is changed in place."""
        watch = Watch(lambda: self._steps.inside == 0)
        held: list[Tensor] = []  # stay alive, so that their addresses mean something
        versions: list[int] = []

        def note(number: int, output: Any) -> Any:
            step, where = self._steps[number], self._steps.where(number)
            shapes = step.shapes
            if shapes is None or not _alike(shapes, sketch(output, where)):
                leaves(output, where)  # says so if that is the cause
                raise NoReplayError(f"what {where} returns for two images differs in more than their number")
            places = iter(range(len(shapes)))

            def slot_of(leaf: Any) -> Any:
                place = next(places)
                if not isinstance(leaf, Tensor):
                    return leaf
                slot = watch.slots.get(id(leaf))
                if slot is None:
                    slot = len(self._kept)
                    self._kept.append(Kept.of(leaf, shapes[place], (number, place)))
                    held.append(leaf)
                    versions.append(leaf._version)
                    watch.add(leaf, slot)
                self._kept[slot].source, versions[slot] = (number, place), leaf._version
                return Slot(slot)

            self._templates[number] = walk(output, slot_of, where)
            return output

        def at_layer(output: Any) -> Any:
            output = with_first(output, layer_tensor(self._runner, self._name, output).clone())
            note(len(self._steps) - 1, output)
            self._changed = watch.slots[id(first_of(output))]
            return output

        def stub(number: int, call: Callable[[], Any]) -> Any:
            output = call()
            if self._steps[number].kind == "stub":
                note(number, output)
            return output

        with self._steps.led(stub, at_layer), watch:
            guarded(self._runner.subject, inputs, lambda: self._run(inputs))
        for slot, kept in enumerate(self._kept):
            kept.live = slot in watch.live and slot != self._changed
            kept.altered = held[slot]._version != versions[slot]
            if kept.live and not kept.clear:
                raise NoReplayError(f"what {self._steps.where(kept.source[0])} returns has no one axis of images")

    def record(self, pixels: Tensor) -> Record:
        """Run the whole model on ``pixels`` (n, C, *S) once, and keep what replays need."""
        inputs = self._runner.model_input(pixels)
        wanted = {kept.source: slot for slot, kept in enumerate(self._kept) if kept.live}
        found: dict[int, Tensor] = {}
        seen: list[Tensor] = []

        def keep(number: int, output: Any) -> None:
            for place, leaf in enumerate(leaves(output, self._steps.where(number))):
                slot = wanted.get((number, place))
                if slot is not None and isinstance(leaf, Tensor):
                    found[slot] = leaf.detach().clone() if self._kept[slot].altered else leaf.detach()

        def stub(number: int, call: Callable[[], Any]) -> Any:
            output = call()
            if self._steps[number].kind == "stub":
                keep(number, output)
            return output

        def at_layer(output: Any) -> Any:
            first = layer_tensor(self._runner, self._name, output).detach()
            keep(len(self._steps) - 1, output)
            # Copied twice, as in a capture pass: a layer may return its very input, and its own output is overwritten.
            seen.append(first.clone())
            return with_first(output, first.clone())

        with self._steps.led(stub, at_layer):
            given = inputs.clone()
            made = guarded(self._runner.subject, pixels, lambda: self._run(given))
        scores, binary = scores_of(self._runner, made, len(pixels))
        return Record(scores, binary, seen[-1], inputs, self._steps.calls, found)

    def replay(self, record: Record, image: int, changed: Tensor, front: Front) -> Tensor:
        """Return the class scores (rows, C) of image ``image`` of ``record`` with ``changed`` (rows, ...) at the layer.

        ``changed`` is handed on as it is, and may be overwritten by what follows.

        Raises
        ------
        NoReplayError
            The model took another way than before.
        Exception
            Whatever what follows raised, among it that it does not work with this ``front``.
        """
        count = len(changed)
        made: dict[int, Tensor] = {self._changed: changed}
        versions = [tensor._version for tensor in record.kept.values()]

        def rows(slot: int, wanted: int) -> Tensor:
            if slot not in made:
                kept = self._kept[slot]
                copied = front is not Front.EXPANDED or wanted == 1
                made[slot] = kept.rows(record.kept[slot], image, wanted, copied) if kept.live else kept.nothing(wanted)
            return made[slot]

        def fill(number: int, wanted: int) -> Any:
            return walk(
                self._templates[number], lambda leaf: rows(leaf.index, wanted) if isinstance(leaf, Slot) else leaf, ""
            )

        in_front = 1 if front is Front.ONE else count

        def stub(number: int, call: Callable[[], Any]) -> Any:
            return fill(number, count if self._steps[number].kind == "layer" else in_front)

        given = record.inputs[image : image + 1].expand(in_front, *record.inputs.shape[1:])
        if front is not Front.EXPANDED or count == 1:
            given = given.clone()
        with self._steps.led(stub, lambda output: fill(len(self._steps) - 1, count)):
            output = self._run(given)
        if [tensor._version for tensor in record.kept.values()] != versions:
            raise NoReplayError("what follows the layer changes in place what precedes it")
        return scores_of(self._runner, output, count)[0]


def _alike(one: list[Any], two: list[Any]) -> bool:
    """Tell whether two sketches are the same but for the sizes of tensors."""
    kinds = [type(leaf) for leaf in one] == [type(leaf) for leaf in two]
    return kinds and all(isinstance(a, tuple) or a == b for a, b in zip(one, two, strict=True))
