"""Which class each target word stands for, image by image, and scores that can be explained at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.subject import Subject
from pytest_saliency.errors import CasesError, MethodError, SubjectError

TARGETS = ("top1", "top2", "label")


def check_target(target: str) -> None:
    """Raise a MethodError unless ``target`` is one of ``TARGETS`` or a class index as text."""
    if target not in TARGETS and not (target.isascii() and target.isdecimal()):
        raise MethodError(f"target {target!r} is not known; use {', '.join(TARGETS)} or a class index.")


@dataclass(frozen=True)
class Targets:
    """The target words of a pass; ``given`` holds the class of each case for the word ``given``."""

    subject: Subject
    cases: Cases
    words: tuple[str, ...]
    given: Tensor | None = None

    def classes(self, indices: Sequence[int], scores: Tensor) -> dict[str, Tensor]:
        """Return the class (n,) of each word for the cases at ``indices`` with ``scores`` (n, C).

        Raises
        ------
        CasesError, SubjectError
            A label or class beyond those of the model, or scores that are not finite (names the images).
        """
        self._finite(indices, scores)
        count = scores.shape[1]
        order = torch.sort(scores, dim=1, descending=True, stable=True).indices
        labels = torch.tensor([self.cases.labels[i] for i in indices], device=scores.device)
        self._known(indices, self.cases.labels, count)
        self._named(count)
        declared = self.cases.others
        if declared is not None:
            self._known(indices, declared, count)
            self._same_labels(count)
        made: dict[str, Tensor] = {}
        for word in self.words:
            if declared is not None and word in ("top1", "top2"):
                other = torch.tensor([declared[i] for i in indices], device=scores.device)
                made[word] = labels if word == "top1" else other
            elif word in ("top1", "top2"):
                made[word] = order[:, 0 if word == "top1" else 1]
            elif word == "label":
                made[word] = labels
            elif word == "given" and self.given is not None:
                made[word] = self.given[list(indices)].to(scores.device)
            else:
                made[word] = torch.full_like(labels, self._index(word, count))
        return made

    def _named(self, count: int) -> None:
        names = self.cases.class_names or ()
        if len(names) > count:
            raise CasesError(
                f"cases of {self.cases.source} have {len(names)} classes ({', '.join(names[:6])}"
                f"{', ...' if names[6:] else ''}), but model '{self.subject.name}' has {count} outputs; name the"
                " classes of its outputs, in their order."
            )

    def _known(self, indices: Sequence[int], column: Sequence[int], count: int) -> None:
        case = next((i for i in indices if column[i] >= count), None)
        if case is not None:
            raise CasesError(
                f"case '{self.cases.ids[case]}' has label {column[case]}, but model '{self.subject.name}'"
                f" has {count} classes (0 .. {count - 1}). Correct the label, or take the model that was trained on"
                " these classes."
            )

    def _same_labels(self, count: int) -> None:
        names = self.cases.class_names
        if names is not None and len(names) != count:
            raise CasesError(
                f"{self.cases.source} names {len(names)} labels, but model '{self.subject.name}' has {count} outputs:"
                " which output is which label would be a guess. List all labels that the model knows, in the order of"
                " its outputs ('classes'); those that no image has may be among them."
            )

    def _index(self, word: str, count: int) -> int:
        index = int(word)
        if not 0 <= index < count:
            raise SubjectError(
                f"target class {index} is not one of the {count} classes (0 .. {count - 1}) of model"
                f" '{self.subject.name}'."
            )
        return index

    def _finite(self, indices: Sequence[int], scores: Tensor) -> None:
        bad = (~torch.isfinite(scores)).any(1).nonzero().flatten().tolist()
        if bad:
            named = ", ".join(f"'{self.cases.ids[indices[i]]}'" for i in bad[:3])
            half = torch.is_autocast_enabled(scores.device.type)
            overflow = " Half precision overflows where float32 does not: use float32, or try bf16." if half else ""
            raise SubjectError(
                f"model '{self.subject.name}' returns NaN or infinite logits for {len(bad)} of {len(indices)} images"
                f" in a batch ({named}); nothing can be said about its explanations. Check its weights and preprocess."
                f"{overflow}"
            )
