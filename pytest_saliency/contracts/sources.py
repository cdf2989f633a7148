"""What a contract declares as model and cases, made into a ``Subject`` and ``Cases``.

Paths are relative to the contract's folder. Nothing is fetched from a network, unless the contract says
``download: true``.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.case_sources import read_cases
from pytest_saliency.contracts.labels import refuse_other_labels
from pytest_saliency.contracts.model_sources import make_model
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.transforms import declared_preprocess
from pytest_saliency.contracts.weights import load_weights
from pytest_saliency.errors import CasesError, SubjectError

if TYPE_CHECKING:
    from pytest_saliency.contracts.model_sources.made import Made
    from pytest_saliency.contracts.models import CasesSpec, Contrast, ModelSpec
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.preprocess import Preprocess
    from pytest_saliency.engine.subject import Subject

READING = ("layer", "preprocess", "contrast", "output", "reshape", "input")


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
        made = make_model(name, spec, place)
        if isinstance(made.model, Subject):
            said = [key for key in (*READING, "weights") if key in written]
            if said:
                raise SubjectError(
                    f"model '{name}': {kind} {value} returns a Subject, which brings its own reading, but the contract"
                    f" also says {', '.join(said)}. Say it in one place only."
                )
            return made.model
        if not isinstance(made.model, torch.nn.Module):
            raise SubjectError(
                f"model '{name}': {kind} {value} gave a {type(made.model).__name__}; a torch.nn.Module or a Subject is"
                " needed."
            )
        source, digest = f"{kind}:{value}", made.sha256
        if made.file is not None:
            loaded = load_weights(made.model, made.file, name, spec.sha256, spec.state, made.adapt)
            digest = loaded.sha256
            source = " ".join([source, made.words, *(f"({text})" for text in loaded.adaptations)])
        if made.finish is not None:
            made.finish(made.model)
    if made.labels and class_names is not None:
        refuse_other_labels(name, made.labels, class_names)
    return Subject(
        made.model,
        layer=spec.layer,
        preprocess=_preprocess(name, spec, made, place),
        contrast=None if spec.contrast is None else _contrast(spec.contrast, place, class_names),
        output=spec.output,
        reshape=spec.reshape,
        name=spec.name or name,
        source=source,
        weights_sha256=digest,
        input=spec.input,
    )


def _preprocess(name: str, spec: ModelSpec, made: Made, place: Place) -> Mapping[str, Any] | Preprocess | None:
    if spec.preprocess is None:
        return None
    if not isinstance(spec.preprocess, str):
        return declared_preprocess(spec.preprocess, place)
    if made.preprocess is None:
        raise SubjectError(
            f"model '{name}' takes 'preprocess: weights' from the contract's defaults, but nothing ships with a model"
            f" from {spec.source[0]}; write out what is done to pixels."
        )
    return made.preprocess()


def needs_class_names(spec: ModelSpec) -> bool:
    """Tell whether the subject depends on the names of the cases' classes."""
    if spec.huggingface is not None:  # comes with names of its own, which are held against them
        return True
    if spec.contrast is None or spec.contrast.classes is None:
        return False
    return any(isinstance(n, str) for u, others in spec.contrast.classes.items() for n in (u, *others))


def _contrast(spec: Contrast, place: Place, class_names: Sequence[str] | None) -> dict[str, Any]:
    made: dict[str, Any] = {"select": spec.select}
    if spec.cases is not None:
        made["cases"] = make_cases(_held_out(spec), place)
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


def _held_out(spec: Contrast) -> CasesSpec:
    """Return the held-out cases of a contrast; label sets that are only counted on need no pairs."""
    assert spec.cases is not None
    if spec.select == "cooccurrence" and spec.cases.source[0] in ("csv", "npz", "huggingface"):
        return spec.cases.model_copy(update={"pairs": {}})
    return spec.cases


def make_cases(spec: CasesSpec, place: Place) -> Cases:
    """Return the cases that ``spec`` declares, sampled as it says.

    Raises
    ------
    SaliencyError
        Files, columns or arrays are missing or unreadable; one sentence that names the file.
    """
    from pytest_saliency.engine.cases import Cases

    kind, value = spec.source
    cases = read_cases(spec, place)
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
