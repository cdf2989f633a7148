"""Images with several labels: a case is then a unit, one present label of one image, held against a declared other one.

An image's highest scores mean nothing there, because labels do not exclude each other: which two maps are compared is
declared (``pairs``). The rest follows: ``top1`` is the unit's label and ``top2`` its counterpart, a label is predicted
where its own sigmoid is above a threshold, its log-odds are its logit, and the units of one image are one cluster,
because they are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_saliency.errors import CasesError, SubjectError

if TYPE_CHECKING:
    from pytest_saliency.engine.cases import Cases

NOT_PREDICTED = -1
"""Stands for a class where the model does not find a unit's label; no class has this index."""

FEW_SCORES = 8
"""With fewer scores than this, all of them may lie between 0 and 1 by chance."""

ROUNDED_SUM = 1e-4
"""How far the sum of a softmax may be from 1; scores of a head that was fitted to ones and zeros are farther away."""

ABSENT, PRESENT, UNCERTAIN = 0.0, 1.0, -1.0
"""What a cell of a label matrix may hold; NaN is a cell that was left blank."""

Uncertain = Literal["absent", "present", "skip"]
Blank = Literal["absent", "skip"]
Label = str | int
Threshold = float | Mapping[Label, float]


@dataclass(frozen=True)
class LabelReading:
    """How a label matrix is read. ``pairs`` without entries: the sets serve as held-out ones only."""

    pairs: Mapping[Label, Label] | None = None
    threshold: Threshold = 0.5
    uncertain: Uncertain | None = None
    blank: Blank | None = None


def is_label_sets(labels: Any) -> bool:
    """Tell whether ``labels`` are a matrix (N, L), one column a label, instead of one class an image."""
    try:
        return (labels.dim() if isinstance(labels, Tensor) else np.ndim(labels)) == 2
    except ValueError:  # rows of different length
        raise CasesError(
            "the labels are rows of different length; give one class index an image, (N,), or 0 and 1 for each label,"
            " (N, L)."
        ) from None


def with_units(base: Cases, labels: Any, reading: LabelReading) -> Cases:
    """Return the units of the images of ``base``, whose own labels do not count, with ``labels`` (N, L).

    A unit has the id ``IMAGE#LABEL``; without groups its group is its label's name, and without clusters its cluster is
    its image. An image in which no label with a counterpart is present has no unit.

    Raises
    ------
    CasesError
        No pairs, labels in them that are unknown, the same or never present, a matrix of another shape or with other
        values than 0 and 1, uncertain or blank cells without a word on what they mean, a threshold that is none.
    """
    matrix = _matrix(labels, base)
    names = base.class_names or tuple(str(index) for index in range(matrix.shape[1]))
    present, known = _read(matrix, names, base, reading)
    pairs = _pairs(reading.pairs, names, base.source)
    sets = tuple(tuple(int(v) for v in np.flatnonzero(row)) for row in present)
    if not pairs:  # held-out sets: one row an image, whose label stands for nothing
        rows = [i for i, row in enumerate(sets) if row]
        if not rows:
            raise CasesError(f"no image of {base.source} has any label; nothing can be counted on it.")
        return replace(base.subset(rows), labels=tuple(sets[i][0] for i in rows), present=tuple(sets[i] for i in rows))
    for label in pairs:
        if not present[:, label].any():
            raise CasesError(
                f"'pairs' of {base.source} names the label '{names[label]}', which is present in none of its"
                f" {len(sets)} images; take it out, or add images."
            )
    units = [(i, u) for i in range(len(sets)) for u in sets[i] if u in pairs and known[i, u] and known[i, pairs[u]]]
    if not units:
        raise CasesError(
            f"{base.source} has no unit left: every present label of 'pairs', or its counterpart, is skipped as"
            " uncertain or blank. Write absent or present for them, or add images."
        )
    cuts = _thresholds(reading.threshold, names, base.source)
    at = [i for i, _ in units]

    def pick(column: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(column[i] for i in at)

    return replace(
        base,
        ids=tuple(f"{base.ids[i]}#{names[u]}" for i, u in units),
        labels=tuple(u for _, u in units),
        others=tuple(pairs[u] for _, u in units),
        present=pick(sets),
        thresholds=tuple(cuts[u] for _, u in units),
        images=pick(base.images),
        masks=None if base.masks is None else pick(base.masks),
        groups=tuple(names[u] for _, u in units) if base.groups is None else pick(base.groups),
        clusters=pick(base.ids if base.clusters is None else base.clusters),
    )


def without_units(cases: Cases, reading: LabelReading) -> Cases:
    """Return ``cases``, which have one label each, unless something was said that belongs to label sets."""
    if reading.pairs or replace(reading, pairs=None) != LabelReading():
        raise CasesError(
            f"pairs, threshold, uncertain and blank belong to labels (N, L) of 0 and 1, but {cases.source} has one"
            " label an image; leave them out, or give a column a label."
        )
    return cases


def refuse_unpaired(cases: Cases) -> None:
    """Raise CasesError for label sets without pairs, which say nothing that could be explained."""
    if cases.present is not None and cases.others is None:
        raise CasesError(_no_pairs(cases.source))


def refuse_probabilities(cases: Cases, scores: Tensor, binary: bool, model: str) -> None:
    """Raise SubjectError where ``scores`` (N, C) are not logits.

    Of one label an image: none is negative and each row has the sum 1. Then a change of log-odds would be one of
    something else, and a sure model would have no gradients.

    Of units, or of a head with one logit: a sigmoid of what a sigmoid made is above one half, so that every label would
    count as found, and no label could be lost. Logits of absent labels lie below zero; that none does, and none is
    above one, in many images, is no chance. Scores that are all small are left alone: of probabilities that are worth
    explaining some are above one half.
    """
    if cases.others is not None and binary:
        raise SubjectError(
            f"model '{model}' has one logit, whose two classes exclude each other, but images of {cases.source} have"
            " several labels; give each image one label, 0 or 1."
        )
    if cases.others is None and not binary and scores.shape[1] > 1 and len(scores):
        sums = scores.double().sum(1)
        if float(scores.min()) >= 0.0 and float((sums - 1.0).abs().max()) <= ROUNDED_SUM:
            raise SubjectError(
                f"the scores of model '{model}' are probabilities: none is negative and those of each image have the"
                " sum 1; give the logits (the model without its last softmax), or the logarithm of what it returns."
            )
    if cases.others is None and not (binary and 0 in cases.labels):
        return
    logits = scores[:, 1:] if binary else scores
    least, most = float(logits.min()), float(logits.max())
    if logits.numel() >= FEW_SCORES and least >= 0.0 and 0.5 < most <= 1.0:
        found = "every image as of class 1" if binary else "every label as found"
        raise SubjectError(
            f"all scores of model '{model}' lie between 0 and 1, so that they seem to be probabilities, which would"
            f" count {found}; give the logits (the model without its last sigmoid or softmax)."
        )


def predicted_of(cases: Cases, scores: Tensor, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what is predicted for the cases at ``rows`` with ``scores`` (n, C), (n,).

    The class with the highest score, ties to the lower index; of a unit its label where its own sigmoid is above the
    threshold, else :data:`NOT_PREDICTED`.
    """
    if cases.others is None:
        return np.asarray(torch.sort(scores, dim=1, descending=True, stable=True).indices[:, 0].numpy())
    labels = torch.tensor([cases.labels[i] for i in rows])
    said = above(cases, scores, labels, rows)
    return np.asarray(torch.where(said, labels, NOT_PREDICTED).numpy())


def above(cases: Cases, scores: Tensor, labels: Tensor, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Return where the score (n, C) of ``labels`` (n,) is above the thresholds of the units at ``rows``, bool (n,)."""
    return margins(cases, scores, labels, rows) > 0


def margins(cases: Cases, scores: Tensor, labels: Tensor, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Return by how much the log-odds of ``labels`` (n,) are above the thresholds of the units at ``rows``, (n,)."""
    cuts = torch.tensor([_logit(_cut(cases, int(i))) for i in rows], dtype=torch.float64)
    return scores.double().cpu().gather(1, labels.cpu().unsqueeze(1))[:, 0] - cuts


def describe(cases: Cases) -> dict[str, Any]:
    """Return what a record says of units: images, pairs by name, thresholds, masks of labels; {} for others."""
    if cases.others is None:
        return {}
    name = cases.class_name
    rows = range(len(cases))
    return {
        "units": {
            "images": len(image_rows(cases)),
            "pairs": {name(cases.labels[i]): name(cases.others[i]) for i in rows},
            "thresholds": {name(cases.labels[i]): _cut(cases, i) for i in rows},
            **({"masks": "label"} if cases.masks is not None and cases.label_masks else {}),
        }
    }


def image_rows(cases: Cases) -> list[list[int]]:
    """Return the rows of each image, in the order of their first rows; rows share an image where it is one object."""
    found: dict[int, list[int]] = {}
    for i, image in enumerate(cases.images):
        found.setdefault(id(image), []).append(i)
    return list(found.values())


def by_image(cases: Cases) -> bool:
    """Tell whether the clusters are those of units of which nothing else is known: each image one."""
    if cases.others is None or cases.clusters is None:
        return False
    rows = zip(cases.ids, cases.clusters, cases.labels, strict=True)
    return all(case == f"{cluster}#{cases.class_name(label)}" for case, cluster, label in rows)


def cooccurrences(cases: Cases, classes: int) -> NDArray[np.int64]:
    """Return how many images have both labels u and v, (C, C); on the diagonal how many have u. Each image once."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    if cases.present is None:
        raise CasesError(
            f"contrast 'cooccurrence' counts which labels are present together, but the held-out cases of"
            f" {cases.source} have one label an image; give cases with label sets, or use select: confusion."
        )
    for _, present in dict.fromkeys(zip(cases.case_digests, cases.present, strict=True)):
        if present and present[-1] >= classes:
            raise CasesError(
                f"the held-out cases of {cases.source} have label {present[-1]}, but the model has {classes} labels"
                f" (0 .. {classes - 1}); correct the labels."
            )
        counts[np.ix_(present, present)] += 1
    return counts


def _matrix(labels: Any, base: Cases) -> NDArray[np.float64]:
    try:
        given = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
        matrix = given.astype(np.float64)
    except (TypeError, ValueError):
        raise CasesError(
            f"labels of {base.source} are a table that holds other things than numbers; give 0 or 1 for each image and"
            " label."
        ) from None
    if len(matrix) != len(base):
        raise CasesError(f"{base.source} has {len(base)} ids but {len(matrix)} rows of labels; give one each.")
    width = matrix.shape[1]
    if width < 2:
        raise CasesError(
            f"labels of {base.source} have shape {matrix.shape}; give one class index an image, (N,), or 0 and 1 for at"
            " least two labels, (N, L)."
        )
    if base.class_names is not None and len(base.class_names) != width:
        raise CasesError(
            f"labels of {base.source} have {width} columns, but there are {len(base.class_names)} class names; give one"
            " name a column."
        )
    return matrix


def _read(
    matrix: NDArray[np.float64], names: Sequence[str], base: Cases, reading: LabelReading
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which labels are present, and of which that is known, both (N, L)."""
    blank, unsure = np.isnan(matrix), matrix == UNCERTAIN
    other = ~(blank | unsure | (matrix == ABSENT) | (matrix == PRESENT))
    for cells, what in ((other, None), (unsure, reading.uncertain), (blank, reading.blank)):
        if what is None and cells.any():
            i, u = (int(k) for k in np.argwhere(cells)[0])
            raise CasesError(
                _cell(cells is other, cells is unsure, base.ids[i], names[u], matrix[i, u], int(cells.sum()))
            )
    present = (matrix == PRESENT) | (unsure & (reading.uncertain == "present"))
    known = ~((unsure & (reading.uncertain == "skip")) | (blank & (reading.blank == "skip")))
    return present, known


def _cell(other: bool, unsure: bool, case: str, name: str, value: float, count: int) -> str:
    if other:
        return (
            f"the label '{name}' of image '{case}' is {value:g}; write 1 where it is present and 0 where it is absent."
        )
    more = f" ({count} cells are)" if count > 1 else ""
    if unsure:
        return (
            f"the label '{name}' of image '{case}' is -1, uncertain{more}; say how such labels count: uncertain:"
            " absent, present or skip (no unit with it)."
        )
    return (
        f"the label '{name}' of image '{case}' is blank{more}; say how blank cells count: blank: absent or skip (no"
        " unit with it)."
    )


def _pairs(pairs: Mapping[Label, Label] | None, names: Sequence[str], source: str) -> dict[int, int]:
    if pairs is None:
        raise CasesError(_no_pairs(source))
    made: dict[int, int] = {}
    for label, other in pairs.items():
        one, two = (label_index(word, names, "'pairs'", source) for word in (label, other))
        if one == two:
            raise CasesError(f"'pairs' of {source} holds the label '{names[one]}' against itself; name another one.")
        if one in made:
            raise CasesError(f"'pairs' of {source} names the label '{names[one]}' twice; give it one counterpart.")
        made[one] = two
    return made


def label_index(word: Label, names: Sequence[str], where: str, source: str) -> int:
    """Return the index of a label given by name or index; raises CasesError with the nearest name."""
    import difflib

    if isinstance(word, str) and word in names:
        return list(names).index(word)
    if isinstance(word, int) and not isinstance(word, bool) and 0 <= word < len(names):
        return word
    close = difflib.get_close_matches(str(word), list(names), n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"the labels are {', '.join(names)}."
    raise CasesError(f"{where} of {source} names the label '{word}', which is not one of its labels; {hint}")


def _no_pairs(source: str) -> str:
    return (
        f"images of {source} have several labels each, so that their two highest scores mean nothing (labels do not"
        " exclude each other); declare which label each is held against, as in pairs: {Effusion: Infiltration, Mass:"
        " Nodule}."
    )


def _thresholds(given: Threshold, names: Sequence[str], source: str) -> list[float]:
    found = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    made = [0.5] * len(names)
    for word, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
            raise CasesError(
                f"the threshold of label '{word}' of {source} is {value!r}; give a probability between 0 and 1."
            )
        made[label_index(word, names, "'threshold'", source)] = float(value)
    return made


def _cut(cases: Cases, row: int) -> float:
    return 0.5 if cases.thresholds is None else cases.thresholds[row]


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
