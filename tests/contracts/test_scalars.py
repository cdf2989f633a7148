"""The core schema of YAML 1.2 against its own table of examples (YAML 1.2.2, section 10.3.2) and PyYAML's traps."""

from __future__ import annotations

import pytest

from pytest_saliency.contracts.scalars import ScalarError, plain_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-19", -19),
        ("+12", 12),
        ("010", 10),
        ("0o7", 7),
        ("0o17", 15),
        ("0x3A", 58),
        ("0.", 0.0),
        ("-0.0", 0.0),
        (".5", 0.5),
        ("+12e03", 12000.0),
        ("-2E+05", -200000.0),
        ("1e-3", 0.001),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_values(text: str, value: object) -> None:
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)


YAML_1_1_WORDS = ("no", "No", "NO", "yes", "on", "On", "off", "y", "n", "nULL", "tRUE")
YAML_1_1_NUMBERS = ("1:30", "190:20:30", "2026-01-31", "1_000", "0b101", "0X1F", "0o8")
NEARLY_NUMBERS = ("1,5", "1e", ".", "-", "+", ".e1", "inf", "nan", "\uff10", "1 000")


@pytest.mark.parametrize("text", YAML_1_1_WORDS + YAML_1_1_NUMBERS + NEARLY_NUMBERS)
def test_text_stays_text(text: str) -> None:
    assert plain_scalar(text) == text


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9223372036854775808", "1" * 65, "0x" + "f" * 17])
def test_numbers_that_no_computer_word_holds(text: str) -> None:
    with pytest.raises(ScalarError, match="quote it if it is text"):
        plain_scalar(text)
