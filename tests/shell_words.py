"""Commands of this project in shell texts and documents, and whether they exist as written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import click

from pytest_saliency.cli import main

REDIRECTED = re.compile(r"^(\d*[<>]|[|;&])")


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words of each call of pytest or pytest-saliency in a shell text."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s(?:&&|\|\||;|\|)\s", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # a piece of another language
                continue
            if words[:1] == ["$"]:
                words = words[1:]
            if words[:3] == ["python", "-m", "pytest"]:
                words = words[2:]
            if words and words[0] in ("pytest", "pytest-saliency"):
                end = next((i for i, word in enumerate(words) if REDIRECTED.match(word)), len(words))
                yield words[:end]


def problem_of(words: list[str]) -> str | None:
    """Return what is wrong with a call as it stands; None where every option and command exists."""
    if words[0] == "pytest":
        unknown = [
            word for word in words[1:] if word.startswith("--") and word.partition("=")[0] not in pytest_options()
        ]
        return f"pytest has no {', '.join(unknown)}" if unknown else None
    context = click.Context(main)
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            return f"pytest-saliency has no command '{rest[0]}'"
        command, rest = found, rest[1:]
    if not rest and isinstance(command, click.Group):
        return None
    known = {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in rest if word.startswith("-") and word != "-" and word.partition("=")[0] not in known]
    if unknown:
        return f"'{' '.join(words)}' knows no {', '.join(unknown)}"
    takes = any(isinstance(parameter, click.Argument) for parameter in command.params)
    arguments = [word for word in rest if not word.startswith("-")]
    return f"'{' '.join(words)}' takes no arguments" if arguments and not takes and not known else None


@cache
def pytest_options() -> frozenset[str]:
    """Return the long options of pytest with this plugin, as its own help lists them."""
    environment = {**os.environ, "COLUMNS": "200"}
    text = subprocess.run(
        [sys.executable, "-m", "pytest", "--help", "-p", "saliency", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    return frozenset(re.findall(r"(?<!\S)(--[a-z][a-z-]*)", text)) | {"--junitxml"}  # its other spelling is listed
