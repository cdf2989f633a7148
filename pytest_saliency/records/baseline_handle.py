"""What the fixture ``saliency_baseline`` hands to a test: a name, and where its approved numbers lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_saliency.records.baseline_entry import Entry
from pytest_saliency.records.baseline_key import Key, python_key
from pytest_saliency.records.baseline_mode import folder_of, mode_of
from pytest_saliency.records.baselines import approved_entry, find

if TYPE_CHECKING:
    from pytest_saliency.checks.result import Result


@dataclass(frozen=True)
class BaselineHandle:
    """A baseline by name. Made by the fixture ``saliency_baseline``; used by ``assert_not_worse_than_baseline``."""

    key: Key
    folder: Path
    item: pytest.Item

    @property
    def pending(self) -> str | None:
        """Why there is nothing to compare with in a run that writes baselines; None where there is."""
        return not_yet(self.item.config, self.key)

    def approved(self) -> Entry:
        """Return the approved entry.

        Raises
        ------
        BaselineError
            There is none, nobody approved it, or it is damaged.
        """
        return approved_entry(self.folder, self.key)

    def claim(self, result: Result) -> None:
        """Name this baseline in the record of ``result``: what it is written from, and compared with limit by limit."""
        from pytest_saliency.decide.decision import plain
        from pytest_saliency.records.hashing import plain_json
        from pytest_saliency.records.recording import record_result
        from pytest_saliency.report.attach import RECORDS

        numbers = plain_json(plain(result.per_image))
        made: list[dict[str, Any]] = [
            record
            for record in self.item.stash.get(RECORDS, [])
            if record["kind"] == result.kind
            and record["criterion"] == plain_json(plain(result.parameters))
            and record["per_image"] == numbers
        ]
        # Asserted elsewhere, as in a fixture: its record is on another report by now, and is made once more.
        if made:
            made[-1]["baseline"] = {"name": self.key.check}
        elif mode_of(self.item.config) != "check":
            record_result(result)["baseline"] = {"name": self.key.check}


def handles_for(item: pytest.Item) -> Callable[[str], BaselineHandle]:
    """Return what names baselines for the test ``item``."""

    def named(name: str) -> BaselineHandle:
        return BaselineHandle(python_key(name), folder_of(item.config), item)

    return named


def not_yet(config: pytest.Config, key: Key) -> str | None:
    """Return why a run that writes baselines has nothing to compare ``key`` with; None where it must compare.

    Raises
    ------
    BaselineError
        What is there is damaged.
    """
    if mode_of(config) == "check":
        return None
    shelf = find(folder_of(config), key)
    if shelf.approved is not None and shelf.approved.approval is not None:
        return None
    return f"the baseline of {key.selector} is not approved yet; this run writes it, and compares nothing"
