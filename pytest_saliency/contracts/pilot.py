"""A pilot: two checkpoints and a folder of images run through the default contract, to see what limits they allow.

The contract that comes of it was read by the parser, and run on the pilot's own models, before anybody sees it: a check
that the pilot itself does not pass is left out, and the contract says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.contract import parse_contract
from pytest_saliency.contracts.drafting import Head, contract_text
from pytest_saliency.contracts.imports import make_importable
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.proposal import DRAFTS, FEW, Draft, Proposed, needed, propose, too_blank, with_usual
from pytest_saliency.contracts.sources import make_cases, make_subject
from pytest_saliency.contracts.states import WeightsError
from pytest_saliency.decide.verdict import Verdict
from pytest_saliency.errors import CasesError, SaliencyError, SubjectError, first_line
from pytest_saliency.report.hints import coarse, listed_classes, seldom

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.explained import Explained

SMALLEST = 40
"""Images with which hardly any check of the default contract could be decided are not worth a pilot."""
FAR = 0.5
"""A mean IoU drop beyond this is more than fine-tuning usually brings about."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pilot:
    """What a pilot gives: the text of a contract, and what it holds of the pilot's models by check.

    ``warning`` is what has to be put right first, where a model is seldom right; it stands in the text, too.
    """

    text: str
    results: Mapping[str, Result]
    left_out: Mapping[str, str]
    warning: str = ""


def run_pilot(head: Head, root: Path, device: str, say: Say) -> Pilot:
    """Run the default contract on the models and images that ``head`` names, and propose limits.

    ``root`` is where code named by ``module:function`` may live, beside the contract's folder.

    Raises
    ------
    SaliencyError
        Weights that cannot be read or do not fit, classes that are not those of the model, too few images, a model
        or method that fails; one sentence.
    """
    stub = parse_contract(contract_text(head, (), {}).encode(), head.path)
    place = Place(folder=head.path.parent, root=root, allow_python=True, fixtures={})
    forget = make_importable(place.folders)
    try:
        assert stub.cases is not None
        cases = _cases(stub.cases, place, head)
        explained = {}
        for name in ("before", "after"):
            explained[name] = _explained(name, stub.models[name], place, cases, device)
            _refuse_other_classes(name, explained[name], cases, head)
            right, layer = explained[name].correct, explained[name].layer
            grid = "x".join(map(str, layer.grid))
            say(f"{name}: {right.sum()} of {len(cases)} images right ({right.mean():.0%}), layer {layer.name} ({grid})")
        if coarse(explained["after"].layer.grid):
            say(
                "maps of so few positions hardly tell regions apart: name an earlier layer (--layer; pytest-saliency"
                " layers lists them), or build the model as in training, with larger images or another output stride"
            )
        return _proposed(head, explained, say)
    finally:
        forget()


def _cases(spec: Any, place: Place, head: Head) -> Cases:
    cases = make_cases(spec, place)
    if len(cases) < SMALLEST:
        raise CasesError(
            f"image folder {head.data} has {len(cases)} images; a pilot needs {SMALLEST} at least, and about 300 to say"
            " anything definite. Add images, or write a contract by hand (pytest-saliency init FOLDER)."
        )
    return cases


def _explained(name: str, spec: Any, place: Place, cases: Cases, device: str) -> Explained:
    from pytest_saliency.engine.explained import explain

    try:
        subject = make_subject(name, spec, place, cases.class_names, ())
        made = explain(subject, cases, device=device)
        _ = made.logits
    except WeightsError as error:
        classes = len(cases.class_names or ())
        hint = ""
        if "of another shape" in str(error):
            hint = (
                f" The image folder has {classes} class folders; if the model has another number of outputs, say so"
                " with --classes, and give a folder with as many."
            )
        raise WeightsError(f"{error}{hint}") from error
    return made


def _refuse_other_classes(name: str, one: Explained, cases: Cases, head: Head) -> None:
    outputs, folders = int(one.logits.shape[1]), len(cases.class_names or ())
    if outputs != folders:
        raise SubjectError(
            f"model '{name}' has {outputs} outputs, but image folder {head.data} has {folders} class folders"
            f" ({', '.join((cases.class_names or ())[:5])}{', ...' if folders > 5 else ''}). Their order and number"
            " must be those of the model's outputs; give the folder that the model was trained for."
        )


def _proposed(head: Head, explained: Mapping[str, Explained], say: Say) -> Pilot:
    drafts = tuple(one for one in DRAFTS if one.kind in KINDS)
    limits = sum(len(one.asked) for one in (*drafts, FEW))
    checks: list[Proposed] = []
    left: dict[str, str] = {}
    drift = None
    for draft in drafts:
        found = _tried(draft, draft.loosest, explained)
        if isinstance(found, str):
            left[draft.id] = found
            continue
        drift = found if draft.kind == FEW.kind else drift
        _taken(propose(draft, [found.decision], limits), draft, found, limits, checks, left)
    if drift is not None:
        means = next((one.parameters for one in checks if one.draft.kind == FEW.kind), {})
        few = with_usual([drift.per_image], means)
        found = _tried(few, few.loosest, explained)
        if isinstance(found, str):
            left[few.id] = found
        else:
            _taken(propose(few, [found.decision], limits), few, found, limits, checks, left)
    results: dict[str, Result] = {}
    for one in tuple(checks):
        found = _tried(one.draft, one.parameters, explained)
        if isinstance(found, str) or found.verdict is not Verdict.PASS:
            checks.remove(one)
            left[one.draft.id] = found if isinstance(found, str) else found.headline
        else:
            results[one.draft.id] = found
            say(f"{one.draft.id}: {found.headline}")
    for name, why in left.items():
        say(f"left out: {name}: {why}")
    if not checks:
        raise SaliencyError(
            "no check of the default contract holds for these two models, so there is nothing to propose. Look at the"
            " sentences above: they say what each check found."
        )
    if drift is not None and drift.measures["iou_drop"].estimate > FAR:
        say(
            "the evidence moved far between these two models (mean IoU drop"
            f" {drift.measures['iou_drop'].estimate:.2f}); limits that allow this would allow a model that reads"
            " something else. Take them only if you know that this fine-tuning is clean."
        )
    notes = {one.draft.id: needed(one, results[one.draft.id].decision) for one in checks}
    warning = _seldom_right(explained)
    text = contract_text(head, checks, left, notes, warning)
    parse_contract(text.encode(), head.path)
    return Pilot(text, results, left, warning)


def _seldom_right(explained: Mapping[str, Explained]) -> str:
    """Return a sentence where a model gives less than half of the labels: its outputs may have another order."""
    shares = {name: one.correct for name, one in explained.items() if seldom(int(one.correct.sum()), len(one.correct))}
    if not shares:
        return ""
    said = " and ".join(
        f"'{name}' gives the label of only {right.sum()} of {len(right)} images" for name, right in shares.items()
    )
    names = next(iter(explained.values())).cases.class_names or ()
    listed = listed_classes({str(place): name for place, name in enumerate(names)})
    return (
        f"{said}: see that the model's outputs are in the order of the classes ({listed};"
        " --order sets another one) and that the preprocess is that of the"
        " training, and run again. Limits from the few images that are left say little."
    )


def _taken(
    proposed: Proposed | None,
    draft: Draft,
    found: Result,
    limits: int,
    checks: list[Proposed],
    left: dict[str, str],
) -> None:
    if proposed is None:
        share = f"{found.decision.undefined_share:.0%} of the images have no usable map, too many to leave room for; "
        left[draft.id] = f"{share if too_blank([found.decision], limits) else ''}{found.headline}"
    else:
        checks.append(proposed)


def _tried(draft: Draft, parameters: Mapping[str, Any], explained: Mapping[str, Explained]) -> Result | str:
    """Return the result of a check, or the sentence that says why there is none."""
    kind = KINDS[draft.kind]
    try:
        return kind.run(
            {role: explained[name] for role, name in draft.roles.items()}, kind.parameters(**parameters), draft.id
        )
    except SaliencyError as error:
        return first_line(error)
