"""Running one check of a contract: subjects and cases by declaration, explained once, decided, recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.imports import resolve
from pytest_saliency.contracts.sources import Place, make_cases, make_subject, needs_class_names
from pytest_saliency.contracts.weights import WeightsError
from pytest_saliency.engine.methods.own import is_path
from pytest_saliency.errors import MethodError, SaliencyError, SubjectError

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result
    from pytest_saliency.contracts.check import CheckItem
    from pytest_saliency.contracts.contract import Contract
    from pytest_saliency.contracts.models import CasesSpec, ModelSpec
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.explained import Explained
    from pytest_saliency.engine.subject import Subject
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

    def result(self) -> Result:
        """Measure and decide; models, images and passes are shared with the other checks of the contract.

        Raises
        ------
        CheckError
            What keeps the check from being decided, with the line it is about.
        """
        kind = KINDS[self.check.kind]
        with located(self.check.line):
            self._import_methods()
            cases = self._cases()
            explained = {role: self._explained(name, cases) for role, name in self.check.roles.items()}
            parameters = kind.parameters(**self.check.parameters)
            return kind.run(explained, parameters, self.check.check)

    def _import_methods(self) -> None:
        """Import the methods that are named by path, so that what is wrong with one is told before anything runs."""
        written = {"method": (self.check.parameters["method"],), "against": self.check.parameters.get("against") or ()}
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
