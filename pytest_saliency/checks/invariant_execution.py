"""``invariant_execution``: are the maps the same, however they are computed?

Each image's top-1 map is computed again in other batches, another order, other precisions and so on. The difference of
two maps is the largest difference at any position of the layer's grid, as a share of the own map's largest absolute
value. An image differs where that is more than ``max_difference`` in any of the declared variants, or where the variant
predicts another class. The decision is on the share of such images, in ``decide.limits``. Where the own map shows
nothing and no variant differs, nothing was compared, and the image is undefined. A declared variant that is not
computed blocks PASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from pytest_saliency.checks.parameters import OpenShare, Parameters, one_or_many, unrepeated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from pytest_saliency.checks.common import Floats
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

VariantName = Literal["batch_one", "shuffled", "threads", "float64", "compiled", "bf16", "fp16", "cpu"]

BROKEN = 1e6
"""The difference of a map that is not finite, or of another shape, from one that is: beyond every limit."""


class InvariantExecutionParameters(Parameters):
    """Parameters of ``invariant_execution``; the limits have no default on purpose."""

    max_difference: Annotated[float, Field(ge=0.0, lt=BROKEN)] = Field(
        description="how far a map may be from the same map computed otherwise, in shares of its largest value"
    )
    max_share: OpenShare = Field(description="share of the images that may differ by more, or change prediction")
    variants: Annotated[tuple[VariantName, ...], Field(min_length=1)] = Field(
        default=("batch_one", "shuffled", "threads"),
        strict=False,
        description="how else maps are computed; 'compiled' compares scores, 'cpu' the CPU with CUDA",
    )
    keep: Literal["correct", "all"] = Field(default="all", description="which images the check looks at")

    _one_is_a_list_of_one = field_validator("variants", mode="before")(one_or_many)
    _no_repeats = field_validator("variants")(unrepeated)


def run(explained: Mapping[str, Explained], parameters: InvariantExecutionParameters, check: str) -> Result:
    """Compute the maps in every declared way, compare, and decide."""
    import numpy as np

    from pytest_saliency.checks import common
    from pytest_saliency.checks.gallery import Gallery
    from pytest_saliency.checks.numbers import Numbers, seed_of
    from pytest_saliency.checks.one_model import of_one_model
    from pytest_saliency.engine.maps import judge
    from pytest_saliency.engine.variants import NotHereError, computed_otherwise
    from pytest_saliency.errors import MethodError

    one = explained["model"]
    maps = one.maps(parameters.method, "top1")
    mask = common.wanted(one, parameters.keep)
    kept = common.keep(one, mask, "not correct")
    rows = kept.indices
    seed = seed_of(parameters, one.cases.unordered_digest, check)
    columns: dict[str, Any] = common.base_columns(one, kept) | {
        "class": maps.classes[rows].tolist(),
        "status": maps.status[rows].tolist(),
    }
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    watch = common.clock()
    for variant in parameters.variants:
        try:
            made = computed_otherwise(one, parameters.method, rows.tolist(), variant, seed)
        except NotHereError as error:
            skipped[variant] = str(error)
            continue
        with watch.stage("measure"):
            if made.maps is None:
                found = difference(one.logits[rows], made.scores)
            else:
                found = difference(maps.values[rows], made.maps)
                status = judge(made.maps) if made.status is None else made.status
                # Two maps that show nothing in the same way have nothing to compare.
                found = np.where(~maps.ok[rows] & (status == maps.status[rows]), np.nan, found)
        if made.failed:
            failed[variant] = made.failed
        columns[f"difference[{variant}]"] = found.tolist()
        columns[f"flipped[{variant}]"] = (made.predicted != one.predicted[rows]).tolist()
    if len(skipped) == len(parameters.variants):
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise MethodError(
            f"invariant_execution: none of the declared variants can be computed here ({why}), so that nothing could"
            " fail; declare others, as batch_one or shuffled."
        )
    numbers = Numbers.made(
        columns,
        common.everyone(explained, kept, mask, "not correct"),
        {"skipped": skipped, "failed": failed, "warnings": common.warnings_of(kept, maps)},
        seed,
    )
    with watch.stage("decide"):
        decided = decision(parameters, numbers)
    cases = common.case_record(one, kept)
    order = ranked(parameters, numbers)

    def caption(i: int) -> list[str]:
        return [
            one.cases.ids[rows[i]],
            one.cases.class_name(int(maps.classes[rows[i]])),
            *(f"{name} {values[i]:.2g}" for name, values in order.shown.items() if name != "difference"),
        ]

    return of_one_model(
        "invariant_execution",
        check,
        explained,
        maps,
        kept,
        decided,
        parameters,
        cases,
        numbers,
        order,
        Gallery(one, kept, order.badness, (maps,), ("map",), caption, f"{check}: {decided.verdict}, {maps.method}"),
        watch.seconds,
        {"top1": maps},
    )


def difference(own: Tensor, other: Tensor) -> Floats:
    """Return the largest difference of each pair of maps (n, *grid), as a share of the own one's largest value.

    NaN where the own map is not finite; ``BROKEN`` where only the other one is not, where the grids differ, and where
    the own map is zero everywhere and the other one is not.
    """
    import numpy as np
    import torch

    one = own.flatten(1).double()
    known = torch.isfinite(one).all(1).numpy()
    if own.shape != other.shape:
        return np.where(known, BROKEN, np.nan)
    two = other.flatten(1).double()
    sound = torch.isfinite(two).all(1).numpy()
    gap = torch.nan_to_num(one - two, nan=0.0, posinf=0.0, neginf=0.0).abs().amax(1).numpy()
    scale = torch.nan_to_num(one, nan=0.0, posinf=0.0, neginf=0.0).abs().amax(1).numpy()
    share = np.where(scale > 0.0, gap / np.where(scale > 0.0, scale, 1.0), np.where(gap > 0.0, BROKEN, 0.0))
    found: Floats = np.where(sound, np.minimum(share, BROKEN), BROKEN)
    return np.where(known, found, np.nan)


def _differs(parameters: InvariantExecutionParameters, numbers: Numbers, variant: str) -> NDArray[np.bool_]:
    """Return which images differ in a variant; one that cannot be compared differs where its prediction changed."""
    import numpy as np

    found = numbers.column(f"difference[{variant}]")
    flipped = np.asarray(numbers.per_image[f"flipped[{variant}]"], dtype=bool)
    return np.asarray((~np.isnan(found) & (found > parameters.max_difference)) | flipped)


def _computed(parameters: InvariantExecutionParameters, numbers: Numbers) -> list[str]:
    """Return the variants with numbers.

    Raises
    ------
    CriterionError
        A declared variant has neither numbers nor a reason why it has none, or has both; or none has numbers.
    """
    from pytest_saliency.errors import CriterionError

    there: list[str] = []
    skipped = numbers.inputs["skipped"]
    for variant in parameters.variants:
        has = f"difference[{variant}]" in numbers.per_image
        if has == (variant in skipped):
            what = "numbers and a reason why it has none" if has else "neither numbers nor a reason why it has none"
            raise CriterionError(f"invariant_execution: the declared variant {variant!r} has {what}.")
        there += [variant] if has else []
    if not there:
        raise CriterionError("invariant_execution: none of the declared variants has numbers, so nothing could fail.")
    return there


def decision(parameters: InvariantExecutionParameters, numbers: Numbers) -> Decision:
    """Decide from the numbers of a run, or of a record."""
    import numpy as np

    from pytest_saliency.decide import limits
    from pytest_saliency.decide.invariant import question

    there = _computed(parameters, numbers)
    each = {variant: _differs(parameters, numbers, variant) for variant in there}
    unknown = np.asarray([status != "ok" for status in numbers.per_image["status"]], dtype=bool)
    unknown |= np.any([np.isnan(numbers.column(f"difference[{variant}]")) for variant in there], axis=0)
    differs = np.any(list(each.values()), axis=0)
    different = np.where(unknown & ~differs, np.nan, differs.astype(np.float64))
    variants = {}
    for variant in there:
        values = numbers.column(f"difference[{variant}]")
        known = values[~np.isnan(values)]
        variants[variant] = {
            "largest": float(known.max()) if known.size else None,
            "median": float(np.median(known)) if known.size else None,
            "different": int(each[variant].sum()),
            "flipped": int(np.sum(numbers.per_image[f"flipped[{variant}]"])),
        }
    broken = sorted((name for name in there if each[name].any()), key=lambda name: -int(each[name].sum()))
    made = limits.decide(
        question(broken),
        {"different": different},
        limits={"max_share": parameters.max_share},
        alpha=parameters.alpha,
        max_undefined=parameters.max_undefined,
        kept=len(numbers.per_image["id"]),
        total=len(numbers.everyone["id"]),
        clusters=numbers.clusters(),
        counts={f"predictions changed by {name}": int(one["flipped"] or 0) for name, one in variants.items()},
        notes=_notes(parameters, numbers, variants, broken),
        blocked=[
            f"the declared variant {name} was not computed: {reason}; run where it can be, or take it out of 'variants'"
            for name, reason in sorted(numbers.inputs["skipped"].items())
        ],
        readouts={"variants": variants, "skipped": dict(numbers.inputs["skipped"])},
        seed=numbers.seed,
    )
    return numbers.noted(made)


def _notes(
    parameters: InvariantExecutionParameters, numbers: Numbers, variants: Mapping[str, Any], broken: list[str]
) -> list[str]:
    notes = []
    for name in broken:
        one = variants[name]
        what = "the scores" if name == "compiled" else "the map"
        flips = f", and the prediction of {one['flipped']}" if one["flipped"] else ""
        notes.append(
            f"{name} changes {what} of {one['different']} of {len(numbers.per_image['id'])} images by more than"
            f" {parameters.max_difference:g} or their prediction: {_largest(one['largest'])} at most{flips}"
        )
    failed = numbers.inputs.get("failed") or {}
    return notes + [f"{name}: {why}, so that every image counts as different" for name, why in sorted(failed.items())]


def _largest(value: float | None) -> str:
    return "beyond all bounds" if value is None or value >= BROKEN else f"{value:.3g}"


def ranked(parameters: InvariantExecutionParameters, numbers: Numbers) -> Ranked:
    """Return the images by their largest difference, from the numbers of a run or of a record.

    Those whose prediction changes come before all others.
    """
    import numpy as np

    from pytest_saliency.checks.worst import Ranked

    there = _computed(parameters, numbers)
    columns = {variant: numbers.column(f"difference[{variant}]") for variant in there}
    largest = np.max(list(columns.values()), axis=0)
    flips = np.sum([numbers.column(f"flipped[{variant}]") for variant in there], axis=0)
    return Ranked(largest + 2.0 * BROKEN * flips, columns | {"predictions changed": flips})
