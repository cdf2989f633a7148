"""What a candidate would change: the approved entry and the one that waits, side by side in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.baseline_changes import changes, compared_changes
from pytest_saliency.records.baseline_entry import Entry, Stored
from pytest_saliency.records.baselines import Shelf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_saliency.checks.not_worse_than_baseline import Pairs

WORST = 8
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Case:
    """One image whose numbers changed: its id, what its numbers were and are, and its place in both entries."""

    id: str
    label: str
    numbers: tuple[tuple[str, float, float], ...]
    then: int
    now: int


@dataclass(frozen=True, eq=False)
class Diff:
    """``lines`` say all of it; ``cases`` are the images that became worse the most, ``stored`` both entries' arrays."""

    lines: list[str]
    cases: list[Case]
    stored: tuple[Stored, Stored] | None


def diff(shelf: Shelf) -> Diff:
    """Compare what waits for approval with what is approved.

    Raises
    ------
    SaliencyError
        Nothing waits, or arrays are damaged.
    """
    name, then, now = shelf.key.selector, shelf.approved, shelf.waiting
    if now is None:
        raise SaliencyError(
            f"nothing waits for approval for {name}, so there is nothing to compare its baseline with: run its check"
            " with --saliency-baseline update."
        )
    if then is None:
        return _first(name, now)
    lines = [f"{name}: approved {_approval(then)}", f"  against the candidate of {_made(now)}"]
    changed = [*changes(then.criterion, now.criterion)]
    changed += compared_changes(then, now.data["compared"], complete=True)
    lines += [f"  criterion  {text}" for text in [change.text for change in changed] or ["as it was"]]
    lines += _subjects(then, now)
    lines += _rows(then, now)
    reason = _not_comparable(then, now)
    if reason:
        return Diff([*lines, f"  The numbers cannot be compared: {reason}", *_measured(now)], [], None)
    stored = then.load(), now.load()
    from pytest_saliency.checks.not_worse_than_baseline import paired

    pairs = paired(now.kind, stored[1].per_image, stored[0], then)
    counted = f"{len(pairs.now)} in both, {pairs.baseline - len(pairs.now)} left, {pairs.new} new"
    lines.append(f"  images     {counted}")
    if not len(pairs.now):
        return Diff([*lines, "  No image is in both."], [], None)
    found, cases = _numbers(then, now, pairs, stored)
    return Diff([*lines, *found], cases, stored)


def _first(name: str, now: Entry) -> Diff:
    now.load()
    criterion = ", ".join(f"{key} {value}" for key, value in sorted(now.criterion.items()) if value is not None)
    return Diff(
        [
            f"{name}: nothing approved yet; the candidate of {_made(now)}",
            f"  criterion  {criterion}",
            *_subjects(None, now),
            f"  verdict    {now.data['verdict']}: {now.data['headline']}",
            f"  images     {now.images} of {now.data['cases'].get('n')} cases of {now.data['cases'].get('source')}",
            *_measured(now),
        ],
        [],
        None,
    )


def _approval(entry: Entry) -> str:
    held = entry.approval
    return "by nobody" if held is None else f"by {held['by']} on {held['at'][:10]}: {held['reason']}"


def _made(entry: Entry) -> str:
    git = entry.data["made"].get("git") or {}
    commit = (
        f" at commit {git['commit'][:12]}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else ""
    )
    return f"{entry.data['made'].get('at')}{commit}"


def _subjects(then: Entry | None, now: Entry) -> list[str]:
    lines = []
    for role, subject in now.data["subjects"].items():
        before = (then.data["subjects"].get(role) or {}) if then is not None else None
        one, two = _identity(before), _identity(subject)
        shown = two if before is None else f"{one} (as it was)" if one == two else f"{one} -> {two}"
        lines.append(f"  {role:<10} {shown}")
    return lines


def _identity(subject: Mapping[str, Any] | None) -> str:
    from pytest_saliency.report.terminal import short_hash

    if subject is None:
        return "none"
    kind = "weights" if subject.get("weights_sha256") else "state"
    digest = subject.get("weights_sha256") or subject.get("state_sha256")
    return f"{subject.get('name')} {kind} {short_hash(digest)} layer {subject.get('layer')}"


def _rows(then: Entry, now: Entry) -> list[str]:
    one, two = then.data, now.data
    lines = []
    cases = [str(side["cases"].get("unordered_digest")) for side in (one, two)]
    same = "as they were" if cases[0] == cases[1] else f"others: digest {cases[0][:12]}.. -> {cases[1][:12]}.."
    lines.append(f"  cases      {two['cases'].get('n')} of {two['cases'].get('source')}, {same}")
    methods = [f"{side['method'].get('name')} {side['method'].get('version')}" for side in (one, two)]
    lines.append(f"  method     {methods[1] if methods[0] == methods[1] else ' -> '.join(methods)}")
    old, new = ((side["execution"].get("versions") or {}) for side in (one, two))
    moved = [f"{name} {old[name]} -> {new[name]}" for name in new if name in old and old[name] != new[name]]
    lines += [f"  versions   {', '.join(moved)}"] if moved else []
    lines.append(f"  verdict    {one['verdict']} -> {two['verdict']}: {two['headline']}")
    return lines


def _measured(entry: Entry) -> list[str]:
    lines = []
    for measure in entry.data["measured"].values():
        low, high = measure["interval"]["low"], measure["interval"]["high"]
        bounds = f"{_figure(low)} .. {_figure(high)}"
        lines.append(f"  measured   {measure['title']} {_figure(measure['estimate'])} (bounds {bounds})")
    return lines


def _not_comparable(then: Entry, now: Entry) -> str:
    from pytest_saliency.checks.not_worse_than_baseline import refuse_other_cases, refuse_other_meaning
    from pytest_saliency.records.baseline_entry import BaselineError

    try:
        refuse_other_cases(then, now.data["cases"])
        refuse_other_meaning(then, now.kind, now.criterion)
    except BaselineError as error:
        return str(error).partition(". ")[0].partition(f"{then.key.selector} ")[2] + "."
    if then.data["method"] != now.data["method"] and then.data["method"].get("version") != now.data["method"].get(
        "version"
    ):
        return "the method is of another version."
    return ""


def _numbers(then: Entry, now: Entry, pairs: Pairs, stored: tuple[Stored, Stored]) -> tuple[list[str], list[Case]]:
    import numpy as np

    from pytest_saliency.checks.compared import compared_columns
    from pytest_saliency.decide.randomness import seed_from
    from pytest_saliency.decide.worsening import shift, worsening
    from pytest_saliency.decide.worsening_measures import measure_of

    seed = seed_from("baseline diff", then.sha256, now.sha256)
    clusters = now_clusters = stored[1].per_image.get("cluster")
    if now_clusters is not None:
        clusters = [str(now_clusters[i]) for i in pairs.now]
    rows = [("measure", "then", "now", "worse by", "95 % bounds")]
    columns: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    scaled = []
    for name, values in compared_columns(now.kind, stored[1].per_image).items():
        if name not in pairs.stored:
            continue
        after, before = values[pairs.now], pairs.stored[name][pairs.then]
        columns[name] = before, after
        moved = shift(now.kind, name, after, before, clusters=clusters, alpha=ALPHA, seed=seed)
        bounds = f"{_signed(moved.interval.low)} .. {_signed(moved.interval.high)}"
        rows.append((name, _figure(moved.then), _figure(moved.now), _signed(moved.worsening), bounds))
        change = worsening(measure_of(now.kind, name), name, after, before)[2]
        spread = float(np.nanmean(np.abs(change))) if np.isfinite(change).any() else 0.0
        scaled.append(change / spread if spread > 0.0 else change)
    badness = np.max(np.stack(scaled), axis=0)
    classes = now.data["cases"].get("class_names") or {}
    cases = [
        _case(i, columns, pairs, stored, classes)
        for i in np.argsort(-np.where(np.isnan(badness), np.inf, badness), kind="stable")
        if not badness[i] <= 0.0
    ][:WORST]
    lines = [f"  {line}" for line in _table(rows)]
    if not cases:
        return [*lines, "  No image became worse."], []
    heads = ("worst", "label", *(part for name in columns for part in (f"{name} then", "now")))
    shown = [heads]
    for case in cases:
        figures = (part for _, before, after in case.numbers for part in (_figure(before), _figure(after)))
        shown.append((case.id, case.label, *figures))
    return [*lines, *(f"  {line}" for line in _table(shown))], cases


def _case(
    i: int,
    columns: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    pairs: Pairs,
    stored: tuple[Stored, Stored],
    classes: Mapping[str, str],
) -> Case:
    place = int(pairs.now[i])
    per_image = stored[1].per_image
    label = per_image["label"][place] if "label" in per_image else "unknown"
    return Case(
        id=str(per_image["id"][place]),
        label=classes.get(str(label), f"class {label}"),
        numbers=tuple((name, float(before[i]), float(after[i])) for name, (before, after) in columns.items()),
        then=int(pairs.then[i]),
        now=place,
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _figure(value: float | None) -> str:
    if value is None or value != value:
        return "undefined"
    return f"{value:.2f}" if abs(value) < 1e6 else f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{value:+.2f}" if value == value and abs(value) < 1e6 else _figure(value)
