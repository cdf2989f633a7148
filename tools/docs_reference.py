"""The reference pages of the documentation, made from the code: contract keys, commands, options, Python, files.

Each function returns Markdown. Nothing is kept: the pages are made whenever the site is built, so that they cannot be
out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

Schema = Mapping[str, Any]

SECTIONS = {
    "ModelSpec": "A model: `models.NAME`",
    "CasesSpec": "Images: `cases`",
    "Defaults": "Defaults: `defaults`",
    "Preprocess": "Preprocessing: `preprocess`",
    "Contrast": "Contrast classes of CASE: `contrast`",
    "Sample": "A draw of the images: `sample`",
    "Columns": "Columns of a table: `columns`",
    "Dicom": "DICOM: `dicom`",
    "KnownFailure": "An accepted failure: `known_failure`",
    "Border": "A region along the border: `region`",
    "Box": "A region that is a box: `region`",
}
"""Sections of a contract in the order of the page; a section that is not listed follows under its own name."""
WORDS = {
    "ModelSpec": "a model",
    "CasesSpec": "images",
    "Defaults": "defaults",
    "Preprocess": "preprocessing",
    "Contrast": "contrast classes",
    "Sample": "a draw",
    "Columns": "names of columns",
    "Dicom": "how DICOM is read",
    "KnownFailure": "an accepted failure",
    "Border": "a border",
    "Box": "a box",
}
"""What a value that is a section is called in the tables."""

CONTRACT_HEAD = """# Keys of a contract

A contract is a file called `*.saliency.yaml`. Unknown keys are errors, and nothing is converted: a number is not taken
for a text. `pytest-saliency validate FILE` says all problems of a file at once; the
[JSON Schema](schemas/contract.schema.json) (`pytest-saliency schema`) is for your editor. What the kinds of checks
decide stands in [Every kind of check](../checks.md).
"""
COMMANDS_HEAD = """# Commands

`pytest-saliency` works on files that a run has left or will read; running checks is the job of
[pytest and its options](options.md). Exit code 0: all is well. 1: something was found or cannot be done, said in one
sentence. 2: the command was used wrongly. `verify` has further ones
([Verifying a bundle](../verifying-a-bundle.md)).
"""
OPTIONS_HEAD = """# Options of pytest

Each option can be given on the command line, or in pytest's ini file under the name in the second column.
"""
PYTHON_HEAD = """# Python

Everything here can be imported from `pytest_saliency`. Fixtures of the plugin: `saliency` (its
`saliency.explain(subject, cases)` explains once per session), `saliency_device` and `saliency_baseline`.
"""
FILES_HEAD = """# Files and their schemas

Every file that is written or read has a JSON Schema, which `pytest-saliency schema NAME` prints. Here stand the
outermost keys; the whole schema is behind the link.
"""


def contract_page() -> str:
    """Return the page of every section, key, type, default and description of a contract."""
    from pytest_saliency.contracts.schema import shipped_schema

    schema: Schema = json.loads(shipped_schema())
    definitions: Schema = schema["$defs"]
    kinds = [name for name in definitions if _is_kind(definitions[name])]
    sections = [*SECTIONS, *(name for name in definitions if name not in SECTIONS and name not in kinds)]
    common = set.intersection(*(set(definitions[kind]["properties"]) for kind in kinds)) - {"kind"}
    shared = {
        key: value
        for key, value in definitions[kinds[0]]["properties"].items()
        if key in common and all(definitions[kind]["properties"][key] == value for kind in kinds)
    }
    parts = [CONTRACT_HEAD, "## The file\n", _table(schema["properties"], schema["required"])]
    for name in sections:
        definition = definitions[name]
        parts += [f"## {SECTIONS.get(name, name)} {{ #{_anchor(name)} }}\n"]
        parts += [_sentence(definition.get("description"))]
        parts += [_table(definition.get("properties", {}), definition.get("required", ()))]
    parts += ["## Checks: `checks` { #checks }\n", "Every check has these keys:\n", _table(shared, ("id",))]
    parts += ["Beside them, each kind has its own.\n"]
    for kind in sorted(kinds):
        definition = definitions[kind]
        own = {k: v for k, v in definition["properties"].items() if k not in shared and k != "kind"}
        parts += [f"### `{kind}` {{ #{_anchor(kind)} }}\n", _sentence(definition.get("description"))]
        parts += [f"What it decides: [{kind}](../checks.md#{kind}).\n", _table(own, definition.get("required", ()))]
    return "\n".join(parts)


def commands_page() -> str:
    """Return the page of every command with its arguments and options, as click knows them."""
    from pytest_saliency.cli import main

    parts = [COMMANDS_HEAD]
    for path, command in _commands("pytest-saliency", main):
        context = click.Context(command, info_name=path)
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        parts += [f"{'##' if path.count(' ') == 1 else '###'} {path}\n", f"```text\n{usage}\n```\n"]
        parts += [_prose(command.help)]
        rows = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
        rows = [(name, text) for name, text in rows if "--help" not in name]
        if rows:
            parts += ["| option | what it does |\n|---|---|"]
            parts += [f"| {_code(name)} | {_cell(text)} |" for name, text in rows]
            parts += [""]
    return "\n".join(parts)


class OptionsSeen:
    """Stands in for pytest's parser while the plugin declares its options, and remembers them."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}
        self.inis: dict[str, dict[str, Any]] = {}

    def getgroup(self, name: str, description: str = "") -> OptionsSeen:
        return self

    def addoption(self, flag: str, **settings: Any) -> None:
        self.options[flag] = settings

    def addini(self, name: str, help: str, type: str | None = None, default: Any = None) -> None:
        self.inis[name] = {"help": help, "type": type or "text", "default": default}


def options_page() -> str:
    """Return the page of the options and ini keys that the plugin adds to pytest."""
    from pytest_saliency.plugin import pytest_addoption

    seen = OptionsSeen()
    pytest_addoption(seen)  # type: ignore[arg-type]
    parts = [OPTIONS_HEAD, "| option | in the ini file | what it does |\n|---|---|---|"]
    for flag, settings in seen.options.items():
        value = " or ".join(settings.get("choices") or ()) or settings.get("metavar") or ""
        given = f"[={value}]" if settings.get("nargs") == "?" else f" {value}" if value else ""
        ini = settings["dest"] if settings["dest"] in seen.inis else ""
        parts += [f"| {_code(flag + given)} | {_code(ini) if ini else ''} | {_cell(settings['help'])} |"]
    parts += ["\nOnly in the ini file:\n", "| key | type | default | what it does |\n|---|---|---|---|"]
    named = {settings["dest"] for settings in seen.options.values()}
    for name, ini in seen.inis.items():
        if name not in named:
            default = " ".join(ini["default"]) if isinstance(ini["default"], list) else str(ini["default"]).lower()
            parts += [f"| {_code(name)} | {ini['type']} | {_code(default)} | {_cell(ini['help'])} |"]
    return "\n".join(parts) + "\n"


def python_page() -> str:
    """Return the page of the public names, whose text mkdocstrings takes from the docstrings."""
    import pytest_saliency

    where: Mapping[str, str] = vars(pytest_saliency)["_WHERE"]
    groups = {
        "Models, images, maps": [n for n in where if not n.startswith("assert_") and not n.endswith("Error")],
        "Assertions": [n for n in where if n.startswith("assert_")],
        "Errors": [n for n in where if n.endswith("Error")],
    }
    parts = [PYTHON_HEAD]
    for title, names in groups.items():
        parts += [f"## {title}\n"]
        for name in sorted(names, key=lambda name: (where[name], name)):
            parts += [f"::: pytest_saliency.{where[name]}.{name}\n    options:\n      heading_level: 3\n"]
    return "\n".join(parts)


def schema_files() -> dict[str, str]:
    """Return the JSON Schema of every file, by the name that ``pytest-saliency schema`` knows it under."""
    from pytest_saliency.cli import SCHEMAS
    from pytest_saliency.contracts.schema import shipped_schema
    from pytest_saliency.evidence.schemas import schema_text

    return {name: shipped_schema() if name == "contract" else schema_text(name) for name in SCHEMAS}


def files_page() -> str:
    """Return the page of the files that are written or read, with their outermost keys."""
    parts = [FILES_HEAD]
    for name, text in schema_files().items():
        schema: Schema = json.loads(text)
        parts += [f"## {name}\n", _sentence(schema.get("description") or schema.get("title"))]
        parts += [f"[The whole schema](schemas/{name}.schema.json)\n"]
        if name == "contract":
            parts += ["Its keys have [a page of their own](contract.md).\n"]
        elif "properties" in schema:
            parts += [_table(schema["properties"], schema.get("required", ()), linked=False)]
    return "\n".join(parts)


def pages() -> dict[str, str]:
    """Return every generated page and file by its path below ``docs/``."""
    return {
        "reference/contract.md": contract_page(),
        "reference/commands.md": commands_page(),
        "reference/options.md": options_page(),
        "reference/python.md": python_page(),
        "reference/files.md": files_page(),
        **{f"reference/schemas/{name}.schema.json": text for name, text in schema_files().items()},
    }


def type_of(schema: Schema, linked: bool = True) -> str:
    """Return in a few words what a value may be, as Markdown."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{WORDS.get(name, name)}](#{_anchor(name)})" if linked else name.replace("_", " ")
    if "const" in schema:
        return _code(json.dumps(schema["const"]))
    if "enum" in schema:
        return " or ".join(_code(str(value)) for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema and schema.get("type") != "string":
            return " or ".join(dict.fromkeys(type_of(member, linked) for member in schema[union]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(_code(str(one)) for one in kind)
    if kind == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(type_of(item, linked) for item in schema["prefixItems"]) + "]"
        return f"list of {type_of(schema['items'], linked)}" if "items" in schema else "list"
    if kind == "object":
        values = schema.get("additionalProperties")
        if isinstance(values, dict) and values:
            return f"mapping to {type_of(values, linked)}"
        return "mapping"
    words = {"string": "text", "boolean": "true or false", "integer": "whole number"}.get(kind, kind)
    return words + _bounds(schema)


def _bounds(schema: Schema) -> str:
    said = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema
    ]
    return f" {', '.join(said)}" if said else ""


def _table(properties: Schema, required: Iterable[str], linked: bool = True) -> str:
    if not properties:
        return ""
    needed = set(required)
    lines = ["| key | value | without it | what it says |", "|---|---|---|---|"]
    for name, schema in properties.items():
        default = (
            "**needed**" if name in needed else _code(json.dumps(schema["default"])) if "default" in schema else ""
        )
        lines += [f"| `{name}` | {type_of(schema, linked)} | {default} | {_cell(schema.get('description'))} |"]
    return "\n".join(lines) + "\n"


def _commands(path: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(f"{path} {name}", command)


def _is_kind(definition: Schema) -> bool:
    return "kind" in definition.get("properties", {}) and "id" in definition["properties"]


def _anchor(name: str) -> str:
    return f"key-{name.lower()}"


def _code(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    return f"<code>{escaped}</code>"


def _cell(text: str | None) -> str:
    flat = " ".join((text or "").replace("``", "`").split())
    return flat.replace("<", "&lt;").replace("|", "&#124;").replace("*", "\\*")


def _sentence(text: str | None) -> str:
    return f"{_cell(text)}\n" if text else ""


def _prose(text: str | None) -> str:
    paragraphs = (text or "").replace("\b", "").split("\n\n")
    return "\n\n".join(_cell(paragraph) for paragraph in paragraphs) + "\n"
