"""What a baseline is of: a check of a contract with its axes, or a name in a Python test. Never a path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.hashing import to_json

PYTHON = "python"
PLAIN = re.compile(r"[a-z0-9_.+-]{1,60}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
RESERVED = re.compile(r"(python|con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|.*\.candidate|\..*|.*\.")
"""Names that mean something else: the folder of Python tests, devices of Windows, an entry that waits."""


@dataclass(frozen=True)
class Key:
    """``contract`` is None for Python tests; ``axes`` are pairs of name and value, sorted, as in the item's name."""

    contract: str | None
    check: str
    axes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def made(cls, contract: str | None, check: str, axes: Mapping[str, str]) -> Self:
        """Return the key of a check with ``axes``."""
        return cls(contract, check, tuple(sorted((str(name), str(value)) for name, value in axes.items())))

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the key of the check that ``record`` is of, if a contract declares it."""
        return cls.made(record["contract"], str(record["check"]), record.get("axes") or {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo :meth:`to_dict`."""
        pairs = tuple((str(name), str(value)) for name, value in data["axes"])
        contract = data["contract"]
        return cls(None if contract is None else str(contract), str(data["check"]), pairs)

    def to_dict(self) -> dict[str, Any]:
        """Return the key as JSON."""
        return {"contract": self.contract, "check": self.check, "axes": [list(pair) for pair in self.axes]}

    @property
    def selector(self) -> str:
        """Return how a user names it: ``chest-xray/faithful[gradcam]``."""
        values = "-".join(value for _, value in self.axes)
        return f"{self.contract or PYTHON}/{self.check}" + (f"[{values}]" if values else "")

    @property
    def folder(self) -> str:
        """Return the name of the folder that it lies in."""
        return PYTHON if self.contract is None else _safe(self.contract, self.contract)

    @property
    def stem(self) -> str:
        """Return the name of its files without their endings; two keys never share one."""
        if not self.axes:
            return _safe(self.check, self.check)
        inside = ",".join(f"{name}={value}" for name, value in self.axes)
        if all(PLAIN.fullmatch(value) for _, value in self.axes):
            return f"{_safe(self.check, self.check)}[{inside}]"
        readable = re.sub(r"[^A-Za-z0-9_.+=,-]+", "-", inside)[:80].strip("-")
        return f"{_safe(self.check, self.check)}[{readable}]-{_digest(to_json(self.to_dict()))}"

    def selected_by(self, selector: str) -> bool:
        """Tell whether ``contract/check`` or ``contract/check[axes]`` means this key."""
        return selector in (self.selector, f"{self.contract or PYTHON}/{self.check}")


def python_key(name: str) -> Key:
    """Return the key of a baseline that a test names.

    Raises
    ------
    SaliencyError
        The name is not one that can stand in a command.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SaliencyError(
            f"saliency_baseline({name!r}): the name of a baseline must be 1 to 80 letters, digits, '.', '-' and '_',"
            " starting with a letter or digit."
        )
    return Key(None, name)


def _safe(readable: str, exact: str) -> str:
    """Return a file name: as it is where every system can hold it, else with eight digits of its SHA-256."""
    if PLAIN.fullmatch(readable) and not RESERVED.fullmatch(readable):
        return readable
    bare = re.sub(r"[^A-Za-z0-9_-]+", "-", readable)[:60].strip("-") or "x"
    return f"{bare}-{_digest(exact)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
