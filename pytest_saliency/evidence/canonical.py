"""JSON in its one canonical spelling (RFC 8785), and reading it back without trusting who wrote it.

What is read is what was written with three exceptions, which :func:`settled` applies before anything else is made of
a document: numbers without a fraction come back as whole numbers, the sign of zero is gone, and what JSON or UTF-8
have no word for (NaN, halves of surrogate pairs, whole numbers beyond 2^53) is None or text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from pytest_saliency.errors import SaliencyError

SAFE = 2**53 - 1
MAX_DEPTH = 100
MAX_BYTES = 1 << 30

# A text takes everything up to its end, or the rest where it has none, so that the time stays in step with the length.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class ParseError(SaliencyError):
    """Bytes that are no JSON as this package writes it; the message has no subject, so that a file can be put first."""


def canonical(value: object) -> bytes:
    """Return ``value`` as canonical JSON in UTF-8, without a line break at the end."""
    import rfc8785

    made: bytes = rfc8785.dumps(_plain(value))
    return made


def parse(content: bytes) -> Any:
    """Return the value of JSON in UTF-8.

    Raises
    ------
    ParseError
        It is not UTF-8 or not JSON, names a key twice, holds a number that is not finite, is nested deeper than 100
        levels or longer than 1 GiB.
    """
    if len(content) > MAX_BYTES:
        raise ParseError(f"has {len(content)} bytes, and at most {MAX_BYTES} are read")
    _refuse_depth(content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParseError(f"is not UTF-8 text (byte {error.start})") from None
    try:
        return json.loads(
            text, object_pairs_hook=_no_repeats, parse_constant=_no_constant, parse_int=_whole, parse_float=_finite
        )
    except ParseError:
        raise
    except (ValueError, RecursionError) as error:
        raise ParseError(f"is not JSON ({error})") from None


def settled(value: object) -> Any:
    """Return ``value`` as it will be read back, so that what is made of it now can be made of it again."""
    return parse(canonical(value))


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value) if abs(value) <= SAFE else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    raise TypeError(f"a {type(value).__name__} cannot stand in a bundle")


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _refuse_depth(content: bytes) -> None:
    """Count brackets outside of text before anything recurses."""
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKENS.finditer(content):
        first = content[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ParseError(f"is nested deeper than {MAX_DEPTH} levels")
        elif first in b"]}":
            depth -= 1


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ParseError(f"names the key {twice[:60]!r} twice")
    return made


def _no_constant(word: str) -> Any:
    raise ParseError(f"holds {word}, which is no JSON number")


def _whole(text: str) -> int | float:
    if len(text) > 400:
        raise ParseError("holds a number of more than 400 digits")
    value = int(text)
    return value if abs(value) <= SAFE else float(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ParseError(f"holds the number {text[:40]}, which is not finite")
    return value
