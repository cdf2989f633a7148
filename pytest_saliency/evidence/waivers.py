"""What the waivers of a project are worth for the records of one run.

A waiver changes no verdict and no exit code: the check stays FAIL or INCONCLUSIVE, and the release decision says that
the failure is accepted, by whom and until when. It applies only if all of this holds:

- it is written correctly, approved by another person than asked for it, not from the future and not expired;
- the check it names, exactly, ran and is FAIL or INCONCLUSIVE. A check without a result (ERROR, NOT_RUN) is never
  excused: nothing was measured that a bound could be held against;
- the model under test is the one declared: the subject in the role ``model``, or ``after`` where two are compared. Its
  weights, or its state where it came without a file of weights, have the digest that the waiver names. The model that
  it is compared with is the contract's matter, and the bounds hold whichever it is;
- whatever keeps the check from PASS has a bound: every measure whose own limit is not met, the share of undefined
  images where it blocks PASS (``undefined_share``, on the side of ``max_undefined``), and the share of kept images
  where that does (``kept_share``, on the side of ``min_kept``). A waiver granted for one shortfall does not hide
  another that came later;
- every bounded estimate lies within its bound, on the side of the measure's limit. The estimate is compared and not
  its confidence bound, so the person who approves leaves the room that chance needs. An undefined estimate is beyond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pytest_saliency.contracts.axes import item_name
from pytest_saliency.contracts.loader import shown
from pytest_saliency.contracts.problems import did_you_mean
from pytest_saliency.evidence.instants import days_between, shown_instant
from pytest_saliency.evidence.waiver_file import Waiver, Waivers, load_waivers, printable, read_waivers

__all__ = ["STATES", "assess", "check_name", "fitness", "load_waivers", "read_waivers"]

Record = Mapping[str, Any]

STATES = ("applies", "expired", "unreadable", "lapsed", "other model", "unused", "invalid")
UNMET = ("FAIL", "INCONCLUSIVE")
UNDEFINED, KEPT = "undefined_share", "kept_share"
WITHIN = {"<=": "at most", "<": "at most", ">=": "at least", ">": "at least", "abs<=": "up or down at most"}


@dataclass(frozen=True)
class Quantity:
    """Something that a check measured against a limit, and whether it keeps the check from PASS."""

    name: str
    estimate: float | None
    side: str
    unmet: bool

    def within(self, bound: float) -> bool:
        """Tell whether the estimate is not beyond ``bound``; an undefined one is."""
        if self.estimate is None:
            return False
        if self.side in (">", ">="):
            return self.estimate >= bound
        return (abs(self.estimate) if self.side == "abs<=" else self.estimate) <= bound


def check_name(record: Record) -> str:
    """Return how a waiver names the check of ``record``: contract/check[axes], or the node id of a Python test."""
    if record.get("contract"):
        # The node id keeps the order in which axes were declared; the keys of a record that was read back do not.
        item = str(record.get("node")).partition("::")[2]
        return f"{record['contract']}/{item or item_name(str(record.get('check')), record.get('axes') or {})}"
    return str(record.get("node"))


def assess(waivers: Waivers, records: Iterable[Record], now: datetime) -> list[dict[str, Any]]:
    """Return what each waiver is worth for ``records`` at the instant ``now`` (aware), in the order of the file.

    Each entry holds the texts of the waiver, its ``state`` (one of :data:`STATES`), a sentence ``why``, and the
    ``nodes`` of the checks that it names.
    """
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(check_name(record), []).append(record)
    return [
        _told(
            waiver,
            *(_fitness(waiver, now) or _use(waiver, by_name, now)),
            nodes=[str(record.get("node")) for record in by_name.get(str(waiver.check), ())],
        )
        for waiver in waivers.entries
    ]


def fitness(waivers: Waivers, now: datetime) -> list[dict[str, Any]]:
    """Return the same without a run: "in force" stands for a waiver that could apply."""
    return [_told(waiver, *(_fitness(waiver, now) or _in_force(waiver, now))) for waiver in waivers.entries]


def _told(waiver: Waiver, state: str, why: str, nodes: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "id": printable(waiver.id),
        "check": waiver.check,
        "nodes": list(dict.fromkeys(nodes)),
        "model": waiver.model,
        "bound": dict(waiver.bound),
        "state": state,
        "why": printable(why),
        "reason": waiver.reason,
        "risk": waiver.risk,
        "requested_by": waiver.requested_by,
        "approved_by": waiver.approved_by,
        "created": waiver.created,
        "expires": waiver.expires,
        "line": waiver.line,
        "problems": [f"{problem.line}:{problem.column} {printable(problem.message)}" for problem in waiver.problems],
    }


def _fitness(waiver: Waiver, now: datetime) -> tuple[str, str] | None:
    """Return what is wrong with the waiver whatever was run; None where nothing is."""
    if waiver.unreadable:
        said = next((problem.message for problem in waiver.problems if "'expires'" in problem.message), None)
        return "unreadable", _sentence(f"It counts as expired: {said or 'until when it holds cannot be read'}")
    if waiver.problems:
        more = f" (and {len(waiver.problems) - 1} more)" if len(waiver.problems) > 1 else ""
        return "invalid", _sentence(f"It cannot be used: {waiver.problems[0].message}{more}")
    assert waiver.until_instant is not None
    assert waiver.from_instant is not None
    if now >= waiver.until_instant:
        days = days_between(waiver.until_instant, now)
        ago = "today" if days == 0 else f"{days} day{'s' if days != 1 else ''} ago"
        return "expired", f"It expired {ago}, at {shown_instant(waiver.until_instant)}."
    if waiver.from_instant > now:
        return "invalid", f"It was created in the future, at {shown_instant(waiver.from_instant)}; check the clock."
    return None


def _in_force(waiver: Waiver, now: datetime) -> tuple[str, str]:
    assert waiver.until_instant is not None
    days = days_between(now, waiver.until_instant)
    return "in force", f"Until {shown_instant(waiver.until_instant)}, {days} day{'s' if days != 1 else ''} from now."


def _use(waiver: Waiver, by_name: Mapping[str, Sequence[Record]], now: datetime) -> tuple[str, str]:
    name = str(waiver.check)
    found = by_name.get(name, ())
    if not found:
        return "unused", _sentence(f"No check of this run is '{shown(name, 200)}'{_hint(name, by_name)}")
    unmet = [record for record in found if record.get("verdict") in UNMET]
    without = sorted({str(r.get("verdict")) for r in found if r.get("verdict") not in ("PASS", *UNMET)})
    if without:
        return "unused", f"The check is {' and '.join(without)}: it has no result, which no waiver excuses."
    if not unmet:
        return "unused", "The check passed, so that there is nothing to excuse; remove the waiver."
    for record in unmet:
        digests = _digests(record)
        if waiver.model not in digests:
            tested = f"has {digests[0]}" if digests else "has no recorded digest"
            return "other model", f"It is for the model with sha256 {waiver.model}; the one under test {tested}."
    beyond = [sentence for record in unmet for sentence in _beyond(waiver, record)]
    bounded = {quantity.name for record in unmet for quantity in quantities(record)}
    unknown = [bound for bound in waiver.bound if bound not in bounded]
    if unknown:
        hint = did_you_mean(unknown[0], bounded) or f"; there is {', '.join(sorted(bounded))}"
        return "invalid", _sentence(
            f"It bounds '{shown(unknown[0])}', which is nothing that this check holds against a limit{hint}"
        )
    if beyond:
        return "lapsed", f"It does not cover what was measured: {'; '.join(dict.fromkeys(beyond))}."
    verdicts = " and ".join(sorted({str(record["verdict"]) for record in unmet}))
    assert waiver.until_instant is not None
    days = days_between(now, waiver.until_instant)
    return "applies", (
        f"The check stays {verdicts}; {_bounds(waiver, unmet)}, as {waiver.approved_by} accepted until"
        f" {shown_instant(waiver.until_instant)} ({days} day{'s' if days != 1 else ''} left)."
    )


def quantities(record: Record) -> list[Quantity]:
    """Return what the check of ``record`` holds against a limit, the gates of undefined and kept images included."""
    decision, criterion = record.get("decision") or {}, record.get("criterion") or {}
    measures = decision.get("measures") or {}
    found = [
        Quantity(str(name), measure.get("estimate"), str(measure["side"]), measure.get("verdict") != "PASS")
        for name, measure in measures.items()
        if measure.get("limit") is not None and measure.get("side") in WITHIN
    ]
    shares = [decision.get("undefined_share")]
    if record.get("kind") == "faithful":  # a comparison with too many undefined pairs blocks PASS on its own
        shares += [measure["undefined"] / measure["n"] for measure in measures.values() if measure.get("n")]
    undefined = max((share for share in shares if share is not None), default=None)
    if criterion.get("max_undefined") is not None and criterion.get("rule") != "published":  # which has no such gate
        blocks = undefined is None or undefined > criterion["max_undefined"]
        found.append(Quantity(UNDEFINED, undefined, "<=", blocks))
    if criterion.get("min_kept") is not None:
        counts = decision.get("counts") or {}
        total = counts.get("total") or counts.get("baseline")  # images of the cases, or of the baseline
        kept = counts["kept"] / total if total else None
        found.append(Quantity(KEPT, kept, ">=", kept is None or kept < criterion["min_kept"]))
    return found


def _beyond(waiver: Waiver, record: Record) -> list[str]:
    """Return why the waiver does not cover this unmet check; nothing where it does."""
    found, sentences = quantities(record), []
    missing = [quantity for quantity in found if quantity.unmet]
    if not missing:
        sentences.append("what keeps it from PASS is not among the measures that can be bounded")
    for quantity in found:
        bound = waiver.bound.get(quantity.name)
        if bound is None and quantity.unmet:
            sentences.append(f"{quantity.name} is {_text(quantity.estimate)}, does not hold, and has no bound")
        elif bound is not None and not quantity.within(bound):
            sentences.append(
                f"{quantity.name} is {_text(quantity.estimate)}, beyond the accepted {WITHIN[quantity.side]} {bound:g}"
            )
    return sentences


def _bounds(waiver: Waiver, unmet: Sequence[Record]) -> str:
    return ", ".join(
        f"{quantity.name} {_text(quantity.estimate)} is within {WITHIN[quantity.side]} {waiver.bound[quantity.name]:g}"
        for record in unmet
        for quantity in quantities(record)
        if quantity.name in waiver.bound
    )


def _digests(record: Record) -> list[str]:
    """Return the digests by which the model under test is known: of its weights, and of its state."""
    subjects = record.get("subjects") or {}
    tested = subjects.get("after") or subjects.get("model") or {}
    return [str(tested[key]) for key in ("weights_sha256", "state_sha256") if tested.get(key)]


def _hint(name: str, by_name: Mapping[str, Sequence[Record]]) -> str:
    of_contract = [known for known, records in by_name.items() if name in {str(one.get("node")) for one in records}]
    if of_contract:
        return f"; a check of a contract is named '{shown(of_contract[0], 200)}'"
    inside = sorted(known for known in by_name if known.startswith(f"{name}["))
    if inside:
        return f"; each entry of its axes needs a waiver of its own, as '{shown(inside[0], 200)}'"
    return did_you_mean(name, by_name)


def _sentence(text: str) -> str:
    return text if text.endswith(("?", ".")) else f"{text}."


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"
