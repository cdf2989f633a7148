"""The result of a check of one model and one method, as all of them put it together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.checks import common
from pytest_saliency.checks.gallery import Gallery
from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.checks.parameters import Parameters
from pytest_saliency.checks.result import Result
from pytest_saliency.checks.worst import Ranked, rows_of
from pytest_saliency.decide.decision import Decision
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps


def of_one_model(
    kind: str,
    check: str,
    explained: Mapping[str, Explained],
    maps: Maps,
    kept: common.Kept,
    decision: Decision,
    parameters: Parameters,
    cases: Mapping[str, Any],
    numbers: Numbers,
    order: Ranked,
    gallery: Gallery,
    seconds: Mapping[str, float],
    stored: Mapping[str, Maps],
    counted: Mapping[str, int] | None = None,
) -> Result:
    """Return the result.

    ``stored`` are the maps that a run may keep, by name; ``counted`` the images that were run beside the passes.
    """
    return Result(
        kind=kind,
        check=check,
        method=maps.method,
        method_version=maps.version,
        method_details=common.method_details(maps, kept),
        decision=decision,
        parameters=parameters.model_dump(mode="json"),
        subjects={"model": explained["model"].identity()},
        cases=cases,
        numbers=numbers,
        worst=rows_of(order, numbers, cases["class_names"]),
        execution={**common.execution_record(explained, seconds), **(counted or {})},
        gallery=gallery,
        maps=lambda: common.layer_maps(kept, **stored),
    )
