"""What each verdict looks like, and in which order the report takes them. Never by colour alone: word and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERDICTS = ("NOT_RUN", "ERROR", "FAIL", "INCONCLUSIVE", "PASS")
"""The order of the report: what was never tested comes first, as nothing else in a report shows that it is missing."""
UNTESTED = ("NOT_RUN", "ERROR")
LOOKS = {"NOT_RUN": "notrun", "ERROR": "error", "FAIL": "fail", "INCONCLUSIVE": "unsure", "PASS": "pass"}
WORDS = {"NOT_RUN": "NOT RUN"}
DECISIONS = {"release": "pass", "release with waivers": "unsure", "no release": "fail"}


def rank(record: Mapping[str, Any]) -> tuple[int, str]:
    """Return the place of a record in the report: untested first, then the worse verdict, then the node id."""
    verdict = str(record.get("verdict"))
    return VERDICTS.index(verdict) if verdict in VERDICTS else -1, str(record.get("node"))


def look(verdict: object) -> str:
    """Return the CSS class of a verdict; an unknown word looks like an error."""
    return LOOKS.get(str(verdict), "error")


def word(verdict: object) -> str:
    """Return the verdict as it is printed."""
    return WORDS.get(str(verdict), str(verdict))


def counted(records: list[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return how many checks have each verdict, those that are there, in the report's order."""
    found = [str(record.get("verdict")) for record in records]
    order = [*VERDICTS, *sorted(set(found) - set(VERDICTS))]
    return [(verdict, found.count(verdict)) for verdict in order if verdict in found]
