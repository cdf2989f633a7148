"""What a record says of its images beside the decision: fates, worst images, size of regions, each made again."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from pytest_saliency.evidence.canonical import settled
from pytest_saliency.evidence.compared import first_difference, only_rounding

Record = Mapping[str, Any]

COMPARED = "not_worse_than_baseline"
TRAININGS = "seed_robust"


def about_images(record: Record) -> list[str]:
    """Return a sentence for everything in the tables that does not follow from the rest of them."""
    from pytest_saliency.checks.fates import correct_of

    everyone = record["everyone"]
    found = []
    for name, column in correct_of(everyone).items():
        difference = first_difference(list(everyone[name]), column, name)
        if difference is not None:
            found.append(f"{difference}: correct is where the prediction is the label")
    found += _contradictions(record)
    difference = _fates(record)
    return [*found, f"{difference}, as keep, predictions and clusters give it"] if difference else found


def _contradictions(record: Record) -> list[str]:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.seed_robust import parts_of
    from pytest_saliency.evidence.contradictions import contradictions

    criterion, numbers = record["criterion"], Numbers.of(record)
    if record["kind"] != TRAININGS:
        return contradictions(record["kind"], criterion, numbers)
    return [
        f"training {k}: {line}"
        for k, part in enumerate(parts_of(numbers), start=1)
        for line in contradictions(criterion["of_kind"], criterion["of_criterion"], part)
    ]


def _fates(record: Record) -> str | None:
    from pytest_saliency.checks.fates import KEPT, SAME_CLUSTER, fates_of, wanted
    from pytest_saliency.checks.registry import KINDS

    everyone, criterion = record["everyone"], record["criterion"]
    said = list(everyone["fate"])
    if not KINDS[record["kind"]].inherited and "keep" in criterion:
        return first_difference(said, fates_of(record["kind"], criterion, everyone, int(record["seed"], 16)), "fate")
    if record["kind"] == TRAININGS:
        return _fates_of_trainings(record)
    if record["kind"] != COMPARED and "of_kind" in criterion and "fate" in everyone:
        return first_difference(said, _measured_fates(record, everyone), "fate")
    if record["kind"] != COMPARED:
        return None
    from pytest_saliency.checks.not_worse_than_baseline import LEFT, NOT_THERE

    # Which of the images that the measuring check kept the baseline knows is not in this record.
    measured: Any = KINDS[criterion["of_kind"]].parameters(**criterion["of_criterion"])
    mask, why = wanted("before" in KINDS[criterion["of_kind"]].roles, measured.keep, everyone)
    free = {KEPT, LEFT, NOT_THERE, *((SAME_CLUSTER,) if "cluster" in everyone else ())}
    made = [fate if one and fate in free else KEPT if one else why for one, fate in zip(mask, said, strict=True)]
    return first_difference(said, made, "fate")


def _measured_fates(record: Record, everyone: Any) -> list[str]:
    """Return what became of each case of the check that the record's own refers to."""
    from pytest_saliency.checks.fates import fates_of

    criterion = record["criterion"]
    return fates_of(criterion["of_kind"], criterion["of_criterion"], everyone, _measured_seed(record))


def _measured_seed(record: Record) -> int:
    """Return the seed of the check that the record's own refers to."""
    from pytest_saliency.checks.numbers import seed_of
    from pytest_saliency.checks.referring import criterion_of

    criterion = record["criterion"]
    measured = criterion_of(criterion["of_kind"], criterion["of_criterion"])
    return seed_of(measured, str(record["cases"]["unordered_digest"]), str(criterion["of"]))


def _fates_of_trainings(record: Record) -> str | None:
    """Return the first case whose fate in a training, or in all of them, does not follow; None where all do."""
    from pytest_saliency.checks.fates import KEPT
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.seed_robust import parts_of

    seed = f"{_measured_seed(record):016x}"
    kept: set[Any] = set()
    for k, (part, training) in enumerate(
        zip(parts_of(Numbers.of(record)), record["inputs"]["trainings"], strict=True), start=1
    ):
        if training["seed"] != seed:
            return f"the seed of training {k} is {training['seed']}, and check and cases give {seed}"
        if "keep" in record["criterion"]["of_criterion"]:
            difference = first_difference(list(part.everyone["fate"]), _measured_fates(record, part.everyone), "fate")
            if difference is not None:
                return f"training {k}: {difference}"
        inside = [one for one, fate in zip(part.everyone["id"], part.everyone["fate"], strict=True) if fate == KEPT]
        if inside != list(part.per_image["id"]):
            return f"training {k}: the images with numbers are not those that were kept"
        kept.update(inside)
    everyone = record["everyone"]
    made = [KEPT if one in kept else fate for one, fate in zip(everyone["id"], everyone["fate.1"], strict=True)]
    return first_difference(list(everyone["fate"]), made, "fate")


def about_results(record: Record) -> list[str]:
    """Return a sentence for everything else in a decided record that does not follow from its numbers."""
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.checks.worst import rows_of

    kind = KINDS[record["kind"]]
    ranked = kind.ranked(kind.parameters(**record["criterion"]), Numbers.of(record))
    made = settled(rows_of(ranked, Numbers.of(record), record["cases"].get("class_names") or {}))
    said = list(record.get("worst") or ())
    difference = first_difference(said, made, "worst")
    found = [f"{difference}, as the numbers give it"] if difference and not only_rounding(said, made) else []
    return [*found, *_region(record)]


def _region(record: Record) -> list[str]:
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.measure.region_size import region_size

    share, size = KINDS[record["kind"]].region, record["inputs"].get("size")
    if share is None or size is None:  # without a size the regions lie on the layer's grid, which no record names
        return []
    made = region_size(float(record["criterion"][share]), prod(int(side) for side in size))
    said = record["inputs"].get("region")
    return [] if said == made else [f"inputs.region is {said!r}, and {share} of size {size} gives {made}"]
