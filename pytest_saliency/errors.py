"""The errors a user can meet. Every message is a sentence: what happened, where, what to do.

Nothing here imports torch, so that every room, the parser and the verifier can raise them.
"""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result


class SaliencyError(Exception):
    """Something the user can mend: a setting, a file, a layer, an image. Shown without a traceback."""


class SubjectError(SaliencyError):
    """The model, its weights, its target layer or its output cannot be used as declared."""


class CasesError(SaliencyError):
    """The images or labels cannot be read or do not fit the model."""


class MethodError(SaliencyError):
    """The attribution method or its contrast set cannot be applied as declared."""


class DeviceError(SaliencyError):
    """The requested device is not there."""


class CriterionError(SaliencyError):
    """A criterion is missing, out of range, or cannot be decided with the images at hand."""


def first_line(error: BaseException) -> str:
    """Return what ``error`` says, in one line without a full stop; its type where it says nothing."""
    said = str(error).strip().splitlines()
    return said[0].rstrip(". ") if said else type(error).__name__


def raised(error: BaseException) -> str:
    """Return "raised ValueError at models.py:42: no such size": what happened in the user's own code, and where.

    The place is the innermost line outside of the standard library, the installed packages and this one; it is left
    out where there is none.
    """
    place, said = _place(error), first_line(error)
    words = f"raised {type(error).__name__}" + (f" at {place}" if place else "")
    return f"{words}: {said}" if said != type(error).__name__ else words


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_shown(error.filename)}:{error.lineno}"
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    own = [(file, line) for file, line in places if not _foreign(Path(file))]
    return f"{_shown(own[-1][0])}:{own[-1][1]}" if own else None


def _foreign(file: Path) -> bool:
    if file.name.startswith("<") or not {"site-packages", "dist-packages"}.isdisjoint(file.parts):
        return True
    here = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), Path(__file__).parent)
    return any(file.is_relative_to(folder) for folder in here)


def _shown(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else file


@dataclass(frozen=True)
class Problem:
    """One problem of a contract file. ``line`` and ``column`` count from 1; 0 means the file as a whole."""

    line: int
    column: int
    message: str


class ContractError(SaliencyError):
    """All problems of one contract file, reported together. Nothing of the contract was run."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        self.path = path
        self.problems = problems
        super().__init__(self.render())

    def render(self) -> str:
        """Return the report: a count, then one ``line:column  message`` row a problem."""
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in this contract; nothing was run."
        rows = [f"  {f'{p.line}:{p.column}' if p.line else 'file':<6}  {p.message}" for p in self.problems]
        return "\n".join([head, *rows])


class ExplanationAssertionError(AssertionError):
    """An explanation assertion did not hold. ``result`` carries the verdict and everything measured."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result
