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
HARMLESS = re.compile(
    r"(?<=[A-Za-z0-9])_(?=[A-Za-z0-9])"  # no emphasis in the middle of a word
    r"|:(?= [A-Za-z0-9])|(?<=[0-9]):(?=[0-9])"  # no scheme of an address
    r"|\[(?=-?[0-9])|(?<=[0-9])\](?=$|[ .,;])"  # no link without "](", and no definition of one in a sentence
    r"|[<>](?==? )"  # no tag
)
"""Signs that mean nothing where they stand, and are left as they are so that the raw page can be read."""
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

    Everything that could mean something where it stands becomes a character reference, which Markdown never takes for
    markup.
    """
    shown, made, start = one_line(text, longest), "", 0
    for found in HARMLESS.finditer(shown):
        made += shown[start : found.start()].translate(REFERENCES) + found.group()
        start = found.end()
    made += shown[start:].translate(REFERENCES)
    made = re.sub(r"(?i)w(?=ww)", lambda found: f"&#{ord(found.group())};", made)
    return made.replace("&#64;", "&#64;<!-- -->")  # an empty comment keeps an address or a mention apart


def command_data(text: str) -> str:
    """Return ``text`` as the message of a runner command: percent signs and line ends escaped, nothing else."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """Return ``text`` as the value of a property of a runner command: colons and commas escaped as well."""
    return command_data(text).replace(":", "%3A").replace(",", "%2C")
