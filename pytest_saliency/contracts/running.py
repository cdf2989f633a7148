"""Running one check of a contract: subjects and cases by declaration, explained once, decided, recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_saliency.checks.referring import ReferringParameters
from pytest_saliency.checks.registry import KINDS, Kind
from pytest_saliency.contracts.imports import resolve
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import make_cases, make_subject, needs_class_names
from pytest_saliency.contracts.states import WeightsError
from pytest_saliency.engine.methods.own import is_path
from pytest_saliency.errors import MethodError, SaliencyError, SubjectError

if TYPE_CHECKING:
    from pytest_saliency.checks.parameters import Parameters
    from pytest_saliency.checks.result import Result
    from pytest_saliency.contracts.check import CheckItem
    from pytest_saliency.contracts.contract import Contract
    from pytest_saliency.contracts.models import CasesSpec, ModelSpec
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.subject import Subject
    from pytest_saliency.records.baseline_entry import Entry
    from pytest_saliency.session import Saliency


class CheckError(SaliencyError):
    """A check that could not be decided, with the line of the contract that this is about."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@contextmanager
def located(line: int) -> Iterator[None]:
    """Give every ``SaliencyError`` from inside the block the contract's ``line``, unless it has one."""
    try:
        yield
    except CheckError:
        raise
    except SaliencyError as error:
        raise CheckError(str(error), line) from error


@dataclass(frozen=True)
class Run:
    """One check of one contract in one session, with the values of the fixtures it names."""

    contract: Contract
    check: CheckItem
    session: Saliency
    fixtures: Mapping[str, object]
    root: Path
    baselines: Path
    """The folder of baselines."""

    def result(self) -> Result:
        """Measure and decide; models, images and passes are shared with the other checks of the contract.

        Raises
        ------
        CheckError
            What keeps the check from being decided, with the line it is about.
        """
        kind = KINDS[self.check.kind]
        with located(self.check.line):
            parameters = kind.parameters(**self.check.parameters)
            if isinstance(parameters, ReferringParameters):
                with located(self.check.lines.get("of") or self.check.line):
                    return kind.refer(Referred(self, parameters), parameters, self.check.check)
            return self._measured(kind, parameters, self.prepared_cases(), self.check.check)

    def prepared_cases(self) -> Cases:
        """Return the images, after what else the contract names has been found."""
        self._import_methods()
        return self._cases()

    def _measured(self, kind: Kind, parameters: Parameters, cases: Cases, check: str) -> Result:
        return kind.run(self._all(kind, parameters, self.check.roles, cases), parameters, check)

    def _all(
        self, kind: Kind, parameters: Parameters, roles: Mapping[str, str], cases: Cases
    ) -> Mapping[str, Explained]:
        """Return the explanations by role. Models of a list and checkpoints are made when asked for and not kept.

        So one of them is in memory at a time, however many there are.
        """
        from pytest_saliency.contracts.checkpoints import OneAtATime, find_checkpoints, names_of, spec_of

        listed = {role: name for role, name in roles.items() if role.partition(".")[0] in kind.many}
        later: dict[str, Callable[[], Explained]] = {
            role: partial(self._once, name, self.contract.models[name], cases) for role, name in listed.items()
        }
        pattern = getattr(parameters, "checkpoints", None)
        if pattern is not None:
            with located(self.check.lines.get("checkpoints") or self.check.line):
                paths = find_checkpoints(pattern, self.place)
                after = self.contract.models[roles["after"]]
                for number, (path, name) in enumerate(zip(paths, names_of(paths), strict=True), start=1):
                    spec = spec_of(after, name, path)
                    later[f"checkpoints.{number}"] = partial(self._checkpoint, roles["after"], spec, cases)
        held = {role: self._explained(name, cases) for role, name in roles.items() if role not in listed}
        return OneAtATime(held, later) if later else held

    def _checkpoint(self, model: str, spec: ModelSpec, cases: Cases) -> Explained:
        with located(self.check.lines.get("checkpoints") or self.check.line):
            return self._once(model, spec, cases)

    def _once(self, model: str, spec: ModelSpec, cases: Cases) -> Explained:
        """Explain a model that nobody keeps; one from a fixture is its owner's, so that keeping it costs nothing."""
        if spec.fixture is not None:
            return self._explained(model, cases)
        names = cases.class_names if needs_class_names(spec) else None
        written: Collection[str] = self.contract.document.data["models"][model]
        with located(self._line(model, "")):
            return self.session.explain_once(make_subject(spec.name or model, spec, self.place, names, written), cases)

    def measured_as(self, parameters: ReferringParameters, roles: Mapping[str, str], cases: Cases) -> Result:
        """Measure as the check does that ``of`` names, under its name, over the models of ``roles``."""
        with located(self.check.line):
            of = KINDS[parameters.of_kind]
            explained = self._all(of, parameters.measured, roles, cases)
            return of.run(explained, parameters.measured, parameters.of)

    def _import_methods(self) -> None:
        """Import the methods that are named by path, so that what is wrong with one is told before anything runs."""
        measured = self.check.parameters.get("of_criterion") or self.check.parameters
        written = {"method": (measured["method"],), "against": measured.get("against") or ()}
        for key, names in written.items():
            for path in filter(is_path, names):
                with located(self.check.lines.get(key) or self.check.line):
                    if not self.session.settings.allow_python:
                        raise MethodError(
                            f"method {path!r} is not imported, because ini saliency_allow_python is false; register it"
                            " in a conftest.py instead (pytest_saliency.register_method)."
                        )
                    resolve(path, self.place.folders)

    @property
    def place(self) -> Place:
        """Where the contract lives."""
        return Place(
            folder=self.contract.path.parent,
            root=self.root,
            allow_python=self.session.settings.allow_python,
            fixtures=self.fixtures,
        )

    def _cases(self) -> Cases:
        spec = self.check.cases
        with located(self.check.lines.get("cases") or self.contract.place("cases")[0]):
            return self.session.shared(
                (str(self.contract.path), "cases", spec.model_dump_json()),
                (self._fixture_of(spec),),
                lambda: make_cases(spec, self.place),
            )

    def _explained(self, name: str, cases: Cases) -> Explained:
        spec = self.contract.models[name]
        try:
            subject = self._subject(name, spec, cases.class_names if needs_class_names(spec) else None)
            explained = self.session.explain(subject, cases)
            _ = explained.layer  # found now, so that a layer that is not there points to the model's lines
        except WeightsError as error:
            raise CheckError(str(error), self._line(name, "weights")) from error
        except SubjectError as error:
            about_layer = repr(spec.layer) in str(error)
            raise CheckError(str(error), self._line(name, "layer" if about_layer else "")) from error
        return explained

    def _subject(self, name: str, spec: ModelSpec, class_names: Sequence[str] | None) -> Subject:
        contrast_cases = spec.contrast.cases if spec.contrast else None
        written: Collection[str] = self.contract.document.data["models"][name]
        try:
            return self.session.shared(
                (str(self.contract.path), "model", name, *(class_names or ())),
                (self._fixture_of(spec), self._fixture_of(contrast_cases)),
                lambda: make_subject(name, spec, self.place, class_names, written),
            )
        except SubjectError:  # known more precisely by the caller
            raise
        except SaliencyError as error:
            raise CheckError(str(error), self._line(name, "")) from error

    def _line(self, model: str, key: str) -> int:
        line, _ = self.contract.document.key_mark(("models", model, key) if key else ("models", model))
        return line

    def _fixture_of(self, spec: ModelSpec | CasesSpec | None) -> object:
        """Return the value of the fixture that ``spec`` names, or None; another value means another model."""
        return self.fixtures[spec.fixture] if spec is not None and spec.fixture else None


@dataclass(frozen=True)
class Referred:
    """What ``run`` offers a check that refers to another one; see ``checks.referring.Reference``."""

    run: Run
    parameters: ReferringParameters

    @property
    def models(self) -> Mapping[str, str]:
        """The names of the item's models by role."""
        return self.run.check.roles

    def cases(self) -> Cases:
        """Return the images of both checks."""
        return self.run.prepared_cases()

    def measure(self, replaced: Mapping[str, str] | None = None) -> Result:
        """Run the check that is referred to, under its id; ``replaced`` gives a role of it another of the models."""
        many = KINDS[self.run.check.kind].many
        own = {role: name for role, name in self.models.items() if role.partition(".")[0] not in many}
        return self.run.measured_as(self.parameters, {**own, **(replaced or {})}, self.cases())

    def baseline(self) -> Entry:
        """Return its approved baseline."""
        from pytest_saliency.records.baseline_key import Key
        from pytest_saliency.records.baselines import approved_entry

        key = Key.made(self.run.contract.slug, self.parameters.of, self.run.check.axes)
        return approved_entry(self.run.baselines, key)
