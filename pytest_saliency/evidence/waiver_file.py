"""``saliency-waivers.yaml``: failures that named people accept, for one model, within bounds, until a day.

Read as strictly as a contract. A problem inside one waiver makes that waiver invalid and leaves the others alone; what
is wrong with the file as a whole is an error, as nobody can say what such a file excuses.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pytest_saliency.contracts.fields import Sha256, Slug, Text
from pytest_saliency.contracts.loader import MAX_BYTES, Document, Mark, read_document, shown
from pytest_saliency.contracts.problems import Findings, got, says
from pytest_saliency.errors import Problem, SaliencyError
from pytest_saliency.evidence.instants import DAY, EXAMPLE, read_day

FORMAT = 1
TOP = ("format", "waivers")
INSTANTS = ("created", "expires")


class WaiverFileError(SaliencyError):
    """The file of waivers as a whole cannot be used; the message names every problem with line and column."""


def same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's: case, spaces and invisible characters make no other person."""
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    kept = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter)[0] not in "ZC")
    return "".join(kept).casefold()


def _visible(value: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter not in "\n\t" for letter in value):
        raise says("must not hold control or invisible characters")
    if not _bare(value):
        raise says("must not be blank")
    return value


Said = Annotated[Text, AfterValidator(_visible)]


class WaiverSpec(BaseModel):
    """The keys of one waiver, as they are written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    id: Slug = Field(description="unique name of the waiver")
    check: Said = Field(
        description="exactly one check: contract/check, contract/check[axes], or the node id of a Python test"
    )
    model: Sha256 = Field(description="SHA-256 of the weights of the model under test that is excused")
    bound: dict[str, float] = Field(
        description="for each measure that may miss its limit, the value beyond which the waiver lapses"
    )
    reason: Said = Field(description="why the failure is acceptable")
    risk: Said = Field(description="reference to the risk assessment")
    requested_by: Said = Field(description="who asks")
    approved_by: Said = Field(description="who agrees; another person")
    created: str = Field(description=f"when it was granted, as {EXAMPLE}, or the day, as {DAY}")
    expires: str = Field(description=f"from when on it excuses nothing, as {EXAMPLE}, or its last day, as {DAY}")

    @model_validator(mode="after")
    def _two_people(self) -> Self:
        if not self.bound:
            raise says("has an empty 'bound'; name each measure that may miss its limit, and how far")
        if same_person(self.requested_by, self.approved_by):
            raise says(
                f"is approved by the person who asked for it ('{shown(self.approved_by)}'); another must approve"
            )
        return self


@dataclass(frozen=True)
class Waiver:
    """One entry of the file. With ``problems`` it excuses nothing; its texts are as written, None where unreadable."""

    id: str
    check: str | None
    model: str | None
    bound: Mapping[str, float]
    reason: str | None
    risk: str | None
    requested_by: str | None
    approved_by: str | None
    created: str | None
    expires: str | None
    from_instant: datetime | None
    until_instant: datetime | None
    line: int
    problems: tuple[Problem, ...] = ()

    @property
    def unreadable(self) -> bool:
        """Whether nobody can say until when it was meant to hold."""
        return self.until_instant is None


@dataclass(frozen=True)
class Waivers:
    """One file of waivers: its name, the SHA-256 of its bytes, the bytes, and its entries in their order."""

    path: str
    sha256: str
    content: bytes
    entries: tuple[Waiver, ...]


def load_waivers(path: Path) -> Waivers:
    """Read the file of waivers at ``path``.

    Raises
    ------
    WaiverFileError
        There is no such file, or it cannot be read as a file of waivers.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise WaiverFileError(f"the waivers cannot be read: {path}: {error.strerror or error}.") from error
    return read_waivers(content, str(path))


def read_waivers(content: bytes, path: str) -> Waivers:
    """Do what :func:`load_waivers` does with the bytes of a file; ``path`` only names it."""
    document = read_document(content)
    findings = Findings(document)
    data = document.data
    if isinstance(data, dict):
        findings.unknown_keys((), data, TOP, "at the top of the file of waivers")
        if "format" not in data:
            findings.at((1, 1), "'format' is missing at the top; a file of waivers starts with 'format: 1'")
        elif isinstance(data["format"], bool) or data["format"] != FORMAT:
            findings.value(("format",), f"'format' must be 1, the only one that is read; got {got(data['format'])}")
        if not isinstance(data.get("waivers"), tuple):
            what = got(data["waivers"]) if "waivers" in data else "no such key"
            findings.value(("waivers",), f"'waivers' must be a list, [] where there are none; got {what}")
        _refuse_aliases(document, findings)
    elif not document.problems:
        findings.value((), f"a file of waivers is a mapping that starts with 'format: 1'; got {got(data)}")
    written: Sequence[Any] = data["waivers"] if isinstance(data, dict) and not findings.found else ()
    starts = [document.mark(("waivers", place)) for place in range(len(written))]
    inside = _by_waiver(document, starts)
    whole = [*findings.sorted(), *inside.pop(-1, ())]
    if whole:
        rows = "".join(
            f"\n  {problem.line}:{problem.column}  {_own(problem.message)}" for problem in sorted(whole, key=_spot)
        )
        raise WaiverFileError(f"{path} cannot be used as a file of waivers, and nothing is excused by it:{rows}")
    ids = Counter(entry["id"] for entry in written if isinstance(entry, Mapping) and isinstance(entry.get("id"), str))
    entries = tuple(
        _waiver(document, place, values, inside.get(place, ()), ids) for place, values in enumerate(written)
    )
    return Waivers(path, hashlib.sha256(content).hexdigest(), content, entries)


def _refuse_aliases(document: Document, findings: Findings) -> None:
    """Refuse values that are written once and used twice: each waiver must show all that was approved."""
    for mark, count in Counter(document.marks.values()).items():
        if count > 1:
            findings.at(mark, "this value is used in several places through an alias; write it out in each")


def _by_waiver(document: Document, starts: Sequence[Mark]) -> dict[int, list[Problem]]:
    """Sort what the loader complains about by the waiver it stands in; -1 holds what belongs to the whole file.

    A problem further left than the waivers, or in a file written in braces on the top, cannot be told to be inside.
    """
    found: dict[int, list[Problem]] = {}
    edge = min((column for _, column in starts), default=0)
    braces = document.text.lstrip().startswith("{")
    for problem in document.problems:
        spot = (problem.line, problem.column)
        before = [place for place, start in enumerate(starts) if start <= spot]
        outside = braces or not before or problem.column < edge
        found.setdefault(-1 if outside else before[-1], []).append(problem)
    return found


def _waiver(document: Document, place: int, values: object, known: Sequence[Problem], ids: Mapping[str, int]) -> Waiver:
    path = ("waivers", place)
    given: Mapping[Any, Any] = values if isinstance(values, Mapping) else {}
    name = given["id"] if isinstance(given.get("id"), str) else f"number {place + 1}"
    section = f"in waiver '{shown(name)}'"
    findings = Findings(document, dict.fromkeys(known))
    findings.validate(WaiverSpec, values, path, section)
    if ids.get(name, 0) > 1:
        findings.value(
            (*path, "id"), f"{ids[name]} waivers are named '{shown(name)}', and none of them excuses anything"
        )
    instants = {key: _instant(findings, (*path, key), given.get(key), section) for key in INSTANTS}
    created, expires = instants["created"], instants["expires"]
    if created is not None and expires is not None and expires <= created:
        findings.value((*path, "expires"), f"'expires' is not after 'created' {section}")
    text = {key: value for key, value in given.items() if isinstance(value, str)}
    bound = given.get("bound")
    limits = {
        str(key): float(value)
        for key, value in (bound.items() if isinstance(bound, Mapping) else ())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Waiver(
        id=shown(name, 80),
        check=text.get("check"),
        model=text.get("model"),
        bound=limits,
        reason=text.get("reason"),
        risk=text.get("risk"),
        requested_by=text.get("requested_by"),
        approved_by=text.get("approved_by"),
        created=text.get("created"),
        expires=text.get("expires"),
        from_instant=created,
        until_instant=expires,
        line=document.mark(path)[0],
        problems=findings.sorted(),
    )


def _instant(findings: Findings, path: tuple[str | int, ...], written: object, section: str) -> datetime | None:
    if not isinstance(written, str) or findings.is_broken(path):
        return None  # missing, or of another type: said already
    try:
        return read_day(written, whole_day=path[-1] == "expires")
    except ValueError as error:
        findings.value(path, f"'{path[-1]}' {section} {error}")
        return None


def _own(message: str) -> str:
    """Return what the reader of contracts says, in the words of this file."""
    start = message.replace("a contract starts with 'saliency: 1'", "a file of waivers starts with 'format: 1'")
    return start.replace("a contract", "a file of waivers").replace("no contract needs", "no file of waivers needs")


def printable(text: str) -> str:
    """Return ``text`` in one line for a terminal: whatever could move a cursor or turn the direction is a mark."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))


def _spot(problem: Problem) -> tuple[int, int, str]:
    return problem.line, problem.column, problem.message
