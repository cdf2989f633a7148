"""Trying mutants: each run takes other images, and a mutant gets through where the verdict is PASS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutating.methods import GOOD, MUTANTS, Mutant
from mutating.subjects import Setting
from pytest_saliency import Explained, Verdict, explain
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide import rates
from pytest_saliency.decide.effort import bare
from pytest_saliency.errors import SaliencyError

CONTRACT = ("not_vacuous", "class_sensitive", "faithful", "planted_evidence", "avoids")
"""The kinds of the default contract that look at one method of one model, the cheapest first.

Its drift checks compare two checkpoints by one method. A mutant that explains both shows no drift, so that they are
left out; where only the second is explained by it, see the column of ``no_semantic_drift``.
"""
ERROR = "refused"
PUBLISHED_RUNS = 5
"""Runs of the published rule, which decides the same mutants the same way nearly every time."""


@dataclass
class Tally:
    """Of how many runs how many passed."""

    passed: int = 0
    runs: int = 0

    def add(self, passed: bool) -> None:
        self.passed += passed
        self.runs += 1

    def shown(self) -> str:
        """Return the count with its Clopper-Pearson upper bound (95 %)."""
        return f"{self.passed}/{self.runs} (< {self.bound:.3f})"

    @property
    def bound(self) -> float:
        return rates.upper_bound(self.passed, self.runs, 0.05)


@dataclass
class Record:
    """What became of one mutant in one setting."""

    mutant: Mutant
    named: dict[str, Tally] = field(default_factory=dict)
    contract: Tally = field(default_factory=Tally)
    published: Tally = field(default_factory=Tally)
    once: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether some named kind, and the contract, let it through at most as often as alpha + 0.01."""
        return self.contract.bound <= 0.06 and min(one.bound for one in self.named.values()) <= 0.06


def verdict(explained: Mapping[str, Explained], kind: str, method: str, options: Mapping[str, object]) -> str:
    """Return the verdict of a kind, or that it was refused in a sentence."""
    declared = KINDS[kind]
    try:
        with bare():
            parameters = declared.parameters.from_keywords(declared.assertion, {"method": method, **options})
            return declared.run(explained, parameters, f"mutant-{method}").verdict.value
    except SaliencyError:
        return ERROR


def one_run(setting: Setting, records: Iterable[Record], images: int, seed: int) -> None:
    """Draw images and try every mutant on its named kinds, the default contract and the published rule."""
    one = explain(setting.subject(), setting.cases(images, seed), device="cpu")
    for record in records:
        seen: dict[str, bool] = {}
        method = record.mutant.method

        def passes(kind: str, method: str = method, seen: dict[str, bool] = seen) -> bool:
            if kind not in seen:
                seen[kind] = verdict({"model": one}, kind, method, setting.criteria[kind]) == Verdict.PASS.value
            return seen[kind]

        for kind in record.mutant.rejected_by:
            record.named.setdefault(kind, Tally()).add(passes(kind))
        # Nothing more is asked once something has refused it.
        known = sorted(CONTRACT, key=lambda kind: (seen.get(kind, True), CONTRACT.index(kind)))
        record.contract.add(all(passes(kind) for kind in known))
        if record.published.runs >= PUBLISHED_RUNS:
            continue
        options = {**setting.criteria["class_sensitive"], "rule": "published"}
        record.published.add(verdict({"model": one}, "class_sensitive", method, options) == Verdict.PASS.value)


def every_kind(setting: Setting, mutant: Mutant, images: int, seed: int) -> dict[str, str]:
    """Return the verdict of every kind of the setting, once."""
    cases = setting.cases(images, seed)
    one = explain(setting.subject(), cases, device="cpu")
    found = {}
    for kind, options in setting.criteria.items():
        if kind != "no_semantic_drift":
            found[kind] = verdict({"model": one}, kind, mutant.method, options)
    found["no_semantic_drift"] = after_only(setting, mutant, images, seed)
    return found


def after_only(setting: Setting, mutant: Mutant, images: int, seed: int) -> str:
    """Return the verdict of drift where Grad-CAM explains the model before, and the mutant the model after."""
    cases = setting.cases(images, seed)
    before = explain(setting.subject("before"), cases, device="cpu")
    after = explain(setting.subject("after", tuned=True), cases, device="cpu")
    for one, method in ((before, GOOD.method), (after, mutant.method)):
        top1, label = (one.maps(method, target).values for target in ("top1", "label"))
        one.add_maps("brought", top1=top1, label=label)
    both = {"before": before, "after": after}
    return verdict(both, "no_semantic_drift", "brought", setting.criteria["no_semantic_drift"])


def known_good(setting: Setting, methods: Sequence[str], images: int, seed: int) -> dict[str, dict[str, str]]:
    """Return the verdicts of every kind, by method, of methods that are right by construction."""
    found = {}
    for method in methods:
        found[method] = every_kind(setting, Mutant(method, "", ()), images, seed)
    return found


def tried(
    setting: Setting,
    images: int,
    runs: int,
    seed: int,
    say: Callable[[str], None],
    kept: Path | None = None,
    more: int = 0,
) -> list[Record]:
    """Run everything for one setting; what ``kept`` holds of an earlier try with the same seed is not run again.

    ``more``: further runs of a kind that let a mutant through.
    """
    records = [Record(mutant) for mutant in MUTANTS]
    done = _resumed(records, kept)
    for run in range(done, runs):
        one_run(setting, records, images, seed + run)
        say(f"{setting.name}: run {run + 1} of {runs}")
        if kept is not None:
            kept.write_text(json.dumps({"runs": run + 1, "records": [_saved(one) for one in records]}))
    for record in records:
        ask_again(setting, record, images, range(seed + runs, seed + runs + more), say)
        record.once = every_kind(setting, record.mutant, images, seed)
    return records


def ask_again(setting: Setting, record: Record, images: int, seeds: Sequence[int], say: Callable[[str], None]) -> None:
    """Run the named kinds that let the mutant through on other images, and keep what these runs say.

    A few runs cannot tell a rate of 0.02 from one of 0.08. The first ones are not counted in, because they chose the
    kinds that are asked.
    """
    doubtful = [kind for kind, tally in record.named.items() if tally.passed]
    for kind in doubtful if seeds else ():
        say(f"{setting.name}: {record.mutant.name} at {kind}, {len(seeds)} further runs")
        tally = Tally()
        for seed in seeds:
            one = explain(setting.subject(), setting.cases(images, seed), device="cpu")
            said = verdict({"model": one}, kind, record.mutant.method, setting.criteria[kind])
            tally.add(said == Verdict.PASS.value)
        record.named[kind] = tally


def _saved(record: Record) -> dict[str, Any]:
    tallies = {"contract": record.contract, "published": record.published}
    return {
        **{name: [one.passed, one.runs] for name, one in tallies.items()},
        "named": {kind: [one.passed, one.runs] for kind, one in record.named.items()},
    }


def _resumed(records: Sequence[Record], kept: Path | None) -> int:
    if kept is None or not kept.is_file():
        return 0
    found = json.loads(kept.read_text())
    for record, saved in zip(records, found["records"], strict=True):
        record.contract, record.published = Tally(*saved["contract"]), Tally(*saved["published"])
        record.named = {kind: Tally(*counts) for kind, counts in saved["named"].items()}
    return int(found["runs"])
