"""Which classes CASE removes the shared direction of.

Source: CASE (arXiv 2506.07327), section III-C and eq. 2 for ``confusion``. ``logits`` needs no held-out data and is
the default. Never more than max(1, (C - 1) // 2) classes: with all the others the rows of a trained softmax head
nearly cancel, so that nothing shared is left to remove and the projection throws signal away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_saliency.errors import MethodError

if TYPE_CHECKING:
    from pytest_saliency.engine.cases import Cases

SELECTIONS = ("logits", "confusion", "explicit")
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
            Unknown key or selection, ``confusion`` without ``cases``, ``explicit`` without ``classes``, k below 1.
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
        if select == "explicit" and not isinstance(value.get("classes"), Mapping):
            raise MethodError("contrast 'explicit' needs 'classes': a mapping from each class to its contrast classes.")
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
        if self.select == "explicit":
            made["classes"] = {str(u): list(v) for u, v in sorted(self.classes.items())}
        return made


def logit_sets(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Return a 0/1 matrix (N, C): for each image the ``k`` highest logits other than its target's.

    Ties are broken by the lower class index, on every device alike.
    """
    others = logits.scatter(1, targets.unsqueeze(1), float("-inf"))
    order = torch.sort(others, dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(logits).scatter_(1, order, 1.0)


def table_sets(table: Tensor, targets: Tensor) -> Tensor:
    """Return a 0/1 matrix (N, C) from a 0/1 table (C, C) of each target class's contrast classes."""
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
    classes = logits.shape[1]
    if int(labels.max()) >= classes:
        raise MethodError(
            f"contrast 'confusion': a held-out case has label {int(labels.max())}, but the model has {classes} classes"
            f" (0 .. {classes - 1}). Correct the label, or leave the case out."
        )
    table = torch.zeros(classes, classes)
    predicted = logits.argmax(1)
    softmax = logits.double().softmax(1)
    for target in range(classes):
        mine = labels == target
        if not bool(mine.any()):
            raise MethodError(
                f"contrast 'confusion': the held-out cases have no image of class {target}; add some, or use"
                " select: logits."
            )
        counts = torch.bincount(predicted[mine], minlength=classes).double()
        ranking = counts + softmax[mine].mean(0) * 0.5  # a mean softmax is at most 1, so it only orders ties
        ranking[target] = float("-inf")
        order = torch.sort(ranking, descending=True, stable=True).indices[:k]
        table[target, order] = 1.0
    return table
