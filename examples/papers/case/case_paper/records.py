"""From the JSON of a run to the numbers of the tables, by model and method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

Record = Mapping[str, Any]
Key = tuple[str, str]

SAME = 1e-12


def found(records: Sequence[Record], check: str) -> dict[Key, Record]:
    """Return the records of a check of the contract by (model, method); those that did not run are left out."""
    made = {}
    for record in records:
        if record["check"] == check and record["verdict"] != "NOT_RUN":
            made[_model(record), record["axes"].get("method") or _criterion(record).get("method", "")] = record
    return made


def _model(record: Record) -> str:
    named = (record.get("subjects") or {}).get("model") or {}
    return str(record["axes"].get("model") or named.get("name") or "")


def _criterion(record: Record) -> Mapping[str, Any]:
    criterion: Mapping[str, Any] = record.get("criterion") or {}
    return criterion


@dataclass(frozen=True)
class Agreement:
    """What a check of class sensitivity found; ``p`` is that of the published Wilcoxon test, None without a result.

    ``median`` is over the ``n`` images that have both maps, of ``kept`` images.
    """

    verdict: str
    p: float | None
    median: float | None
    n: int
    kept: int

    @classmethod
    def of(cls, record: Record) -> Agreement:
        decision = record.get("decision")
        if not decision:
            return cls(str(record["verdict"]), None, None, 0, 0)
        legs = {leg["name"]: leg["p"] for leg in decision["legs"]}
        measure = decision["measures"]["agreement"]
        n, undefined = int(measure["n"]), int(measure["undefined"])
        return cls(str(record["verdict"]), legs.get("wilcoxon"), measure["estimate"], n - undefined, n)


@dataclass(frozen=True)
class Drop:
    """The softmax drops of one method on one model: mean and standard deviation over its images with a map.

    ``p`` is that of the two-sided paired t test against CASE on the images where both have a map; None for CASE itself,
    and where it is not defined.
    """

    verdict: str
    mean: float | None
    sd: float | None
    p: float | None
    n: int

    @classmethod
    def of(cls, record: Record, case: Record | None) -> Drop:
        mine = drops(record)
        values = list(mine.values())
        mean = math.fsum(values) / len(values) if values else None
        sd = None
        if mean is not None and len(values) > 1:
            sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
        p = None if case is None or case is record else paired_t(mine, drops(case))
        return cls(str(record["verdict"]), mean, sd, p, len(values))


def drops(record: Record) -> dict[str, float]:
    """Return the drop of each image's softmax score by its id, for the first fill of the check; signed."""
    per_image = record.get("per_image")
    if not per_image:
        return {}
    column = per_image[f"softmax_drop[{record['criterion']['fill'][0]}]"]
    return {case: drop for case, drop in zip(per_image["id"], column, strict=True) if drop is not None}


def paired_t(one: Mapping[str, float], two: Mapping[str, float]) -> float | None:
    """Return the two-sided p of the paired t test over the images that both have; None where it has no value."""
    shared = sorted(set(one) & set(two))
    differences = [one[case] - two[case] for case in shared]
    if len(shared) < 2 or max(differences) - min(differences) < SAME:
        return None
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


@dataclass(frozen=True)
class Seeds:
    """A check over trainings: mean agreement and published p of each by the training's name, and the verdict."""

    verdict: str
    means: Mapping[str, float | None]
    p: Mapping[str, float | None]

    @classmethod
    def of(cls, record: Record) -> Seeds:
        if not record.get("decision"):
            return cls(str(record["verdict"]), {}, {})
        means: dict[str, float | None] = {}
        p: dict[str, float | None] = {}
        trainings = record["decision"]["readouts"]["trainings"]
        for number, name in enumerate(record["inputs"]["names"], start=1):
            seen = [value for value in record["per_image"][f"agreement.{number}"] if value is not None]
            means[name] = math.fsum(seen) / len(seen) if seen else None
            p[name] = trainings[f"{number}: {name}"]["measures"]["agreement"]["p_pass"]
        return cls(str(record["verdict"]), means, p)


@dataclass(frozen=True)
class Activity:
    """Active channels of a layer: the mean over classes of the classes' mean counts, and of how many channels."""

    verdict: str
    layer: str
    channels: int
    count: float | None
    classes: int

    @classmethod
    def of(cls, record: Record) -> Activity:
        if not record.get("decision"):
            return cls(str(record["verdict"]), "", 0, None, 0)
        readouts = record["decision"]["readouts"]
        counts = [one["count"] for one in readouts["by_class"].values() if one["count"] is not None]
        mean = math.fsum(counts) / len(counts) if counts else None
        layer = str(record["subjects"]["model"]["layer"])
        return cls(str(record["verdict"]), layer, int(readouts["channels"]), mean, len(counts))
