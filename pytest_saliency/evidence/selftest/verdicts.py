"""Planted evidence must PASS, a planted shortcut must FAIL, and deciding again from a record must change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide.decision import plain
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.explained import Explained, explain
from pytest_saliency.engine.subject import Subject
from pytest_saliency.evidence.selftest import planted
from pytest_saliency.evidence.selftest.item import Item
from pytest_saliency.records.hashing import to_json
from pytest_saliency.records.record import Setting, complete

GROUP = "verdicts"
COUNT = 60
NEAR = 3.0
"""Pixels between the centre of a map and the middle of the pattern, at most, on the median image."""

DRIFT = {"method": "gradcam", "max_displacement": 0.15, "top_fraction": 0.04}
FAITHFUL = {"top_k": 0.04, "min_advantage": 0.05}
PLAN: tuple[tuple[str, str, tuple[str, ...], Mapping[str, Any], tuple[str, ...]], ...] = (
    ("planted-class-sensitive", "class_sensitive", ("sound",), {"method": "case"}, ("PASS",)),
    ("planted-faithful", "faithful", ("sound",), {"method": "gradcam", **FAITHFUL}, ("PASS",)),
    ("planted-kept-by-tuning", "no_semantic_drift", ("sound", "tuned"), DRIFT, ("PASS",)),
    ("planted-shortcut", "no_semantic_drift", ("sound", "shortcut"), DRIFT, ("FAIL",)),
    ("maps-of-chance", "faithful", ("sound",), {"method": "random", **FAITHFUL}, ("FAIL", "INCONCLUSIVE")),
)
"""Check, kind, the models in the order of its roles, parameters, and the verdicts that are right."""


class Verdicts:
    """The checks of the self test on planted evidence, and the records that they leave."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    @cached_property
    def explained(self) -> dict[str, Explained]:
        """The three models over the same images."""
        shown = planted.images(COUNT, seed=0)
        cases = Cases.from_arrays(shown.pixels, shown.labels)
        models = {
            "sound": planted.Planted(),
            "tuned": planted.Planted(nudge=0.02),
            "shortcut": planted.Planted(shortcut=True),
        }
        return {
            name: explain(Subject(model, layer="features", name=name, preprocess={}), cases, device="cpu")
            for name, model in models.items()
        }

    def items(self) -> Iterator[Item]:
        """Decide every check of the plan, and then again from its record."""
        for name, model in self.explained.items():
            right = int(np.sum(model.correct))
            yield Item(
                GROUP, f"accuracy of the {name} model", f"{COUNT} of {COUNT}", f"{right} of {COUNT}", right == COUNT
            )
        yield self._where()
        for check, kind, models, given, wanted in PLAN:
            parameters = KINDS[kind].parameters(**given)
            subjects = dict(zip(KINDS[kind].roles, (self.explained[model] for model in models), strict=True))
            result = KINDS[kind].run(subjects, parameters, check)
            setting = Setting(node=f"selftest::{check}", source=None, check=check, kind=kind)
            self.records.append(complete(plain(result.to_record()), setting))
            verdict = result.verdict.value
            yield Item(GROUP, f"{check} ({kind}, {given['method']})", " or ".join(wanted), verdict, verdict in wanted)
        for record in self.records:
            again = to_json(decide_again(record).to_dict())
            same = again == to_json(record["decision"])
            expected = "the same decision to the last digit"
            got = expected if same else "another decision"
            yield Item(GROUP, f"{record['check']} decided again from its record", expected, got, same)

    def _where(self) -> Item:
        maps = self.explained["sound"].maps("case").values.double().clamp(min=0.0).numpy()
        middle = planted.images(COUNT, seed=0).corners + planted.PATCH / 2
        rows, columns = np.indices(maps.shape[1:])
        mass = maps.sum(axis=(1, 2))
        centres = np.stack([(maps * rows).sum(axis=(1, 2)), (maps * columns).sum(axis=(1, 2))], axis=1) / mass[:, None]
        distance = float(np.median(np.linalg.norm(centres - middle, axis=1)))
        return Item(
            GROUP,
            "distance of CASE's centre from the planted pattern, median",
            f"at most {NEAR:g} pixels",
            f"{distance:.2f} pixels",
            distance <= NEAR,
        )
