"""What newcomers often forget, told once a run: preprocessing, order of classes, how fine a layer is, masks a label.

Nothing here is an error, because each of it may be meant. From the records alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
NORMALISED = ("torchvision:", "timm:", "huggingface:")
"""Sources whose models were nearly always trained on normalised pixels."""
SELDOM = 0.5
COARSE = 4  # positions along one side
NAMED = 6  # classes that are listed


def hint_lines(records: Iterable[Record]) -> list[str]:
    """Return a sentence for models without preprocessing, for layers of few positions, for each model that seldom gives
    the label of its cases, and for masks that several labels of an image share.
    """
    known = list(records)
    few: dict[str, None] = {}
    plain: dict[str, None] = {}
    shared: dict[str, None] = {}
    for record in known:
        cases = record.get("cases") or {}
        shared.update(dict.fromkeys(_shared_masks(record, cases)))
        for role, subject in (record.get("subjects") or {}).items():
            if "." in role:  # nulls and checkpoints, which are read as the model that they belong to
                continue
            undeclared = subject.get("preprocess") == {}
            if undeclared and str(subject.get("source")).startswith(NORMALISED):
                plain[str(subject.get("name"))] = None
            shape = list(subject.get("layer_shape") or ())
            grid = shape[:-1] if subject.get("layer_layout") == "channels_last" else shape[1:]
            if coarse(grid):
                few[
                    f"maps of model '{subject.get('name')}' have {'x'.join(map(str, grid))} positions at layer"
                    f" {subject.get('layer')}, too few to tell regions apart: name an earlier 'layer' (pytest-saliency"
                    " layers lists them), or give the model larger images"
                ] = None
    return [*_as_they_are(list(plain)), *few, *seldom_right(known), *shared]


def seldom_right(records: Iterable[Record]) -> list[str]:
    """Return a sentence for each model that gives the label of less than half of its cases, with what to look at.

    Once for each contract, model and cases; of images with several labels nothing is told.
    """
    found: dict[tuple[str, ...], str] = {}
    for record in records:
        cases = record.get("cases") or {}
        for role, subject in (record.get("subjects") or {}).items():
            right = [] if "." in role or cases.get("units") else _right(record, role)
            if right and seldom(sum(right), len(right)):
                look = "declare its preprocess" if subject.get("preprocess") == {} else "look at its preprocess"
                contract, name, source = record.get("contract"), subject.get("name"), cases.get("source")
                whose = f" (contract {contract})" if contract else ""
                found.setdefault(
                    (str(contract), str(name), str(source)),
                    f"model '{name}'{whose} gives the label of only {sum(right)} of {len(right)} cases of {source}:"
                    f" {look}, and see that the model's outputs are in the order of the cases' classes"
                    f" ({listed_classes(cases.get('class_names') or {})}; 'classes' sets it)",
                )
    return list(found.values())


def coarse(grid: Sequence[int]) -> bool:
    """Tell whether a layer's positions are too few to tell regions of an image apart."""
    return len(grid) > 1 and min(grid) < COARSE


def seldom(right: int, of: int) -> bool:
    """Tell whether a model is right so seldom that its classes or its preprocessing may be others."""
    return right < SELDOM * of


def _shared_masks(record: Record, cases: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence where images are looked at for several labels, and have one mask for all of them."""
    units = cases.get("units") or {}
    held = record.get("kind") == "localized" or (record.get("criterion") or {}).get("region") == "masks"
    if held and not units.get("masks") and cases.get("n", 0) > units.get("images", cases.get("n", 0)):
        yield (
            f"cases of {cases.get('source')} have one mask an image, and some images are looked at for several labels:"
            " what speaks for one label counts as inside where it lies in the mask of another one; give a mask a label"
            " ('columns: {masks: ...}', or masks (N, L, H, W))"
        )


def _as_they_are(names: list[str]) -> Iterator[str]:
    if names:
        listed = ", ".join(f"'{name}'" for name in names[:NAMED]) + (", ..." if names[NAMED:] else "")
        one = len(names) == 1
        yield (
            f"{'model' if one else 'models'} {listed} {'is' if one else 'are'} given pixels in [0, 1] as they are,"
            " because no preprocess is declared: write out what training did to them (resize, mean, std), or"
            " 'preprocess: {channels: 3}' if that was nothing"
        )


def _right(record: Record, role: str) -> list[bool]:
    everyone = record.get("everyone") or {}
    found: list[bool] = everyone.get(f"correct_{role}") or (everyone.get("correct") if role == "model" else None) or []
    return found


def listed_classes(names: Mapping[str, str]) -> str:
    """Return the first classes with their numbers, "0 healthy, 1 ill, ..."; ``names`` by number, as in records."""
    first = sorted(names, key=int)
    return ", ".join([*(f"{key} {names[key]}" for key in first[:NAMED]), *(["..."] if first[NAMED:] else [])])
