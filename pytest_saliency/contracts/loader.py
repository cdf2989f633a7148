"""Strict YAML: text in, plain values with the place of each one out.

Works on PyYAML's node graph and never constructs Python objects. Refused: tags, merge keys, duplicate keys, keys
that are not text, more than one document, directives, cyclic aliases, and files beyond the bounds below (so that a
file built to explode costs a sentence, not the machine).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from pytest_saliency.contracts.scalars import ScalarError, plain_scalar
from pytest_saliency.errors import Problem

MAX_BYTES = 512 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 24

Path = tuple[str | int, ...]
Mark = tuple[int, int]

_UNUSABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """The values of one file and where they stand. Sequences are tuples; lines and columns count from 1.

    ``marks`` gives the place of a value and ``keys`` that of its key, by path; ``broken`` holds the paths whose
    value already has a problem, so that nobody reports a second one there.
    """

    data: Any
    text: str
    marks: Mapping[Path, Mark] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[Path, Mark] = field(default_factory=lambda: MappingProxyType({}))
    broken: frozenset[Path] = frozenset()
    problems: tuple[Problem, ...] = ()

    def mark(self, path: Path) -> Mark:
        """Return where the value at ``path`` stands, or the nearest thing around it."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (1, 1))

    def key_mark(self, path: Path) -> Mark:
        """Return where the key at ``path`` stands, or its value where it has no key."""
        return self.keys.get(path) or self.mark(path)


class _StopError(Exception):
    """Reading cannot go on; carries the one problem that says why."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(*mark, message)


class _Composer(yaml.SafeLoader):
    """PyYAML's composer with bounds; it notes tags instead of acting on them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.count = 0
        self.tagged: dict[Mark, str] = {}

    def compose_document(self) -> yaml.Node | None:
        start: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(start, yaml.DocumentStartEvent) and (start.tags or start.version not in (None, (1, 2))):
            raise _StopError(
                _place(start.start_mark), "YAML directives are refused; remove the line that starts with %"
            )
        return super().compose_document()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = _place(event.start_mark)
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH:
            raise _StopError(mark, f"nested deeper than {MAX_DEPTH} levels, which no contract needs")
        if self.count > MAX_NODES:
            raise _StopError(mark, f"more than {MAX_NODES} values in this file, which no contract needs")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.tagged[mark] = tag
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@dataclass
class _Reading:
    """Nodes to values; one instance reads one file."""

    tagged: Mapping[Mark, str]
    marks: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    broken: set[Path] = field(default_factory=set)
    problems: dict[Problem, None] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    count: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        mark = _place(node.start_mark)
        self.marks[path] = mark
        self.count += 1
        if self.count > MAX_NODES:
            raise _StopError(mark, f"aliases blow this file up to more than {MAX_NODES} values; write the values out")
        if len(path) > MAX_DEPTH:
            raise _StopError(mark, f"aliases nest deeper than {MAX_DEPTH} levels; write the values out")
        if mark in self.tagged:
            self.refuse(path, mark, f"YAML tags are refused; remove '{shown(self.tagged[mark])}'")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, mark)
        if id(node) in self.inside:
            raise _StopError(mark, "an alias inside its own anchor makes an endless loop; write the values out")
        self.inside.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            return tuple(self.value(child, (*path, i)) for i, child in enumerate(node.value))
        finally:
            self.inside.discard(id(node))

    def scalar(self, node: yaml.ScalarNode, path: Path, mark: Mark) -> Any:
        if _UNUSABLE.search(node.value):
            self.refuse(path, mark, "this text holds a control character or half a surrogate pair")
            return None
        if node.style is not None or (node.value == "null" and path[-1:] == ("reference",)):
            return node.value  # "reference: null" names the null checkpoints; nobody means nothing by it
        try:
            return plain_scalar(node.value)
        except ScalarError as error:
            self.refuse(path, mark, str(error))
            return None

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str | int, Any]:
        values: dict[str | int, Any] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node, path)
            if key is None:
                continue
            here = (*path, key)
            mark = _place(key_node.start_mark)
            if key in values:
                first = self.keys[here][0]
                self.problems[Problem(*mark, f"key '{shown(key)}' is used twice (first at line {first})")] = None
                continue
            self.keys[here] = mark
            values[key] = self.value(value_node, here)
        return values

    def key(self, node: yaml.Node, path: Path) -> str | int | None:
        mark = _place(node.start_mark)
        message = "a key must be plain text, not a list or a mapping"
        if mark in self.tagged:
            message = f"YAML tags are refused; remove '{shown(self.tagged[mark])}'"
        elif isinstance(node, yaml.ScalarNode):
            plain = node.style is None
            if plain and node.value == "<<":
                message = "merge keys ('<<') are refused; write the keys out"
            else:
                spot = (*path, node.value)
                broken_before = spot in self.broken
                key = self.scalar(node, spot, mark)
                if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
                    return key
                if spot in self.broken and not broken_before:
                    return None
                message = f"a key must be text; quote it: '{shown(node.value)}'"
        self.refuse((*path, node.value if isinstance(node, yaml.ScalarNode) else "[key]"), mark, message)
        return None

    def refuse(self, path: Path, mark: Mark, message: str) -> None:
        self.broken.add(path)
        self.problems[Problem(*mark, message)] = None


def read_document(content: bytes) -> Document:
    """Read one YAML file. Whatever is wrong is in ``problems`` of the result; nothing is raised."""
    if len(content) > MAX_BYTES:
        return _failed("", (0, 0), f"this file has {len(content)} bytes; a contract has at most {MAX_BYTES}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        return _failed("", (line, column), "this file is not UTF-8 text; save it as UTF-8")
    reading = _Reading({})
    try:
        composer = _Composer(text)
        try:
            node = _single_node(composer)
        finally:
            composer.dispose()
        if node is None:
            return _failed(text, (1, 1), "this file is empty; a contract starts with 'saliency: 1'")
        reading = _Reading(composer.tagged)
        data = reading.value(node, ())
    except _StopError as stop:
        return Document(None, text, problems=(*reading.problems, stop.problem))
    except yaml.reader.ReaderError as error:
        before_text = text[: int(error.position)]
        spot = (before_text.count("\n") + 1, len(before_text) - (before_text.rfind("\n") + 1) + 1)
        return _failed(text, spot, f"character U+{int(error.character):04X} is not allowed in YAML")
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        return _failed(text, _place(where) if where else (1, 1), _syntax_sentence(error))
    return Document(data, text, reading.marks, reading.keys, frozenset(reading.broken), tuple(reading.problems))


def shown(value: object, limit: int = 60) -> str:
    """Return ``value`` as text for a message: one line, not longer than ``limit``."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _single_node(composer: _Composer) -> yaml.Node | None:
    try:
        node: yaml.Node | None = composer.get_single_node()
    except (ValueError, OverflowError):
        # PyYAML hands escapes such as "\UFFFFFFFF" and endless version numbers to chr() and int() unchecked.
        mark = _place(composer.get_mark())
        raise _StopError(mark, "cannot be read as YAML: an escape or a number here is out of range") from None
    return node


def _syntax_sentence(error: yaml.MarkedYAMLError) -> str:
    what = shown(error.problem or error.context or "unreadable text", 120)
    if "'\\t'" in what:
        return "cannot be read as YAML: a tab cannot indent or start a value; use spaces"
    if what.startswith("expected ',' or ']'") and "got '['" in what:
        return (
            "cannot be read as YAML: in a list in brackets, a name that has brackets itself needs quotes, as in"
            ' ["case[elementwise]", gradcam]'
        )
    if isinstance(error, yaml.composer.ComposerError) and "single document" in (error.context or ""):
        return "a contract is one YAML document; remove what follows this '---'"
    during = f" {shown(error.context, 80)}" if error.context and error.problem else ""
    return f"cannot be read as YAML: {what}{during}"


def _place(mark: Any) -> Mark:
    return (mark.line + 1, mark.column + 1)


def _failed(text: str, mark: Mark, message: str) -> Document:
    return Document(None, text, problems=(Problem(*mark, message),))
