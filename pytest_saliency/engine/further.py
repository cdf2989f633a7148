"""Passes for methods that are not computed from the capture's gradients: those with passes of their own, the user's."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_saliency.decide.randomness import seed_from
from pytest_saliency.engine.capture import Tap
from pytest_saliency.engine.methods.evidence import RawMaps
from pytest_saliency.engine.methods.own import OwnMethod
from pytest_saliency.engine.methods.perturbation import PerturbationMethod, Site
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.engine.sweep import Counted, Ground
from pytest_saliency.engine.swept import Gathering, Key, Part, Swept, on_cpu
from pytest_saliency.engine.targets import Targets
from pytest_saliency.errors import MethodError, SaliencyError, first_line, raised
from pytest_saliency.measure.activity import channel_activity, pooled


@dataclass
class _CountingSite(Site):
    """A site that also counts forward calls of the whole model: methods count their images once a call."""

    passes: int = 0

    def count(self, what: str, images: int) -> None:
        super().count(what, images)
        self.passes += what != "tail"


def sweep_perturbation(
    ground: Ground, method: PerturbationMethod, targets: Targets, counted: Counted
) -> tuple[Swept, tuple[str, ...]]:
    """Compute ``method`` for every target, and what it wants said; call it inside the runner's session."""
    site = _CountingSite(
        ground.runner,
        ground.layer,
        ground.size,
        draw="" if ground.transform is None else "jitter",
        sigmoid=ground.cases.others is not None,
    )
    grid = tuple(ground.layer.grid)
    done = 0

    def work(indices: tuple[int, ...], pixels: Tensor) -> Part:
        nonlocal done
        start = done

        def progress(share: float) -> None:
            if ground.report is not None:
                ground.report(min(start + int(share * len(indices)), len(ground.order)), len(ground.order))

        site.progress = progress
        site.ids = tuple(ground.cases.ids[i] for i in indices)
        found: dict[str, Tensor] = {}

        def targets_of(scores: Tensor) -> dict[str, Tensor]:
            found.update(targets.classes(indices, scores))
            return found

        made = method.compute(site, pixels, targets_of)
        done = start + len(indices)
        maps: dict[Key, RawMaps] = {
            (method.name, word): on_cpu(raw, raw.values.shape[1:] if raw.values.dim() > 2 else grid)
            for word, raw in made.maps.items()
        }
        return Part(
            scores=made.scores.float().cpu(),
            binary=made.binary,
            size=tuple(pixels.shape[2:]),
            classes={word: classes.cpu() for word, classes in found.items()},
            maps=maps,
        )

    gathering = Gathering(len(ground.order))
    ground.each(lambda indices, pixels: gathering.add(work(indices, pixels)))
    for what, images in site.images.items():
        counted.images[what] = counted.images.get(what, 0) + images
    counted.passes += site.passes
    return gathering.swept(), tuple(site.notes)


def sweep_activity(ground: Ground, threshold: float, counted: Counted | None = None) -> tuple[Tensor, int]:
    """Return how many channels of the layer are active in each image, (N,), and how many there are."""
    tap = Tap(ground.runner, ground.layer.name, ground.layer.layout)
    channels = 0

    def work(indices: tuple[int, ...], pixels: Tensor) -> Tensor:
        nonlocal channels
        activations = tap(pixels).activations
        channels = activations.shape[1]
        return torch.from_numpy(channel_activity(pooled(activations), threshold).counts)

    found = torch.cat(ground.each(work))
    if counted is not None:
        counted.passes += tap.passes
        counted.images["capture"] = counted.images.get("capture", 0) + len(found)
    return found, channels


def sweep_own(ground: Ground, method: OwnMethod, classes: Tensor, counted: Counted | None = None) -> Tensor:
    """Return the maps (N, *grid) of an own method for ``classes`` (N,), those of the cases in ``ground.order``.

    The model is afterwards as it was before: flags, ``requires_grad``, ``.grad``, buffers and hooks.

    Raises
    ------
    MethodError
        The method raised something, did not return one map an image, or changed what the model computes.
    """
    subject = ground.runner.subject
    grid: tuple[int, ...] | None = None

    def work(indices: tuple[int, ...], pixels: Tensor) -> Tensor:
        nonlocal grid
        wanted = classes[list(indices)].to(ground.runner.device)
        # Copied, because the method may work in place, and a batch that ran out of memory is taken again.
        images = pixels.to(ground.runner.device, copy=True)
        repeat = "jitter" if ground.transform is not None else ""
        named = (f"{ground.cases.ids[i]}/{int(classes[i])}" for i in indices)
        _seed(seed_from("own", method.name, repeat, *named), ground.runner.device)
        subject.model.eval()  # whatever it did with the batch before
        with _left_as_found(subject.model, method.name), _calls(subject.model, len(indices), counted or Counted()):
            try:
                with torch.enable_grad():
                    made: Any = method.function(subject, images, wanted)
            except SaliencyError:
                raise
            except Exception as error:
                raise MethodError(
                    f"own method {method.name!r}, given {len(indices)} images of shape {tuple(pixels.shape[1:])}"
                    f" (for one, '{ground.cases.ids[indices[0]]}'), {raised(error)}."
                ) from error
        values = one_map_an_image(f"own method {method.name!r} returned", made, len(indices), pixels.dim() - 2)
        if grid is not None and tuple(values.shape[1:]) != grid:
            raise MethodError(
                f"own method {method.name!r} returned maps of different grids, {grid} and then"
                f" {tuple(values.shape[1:])} (for one, '{ground.cases.ids[indices[0]]}'); one grid for all images is"
                " needed."
            )
        grid = tuple(values.shape[1:])
        return values

    parts = ground.each(work)
    if ground.runner.subject.fingerprint() != ground.runner.state:
        raise MethodError(
            f"own method {method.name!r} changed the weights of model '{subject.name}', so that its maps and all that"
            " would follow are about another model; let it work on a copy.deepcopy of subject.model."
        )
    return torch.cat(parts)


def one_map_an_image(who: str, made: Any, count: int, dimensions: int) -> Tensor:
    """Return maps that come from outside as (count, *grid), a copy in float32 on the CPU.

    ``made`` may be a tensor, an array, or what NumPy makes an array of; an axis of one channel behind the first is
    dropped. ``who`` reads "own method 'x' returned" in messages.

    Raises
    ------
    MethodError
        It is not one map an image.
    """
    expected = f"expected a tensor or an array ({count}, {', '.join(['side'] * dimensions)}), one map an image"
    try:
        if isinstance(made, list | tuple) and made and all(isinstance(one, Tensor) for one in made):
            made = torch.stack([one.detach() for one in made])
        # Arrays may be views that are turned round, which torch does not take.
        values = made if isinstance(made, Tensor) else torch.as_tensor(np.ascontiguousarray(made))
    except Exception as error:
        if out_of_memory(error):
            raise
        raise MethodError(
            f"{who} a {type(made).__name__} that cannot be read as numbers ({first_line(error)}); {expected}."
        ) from error
    if values.is_complex():
        raise MethodError(f"{who} complex numbers; {expected}.")
    if values.dim() == dimensions + 2 and values.shape[1] == 1:
        values = values.squeeze(1)
    if values.dim() != dimensions + 1 or len(values) != count or not values.numel():
        raise MethodError(f"{who} maps of shape {tuple(values.shape)} for {count} images; {expected}.")
    # Copied: whoever made them may use their memory again.
    return values.detach().to("cpu", torch.float32, copy=True)


def _seed(seed: int, device: torch.device) -> None:
    """Start the random numbers of torch, NumPy and Python at ``seed``; the runner's session puts them back."""
    torch.default_generator.manual_seed(seed % 2**63)  # torch.manual_seed would reach devices that are not put back
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed % 2**63)
    elif device.type == "mps":
        torch.mps.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextlib.contextmanager
def _left_as_found(model: nn.Module, name: str) -> Iterator[None]:
    """Put back what code that works with ``model`` leaves behind; a hook or another buffer is also an error."""
    parameters = [(one, one.requires_grad, one.grad) for one in model.parameters()]
    buffers = [
        (module, key, one, one.detach().clone())
        for module in model.modules()
        for key, one in module.named_buffers(recurse=False)
    ]
    hooks = [(place, set(place)) for place in _hook_places(model)]
    for parameter, _, _ in parameters:
        parameter.grad = None  # a backward pass would add to the user's own gradients in place
    changed: list[str] = []
    left = 0
    try:
        yield
    finally:
        for parameter, wanted, grad in parameters:
            parameter.requires_grad_(wanted)
            parameter.grad = grad
        for module, key, buffer, kept in buffers:
            if module._buffers.get(key) is not buffer:
                module._buffers[key] = buffer
                changed.append(key)
            if not _equal(buffer, kept):
                buffer.detach().copy_(kept)
                changed.append(key)
        for place, known in hooks:
            for hook in place.keys() - known:
                del place[hook]
                left += 1
    if changed:
        raise MethodError(
            f"own method {name!r} changed buffers of the model (for one, '{changed[0]}'), as a forward pass in training"
            " mode does, so that its maps are about another model; keep the model in evaluation mode, or work on a"
            " copy.deepcopy of subject.model. They were put back."
        )
    if left:
        raise MethodError(
            f"own method {name!r} left {left} hook{'s' if left > 1 else ''} on the model, which would run in every"
            " pass from now on; let it call handle.remove() before it returns. They were removed."
        )


def _equal(one: Tensor, two: Tensor) -> bool:
    """Tell whether two tensors hold the same numbers, NaN in the same places among them."""
    return torch.equal(one, two) or (one.is_floating_point() and bool(torch.isclose(one, two, 0, 0, True).all()))


def _hook_places(model: nn.Module) -> list[dict[Any, Any]]:
    return [
        place
        for module in model.modules()
        for attribute, place in vars(module).items()
        if attribute.endswith("_hooks") and isinstance(place, dict)
    ]


@contextlib.contextmanager
def _calls(model: nn.Module, batch: int, counted: Counted) -> Iterator[None]:
    """Count forward calls of ``model``, and the images in them; those of the ``batch`` where only parts of it ran."""
    images = 0

    def count(module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal images
        counted.passes += 1
        images += len(args[0]) if args and isinstance(args[0], Tensor) and args[0].dim() else batch

    handle = model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()
    counted.images["own"] = counted.images.get("own", 0) + (images or batch)
