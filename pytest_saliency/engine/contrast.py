"""Which classes CASE removes the shared direction of.

``logits``
    The k classes with the next-highest logits of the image itself. Needs no data; the default.
``confusion``
    The k classes most often predicted for the target class on held-out images: the paper's own (eq. 2).
``similar_weights``
    The k classes whose rows in the linear layer that makes the scores have the largest cosine with the target's row.
    Depends on the weights alone.
``soft``
    The classes of ``logits`` (or, with held-out cases, of ``confusion``), but a weighted mean of their gradients
    instead of a plain one. By softmax the weighted mean is the gradient of the log-sum-exp of the k competing scores.
``cooccurrence``
    For images with several labels: the k labels most often present together with the target label in held-out label
    sets. Needs no scores of them. Ties go to the label that is seen less often without the target, then to the index;
    labels that are never present with it come last, by their index.
``explicit``
    As declared.

Never more than max(1, (C - 1) // 2) classes: with all the others the rows of a trained softmax head nearly cancel, so
that nothing shared is left to remove and the projection throws signal away. Softmax weights do not lift that limit:
where the model is undecided they are nearly equal, which is the plain mean over all the others.

Source: CASE (arXiv 2506.07327), section III-C; weighted contrasts are its section VIII's open question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_saliency.engine.multi_label import cooccurrences
from pytest_saliency.errors import MethodError

if TYPE_CHECKING:
    from pytest_saliency.engine.cases import Cases

SELECTIONS = ("logits", "confusion", "cooccurrence", "explicit", "similar_weights", "soft")
COUNTED = ("confusion", "cooccurrence", "soft")
"""Selections that can use held-out cases; the first two cannot do without."""
KEYS = ("select", "k", "cases", "classes")


@dataclass(frozen=True)
class Contrast:
    """A declared contrast set: how the classes are selected, how many, and from what."""

    select: str = "logits"
    k: int = 3
    cases: Cases | None = None
    classes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Contrast | Mapping[str, Any] | None) -> Contrast:
        """Build from a mapping as in a contract.

        Raises
        ------
        MethodError
            Unknown key or selection, ``confusion`` without ``cases``, ``explicit`` without ``classes``, ``cases``
            or ``classes`` for a selection that has no use for them, k below 1.
        """
        if value is None:
            return cls()
        if isinstance(value, Contrast):
            return value
        unknown = sorted(set(value) - set(KEYS))
        if unknown:
            raise MethodError(f"contrast has no key {unknown[0]!r}; its keys are {', '.join(KEYS)}.")
        select = value.get("select", "logits")
        if select not in SELECTIONS:
            raise MethodError(f"contrast select={select!r} is not known; use {', '.join(SELECTIONS)}.")
        k = value.get("k", 3)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise MethodError(f"contrast k={k!r} must be a whole number of classes, at least 1.")
        if select == "confusion" and value.get("cases") is None:
            raise MethodError(
                "contrast 'confusion' ranks the classes by confusions on held-out images and has no 'cases' to count"
                " them on; give it cases, or use select: logits (needs none) or select: explicit."
            )
        if select == "cooccurrence" and value.get("cases") is None:
            raise MethodError(
                "contrast 'cooccurrence' counts which labels are present together in held-out images and has no 'cases'"
                " to count them on; give it cases with label sets, or use select: logits (needs none) or select:"
                " explicit."
            )
        if select not in COUNTED and value.get("cases") is not None:
            used = f"{', '.join(COUNTED[:-1])} and {COUNTED[-1]}"
            raise MethodError(f"contrast {select!r} has no use for 'cases'; they belong to {used}.")
        if select == "explicit" and not isinstance(value.get("classes"), Mapping):
            raise MethodError("contrast 'explicit' needs 'classes': a mapping from each class to its contrast classes.")
        if select != "explicit" and value.get("classes"):
            raise MethodError(f"contrast {select!r} has no use for 'classes'; they belong to 'explicit'.")
        classes = {int(u): tuple(int(v) for v in vs) for u, vs in (value.get("classes") or {}).items()}
        for target, others in classes.items():
            if target in others or len(set(others)) != len(others):
                raise MethodError(f"contrast classes of class {target} must be other classes, each once.")
        return cls(select=select, k=k, cases=value.get("cases"), classes=classes)

    def size(self, classes: int) -> int:
        """Return how many classes a set has, for a head of ``classes`` classes."""
        return min(self.k, max(1, (classes - 1) // 2))

    def label(self, classes: int) -> str:
        """Return the words in the full name of a method, as in ``case[logits:3]``."""
        return "explicit" if self.select == "explicit" else f"{self.select}:{self.size(classes)}"

    def describe(self) -> dict[str, Any]:
        """Return what a record says of it."""
        made: dict[str, Any] = {"select": self.select, "k": self.k}
        if self.cases is not None:
            made["cases"] = {"n": len(self.cases), "source": self.cases.source, "digest": self.cases.digest}
        if self.select == "soft":
            made["weights"] = "softmax" if self.cases is None else "confusion"
        if self.select == "cooccurrence" and self.cases is not None:
            largest = max((present[-1] for present in self.cases.present or () if present), default=0)
            counts = cooccurrences(self.cases, largest + 1)
            made["counts_sha256"] = hashlib.sha256(f"{counts.shape}".encode() + counts.tobytes()).hexdigest()
        if self.select == "explicit":
            made["classes"] = {str(u): list(v) for u, v in sorted(self.classes.items())}
        return made


def contrast_table(
    contrast: Contrast,
    classes: int,
    held_out: tuple[Tensor, Tensor] | None,
    rows: Callable[[], Tensor],
) -> Tensor | None:
    """Return each target class's contrast weights (C, C), or None where they depend on the image's own scores.

    ``held_out`` are scores and labels of the held-out cases, ``rows`` returns the classifier's rows (C, F) and is
    called for ``similar_weights`` only.

    Raises
    ------
    MethodError
        The declared or held-out classes are not those of the model, or what ``rows`` raises.
    """
    k = contrast.size(classes)
    if contrast.select == "explicit":
        return explicit_table(contrast, classes)
    if contrast.select == "similar_weights":
        return similar_table(rows(), k)
    if contrast.cases is None:
        return None
    if contrast.select == "cooccurrence":
        return cooccurrence_table(torch.from_numpy(cooccurrences(contrast.cases, classes)), k)
    if held_out is None:
        raise ValueError(f"contrast {contrast.select!r} needs the scores of its held-out cases")
    return (confusion_table if contrast.select == "confusion" else soft_table)(*held_out, k)


def contrast_sets(
    contrast: Contrast, table: Tensor | None, scores: Tensor, targets: Tensor, sigmoid: bool = False
) -> Tensor:
    """Return the contrast weights (N, C) of images with ``scores`` (N, C), in the scores' type.

    ``table`` is what :func:`contrast_table` made for this number of classes. ``sigmoid``: labels do not exclude each
    other.
    """
    if table is not None:
        return table_sets(table, targets).to(scores)
    if contrast.select not in BY_IMAGE:
        raise ValueError(f"contrast {contrast.select!r} needs its table")
    select = sigmoid_sets if sigmoid and contrast.select == "soft" else BY_IMAGE[contrast.select]
    return select(scores, targets, contrast.size(scores.shape[1]))


def refuse_contrast(contrast: Contrast, cases: Cases) -> None:
    """Raise MethodError where the contrast set has no meaning for ``cases``.

    Confusions are counted where one class is predicted; labels that are present together, where labels are the same.
    """
    held = contrast.cases
    if held is None:
        return
    if cases.others is not None and contrast.select != "cooccurrence":
        raise MethodError(
            f"contrast '{contrast.select}' with held-out cases counts which one class is predicted for another, but the"
            f" images of {cases.source} have several labels each; use select: cooccurrence, logits or explicit."
        )
    if contrast.select != "cooccurrence":
        return
    if held.class_names != cases.class_names and held.class_names is not None and cases.class_names is not None:
        raise MethodError(
            f"contrast 'cooccurrence': the held-out cases of {held.source} have the labels"
            f" {', '.join(held.class_names)}, but those of {cases.source} are {', '.join(cases.class_names)}; list the"
            " same 'classes' for both."
        )
    seen = {label for present in held.present or () for label in present}
    missing = sorted((set(cases.labels) | set(cases.others or ())) - seen)
    if missing and held.present is not None:
        raise MethodError(
            f"contrast 'cooccurrence': the held-out cases have no image with the label"
            f" '{cases.class_name(missing[0])}'; add some, or use select: logits."
        )


def logit_sets(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Return a 0/1 matrix (N, C): for each image the ``k`` highest logits other than its target's.

    Ties are broken by the lower class index, on every device alike.
    """
    return torch.zeros_like(logits).scatter_(1, _next_highest(logits, targets, k), 1.0)


def sigmoid_sets(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Return a matrix (N, C) of weights that sum to 1, of the labels of :func:`logit_sets`, each by its own sigmoid.

    What ``soft`` means where labels do not exclude each other.
    """
    order = _next_highest(logits, targets, k)
    weights = logits.gather(1, order).double().sigmoid().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.zeros_like(logits).scatter_(1, order, (weights / weights.sum(1, keepdim=True)).to(logits))


def soft_sets(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Return a matrix (N, C) of weights that sum to 1: the softmax over the classes of :func:`logit_sets`.

    That is the model's own softmax without the target and everything beyond the k-th rank, renormalised; the target's
    score does not enter. A constant added to all logits changes nothing, a factor does.
    """
    order = _next_highest(logits, targets, k)
    return torch.zeros_like(logits).scatter_(1, order, logits.gather(1, order).softmax(1))


BY_IMAGE: Mapping[str, Callable[[Tensor, Tensor, int], Tensor]] = {"logits": logit_sets, "soft": soft_sets}
"""Selections that need nothing but the image's own scores."""


def _next_highest(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    others = logits.scatter(1, targets.unsqueeze(1), float("-inf"))
    return torch.sort(others, dim=1, descending=True, stable=True).indices[:, :k]


def table_sets(table: Tensor, targets: Tensor) -> Tensor:
    """Return the weights (N, C) from a table (C, C) of each target class's contrast classes."""
    return table.to(targets.device)[targets]


def explicit_table(contrast: Contrast, classes: int) -> Tensor:
    """Return the declared sets as a 0/1 table (C, C); a class that is not declared has an empty set."""
    table = torch.zeros(classes, classes)
    for target, others in contrast.classes.items():
        for index in (target, *others):
            if not 0 <= index < classes:
                raise MethodError(
                    f"contrast classes name class {index}, but the model has {classes} classes"
                    f" (0 .. {classes - 1}); correct it."
                )
        table[target, list(others)] = 1.0
    return table


def confusion_table(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return the ``k`` classes most often predicted for each true class, as a 0/1 table (C, C).

    Ranked by count, then by mean softmax over that class's held-out images, then by class index, so that the set
    is never empty. Source: CASE, eq. 2.

    Raises
    ------
    MethodError
        A class has no held-out image, so that nothing is known about its confusions.
    """
    table = torch.zeros(logits.shape[1], logits.shape[1])
    for target, (counts, probability) in enumerate(_confusions("confusion", logits, labels)):
        table[target, _most_confused(counts, probability, target, k)] = 1.0
    return table


def soft_table(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return weights (C, C), rows summing to 1, of the classes of :func:`confusion_table`.

    A class weighs as much as it was predicted for held-out images of the target class. A target class that was never
    confused with any other has no counts to weigh by: there the mean softmax over its held-out images takes their
    place, so that no row is empty.

    Raises
    ------
    MethodError
        A class has no held-out image.
    """
    table = torch.zeros(logits.shape[1], logits.shape[1])
    for target, (counts, probability) in enumerate(_confusions("soft", logits, labels)):
        chosen = _most_confused(counts, probability, target, k)
        weights = counts[chosen]
        if not bool(weights.any()):
            weights = probability[chosen]
        if not bool(weights.any()):  # softmax so sharp that all others are 0 in float64
            weights = torch.ones_like(weights)
        table[target, chosen] = (weights / weights.sum()).to(table.dtype)
    return table


def cooccurrence_table(counts: Tensor, k: int) -> Tensor:
    """Return the ``k`` labels most often present together with each label, as a 0/1 table (C, C).

    ``counts`` (C, C): images that have both labels, on the diagonal those that have the one. Ties go to the label with
    the larger share of its own images in which the target is present too, then to the lower index. A label that no
    image has gets an empty set.
    """
    together = counts.double()
    own = together.diagonal().clamp(min=1)
    ranking = together + 0.5 * together / own  # a share is at most 1, so it only orders ties
    ranking.fill_diagonal_(float("-inf"))
    order = torch.sort(ranking, dim=1, descending=True, stable=True).indices[:, :k]
    table = torch.zeros(len(counts), len(counts)).scatter_(1, order, 1.0)
    return table * (counts.diagonal() > 0).unsqueeze(1)


def similar_table(rows: Tensor, k: int) -> Tensor:
    """Return, as a 0/1 table (C, C), the ``k`` classes whose rows (C, F) have the largest cosine with each class's.

    Ties go to the lower class index; a row of zeros is at a right angle to every other.
    """
    exact = rows.to("cpu", torch.float64)
    norms = exact.norm(dim=1, keepdim=True)
    unit = exact / torch.where(norms > 0, norms, torch.ones_like(norms))
    # Rounded, so that rows that are equal tie, whatever the order in which the products were summed.
    cosine = (unit @ unit.T).round(decimals=12).fill_diagonal_(float("-inf"))
    order = torch.sort(cosine, dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros(len(rows), len(rows)).scatter_(1, order, 1.0)


def _confusions(select: str, logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through the true classes: how often each class was predicted (C,), and its mean softmax (C,)."""
    classes = logits.shape[1]
    if int(labels.max()) >= classes:
        raise MethodError(
            f"contrast '{select}': a held-out case has label {int(labels.max())}, but the model has {classes} classes"
            f" (0 .. {classes - 1}). Correct the label, or leave the case out."
        )
    predicted = logits.argmax(1)
    softmax = logits.double().softmax(1)
    for target in range(classes):
        mine = labels == target
        if not bool(mine.any()):
            raise MethodError(
                f"contrast '{select}': the held-out cases have no image of class {target}; add some, or use"
                " select: logits."
            )
        yield torch.bincount(predicted[mine], minlength=classes).double(), softmax[mine].mean(0)


def _most_confused(counts: Tensor, probability: Tensor, target: int, k: int) -> Tensor:
    ranking = counts + probability * 0.5  # a mean softmax is at most 1, so it only orders ties
    ranking[target] = float("-inf")
    return torch.sort(ranking, descending=True, stable=True).indices[:k]
