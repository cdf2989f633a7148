"""Passes for methods that are not computed from gradients: perturbation methods, and the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.capture import Tap
from pytest_saliency.engine.methods.evidence import RawMaps
from pytest_saliency.engine.methods.own import OwnMethod
from pytest_saliency.engine.methods.perturbation import PerturbationMethod, Site
from pytest_saliency.engine.sweep import Counted, Ground
from pytest_saliency.engine.swept import Key, Part, Swept, on_cpu
from pytest_saliency.engine.targets import Targets
from pytest_saliency.errors import MethodError, SaliencyError, raised
from pytest_saliency.measure.activity import channel_activity, pooled


def sweep_perturbation(
    ground: Ground, method: PerturbationMethod, targets: Targets, counted: Counted
) -> tuple[Swept, tuple[str, ...]]:
    """Compute ``method`` for every target, and what it wants said; call it inside the runner's session."""
    site = Site(ground.runner, ground.layer, ground.size)
    grid = tuple(ground.layer.grid)
    done = 0

    def work(indices: tuple[int, ...], pixels: Tensor) -> Part:
        nonlocal done
        start = done

        def progress(share: float) -> None:
            if ground.report is not None:
                ground.report(min(start + int(share * len(indices)), len(ground.order)), len(ground.order))

        site.progress = progress
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

    swept = Swept.joined(ground.each(work))
    for what, images in site.images.items():
        counted.images[what] = counted.images.get(what, 0) + images
    return swept, tuple(site.notes)


def sweep_activity(ground: Ground, threshold: float) -> tuple[Tensor, int]:
    """Return how many channels of the layer are active in each image, (N,), and how many there are."""
    tap = Tap(ground.runner, ground.layer.name, ground.layer.layout)
    channels = 0

    def work(indices: tuple[int, ...], pixels: Tensor) -> Tensor:
        nonlocal channels
        activations = tap(pixels).activations
        channels = activations.shape[1]
        return torch.from_numpy(channel_activity(pooled(activations), threshold).counts)

    return torch.cat(ground.each(work)), channels


def sweep_own(ground: Ground, method: OwnMethod, classes: Tensor) -> Tensor:
    """Return the maps (N, *grid) of an own method for ``classes`` (N,), those of the cases in ``ground.order``.

    Raises
    ------
    MethodError
        The method raised something, or did not return one map an image.
    """
    subject = ground.runner.subject

    def work(indices: tuple[int, ...], pixels: Tensor) -> Tensor:
        wanted = classes[list(indices)].to(ground.runner.device)
        # Copied, because the method may work in place, and a batch that ran out of memory is taken again.
        images = pixels.to(ground.runner.device, copy=True)
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
        values = torch.as_tensor(made if isinstance(made, Tensor) else np.asarray(made)).detach().float().cpu()
        dimensions = pixels.dim() - 2
        if values.dim() == dimensions + 2 and values.shape[1] == 1:
            values = values.squeeze(1)
        if values.dim() != dimensions + 1 or len(values) != len(indices):
            raise MethodError(
                f"own method {method.name!r} returned maps of shape {tuple(values.shape)} for {len(indices)} images;"
                f" expected ({len(indices)}, {', '.join(['side'] * dimensions)})."
            )
        return values.clone()

    parts = ground.each(work)
    grids = {tuple(part.shape[1:]) for part in parts}
    if len(grids) > 1:
        raise MethodError(
            f"own method {method.name!r} returned maps of different grids ({', '.join(map(str, sorted(grids)))}); one"
            " grid for all images is needed."
        )
    return torch.cat(parts)
