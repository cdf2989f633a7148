"""Foreign text made harmless: in Markdown as GitHub renders it, and in the commands that a GitHub runner reads.

Names of classes, cases and files come from data sets and contracts; none of them may become markup, a link, a mention
of a person, or a command.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 300
PLAIN = frozenset(" .,;()%/+='?-")
"""ASCII that means nothing to Markdown inside a line that begins with our own words."""
REFERENCES = {code: f"&#{code};" for code in range(128) if not chr(code).isalnum() and chr(code) not in PLAIN}
REPLACED = "\ufffd"


def one_line(text: object, longest: int = LONGEST) -> str:
    """Return ``text`` in one line of visible characters, cut where it is longer than ``longest``.

    Control and format characters (escape sequences, reversed writing) and lone surrogates become U+FFFD.
    """
    shown = " ".join(str(text).split())
    if not shown.isprintable():
        shown = "".join(REPLACED if unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter for letter in shown)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def log_line(line: str) -> str:
    """Return ``line`` as one line of a log, columns kept: no control characters, nothing that a CI runner obeys.

    GitHub's runner takes a line that begins with two colons for a command, and ``##[`` anywhere.
    """
    if not line.isprintable():
        plain = (" " if letter in "\n\r\t" else letter for letter in line)
        line = "".join(REPLACED if unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter for letter in plain)
    start = len(line) - len(line.lstrip())
    if line.startswith("::", start):
        line = f"{line[:start]}: :{line[start + 2 :]}"
    return line.replace("##[", "## [")


def markdown_text(text: object, longest: int = LONGEST) -> str:
    """Return ``text`` so that GitHub's Markdown shows it as it is: no markup, no HTML, no link, no mention.

    Everything that could mean something becomes a character reference, which Markdown never takes for markup.
    """
    made = one_line(text, longest).translate(REFERENCES)
    made = re.sub(r"(?i)w(?=ww)", lambda found: f"&#{ord(found.group())};", made)
    return made.replace("&#64;", "&#64;<!-- -->")  # an empty comment keeps an address or a mention apart


def command_data(text: str) -> str:
    """Return ``text`` as the message of a runner command: percent signs and line ends escaped, nothing else."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """Return ``text`` as the value of a property of a runner command: colons and commas escaped as well."""
    return command_data(text).replace(":", "%3A").replace(",", "%2C")
