"""Running one check of a contract: subjects and cases by declaration, explained once, decided, recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_saliency.checks.not_worse_than_baseline import NotWorseThanBaselineParameters
from pytest_saliency.checks.registry import KINDS, Kind
from pytest_saliency.contracts.imports import resolve
from pytest_saliency.contracts.sources import Place, make_cases, make_subject, needs_class_names
from pytest_saliency.contracts.weights import WeightsError
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
            if isinstance(parameters, NotWorseThanBaselineParameters):
                return self._compared(parameters)
            return self._measured(kind, parameters, self._prepared_cases(), self.check.check)

    def _prepared_cases(self) -> Cases:
        self._import_methods()
        return self._cases()

    def _measured(self, kind: Kind, parameters: Parameters, cases: Cases, check: str) -> Result:
        explained = {role: self._explained(name, cases) for role, name in self.check.roles.items()}
        return kind.run(explained, parameters, check)

    def _compared(self, parameters: NotWorseThanBaselineParameters) -> Result:
        """Measure as the check does that ``of`` names, under its name, and hold it against the approved baseline.

        Whatever can be told before a model runs is told before.
        """
        from pytest_saliency.checks.not_worse_than_baseline import compare, refuse_other_cases, refuse_other_meaning
        from pytest_saliency.records.baseline_key import Key
        from pytest_saliency.records.baselines import approved_entry

        with located(self.check.lines.get("of") or self.check.line):
            entry = approved_entry(self.baselines, Key.made(self.contract.slug, parameters.of, self.check.axes))
            refuse_other_meaning(entry, parameters.of_kind, parameters.of_criterion)
        cases = self._prepared_cases()
        with located(self.check.lines.get("of") or self.check.line):
            refuse_other_cases(
                entry, {"unordered_digest": cases.unordered_digest, "n": len(cases), "source": cases.source}
            )
        of = KINDS[parameters.of_kind]
        result = self._measured(of, of.parameters(**parameters.of_criterion), cases, parameters.of)
        with located(self.check.lines.get("of") or self.check.line):
            return compare(result, entry, parameters, self.check.check)

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
