"""Turn what pydantic says about a section of a contract into sentences with a line and a column."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from pytest_saliency.contracts.loader import Document, Mark, Path, shown
from pytest_saliency.errors import Problem

SpecT = TypeVar("SpecT", bound=BaseModel)

_NOUNS = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def says(sentence: str) -> PydanticCustomError:
    """Return an error for a validator to raise; ``sentence`` reads on after the key's name ("must be ...")."""
    return PydanticCustomError("says", "{sentence}", {"sentence": sentence})


def got(value: object) -> str:
    """Return ``value`` as a reader of the file would name it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{shown(value)}'"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, tuple | list):
        return "a list"
    return f"a {type(value).__name__}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or nothing where no known word is close."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word)[:80].lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""


@dataclass
class Findings:
    """The problems found so far in one document; a place gets each sentence once."""

    document: Document
    found: dict[Problem, None] = field(default_factory=dict)

    def at(self, mark: Mark, message: str) -> None:
        self.found[Problem(*mark, message)] = None

    def value(self, path: Path, message: str) -> None:
        """Report at the value of ``path``, unless that value is already known to be unreadable."""
        if not self.is_broken(path):
            self.at(self.document.mark(path), message)

    def key(self, path: Path, message: str) -> None:
        self.at(self.document.key_mark(path), message)

    def is_broken(self, path: Path) -> bool:
        return any(path[:length] in self.document.broken for length in range(len(path) + 1))

    def _has_broken_key(self, path: Path) -> bool:
        return any(place[:-1] == path for place in self.document.broken if place)

    def sorted(self) -> tuple[Problem, ...]:
        return tuple(sorted(self.found, key=lambda p: (p.line, p.column, p.message)))

    def unknown_keys(self, path: Path, values: Mapping[Any, Any], known: Iterable[str], section: str) -> None:
        """Report every key of ``values`` that is not in ``known``; ``section`` reads "in check 'x'"."""
        names = tuple(known)
        for key in values:
            if key not in names:
                self.key((*path, key), f"unknown key '{shown(key)}' {section}{did_you_mean(key, names)}")

    def validate(self, spec: type[SpecT], values: object, path: Path, section: str) -> SpecT | None:
        """Validate one section against its model, and report every problem; None where there was one.

        ``section`` reads "in model 'ft'" and names the section in messages.
        """
        try:
            return spec.model_validate(values)
        except ValidationError as error:
            self.report(error, values, path, section, spec=spec)
            return None

    def report(
        self,
        error: ValidationError,
        values: object,
        path: Path,
        section: str,
        *,
        spec: type[BaseModel],
        places: Mapping[str, Path] | None = None,
    ) -> None:
        """Report the details of ``error``; ``places`` overrides where a top-level key of ``values`` stands."""
        for item in error.errors():
            loc = _within(values, item["loc"])
            here = (*path, *loc)
            if places and loc and str(loc[0]) in places:
                here = (*places[str(loc[0])], *loc[1:])
            if self.is_broken(here) or _is_echo(item) or (_is_own(item) and self._has_broken_key(here)):
                continue
            if item["type"] == "extra_forbidden":
                where = f"in '{_label(loc[:-1])}' {section}" if len(loc) > 1 else section
                hint = did_you_mean(loc[-1], _known_keys(spec, loc[:-1]))
                self.key(here, f"unknown key '{shown(loc[-1])}' {where}{hint}")
            elif item["type"] == "missing":
                self.at(self.document.key_mark(here[:-1]), f"'{_label(loc)}' is missing {section}; it has no default")
            elif loc and item["loc"] and item["loc"][-1] == "[key]":
                self.key(here, f"'{_label(loc)}': a key here must be text; got {got(item['input'])}")
            else:
                self.at(self.document.mark(here), _sentence(item, _label(loc), section))


def _is_own(item: ErrorDetails) -> bool:
    """Tell whether a validator of ours complains; about a whole section it knows too little if a key is broken."""
    return item["type"] in ("says", "value_error")


def _is_echo(item: ErrorDetails) -> bool:
    """Tell whether a list is called too short only because its entries, reported already, did not count."""
    return item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]


def _within(values: object, loc: tuple[int | str, ...]) -> Path:
    """Return ``loc`` without what pydantic adds to it (tags of unions), so that it is a path of the file."""
    path: list[int | str] = []
    here: Any = values
    for position, part in enumerate(loc):
        if isinstance(here, Mapping):
            if part in here:
                path.append(part)
                here = here[part]
            elif position == len(loc) - 1 and part != "[key]":
                path.append(part)
        elif isinstance(here, tuple) and isinstance(part, int) and part < len(here):
            path.append(part)
            here = here[part]
    return tuple(path)


def _known_keys(spec: type[BaseModel], loc: Path) -> tuple[str, ...]:
    """Return the keys of the section that ``loc`` leads to from ``spec``."""
    here: type[BaseModel] | None = spec
    for part in loc:
        found = here.model_fields.get(str(part)) if here else None
        here = _model_in(found.annotation) if found else None
    return tuple(here.model_fields) if here else ()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _label(loc: Path) -> str:
    label = ""
    for part in loc:
        label += f"[{part}]" if isinstance(part, int) else f".{part}"
    return shown(label.removeprefix("."))


def _sentence(item: ErrorDetails, label: str, section: str) -> str:
    kind, ctx, value = item["type"], item.get("ctx", {}), item["input"]
    subject = f"'{label}'" if label else section.removeprefix("in ")
    if kind in _NOUNS:
        return f"{subject} must be {_NOUNS[kind]}; got {got(value)}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{subject} must be {words} {ctx[key]:g}; got {got(value)}"
    if kind == "literal_error":
        names = [part.strip().strip("'") for part in str(ctx["expected"]).replace(" or ", ", ").split(",")]
        choice = f"{subject} must be {'one of ' if len(names) > 1 else ''}{', '.join(names)}"
        return f"{choice}; got {got(value)}{did_you_mean(value, names) if isinstance(value, str) else ''}"
    if kind in ("too_short", "string_too_short") and not value:
        return f"{subject} is empty"
    if kind == "too_short":
        return f"{subject} needs at least {ctx['min_length']} entries; got {ctx['actual_length']}"
    if kind == "string_too_long":
        return f"{subject} is longer than {ctx['max_length']} characters"
    message = str(ctx["error"]) if kind == "value_error" else item["msg"]
    return f"{subject}: {message}" if message.startswith("'") else f"{subject} {message}"
