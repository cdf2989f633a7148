"""Text on pictures: spelt with what the font has, measured before it is drawn, wrapped so that nothing is cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

LEADING = 1.4
"""Distance of two lines / height of the letters."""

SPELLINGS: Mapping[str, str] = MappingProxyType(
    {"≤": "<=", "≥": ">=", "±": "+/-", "→": "->", "×": "x", "–": "-", "—": "-", "−": "-", "µ": "u", "ß": "ss"}
)
"""Signs that Pillow's font lacks, and how they are written instead."""

KNOWN = frozenset("·…°“”‘’")
"""Signs beyond ASCII that the font has."""


def spelt(text: str) -> str:
    """Return ``text`` with every character the font lacks respelt: without its accent, or as its code point."""
    out: list[str] = []
    for char in text:
        if char in KNOWN or " " <= char <= "~" or char == "\n":
            out.append(char)
        elif char in SPELLINGS:
            out.append(SPELLINGS[char])
        elif char.isspace():
            out.append(" ")
        else:
            bare = "".join(c for c in unicodedata.normalize("NFKD", char) if " " <= c <= "~")
            out.append(bare or char.encode("unicode_escape").decode("ascii"))
    return "".join(out)


@dataclass(frozen=True)
class Lettering:
    """The built-in scalable font at one ``size`` in pixels."""

    face: ImageFont.FreeTypeFont | ImageFont.ImageFont
    size: int

    @classmethod
    def of(cls, size: int) -> Lettering:
        """Return the font that comes with Pillow at ``size`` pixels."""
        return cls(ImageFont.load_default(size), size)

    @property
    def space(self) -> int:
        """Distance of two words in pixels: the font's own space is too narrow at these sizes."""
        return max(3, round(self.size * 0.28))

    @property
    def line(self) -> int:
        """Distance of two lines in pixels."""
        return round(self.size * LEADING)

    def width(self, text: str) -> int:
        """Return the width of one line of respelt text in pixels, rounded up."""
        words = text.split(" ")
        return sum(self._advance(word) for word in words) + self.space * (len(words) - 1)

    def _advance(self, word: str) -> int:
        return int(self.face.getlength(word)) + 1

    def wrap(self, text: str, width: int) -> tuple[str, ...]:
        """Return ``text`` respelt, as lines no wider than ``width`` pixels. Line breaks in it are kept."""
        lines: list[str] = []
        for paragraph in spelt(text).split("\n"):
            line = ""
            for word in (piece for full in paragraph.split() for piece in self._pieces(full, width)):
                wider = f"{line} {word}" if line else word
                if line and self.width(wider) > width:
                    lines.append(line)
                    line = word
                else:
                    line = wider
            lines.append(line)
        return tuple(lines)

    def _pieces(self, word: str, width: int) -> list[str]:
        """Cut a word that is wider than a line: after a separator if one is near the end, else where it fits."""
        pieces: list[str] = []
        while len(word) > 1 and self.width(word) > width:
            fit = len(word) - 1
            while fit > 1 and self.width(word[:fit]) > width:
                fit -= 1
            separators = [found.end() for found in re.finditer(r"[/\\_.:,=\]-]", word[:fit])]
            at = separators[-1] if separators and separators[-1] > fit // 2 else fit
            pieces.append(word[:at])
            word = word[at:]
        return [*pieces, word]

    def draw(self, canvas: ImageDraw.ImageDraw, x: int, y: int, lines: tuple[str, ...], ink: Colour) -> int:
        """Write ``lines`` from (x, y) downwards; return the y below them."""
        for line in lines:
            along = x
            for word in line.split(" "):
                canvas.text((along, y), word, font=self.face, fill=ink)
                along += self._advance(word) + self.space
            y += self.line
        return y
