"""``stable``: do the maps survive small changes of the image that keep the prediction?

Each image is changed a few times, by seed, in brightness, contrast and whatever else is declared, and explained again.
A_i is the mean IoU of the top regions of its own map and of those of its changed images whose prediction is the same;
where things moved, maps are laid back first. A change that changes the prediction is counted and not compared: there a
map should change. Of every declared kind of change enough must be left to compare (``min_compared``), or there is no
PASS: changes that move the evidence most are those that flip the prediction first. The decision is in
``decide.limits``; the smallest counter-examples, which Hypothesis looks for, decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from pytest_saliency.checks.parameters import OpenShare, Parameters, Share, one_or_many, unrepeated
from pytest_saliency.engine.perturb import PHOTOMETRIC, FamilyName

if TYPE_CHECKING:
    from pytest_saliency.checks.common import Kept
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.stable_gallery import Sight
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

SEARCHED = 3
"""Images, the worst ones, on which the smallest counter-example is looked for."""


TOLD = 0.8
"""Where fewer changes of a family than this share were compared, the measure says so."""


class StableCriterion(Parameters):
    """What the verdict of ``stable`` depends on; the limit has no default on purpose."""

    min_agreement: OpenShare = Field(description="maps of changed images must agree with the own one by this at least")
    perturbations: Annotated[tuple[FamilyName, ...], Field(min_length=1)] = Field(
        default=PHOTOMETRIC,
        strict=False,
        description="how images are changed; shift, rotation and flip move things, flip must be right for your classes",
    )
    strength: Annotated[float, Field(gt=0.0, le=5.0)] = Field(
        default=1.0, description="how far; 1 is hardly noticed in a photograph"
    )
    draws: Annotated[int, Field(ge=1, le=100)] = Field(default=4, description="changes of each kind for an image")
    top_fraction: OpenShare = Field(default=0.20, description="share of positions that forms a map's top region")
    max_share: Share | None = Field(
        default=None, description="share of the images whose own agreement may lie below the limit"
    )
    min_compared: Share = Field(
        default=0.5,
        description="fewer changes of any declared kind than this share that keep the prediction, and so are compared,"
        " block PASS",
    )
    keep: Literal["correct", "all"] = Field(default="correct", description="which images the check looks at")

    _one_is_a_list_of_one = field_validator("perturbations", mode="before")(one_or_many)
    _no_repeats = field_validator("perturbations")(unrepeated)


class StableParameters(StableCriterion):
    """Parameters of ``stable``: the criterion, and what is reported beside it."""

    search: bool = Field(
        default=True,
        description="look for the smallest change that moves the map of the worst images; it decides nothing",
    )

    @property
    def criterion(self) -> StableCriterion:
        """The parameters without the search, so that asking for it draws no other changes."""
        return StableCriterion(**self.model_dump(include=set(StableCriterion.model_fields)))


def run(explained: Mapping[str, Explained], parameters: StableParameters, check: str) -> Result:
    """Change the images, explain them again, measure, search, and decide."""
    import numpy as np

    from pytest_saliency.checks import common
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model
    from pytest_saliency.checks.stable_draws import agreements, drawn
    from pytest_saliency.checks.stable_gallery import Sight, StableGallery
    from pytest_saliency.engine.perturbed import explain_changed
    from pytest_saliency.measure.regions import region_size

    one = explained["model"]
    maps = one.maps(parameters.method, "top1")
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    common.refuse_degenerate(maps, kept)
    rows, size, families = kept.indices, one.input_size, parameters.perturbations
    seed = seed_of(parameters, one.cases.unordered_digest, check)
    changes = [
        drawn(seed, one.cases.ids[i], families, parameters.draws, parameters.strength, size) for i in rows.tolist()
    ]
    plan = [(i, change) for i, image in zip(rows.tolist(), changes, strict=True) for change in image]
    made = explain_changed(one, parameters.method, plan, "stable")
    watch = common.clock()
    with watch.stage("measure"):
        found = agreements(maps, rows, one.predicted[rows], made, changes, parameters.top_fraction, size)
    mean = found.mean(range(len(changes[0])))
    columns: dict[str, Any] = common.base_columns(one, kept) | {
        "class": maps.classes[rows].tolist(),
        "status": maps.status[rows].tolist(),
        "agreement": mean.tolist(),
        "compared": (~np.isnan(found.values)).sum(axis=1).tolist(),
    }
    for family in families:
        mine = [k for k, change in enumerate(_slots(families, parameters.draws)) if change == family]
        columns[f"agreement[{family}]"] = found.mean(mine).tolist()
        columns[f"compared[{family}]"] = (~np.isnan(found.values[:, mine])).sum(axis=1).tolist()
        columns[f"changed[{family}]"] = found.changed[:, mine].sum(axis=1).tolist()
    counter: dict[int, Sight] = {}
    inputs: dict[str, Any] = {
        "size": list(size),
        "region": region_size(parameters.top_fraction, prod(size)),
        "counter_examples": None,
        "warnings": common.warnings_of(kept, maps),
    }
    if parameters.search:
        with watch.stage("search"):
            inputs["counter_examples"], counter = _searched(one, parameters, kept, mean, seed)
    numbers = Numbers.made(columns, common.everyone(explained, kept, mask, "not correct"), inputs, seed)
    with watch.stage("decide"):
        decided = decision(parameters, numbers)
    cases = common.case_record(one, kept)

    def caption(i: int) -> list[str]:
        return [
            one.cases.ids[rows[i]],
            one.cases.class_name(int(maps.classes[rows[i]])),
            f"mean agreement {mean[i]:.2f}" if np.isfinite(mean[i]) else "undefined",
        ]

    def lowest(i: int) -> Sight | None:
        k = found.lowest(i)
        if k is None:
            return None
        values = made.maps.values[i * len(changes[0]) + k].numpy()
        return Sight(changes[i][k], values, float(found.values[i, k]))

    order = ranked(parameters, numbers)
    return of_one_model(
        "stable",
        check,
        explained,
        maps,
        kept,
        decided,
        parameters,
        cases,
        numbers,
        order,
        StableGallery(
            one,
            kept,
            order.badness,
            (maps,),
            ("map",),
            caption,
            f"{check}: {decided.verdict}, {maps.method}",
            lowest=lowest,
            found=counter,
        ),
        watch.seconds,
        {"top1": maps},
    )


def _slots(families: tuple[str, ...], draws: int) -> list[str]:
    """Return the family of each change of an image, in order."""
    return [family for family in families for _ in range(changes_of(family, draws))]


def changes_of(family: str, draws: int) -> int:
    """Return how many changes of a family an image gets; there is one flip."""
    return 1 if family == "flip" else draws


def _searched(
    one: Explained, parameters: StableParameters, kept: Kept, mean: Any, seed: int
) -> tuple[list[dict[str, Any]], dict[int, Sight]]:
    """Return the smallest counter-example of each of the worst images, for the record and for the pictures.

    Images are told by their place among the worst and by their row, because what a decision says may not name them.
    """
    import numpy as np

    from pytest_saliency.checks.stable_draws import agreement
    from pytest_saliency.checks.stable_gallery import Sight
    from pytest_saliency.checks.stable_search import EXAMPLES, smallest
    from pytest_saliency.checks.worst import order_of
    from pytest_saliency.decide.randomness import seed_from
    from pytest_saliency.engine.perturb import Perturbation
    from pytest_saliency.engine.perturbed import alone, explain_changed
    from pytest_saliency.records.recording import kept_folder

    if not alone(parameters.method):
        return [], {}
    maps = one.maps(parameters.method, "top1")
    told = one.report("search")
    searched = [i for i in order_of(1.0 - mean) if np.isfinite(mean[i])][:SEARCHED]
    places = {i: place for place, i in enumerate(order_of(1.0 - mean), start=1)}
    made, shown = [], {}
    for number, i in enumerate(searched):
        row = int(kept.indices[i])
        seen: dict[Perturbation, Any] = {}

        def broken(change: Perturbation, row: int = row, seen: dict[Perturbation, Any] = seen) -> tuple[bool, float]:
            again = explain_changed(one, parameters.method, [(row, change)], "search", few=True)
            if int(again.predicted[0]) != int(one.predicted[row]):
                return False, float("nan")
            other = again.maps.values[0]
            value = agreement(maps.values[row], other, change, parameters.top_fraction, one.input_size)
            value = value if bool(again.maps.ok[0]) else 0.0
            seen[change] = other.numpy()
            return value < parameters.min_agreement, value

        own = seed_from(f"{seed:016x}", "search", one.cases.ids[row])
        found = smallest(
            broken,
            parameters.perturbations,
            strength=parameters.strength,
            size=one.input_size,
            seed=own,
            key=f"{one.subject.name}/{parameters.method}/{one.cases.case_digests[row]}",
            database=kept_folder("saliency-search"),
        )
        entry: dict[str, Any] = {"place": places[i], "row": i, "seed": f"{own:016x}", "examples": EXAMPLES}
        if found is not None:
            entry |= {"tried": found.tried, "agreement": found.agreement, "said": str(found.change)}
            entry |= {"kept": True} if found.kept else {}
            entry |= found.change.to_dict()
            shown[i] = Sight(found.change, seen[found.change], found.agreement)
        made.append(entry)
        if told is not None:
            told(number + 1, len(searched))
    return made, shown


def decision(parameters: StableParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    import numpy as np

    from pytest_saliency.decide import limits
    from pytest_saliency.decide.stable import question
    from pytest_saliency.decide.tolerance import tolerance_of

    families: dict[str, dict[str, Any]] = {}
    for family in parameters.perturbations:
        values = numbers.column(f"agreement[{family}]")
        known = values[~np.isnan(values)]
        families[family] = {
            "mean": float(known.mean()) if known.size else None,
            "lowest": float(known.min()) if known.size else None,
            "undefined": int(np.isnan(values).sum()),
            "changed": int(numbers.column(f"changed[{family}]").sum()),
            "compared_share": _compared_share(parameters, numbers, family),
        }
    changed = sum(one["changed"] for one in families.values())
    blocked = _blocked(parameters, families)
    made = limits.decide(
        question(_hardly(families, blocked)),
        {"agreement": numbers.column("agreement")},
        limits={"min_agreement": parameters.min_agreement},
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        max_beyond=parameters.max_share,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        counts={"changes that changed the prediction": changed},
        blocked=blocked,
        notes=_notes(parameters, numbers, families, changed),
        readouts={"families": families, "counter_examples": numbers.inputs["counter_examples"]},
        tolerances={"agreement": tolerance_of("agreement", int(numbers.inputs["region"]))},
        seed=numbers.seed,
    )
    return numbers.noted(made)


def _hardly(families: Mapping[str, Any], blocked: list[str]) -> dict[str, float]:
    """Return the compared shares that stand beside what was measured; none where a sentence says them anyway."""
    shares = {name: one["compared_share"] for name, one in families.items()}
    return {} if blocked else {name: share for name, share in shares.items() if share is not None and share < TOLD}


def _compared_share(parameters: StableParameters, numbers: Numbers, family: str) -> float | None:
    """Return the share of a family's changes that were compared, over the images with a usable map of their own."""
    import numpy as np

    usable = np.asarray([status == "ok" for status in numbers.per_image["status"]], dtype=bool)
    made = int(usable.sum()) * changes_of(family, parameters.draws)
    return float(numbers.column(f"compared[{family}]")[usable].sum()) / made if made else None


def _blocked(parameters: StableParameters, families: Mapping[str, Any]) -> list[str]:
    """Return a sentence where too few changes of a declared family could be compared."""
    from pytest_saliency.decide.words import percents

    few = {
        family: share
        for family, one in families.items()
        if (share := one["compared_share"]) is not None and share < parameters.min_compared
    }
    if not few:
        return []
    said = ", ".join(f"{percents(share, parameters.min_compared)[0]} ({family})" for family, share in few.items())
    allowed = percents(min(few.values()), parameters.min_compared)[1]
    return [
        f"only {said} of the changes could be compared, {allowed} are needed; the others changed the prediction, or"
        " changed nothing, or moved everything out of the image; choose another 'strength', or leave the kind out"
    ]


def _notes(parameters: StableParameters, numbers: Numbers, families: Mapping[str, Any], changed: int) -> list[str]:
    notes = []
    if changed:
        by = ", ".join(f"{name} {one['changed']}" for name, one in families.items() if one["changed"])
        notes.append(f"changes that changed the prediction are not compared: {by}")
    examples = numbers.inputs["counter_examples"]
    if examples is None:
        return notes
    without = []
    for entry in examples:
        if "said" not in entry:
            without.append(str(entry["place"]))
            continue
        whence = "kept from an earlier search" if entry.get("kept") else f"search seed {entry['seed']}"
        notes.append(
            f"smallest change found that moves the map of worst image {entry['place']} below"
            f" {parameters.min_agreement:g} and keeps its prediction: {entry['said']}, agreement"
            f" {entry['agreement']:.3f} ({whence}; it decides nothing)"
        )
    if without:
        notes.append(f"no such change was found for worst image{'s' if len(without) > 1 else ''} {', '.join(without)}")
    if not examples:
        notes.append("no counter-example was looked for: no image could be compared, or the method needs all images")
    return notes


def ranked(parameters: StableParameters, numbers: Numbers) -> Ranked:
    """Return the images by the agreement of their maps, lowest first, from the numbers of a run or of a record."""
    from pytest_saliency.checks.worst import Ranked

    mean = numbers.column("agreement")
    shown = {"agreement": mean}
    for family in parameters.perturbations:
        shown[family] = numbers.column(f"agreement[{family}]")
    return Ranked(1.0 - mean, shown)
