"""Instants as RFC 3339 writes them in UTC, and nothing else: no waiver lives longer because its end was guessed."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta

_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
EXAMPLE = "2027-01-31T00:00:00Z"
DAY = "2027-01-31"


def read_instant(text: str) -> datetime:
    """Return the instant that ``text`` writes, aware and in UTC.

    Digits beyond microseconds are cut off, and a leap second (23:59:60 on the last day of a month, RFC 3339 section
    5.7) counts as the second before it: an expiry never comes later than written.

    Raises
    ------
    ValueError
        The text is no such instant, or is not in UTC; the message reads on after the key's name ("must be ...").
    """
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError(f"must be an instant in UTC as RFC 3339 writes it, as {EXAMPLE}")
    if found[8].upper() not in ("Z", "+00:00"):
        raise ValueError(f"must be in UTC, written with Z, as {EXAMPLE}; got the offset {found[8]}")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    micro = int((found[7] or "0").ljust(6, "0")[:6])
    leap = second == 60
    if leap:
        if (hour, minute) != (23, 59) or not 1 <= month <= 12 or year < 1 or day != monthrange(year, month)[1]:
            raise ValueError(
                "must be an instant that exists: a second 60 comes only at the end of a month, at 23:59:60"
            )
        second, micro = 59, 0
    try:
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
    except ValueError:
        raise ValueError(f"must be an instant that exists on the calendar; got {text}") from None


def read_day(text: str, *, whole_day: bool) -> datetime:
    """Return what :func:`read_instant` does, and take a plain date as well: a day in UTC.

    A date is the instant at which that day begins, or with ``whole_day`` the one at which it is over.

    Raises
    ------
    ValueError
        As :func:`read_instant`.
    """
    if _DAY.fullmatch(text) is None:
        try:
            return read_instant(text)
        except ValueError as error:
            said = str(error)
            raise ValueError(said.replace(EXAMPLE, f"{EXAMPLE}, or a day, as {DAY}")) from None
    try:
        begins = datetime(*(int(part) for part in text.split("-")), tzinfo=UTC)  # type: ignore[arg-type,misc]
        return begins + timedelta(days=1) if whole_day else begins
    except (ValueError, OverflowError):
        raise ValueError(f"must be a day that exists on the calendar; got {text}") from None


def shown_instant(instant: datetime) -> str:
    """Return ``instant`` in UTC to the second, as ``2027-01-31T00:00:00Z``."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def days_between(earlier: datetime, later: datetime) -> int:
    """Return the whole days from ``earlier`` to ``later``, negative where they come the other way round."""
    return (later - earlier) // timedelta(days=1)
