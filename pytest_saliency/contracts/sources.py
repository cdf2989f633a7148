"""What a contract declares as model and cases, made into a ``Subject`` and ``Cases``.

Paths are relative to the contract's folder. Nothing is fetched from a network.
"""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.imports import call
from pytest_saliency.contracts.weights import load_weights
from pytest_saliency.errors import CasesError, SaliencyError, SubjectError, first_line

if TYPE_CHECKING:
    from torch import nn

    from pytest_saliency.contracts.models import CasesSpec, Columns, Contrast, ModelSpec
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.subject import Subject

READING = ("layer", "preprocess", "contrast", "output", "reshape")
INITIALISED = ("googlenet", "inception_v3")  # warn about a slow initialisation unless told not to do it


@dataclass(frozen=True)
class Place:
    """Where a contract lives, what it may import, and the values of the fixtures it names."""

    folder: Path
    root: Path
    allow_python: bool
    fixtures: Mapping[str, object]

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where code named by ``python:`` is looked for, in order."""
        return (self.folder,) if self.folder == self.root else (self.folder, self.root)

    def path(self, written: str) -> Path:
        """Return where ``written``, relative to the contract's folder, is, without ``..`` wherever that is the same."""
        joined = self.folder / written
        plain = Path(os.path.normpath(joined))
        return plain if plain.resolve() == joined.resolve() else joined  # a link on the way makes ".." another folder


def make_subject(
    name: str, spec: ModelSpec, place: Place, class_names: Sequence[str] | None, written: Collection[str]
) -> Subject:
    """Return the subject that ``spec`` declares; ``written`` are the keys in the file, without inherited defaults.

    ``class_names`` are those of the cases, for a contrast set that is written in names.

    Raises
    ------
    SaliencyError
        The architecture, code, fixture or weights are not there or do not fit; one sentence.
    """
    import torch

    from pytest_saliency.engine.subject import Subject

    kind, value = spec.source
    with torch.random.fork_rng(devices=[]):  # building a network draws random numbers; the user's stream stays put
        made = _model(name, kind, value, spec, place)
    if isinstance(made, Subject):
        said = [key for key in (*READING, "weights") if key in written]
        if said:
            raise SubjectError(
                f"model '{name}': {kind} {value} returns a Subject, which brings its own reading, but the contract also"
                f" says {', '.join(said)}. Say it in one place only."
            )
        return made
    if not isinstance(made, torch.nn.Module):
        raise SubjectError(
            f"model '{name}': {kind} {value} gave a {type(made).__name__}; a torch.nn.Module or a Subject is needed."
        )
    source, digest = f"{kind}:{value}", None
    if spec.weights is not None:
        loaded = load_weights(made, place.path(spec.weights), name, spec.sha256)
        digest = loaded.sha256
        source = " ".join([source, "weights", spec.weights, *(f"({text})" for text in loaded.adaptations)])
    return Subject(
        made,
        layer=spec.layer,
        preprocess=None if spec.preprocess is None else spec.preprocess.model_dump(exclude_none=True),
        contrast=None if spec.contrast is None else _contrast(spec.contrast, place, class_names),
        output=spec.output,
        reshape=spec.reshape,
        name=spec.name or name,
        source=source,
        weights_sha256=digest,
    )


def needs_class_names(spec: ModelSpec) -> bool:
    """Tell whether the subject depends on the names of the cases' classes."""
    if spec.contrast is None or spec.contrast.classes is None:
        return False
    return any(isinstance(n, str) for u, others in spec.contrast.classes.items() for n in (u, *others))


def _model(name: str, kind: str, value: str, spec: ModelSpec, place: Place) -> object:
    if kind == "torchvision":
        if spec.weights is None:
            raise SubjectError(
                f"model '{name}' has a torchvision architecture but no weights: its random weights would be others in"
                " every run. Add weights: <file>, or build the model in python: or fixture:."
            )
        return _torchvision(name, value, spec)
    if kind == "python":
        return _python(value, spec.args or {}, place)
    if spec.weights is not None:
        raise SubjectError(
            f"model '{name}' comes from fixture '{value}', which owns it; weights are not loaded into it. Load them in"
            " the fixture."
        )
    return place.fixtures[value]


def _torchvision(name: str, architecture: str, spec: ModelSpec) -> nn.Module:
    try:
        from torchvision import models
    except Exception as error:  # a torchvision that does not match torch raises RuntimeError, not ImportError
        import torch

        raise SubjectError(
            f"model '{name}' needs torchvision, which cannot be imported here ({error}). Install the torchvision that"
            f" belongs to torch {torch.__version__}, or build the model in python: or fixture:."
        ) from error
    known = models.list_models(module=models)
    if architecture not in known:
        close = difflib.get_close_matches(architecture.lower(), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; torchvision.models.list_models() names them."
        raise SubjectError(f"model '{name}': torchvision has no classifier '{architecture}'{hint}")
    arguments: dict[str, Any] = dict(spec.args or {})
    if spec.num_classes is not None:
        arguments["num_classes"] = spec.num_classes
    if architecture in INITIALISED:
        arguments.setdefault("init_weights", False)
    try:
        made: nn.Module = models.get_model(architecture, weights=None, **arguments)
    except (TypeError, ValueError) as error:
        raise SubjectError(
            f"model '{name}': torchvision does not build {architecture} from {arguments}: {error}."
        ) from error
    return made


def _python(target: str, args: dict[str, Any], place: Place) -> object:
    if not place.allow_python:
        raise SaliencyError(
            f"python: {target} is not imported, because ini saliency_allow_python is false; use a fixture instead."
        )
    return call(target, args, place.folders)


def _contrast(spec: Contrast, place: Place, class_names: Sequence[str] | None) -> dict[str, Any]:
    made: dict[str, Any] = {"select": spec.select}
    if spec.cases is not None:
        made["cases"] = make_cases(spec.cases, place)
    if spec.classes is None:
        return {**made, "k": spec.k}
    names = {name: index for index, name in enumerate(class_names or ())}

    def index(word: str | int) -> int:
        if isinstance(word, int):
            return word
        if word not in names:
            close = difflib.get_close_matches(word, list(names), n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "."
            known = ", ".join(names) or "none, so that only indices can be used"
            raise SubjectError(f"contrast: there is no class '{word}'{hint} The cases' classes are: {known}.")
        return names[word]

    return {**made, "classes": {index(u): tuple(index(v) for v in others) for u, others in spec.classes.items()}}


def make_cases(spec: CasesSpec, place: Place) -> Cases:
    """Return the cases that ``spec`` declares, sampled as it says.

    Raises
    ------
    SaliencyError
        Files, columns or arrays are missing or unreadable; one sentence that names the file.
    """
    from pytest_saliency.engine.cases import Cases

    kind, value = spec.source
    readers: Mapping[str, Callable[[], object]] = {
        "imagefolder": lambda: Cases.from_imagefolder(
            place.path(value), classes=spec.classes, masks=None if spec.masks is None else place.path(spec.masks)
        ),
        "npz": lambda: _npz(place.path(value), spec.classes, value),
        "csv": lambda: _csv(place.path(value), spec.columns, spec.classes, value),
        "fixture": lambda: place.fixtures[value],
        "python": lambda: _python(value, spec.args or {}, place),
    }
    cases = readers[kind]()
    if not isinstance(cases, Cases):
        raise CasesError(
            f"cases from {kind} {value} are a {type(cases).__name__}; Cases are needed (Cases.from_arrays)."
        )
    if kind == "python" and cases.source == "arrays":  # made in memory: say by whom
        cases = replace(cases, source=f"{kind} {value}")
    if spec.classes is not None and cases.class_names is not None and tuple(cases.class_names) != tuple(spec.classes):
        raise CasesError(
            f"cases from {kind} {value} have the classes {', '.join(cases.class_names)}, but the contract lists"
            f" {', '.join(spec.classes)}."
        )
    if spec.sample is not None:
        cases = cases.sample(spec.sample.n, spec.sample.seed, spec.sample.per_class)
    return cases


def _npz(path: Path, classes: Sequence[str] | None, source: str) -> Cases:
    import zipfile
    import zlib

    import numpy as np

    from pytest_saliency.engine.cases import Cases

    arrays: dict[str, Any] = {}
    key = "images"
    if not path.is_file():
        raise CasesError(f"cases are missing: there is no file {path}; check the path.")
    try:
        # opened here, because numpy leaves the file open when it is no zip archive
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise CasesError(f"{path} is no .npz file; numpy.savez(path, images=..., labels=...) writes one.")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                found = stored.files
                for key in (key for key in ("images", "labels", "ids", "masks") if key in found):
                    arrays[key] = stored[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise CasesError(f"cases in {path} cannot be read: array '{key}': {first_line(error)}.") from error
        raise CasesError(
            f"cases in {path} cannot be read without running code from the file: array '{key}' holds Python objects."
            " Save it as an array of numbers (or of texts, for ids)."
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CasesError(f"cases in {path} cannot be read: {first_line(error)}. Write the file anew.") from error
    for key in ("images", "labels"):
        if key not in arrays:
            raise CasesError(
                f"{path} has no array '{key}'; it has {', '.join(found) or 'none'}. Save 'images' and 'labels'."
            )
    return Cases.from_arrays(
        arrays["images"],
        arrays["labels"],
        ids=arrays.get("ids"),
        masks=arrays.get("masks"),
        class_names=classes,
        source=source,
    )


def _csv(path: Path, columns: Columns | None, classes: Sequence[str] | None, source: str) -> Cases:
    from pytest_saliency.contracts.models import Columns
    from pytest_saliency.engine.cases import Cases

    names = columns or Columns()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None)
            header = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise CasesError(f"cases in {path} cannot be read: it is not UTF-8; save it as UTF-8.") from error
    except (OSError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise CasesError(f"cases in {path} cannot be read: {reason}. Check the path and the file.") from error
    for column in (names.image, names.label, *_declared(columns)):
        if column not in header:
            raise CasesError(
                f"{path} has no column '{column}'; it has {', '.join(header) or 'no header'}. Map it in 'columns'."
            )
    if not rows:
        raise CasesError(f"there are no cases in {path}; a check over nothing would prove nothing.")
    for line, row in rows:
        if any(row[column] in (None, "") for column in (names.image, names.label)):
            raise CasesError(f"{path}:{line}: a row needs '{names.image}' and '{names.label}'.")

    def optional(name: str) -> list[str] | None:
        if name not in header:
            return None
        for line, row in rows:
            if row[name] in (None, ""):
                raise CasesError(f"{path}:{line}: column '{name}' is empty; every row needs one, or none.")
        return [row[name] for _, row in rows]

    words = [(line, row[names.label].strip()) for line, row in rows]
    labels, class_names = _labels(path, words, classes)
    return Cases.from_files(
        [row[names.image] for _, row in rows],
        labels,
        ids=optional(names.id),
        groups=optional(names.group),
        clusters=optional(names.cluster),
        masks=None if names.mask is None else optional(names.mask),
        class_names=class_names,
        root=path.parent,
        source=source,
    )


def _declared(columns: Columns | None) -> list[str]:
    """Return the optional columns that the contract names itself, and that must therefore be there."""
    if columns is None:
        return []
    return [getattr(columns, key) for key in ("id", "group", "cluster", "mask") if key in columns.model_fields_set]


def _labels(
    path: Path, words: Sequence[tuple[int, str]], classes: Sequence[str] | None
) -> tuple[list[int], Sequence[str] | None]:
    """Return class indices and class names: written as indices, as names of ``classes``, or as names alone."""
    if all(word.isascii() and word.isdecimal() for _, word in words) and not (
        classes is not None and all(word in classes for _, word in words)
    ):
        labels = [int(word) for _, word in words]
        for (line, _), label in zip(words, labels, strict=True):
            if classes is not None and label >= len(classes):
                raise CasesError(f"{path}:{line}: label {label} is beyond the {len(classes)} classes of the contract.")
        return labels, classes
    number = next(((line, word) for line, word in words if word.isascii() and word.isdecimal()), None)
    if classes is None and number is not None:
        raise CasesError(
            f"{path}:{number[0]}: label '{number[1]}' is a number, but other labels are names; write all of one sort,"
            " or list the names under 'classes'."
        )
    names = list(classes) if classes is not None else sorted({word for _, word in words})
    order = {name: index for index, name in enumerate(names)}
    for line, word in words:
        if word not in order:
            close = difflib.get_close_matches(word, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; the classes are {', '.join(names)}."
            raise CasesError(f"{path}:{line}: '{word}' is not a class of the contract{hint}")
    return [order[word] for _, word in words], names
