"""Which images share what is made of several images, so that each of them is in one set only and sets are independent.

A mosaic shows several images, and a map is compared with those of other images: numbers of images that share others
move together. A bound that takes them as independent promises too much (seen in simulation at a nominal 0.05: 0.14 to
0.25 wrong verdicts). So images share within a set only, their numbers are averaged in it, and sets are the units.
Images of one cluster are always in one set.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.decide.randomness import Stream

Sets = list[list[int]]
"""Positions of images, set by set; each position is in one set."""

OTHERS = 10
"""At most so many other images' maps each map is compared with, for its floor."""


def mosaic_sets(labels: Sequence[int], clusters: Sequence[Hashable] | None, cells: int, seed: int) -> Sets:
    """Return sets that hold images of two classes at least, and of as many as there are cells where classes are alike.

    As many sets as that allows. The images of a class are dealt to the sets in turn, the largest class first; a cluster
    of several classes is a set by itself.

    Raises
    ------
    NotAttainable
        The images are of one class.
    """
    present = sorted(set(labels))
    if len(present) < 2:
        raise NotAttainable(
            f"planted_evidence puts images of different classes side by side, but all {len(labels)} kept images are of"
            " one class; give images of other classes that the model gets right.",
            n=len(labels),
            needed=None,
        )
    items = _shuffled(len(labels), clusters, seed, "mosaics")
    mixed = [item for item in items if len({labels[i] for i in item}) > 1]
    by_class: dict[int, Sets] = {label: [] for label in present}
    for item in items:
        if len({labels[i] for i in item}) == 1:
            by_class[labels[item[0]]].append(item)
    pure = [item for label in sorted(present, key=lambda label: -len(by_class[label])) for item in by_class[label]]
    largest = max(len(found) for found in by_class.values())
    classes = sum(bool(found) for found in by_class.values())
    # With no more sets than images outside the largest class, dealing gives each set one of those.
    count = min(len(pure) // max(1, min(cells, classes)), len(pure) - largest)
    if count:
        made = [*_dealt(pure, count), *mixed]
    else:
        made = [[*own, *more] for own, more in zip(mixed, _dealt(pure, len(mixed)), strict=True)]
    return [[one[i] for i in Stream(seed, "cells", str(k)).permutation(len(one))] for k, one in enumerate(made)]


def tiles_of(members: Sequence[int], labels: Sequence[int], cells: int) -> list[tuple[tuple[int, ...], int]]:
    """Return for each member of a set the mosaic that it is the target of: positions cell by cell, and its own cell.

    Where a set has one image a cell, each of another class, all its mosaics are the same one: what knows nothing of
    the class then has 1 / ``cells`` in the own cell on average, whatever the images are. Elsewhere images of the other
    classes come as often as cells are left, one of each class first.
    """
    if len(members) == cells and len({labels[i] for i in members}) == cells:
        return [(tuple(members), cell) for cell in range(cells)]
    made = []
    for place, own in enumerate(members):
        following = [*members[place + 1 :], *members[:place]]
        others = [i for i in following if labels[i] != labels[own]]
        first: dict[int, int] = {}
        for other in others:
            first.setdefault(labels[other], other)
        ring = [*first.values(), *(i for i in others if i not in first.values())]
        filling = [ring[i % len(ring)] for i in range(cells - 1)]
        cell = place % cells
        made.append(((*filling[:cell], own, *filling[cell:]), cell))
    return made


def floor_sets(count: int, clusters: Sequence[Hashable] | None, most: int, seed: int) -> Sets:
    """Return up to ``most`` sets of the images, each of two clusters at least.

    Raises
    ------
    NotAttainable
        There are no two images (or clusters).
    """
    items = _shuffled(count, clusters, seed, "images")
    if len(items) < 2:
        what = "image" if clusters is None else "cluster"
        raise NotAttainable(
            f"model_dependent could not PASS with {len(items)} {what}: each map is compared with another one's; add"
            " images (n counts after 'keep').",
            n=len(items),
            needed=2,
        )
    return _dealt(items, min(most, len(items) // 2))


def compared_of(sets: Sets, most: int) -> list[int]:
    """Return which images are compared, in ascending order: at most ``most``, from each set one before a second."""
    rounds = max(len(one) for one in sets)
    turns = [one[turn] for turn in range(rounds) for one in sets if turn < len(one)]
    return sorted(turns[:most])


def partners_of(sets: Sets, clusters: Sequence[Hashable] | None) -> dict[int, list[int]]:
    """Return for each image up to ``OTHERS`` others of its set, none of its own cluster."""
    made = {}
    for one in sets:
        for place, own in enumerate(one):
            following = [*one[place + 1 :], *one[:place]]
            made[own] = [i for i in following if clusters is None or clusters[i] != clusters[own]][:OTHERS]
    return made


def numbered(sets: Sets, count: int) -> list[int]:
    """Return the number of each image's set."""
    made = [0] * count
    for number, one in enumerate(sets):
        for i in one:
            made[i] = number
    return made


def _shuffled(count: int, clusters: Sequence[Hashable] | None, seed: int, name: str) -> Sets:
    """Return the images, or those of each cluster, in a seeded order."""
    members: dict[Hashable, list[int]] = {}
    for i in range(count):
        members.setdefault(i if clusters is None else clusters[i], []).append(i)
    items = list(members.values())
    return [items[i] for i in Stream(seed, name).permutation(len(items))]


def _dealt(items: Sets, count: int) -> Sets:
    return [[i for item in items[start::count] for i in item] for start in range(count)]
