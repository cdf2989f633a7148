"""Causal confirmation of a drift: the newly used region pasted into images of other classes.

What the map after shows and the map before did not is cut out of an image and put into one of another class, at the
same place. Newly used are the positions of the top region after that are not in the region before, or that carry at
least twice the share of the evidence that they carried before (maps with few positive positions have them all in their
region). If the prediction then becomes the class of the image that it was cut from, more often than with a control
region of the same size and shape cut elsewhere from the same image, and more often than that of the model before, the
new region drives the prediction.

It is cut as the map shows it. Widened by a cell of a coarse layer it held the object too: on digits a clean fine-tuning
then followed it in 70 % of the images, and the model before in 60 %.

The receiver has a newly used region of its own, which would go on naming its class. It is overwritten from the lender
too, with the region as with the control, so that the two differ in the lender's region alone.

Lenders and receivers are drawn by seed, every image is each of them once at most, and one image of a cluster lends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.checks.common import Indices, Kept
from pytest_saliency.checks.fates import drawn_of_clusters
from pytest_saliency.decide.randomness import Stream
from pytest_saliency.engine.batches import load_pixels
from pytest_saliency.engine.multi_label import above
from pytest_saliency.measure.grid import resize
from pytest_saliency.measure.regions import top_region

if TYPE_CHECKING:
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.maps import Maps

MOST = 400
"""Images that lend a region at most; the bound of a share is then within 0.05 of it."""

GREW = 2.0
"""By how much a position's share of the evidence must have grown to count as newly used inside of the old region."""

PLACES = 64
"""Places that are tried for the control region; the one that overlaps the map after least is taken."""

PER_BATCH = 64

VERSION = 1
"""Of what is pasted and where; another one makes kept predictions those of another question."""


@dataclass(frozen=True, eq=False)
class Confirmation:
    """Per kept image: whom it lent to (position among the kept), and whether the class followed, None where it did not.

    ``images``: how many changed images the models scored. ``example``: pictures of one pair for the report.
    """

    into: list[int | None]
    region: list[int | None]
    control: list[int | None]
    before: list[int | None]
    counts: dict[str, Any]
    example: Example | None


@dataclass(frozen=True, eq=False)
class Example:
    """One pair: positions among the kept images, and pixels (C, *S) of receiver with region, and with control."""

    lender: int
    receiver: int
    pasted: NDArray[Any]
    control: NDArray[Any]
    followed: bool


def paste(
    before: Explained,
    after: Explained,
    maps: tuple[Maps, Maps],
    kept: Kept,
    fraction: float,
    classes: NDArray[np.int64],
    seed: int,
) -> Confirmation:
    """Paste, and see what both models predict.

    ``maps``: before and after, over all cases. ``classes`` (N,): the class whose map was explained; only images that
    the model after predicts as that class take part, as an image that is wrong already cannot follow.
    """
    rows = kept.indices
    sure = np.asarray(after.predicted[rows] == classes[rows])
    usable = sure & maps[0].ok[rows] & maps[1].ok[rows]
    pairs = _pairs(after, rows, np.flatnonzero(usable), np.flatnonzero(sure), classes[rows], seed)
    # What the model before says is kept under numbers of its own: its scores and maps, which its code and weights make.
    of = hashlib.sha256(before.logits.numpy().tobytes())
    for one in maps:
        of.update(one.values.numpy().tobytes())
    parts = {"version": VERSION, "of": of.hexdigest(), "pairs": pairs, "fraction": fraction, "seed": f"{seed:016x}"}
    found = after.remember("paste", parts, lambda: _scored(before, after, maps, rows, pairs, fraction, classes, seed))
    columns = {name: _ints(found[name]) for name in ("into", "region", "control", "before")}
    lent = [pair for pair in pairs if columns["region"][pair[0]] is not None]
    counts = {
        "images": sum(value is not None for name in ("region", "control", "before") for value in columns[name]),
        "lenders": len(lent),
        "without_new_region": len(pairs) - len(lent),
    }
    return Confirmation(**columns, counts=counts, example=_example(after, maps, rows, lent, columns, fraction, seed))


def _ints(column: NDArray[Any]) -> list[int | None]:
    return [None if value < 0 else int(value) for value in column]


def _scored(
    before: Explained,
    after: Explained,
    maps: tuple[Maps, Maps],
    rows: Indices,
    pairs: list[tuple[int, int]],
    fraction: float,
    classes: NDArray[np.int64],
    seed: int,
) -> dict[str, NDArray[Any]]:
    """Return by column a number for each kept image, -1 where there is none: receiver, and what was followed."""
    found = {name: np.full(len(rows), -1, dtype=np.int64) for name in ("into", "region", "control", "before")}
    asks_before = before.pixels(0).shape[0] == after.pixels(0).shape[0]  # else no image fits both
    report = after.report("paste")
    with after.stage("paste") as cost:
        for start in range(0, len(pairs), PER_BATCH):
            made = _changed(after, maps, rows, pairs[start : start + PER_BATCH], fraction, seed)
            if not made.pairs:
                continue
            lenders = [lender for lender, _ in made.pairs]
            wanted = torch.as_tensor([int(classes[rows[lender]]) for lender in lenders])
            seen = {
                "region": _says(after, made.pasted, wanted, rows[lenders]),
                "control": _says(after, made.control, wanted, rows[lenders]),
            }
            if asks_before:
                seen["before"] = _says(before, _for(before, after, made.pasted), wanted, rows[lenders])
            for name, column in seen.items():
                found[name][lenders] = column.numpy()
            found["into"][lenders] = [receiver for _, receiver in made.pairs]
            cost.count("pasted", len(seen) * len(made.pairs))
            cost.passes += len(seen)
            if report is not None:
                report(min(start + PER_BATCH, len(pairs)), len(pairs))
    return found


def _example(
    after: Explained,
    maps: tuple[Maps, Maps],
    rows: Indices,
    lent: list[tuple[int, int]],
    columns: dict[str, list[int | None]],
    fraction: float,
    seed: int,
) -> Example | None:
    """Return the pictures of the first pair in which the region was followed and the control not; else the first."""
    telling = [pair for pair in lent if columns["region"][pair[0]] == 1 and columns["control"][pair[0]] == 0]
    if not lent:
        return None
    lender, receiver = (telling or lent)[0]
    made = _changed(after, maps, rows, [(lender, receiver)], fraction, seed)
    return Example(lender, receiver, made.pasted[0].numpy(), made.control[0].numpy(), bool(telling))


def _pairs(
    explained: Explained,
    rows: Indices,
    lenders: NDArray[np.int64],
    receivers: NDArray[np.int64],
    classes: NDArray[np.int64],
    seed: int,
) -> list[tuple[int, int]]:
    """Return (lender, receiver) of different classes, in the order of the lenders; none of them twice.

    No two lenders, and no two receivers, are of one cluster: the pairs are counted as independent.
    """
    cases = explained.cases
    clusters = cases.clusters
    if clusters is not None:
        lenders = lenders[drawn_of_clusters([clusters[rows[i]] for i in lenders], seed)]

    def other(receiver: int, lender: int) -> bool:
        """Tell whether the receiver does not have the lender's class already; of units, nor is it said to."""
        if not explained.multi_label:
            return bool(classes[receiver] != classes[lender])
        label = torch.as_tensor([int(classes[lender])])
        row = int(rows[receiver])
        has = cases.present is not None and int(label) in cases.present[row]
        return not has and not bool(above(cases, explained.logits[[row]], label, [int(rows[lender])]))

    order = lenders[Stream(seed, "paste", "lenders").permutation(len(lenders))][:MOST]
    free = [int(i) for i in receivers[Stream(seed, "paste", "receivers").permutation(len(receivers))]]
    found = []
    for lender in order.tolist():
        place = next((k for k, one in enumerate(free) if other(one, lender)), None)
        if place is not None:
            receiver = free.pop(place)
            if clusters is not None:
                free = [one for one in free if clusters[rows[one]] != clusters[rows[receiver]]]
            found.append((lender, receiver))
    return sorted(found)


@dataclass(frozen=True, eq=False)
class _Changed:
    pairs: list[tuple[int, int]]
    pasted: Tensor
    control: Tensor


def _changed(
    after: Explained,
    maps: tuple[Maps, Maps],
    rows: Indices,
    pairs: Sequence[tuple[int, int]],
    fraction: float,
    seed: int,
) -> _Changed:
    """Return receivers with the lenders' new regions, and with their control regions; less lenders without a region."""
    preprocess = after.runner.subject.preprocess
    size = after.input_size
    lent, taken = ([int(rows[pair[k]]) for pair in pairs] for k in (0, 1))
    region, new = new_regions(maps, lent, fraction, size)
    have = [k for k in range(len(pairs)) if float(region[k].sum()) >= 1.0]
    chosen = [pairs[k] for k in have]
    if not chosen:
        return _Changed([], torch.empty(0), torch.empty(0))
    givers = load_pixels(after.cases, [lent[k] for k in have], preprocess)
    takers = load_pixels(after.cases, [taken[k] for k in have], preprocess)
    theirs, _ = new_regions(maps, [taken[k] for k in have], fraction, size)
    mine = region[have]
    other = torch.stack(
        [moved_away(region[k], new[k], Stream(seed, "paste", "control", after.cases.ids[lent[k]])) for k in have]
    )
    pasted = torch.maximum(mine, theirs)
    # Of the lender's region the control has nothing, also where the receiver's own lies in the same place.
    control = torch.maximum(other, theirs) * (1.0 - mine)
    made = [w.unsqueeze(1) * givers + (1.0 - w.unsqueeze(1)) * takers for w in (pasted, control)]
    return _Changed(chosen, made[0], made[1])


def new_regions(
    maps: tuple[Maps, Maps], cases: Sequence[int], fraction: float, size: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return the newly used regions of cases, and their top regions after, both (n, *S)."""
    chosen = torch.as_tensor(list(cases))
    old, new = (top_region(one.values[chosen], fraction, size).weights.reshape(-1, *size) for one in maps)
    was, now = (shares_of(one.values[chosen], size) for one in maps)
    return torch.where(now >= GREW * was, new, (new - old).clamp(min=0.0)), new


def shares_of(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return each position's share of its map's positive mass, (n, *S)."""
    positive = resize(torch.nan_to_num(maps.double(), nan=0.0, posinf=0.0).clamp(min=0), size)
    mass = positive.sum(1, keepdim=True).clamp(min=torch.finfo(positive.dtype).tiny)
    return (positive / mass).reshape(-1, *size)


def moved_away(region: Tensor, avoid: Tensor, stream: Stream) -> Tensor:
    """Return ``region`` (*S) moved round to where it overlaps ``avoid`` least, of ``PLACES`` drawn places.

    What leaves on one side comes in on the other, so that its size stays the same.
    """
    size = region.shape
    draws = [stream.integers(side, PLACES).tolist() for side in size]
    axes = tuple(range(len(size)))
    best, least = region, float("inf")
    for shift in zip(*draws, strict=True):
        candidate = torch.roll(region, shift, axes)
        overlap = float((candidate * avoid).sum())
        if overlap < least:
            best, least = candidate, overlap
    return best


def _says(one: Explained, pixels: Tensor, wanted: Tensor, cases: Indices) -> Tensor:
    """Return where the model predicts the ``wanted`` class; of units, where their label is above its threshold."""
    scores = _scores(one, pixels)
    return above(one.cases, scores, wanted, cases) if one.multi_label else scores.argmax(1) == wanted


def _scores(one: Explained, pixels: Tensor) -> Tensor:
    found = []
    with one.runner.session():
        start = 0
        while start < len(pixels):
            step = min(len(pixels) - start, one.size.current)
            part = pixels[start : start + step]
            scored = one.size.attempt(step, lambda part=part: one.runner.scores(part))  # type: ignore[misc]
            if scored is not None:
                found.append(scored[0].float().cpu())
                start += step
    return torch.cat(found)


def _for(before: Explained, after: Explained, pixels: Tensor) -> Tensor:
    """Return ``pixels`` at the size that the model before takes; both see the same part of an image."""
    if before.input_size == after.input_size:
        return pixels
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[pixels.dim() - 2]
    return torch.nn.functional.interpolate(pixels, before.input_size, mode=mode, align_corners=False).clamp(0.0, 1.0)
