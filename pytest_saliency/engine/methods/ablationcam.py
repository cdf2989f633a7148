"""Ablation-CAM: w_k = y - y_k, L = sum_k w_k A_k, with y_k the score when channel k is 0 (Desai and Ramaswamy).

WACV 2020, doi 10.1109/WACV45572.2020.9093360. The paper divides w_k by y. That is a positive scale where y > 0 and
turns the map over where y < 0, so it is left out; the variant ``relative`` has it. The ReLU is left out as well.

Channel k is what the map is made of: in tokens the patches, not the class token in front of them. The forward passes
start at the layer (see :mod:`pytest_saliency.engine.replay`), and serve all targets of an image together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.layout import Layout
from pytest_saliency.engine.methods.evidence import RawMaps, weighted_sum
from pytest_saliency.engine.methods.names import MethodName
from pytest_saliency.engine.methods.perturbation import PerturbationMethod, Perturbed, Site, TargetsOf
from pytest_saliency.engine.precision import at_least_float32
from pytest_saliency.engine.replay import Replays
from pytest_saliency.engine.sizing import BatchSize, out_of_memory
from pytest_saliency.engine.tail import Record
from pytest_saliency.errors import DeviceError, MethodError, first_line

# Bytes of changed activations in one replay. Many rows make a dense layer behind the target cheap, which is read from
# memory once a replay. But on a CPU what follows allocates as much again and again, and from 32 MiB on the C library
# asks the system for every such piece: that made ResNet-50 at its last convolution twice as slow.
CPU_BYTES = 30 * 2**20
GPU_BYTES = 512 * 2**20


def ablationcam_method(variants: tuple[str, ...] = ()) -> PerturbationMethod:
    """Return Ablation-CAM; with ``relative`` among the ``variants`` the paper's form, divided by the class score.

    In that form a map is degenerate where the score is 0. Every map records how many channels were ``replayed``; those
    that are 0 everywhere have weight 0 without.
    """

    def compute(site: Site, pixels: Tensor, targets_of: TargetsOf) -> Perturbed:
        return _compute(site, pixels, targets_of, relative="relative" in variants)

    return PerturbationMethod(
        str(MethodName("ablationcam", variants)), 1, compute, "doi 10.1109/WACV45572.2020.9093360"
    )


def _compute(site: Site, pixels: Tensor, targets_of: TargetsOf, relative: bool) -> Perturbed:
    if "replays" not in site.state:
        site.state["replays"] = Replays(site, "Ablation-CAM")
    replays: Replays = site.state["replays"]
    records = site.size.each(len(pixels), lambda part: replays.record(pixels[part]))
    scores = torch.cat([record.scores for record in records])
    classes = targets_of(scores)
    wanted = torch.stack([found.to(scores.device) for found in classes.values()], 1)
    places = [(record, image) for record in records for image in range(len(record.scores))]
    ablated = []
    for number, (record, image) in enumerate(places):
        report = functools.partial(_report, site, number, len(places))
        ablated.append(_ablate(site, replays, record, image, wanted[number], report))
    activations = torch.cat([site.layer.layout.read(record.output) for record in records]).flatten(2)
    activations = at_least_float32(activations)
    replayed = torch.tensor([one.replayed for one in ablated])
    maps = {}
    for column, word in enumerate(classes):
        weights = torch.stack([one.drops[:, column] for one in ablated])
        degenerate = None
        if relative:
            full = torch.stack([one.score[column] for one in ablated])
            degenerate = full == 0
            safe = torch.where(degenerate, torch.ones_like(full), full).unsqueeze(1)
            weights = torch.where(degenerate.unsqueeze(1), torch.zeros_like(weights), weights / safe)
        maps[word] = RawMaps(weighted_sum(weights, activations), degenerate, {"replayed": replayed})
    return Perturbed(scores, records[0].binary, maps)


def _report(site: Site, number: int, count: int, share: float) -> None:
    site.progress((number + share) / count)


@dataclass(frozen=True)
class _Ablated:
    """An image's scores (T,) for T targets, how far they fall (K, T) without each channel, and how many were run."""

    score: Tensor
    drops: Tensor
    replayed: int


def _ablate(
    site: Site, replays: Replays, record: Record, image: int, classes: Tensor, report: Callable[[float], None]
) -> _Ablated:
    plane = _Plane.of(record.output[image : image + 1], site.layer.layout)
    active = (plane.values != 0).any(1).nonzero().flatten()
    score = record.scores[image, classes]
    drops = score.new_zeros(len(plane.values), len(classes))
    if not len(active):
        return _Ablated(score, drops, 0)
    if "rows" not in site.state:
        budget = CPU_BYTES if plane.flat.device.type == "cpu" else GPU_BYTES
        site.state["rows"] = BatchSize(max(1, budget // plane.flat.nbytes), plane.flat.device)
    rows: BatchSize = site.state["rows"]
    while True:
        whole = replays.whole
        most = min(rows.current, site.size.current) if whole else rows.current
        # All replays have the same number of rows, so that the same kernels make all scores of an image.
        calls = math.ceil((1 + len(active)) / most)
        count = math.ceil((1 + len(active)) / calls)
        try:
            found = _scores(replays, record, image, plane, active, classes, count, report)
        except Exception as error:
            if count == 1 and out_of_memory(error):
                raise DeviceError(
                    f"what follows layer '{site.layer.name}' of model '{site.runner.subject.name}' does not fit into"
                    f" the memory of device '{site.runner.device}' for one image at a time; choose a layer nearer to"
                    " the output, free memory, or take a device that has more."
                ) from error
            rows.current = count
            if not rows.shrink(error):
                raise
            found = None
        if found is None:
            rows.release()  # here, where the error is gone and with it whatever its frames held
        elif not replays.confirm(record, image, found[0], classes):
            continue  # what follows the layer does not give this image's own scores: begun again with the whole model
        elif replays.whole == whole:
            break  # else the image is begun again: its scores must all come the same way
    drops[active] = found[0] - found[1:]
    return _Ablated(found[0], drops, len(active))


def _scores(
    replays: Replays,
    record: Record,
    image: int,
    plane: _Plane,
    active: Tensor,
    classes: Tensor,
    count: int,
    report: Callable[[float], None],
) -> Tensor:
    """Return the classes' scores (1 + active, T): of the image as it is, and without each active channel.

    The first comes from a replay too. Against a score made in another way, the difference in rounding would stand in
    every weight with the same sign and add up over the channels.
    """
    changed, flat = plane.copies(count)
    found = []
    total = 1 + len(active)
    for start in range(0, total, count):
        chosen = active[max(0, start - 1) : start + count - 1]
        first = 1 if start == 0 else 0
        places = (torch.arange(first, first + len(chosen), device=flat.device).unsqueeze(1), plane.positions[chosen])
        flat[places] = 0
        version = changed._version
        scores = replays(record, image, changed)
        found.append(scores[: first + len(chosen), classes])
        if changed._version == version:
            flat[places] = plane.values[chosen]
        else:  # what follows the layer works in place
            flat.copy_(plane.flat.expand_as(flat))
        report(min(1.0, (start + count) / total))
    return torch.cat(found)


@dataclass(frozen=True)
class _Plane:
    """One image's output of a layer, (1, ...), in the order of memory, and where its channels lie in that.

    Attributes
    ----------
    flat
        All its numbers, (M,).
    positions, values
        Where in ``flat`` the numbers of each channel are, (K, P), and what they are.
    shape, strides
        Of the layer's output, for an image.
    """

    flat: Tensor
    positions: Tensor
    values: Tensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, output: Tensor, layout: Layout) -> _Plane:
        """Describe ``output`` (1, ...), of which ``layout`` reads (1, K, *grid).

        Raises
        ------
        MethodError
            The layout is a callable that computes, so that no number of the layer is a channel's own.
        """
        dense = output.clone(memory_format=torch.preserve_format)
        size, strides = dense.numel(), dense.stride()
        # Positions go through the layout as any numbers do: what it makes of them says what is where.
        numbers = torch.arange(size, dtype=torch.float64).as_strided(dense.shape, strides)
        flat = dense.as_strided((size,), (1,))
        try:
            positions = layout.read(numbers).flatten(2)[0]
            rounded = positions.round().long().clamp(0, size - 1)
            asked = rounded.to(output.device)
            values = layout.read(output).flatten(2)[0]
            plain = torch.equal(rounded.to(positions.dtype), positions)
            plain = plain and torch.equal(flat[asked].nan_to_num(), values.nan_to_num())
        except Exception as error:
            raise MethodError(f"{_REFUSED}: given row numbers, it raised {first_line(error)}.") from error
        if not plain:
            raise MethodError(f"{_REFUSED}: it computes new values.")
        return cls(flat, asked, flat[asked], tuple(dense.shape[1:]), strides[1:])

    def copies(self, count: int) -> tuple[Tensor, Tensor]:
        """Return ``count`` copies (count, ...), laid out as the layer's output, and the same memory as (count, M)."""
        flat = self.flat.expand(count, -1).clone()
        return flat.as_strided((count, *self.shape), (len(self.flat), *self.strides)), flat


_REFUSED = (
    "Ablation-CAM sets one channel of the layer to 0, so the reshape callable of the subject may only move the layer's"
    " numbers"
)
