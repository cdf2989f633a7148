"""What a plain YAML scalar means: the core schema of YAML 1.2, nothing of YAML 1.1.

``no``, ``on`` and ``off`` are text, ``1e-3`` is a number, ``1:30`` and ``2026-01-31`` are text.
Source: YAML 1.2.2, section 10.3.2.
"""

from __future__ import annotations

import math
import re

Scalar = None | bool | int | float | str

_NULL = {"", "null", "Null", "NULL", "~"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS = 64
_INT64 = 2**63


class ScalarError(ValueError):
    """A scalar that the core schema knows but a contract cannot use; the message is a sentence."""


def plain_scalar(text: str) -> Scalar:
    """Return the value of an unquoted scalar.

    Raises
    ------
    ScalarError
        For infinities, NaN, and numbers beyond what a 64-bit integer or float can hold.
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is not a finite number; quote it if it is text")
    if not any(rule.fullmatch(text) for rule in (_INT, _OCTAL, _HEX, _FLOAT)):
        return text
    if len(text) > _MAX_DIGITS:
        raise ScalarError(f"a number of {len(text)} characters is too long; quote it if it is text")
    for rule, base in ((_INT, 10), (_OCTAL, 8), (_HEX, 16)):
        if rule.fullmatch(text):
            whole = int(text, base)
            if not -_INT64 <= whole < _INT64:
                raise ScalarError(f"{text} does not fit in 64 bits; quote it if it is text")
            return whole
    number = float(text)
    if not math.isfinite(number):
        raise ScalarError(f"{text} is too large for a number; quote it if it is text")
    return number
