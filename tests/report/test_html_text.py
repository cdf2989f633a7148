"""How names and numbers read in the report, and whether its colours can be read."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_saliency.report.html.text import (
    LONG_NAME,
    amount,
    instant,
    jointly,
    name,
    parted,
    setting,
    visible,
)

STYLE = (Path(__file__).parents[2] / "pytest_saliency/report/html/templates/style.css").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ä, 字, 👍", "plain, ä, 字, 👍"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("bell\x07 nul\x00 escape\x1b[31m", "bell[U+0007] nul[U+0000] escape[U+001B][31m"),
        ("\x7f\x85", "[U+007F][U+0085]"),
        ("a\u202eb\u2066c\u200fd\ufeff", "a[U+202E]b[U+2066]c[U+200F]d[U+FEFF]"),
        ("a\u200db", "a\u200db"),
        ("\ud800", "[U+D800]"),
        ("e" + "\u0301" * 9, "e" + "\u0301" * 4),
        ("x" * 2001, "x" * 2000 + " … (2,001 characters)"),
    ],
)
def test_invisible_characters_become_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(st.text(st.characters(), max_size=300))
def test_whatever_comes_can_be_written(text: str) -> None:
    for made in (visible(text), name(text)):
        made.encode("utf-8")
        assert visible(made) == made, "what was made visible is not changed again"
    assert re.sub("<wbr>", "", str(parted("a-b[c]"))) == "a-b[c]"


def test_a_name_is_one_line_of_bounded_length() -> None:
    assert name("a\n b\t c") == "a b c"
    assert name("") == name(None) == "–"
    assert len(name("y" * 10_000)) < LONG_NAME + 30


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "undefined"),
        (math.nan, "undefined"),
        (math.inf, "undefined"),
        (0.0, "0.00"),
        (-1e-17, "0.00"),
        (0.123, "0.12"),
        (-0.5, "-0.50"),
        (0.0123, "0.012"),
        (12345, "12,345"),
        (True, "yes"),
    ],
)
def test_amounts(value: object, expected: str) -> None:
    assert amount(value) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.7, 0.68, 0.72), ("0.70", "0.68", "0.72")),
        ((0.005, -0.007, 0.017), ("0.005", "-0.007", "0.017")),
        ((math.nan, -math.inf, math.inf), ("undefined", "unbounded", "unbounded")),
        ((0.0, 0.0, 0.0), ("0.00", "0.00", "0.00")),
        ((-0.001, 1.0, 2.0), ("0.00", "1.00", "2.00")),
    ],
)
def test_numbers_beside_each_other_have_the_same_decimals(
    numbers: tuple[float, ...], expected: tuple[str, ...]
) -> None:
    assert jointly(*numbers) == expected


def test_settings_read_as_a_contract_writes_them() -> None:
    assert setting(None) == "not set"
    assert setting(0.05) == "0.05"
    assert setting(["blur", "mean"]) == "blur, mean"
    assert setting({"b": 1, "a": [2, 3]}) == "a: 2, 3, b: 1"


def test_instants() -> None:
    assert instant("2026-03-02T08:04:30+00:00") == "2026-03-02 08:04:30 UTC"
    assert instant("2026-03-02T08:04:30Z") == "2026-03-02 08:04:30 UTC"
    assert instant("yesterday") == "yesterday"
    assert instant(None) == "not recorded"


def palettes() -> list[dict[str, str]]:
    """Return the colours of the light and of the dark page."""
    found = [
        dict(re.findall(r"--([a-z-]+):\s*(#[0-9a-f]{6})", block)) for block in re.findall(r":root \{([^}]*)", STYLE)
    ]
    return [palette for palette in found if palette]


def luminance(colour: str) -> float:
    """Return the relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_of_contrast() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_every_text_has_the_contrast_of_level_aa(palette: dict[str, str]) -> None:
    for ink in ("ink", "faint", "accent", "bad", "good", "warn"):
        for ground in ("paper", "raised"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
    for ground in ("bad-wash", "warn-wash", "good-wash"):
        for ink in ("ink", "faint", "bad", "accent"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
