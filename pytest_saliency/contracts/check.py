"""One entry of ``checks``: keys in, pytest items out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pytest_saliency.checks.parameters import METHOD_NAME, Parameters
from pytest_saliency.checks.registry import KINDS, PAIR, Kind
from pytest_saliency.contracts.axes import Choice, choices, combinations, item_name, shown_axes
from pytest_saliency.contracts.loader import Path, shown
from pytest_saliency.contracts.models import CasesSpec, CheckHead, KnownFailure
from pytest_saliency.contracts.problems import Findings, did_you_mean, got
from pytest_saliency.engine.methods.names import METHOD_NAMES, parse_method
from pytest_saliency.engine.methods.own import is_path, own_names
from pytest_saliency.errors import MethodError, SaliencyError

POLICY = ("severity", "on_inconclusive")


@dataclass(frozen=True)
class CheckItem:
    """One item: a check with one value of each axis. Everything is resolved; nothing is imported or opened.

    ``parameters`` are keyword arguments for the kind's parameter model, ``roles`` maps ``model`` (or ``before`` and
    ``after``, or ``nulls.1``, ``nulls.2`` of a list) to names of the contract's models, ``lines`` maps each written key
    to its line.
    """

    name: str
    check: str
    kind: str
    axes: dict[str, str]
    parameters: dict[str, Any]
    roles: dict[str, str]
    cases: CasesSpec
    requirement: str | None
    severity: str
    on_inconclusive: str
    known_failure: KnownFailure | None
    line: int
    lines: dict[str, int]


@dataclass(frozen=True)
class Surroundings:
    """What a check can refer to. ``cases`` is None where the contract declares none or they have a problem."""

    models: tuple[str, ...]
    defaults: Mapping[Any, Any]
    requirement: str | None
    cases: CasesSpec | None
    cases_declared: bool
    checks: Mapping[str, tuple[CheckItem, ...]] = field(default_factory=dict)
    """Items by id of the checks that measure, for those that refer to them; none where one has a problem."""
    referring: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReader:
    """Reads one check. Problems go to ``findings``; items are returned only where there were none."""

    values: Mapping[Any, Any]
    path: Path
    around: Surroundings
    findings: Findings

    @property
    def section(self) -> str:
        """Return how messages name this check."""
        given = self.values.get("id")
        return f"in check '{shown(given)}'" if isinstance(given, str) else f"in check number {int(self.path[-1]) + 1}"

    @property
    def refers(self) -> bool:
        """Tell whether this check is of a kind that takes everything from another one."""
        kind = self.values.get("kind")
        return isinstance(kind, str) and kind in KINDS and bool(KINDS[kind].inherited)

    def read(self) -> tuple[CheckItem, ...]:
        """Return the items of this check."""
        before = len(self.findings.found)
        kind = self._kind()
        head_keys = tuple(CheckHead.model_fields)
        head_values = {key: value for key, value in self.values.items() if key in head_keys}
        head = self.findings.validate(CheckHead, self._with_policy(head_values), self.path, self.section)
        if kind is not None and kind.inherited:
            from pytest_saliency.contracts.inheriting import inheriting_items

            return inheriting_items(self, kind, head)
        cases = self._cases(head)
        if kind is None:
            return ()
        written = (name for name in kind.parameters.model_fields if name not in kind.fixed)
        own_keys = (*head_keys, *kind.roles, *kind.many, *written)
        self.findings.unknown_keys(self.path, self.values, own_keys, self.section)
        self._method_names()
        self._roles_exist(kind)
        self.lists_exist(kind)
        found = choices(kind, self.values, self.path, self.section, self.findings)
        made = (
            [(picked, self._parameters(kind, picked)) for picked in combinations(found or {})]
            if found is not None
            else []
        )
        if len(self.findings.found) > before or head is None or cases is None:
            return ()
        return tuple(self._item(kind, head, cases, picked, values) for picked, values in made if values is not None)

    def _kind(self) -> Kind | None:
        name = self.values.get("kind")
        if isinstance(name, str) and name not in KINDS:
            hint = did_you_mean(name, KINDS) or f"; the kinds are {', '.join(KINDS)}"
            self.findings.value((*self.path, "kind"), f"unknown kind '{shown(name)}' {self.section}{hint}")
        return KINDS.get(name) if isinstance(name, str) else None

    def _with_policy(self, head_values: dict[Any, Any]) -> dict[Any, Any]:
        inherited = {key: self.around.defaults[key] for key in POLICY if key in self.around.defaults}
        return inherited | head_values

    def _cases(self, head: CheckHead | None) -> CasesSpec | None:
        if "cases" in self.values:
            return head.cases if head else None
        if not self.around.cases_declared:
            self.findings.value(
                self.path, f"no cases {self.section}: declare 'cases' for the contract or for this check"
            )
        return self.around.cases

    def _method_names(self) -> None:
        for key in ("method", "against"):
            written = self.values.get(key)
            here = (*self.path, key)
            entries = (
                [((*here, i), entry) for i, entry in enumerate(written)]
                if isinstance(written, tuple)
                else [(here, written)]
            )
            for place, name in entries:
                if isinstance(name, str) and METHOD_NAME.fullmatch(name):
                    problem = _method_problem(name, self.section)
                    if problem:
                        self.findings.value(place, problem)

    def _roles_exist(self, kind: Kind) -> None:
        for role in kind.roles:
            here = (*self.path, role)
            if role not in self.values:
                if role != "model" or "model" not in self.around.defaults:
                    where = " (or 'model' in 'defaults')" if role == "model" else ""
                    self.findings.value(self.path, f"'{role}'{where} is missing {self.section}")
                continue
            written = self.values[role]
            entries = (
                [((*here, i), entry) for i, entry in enumerate(written)]
                if isinstance(written, tuple) and role in ("model", *PAIR)
                else [(here, written)]
            )
            for place, name in entries:
                if not isinstance(name, str):
                    self.findings.value(place, f"'{role}' must be the name of a model; got {got(name)}")
                elif name not in self.around.models:
                    self.findings.value(place, unknown_model(name, self.section, self.around.models))
        before, after = (self.values.get(role) for role in ("before", "after"))
        if "before" in kind.roles and isinstance(before, str) and before == after:
            self.findings.value(
                (*self.path, "after"), f"'before' and 'after' {self.section} are the same model '{shown(after)}'"
            )

    def lists_exist(self, kind: Kind) -> None:
        """Report what is wrong with the keys that name a list of models."""
        for role in kind.many:
            if role not in self.values:
                if kind.least:
                    self.findings.value(
                        self.path, f"'{role}' is missing {self.section}: a list of at least {kind.least} models"
                    )
                continue
            here, written = (*self.path, role), self.values[role]
            if not isinstance(written, tuple) or not written:
                self.findings.value(here, f"'{role}' {self.section} must be a list of models; got {got(written)}")
                continue
            if len(written) < kind.least:
                self.findings.value(
                    here, f"'{role}' {self.section} must name at least {kind.least} models; got {len(written)}"
                )
            for i, name in enumerate(written):
                if not isinstance(name, str):
                    self.findings.value((*here, i), f"'{role}' must hold names of models; got {got(name)}")
                elif name not in self.around.models:
                    self.findings.value((*here, i), unknown_model(name, self.section, self.around.models))
                elif name in written[:i]:
                    self.findings.value((*here, i), f"'{role}' {self.section} names '{shown(name)}' twice")

    def _parameters(self, kind: Kind, picked: Mapping[str, Choice]) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        places: dict[str, Path] = {}
        for key in kind.parameters.model_fields:
            if key in kind.fixed:
                continue
            if key in picked:
                values[key], places[key] = picked[key].value, picked[key].path
            elif key in self.values:
                values[key] = self.values[key]
            elif key in self.around.defaults:
                values[key], places[key] = self.around.defaults[key], ("defaults", key)
        try:
            made = kind.parameters(**values)
        except ValidationError as error:
            self.findings.report(error, values, self.path, self.section, spec=kind.parameters, places=places)
            return None
        self._lists_fit(kind, made)
        return made.model_dump()

    def _lists_fit(self, kind: Kind, parameters: Parameters) -> None:
        """Report lists of models that are too short, or not looked at, by what the check declares beside them."""
        written = {key: self.values.get(key, ()) for key in kind.many}
        if not all(isinstance(names, tuple) for names in written.values()):
            return
        try:
            parameters.check_lists({key: len(names) for key, names in written.items()})
        except SaliencyError as error:
            place = next(((*self.path, key) for key in written if key in self.values), self.path)
            self.findings.value(place, f"{str(error).rstrip('.')} ({self.section.removeprefix('in ')})")

    def _item(
        self,
        kind: Kind,
        head: CheckHead,
        cases: CasesSpec,
        picked: Mapping[str, Choice],
        parameters: dict[str, Any],
    ) -> CheckItem:
        document = self.findings.document
        axes = shown_axes(picked)
        lines = {
            key: document.key_mark(("defaults", key))[0]
            for key in (*parameters, *kind.roles, *POLICY)
            if key in self.around.defaults
        }
        lines |= {str(key): document.key_mark((*self.path, key))[0] for key in self.values}
        lines |= {key: document.mark(choice.path)[0] for key, choice in picked.items()}
        roles = {role: self.values.get(role, self.around.defaults.get(role)) for role in kind.roles}
        if "model" in picked:
            roles["model"] = picked["model"].value
        if "pair" in picked:
            roles |= {"before": picked["pair"].value.before, "after": picked["pair"].value.after}
        for role in kind.many:
            roles |= {f"{role}.{number}": name for number, name in enumerate(self.values.get(role, ()), start=1)}
        return CheckItem(
            name=item_name(head.id, axes),
            check=head.id,
            kind=kind.name,
            axes=axes,
            parameters=parameters,
            roles=roles,
            cases=cases,
            requirement=head.requirement or self.around.requirement,
            severity=head.severity,
            on_inconclusive=head.on_inconclusive,
            known_failure=head.known_failure,
            line=document.mark(self.path)[0],
            lines=lines,
        )


def unknown_model(name: str, section: str, models: tuple[str, ...]) -> str:
    """Return the sentence for a name that ``models`` of the contract does not declare."""
    hint = did_you_mean(name, models)
    if not hint and models:
        hint = f"; 'models' declares {', '.join(shown(model) for model in models[:10])}"
    return f"unknown model '{shown(name)}' {section}{hint}"


def _method_problem(name: str, section: str) -> str | None:
    """Return what is wrong with the name of a method, or None. Own methods must be registered when this is read."""
    try:
        if parse_method(name) is not None or is_path(name) or name in own_names():
            return None
    except MethodError as error:
        return f"{str(error).rstrip('.')} ({section.removeprefix('in ')})"
    names = (*METHOD_NAMES, *own_names())
    hint = did_you_mean(name, names) or (
        f"; the methods are {', '.join(names)}; one of your own is registered in a conftest.py"
        " (pytest_saliency.register_method), or named by its import path (package.module:function)"
    )
    return f"unknown method '{shown(name)}' {section}{hint}"
