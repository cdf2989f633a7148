"""The function behind a check, in a file of its own.

pytest cuts a traceback at the file of an item's function; with nothing else in this file, what a fixture or a user's
code raises is shown from their own lines on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_saliency.contracts.items import ContractItem


def function_asking_for(name: str, fixtures: tuple[str, ...]) -> Callable[..., None]:
    """Return a function that asks pytest for ``fixtures`` and runs the item that it belongs to."""

    def check(request: pytest.FixtureRequest, **values: object) -> None:
        __tracebackhide__ = True
        item: ContractItem = request.node
        item.run(values)

    names = ("request", *(fixture for fixture in fixtures if fixture != "request"))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    vars(check)["__signature__"] = inspect.Signature([inspect.Parameter(one, kind) for one in names])
    check.__name__ = check.__qualname__ = name
    return check
