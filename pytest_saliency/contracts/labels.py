"""The names of a model's outputs against the names of the cases' classes: a case's label is an output's number."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from pytest_saliency.errors import SubjectError

LISTED = 5


def refuse_other_labels(name: str, labels: Sequence[str], class_names: Sequence[str]) -> None:
    """Raise where class ``i`` of the cases is not output ``i`` of model ``name``, as far as their names can tell.

    Names are compared without regard to capitals, spaces, '-' and '_'; a label that lists synonyms with commas is
    called by each of them. Where not one name is shared and there are equally many, the two speak different languages
    (WordNet numbers and English words), and nothing can be told.

    Raises
    ------
    SubjectError
        A class that the model does not know, another number of classes, or another order.
    """
    places: dict[str, list[int]] = {}  # several for "crane", which ImageNet has twice
    for index, label in enumerate(labels):
        for word in (label, *label.split(",")):
            places.setdefault(_plain(word), []).append(index)
    found = [_place(places.get(_plain(word)), index) for index, word in enumerate(class_names)]
    shared = [place for place in found if place is not None]
    if not shared and len(labels) == len(class_names):
        return
    listed = f"{', '.join(labels[:LISTED])}{', ...' if len(labels) > LISTED else ''}"
    if None in found:
        word = class_names[found.index(None)]
        close = difflib.get_close_matches(word, labels, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        raise SubjectError(
            f"model '{name}' has no output for class '{word}' of the cases{hint} Its {len(labels)} outputs are {listed}"
            " (id2label in config.json); give the cases 'classes' in this order, or the model that was trained on them."
        )
    for index, (word, place) in enumerate(zip(class_names, found, strict=True)):
        if place != index:
            raise SubjectError(
                f"class '{word}' is number {index} in the cases, but output {place} of model '{name}' (id2label in"
                f" config.json). Give the cases 'classes' in the order of the outputs: {listed}."
            )


def _place(places: Sequence[int] | None, wanted: int) -> int | None:
    if places is None:
        return None
    return wanted if wanted in places else places[0]


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", word).strip().casefold()
