from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from pytest_saliency.checks.result import Result
from pytest_saliency.records.recording import record_result, recording_on


class FakeResult:
    def to_record(self) -> dict[str, Any]:
        return {"verdict": "PASS"}


RESULT = cast(Result, FakeResult())


def test_without_a_recorder_the_result_speaks_for_itself() -> None:
    with recording_on(None):
        assert record_result(RESULT) == {"verdict": "PASS"}


def test_a_recorder_gets_every_result_and_its_record_comes_back() -> None:
    seen: list[object] = []

    def recorder(result: Result) -> dict[str, Any]:
        seen.append(result)
        return {"node": len(seen)}

    with recording_on(recorder):
        assert [record_result(RESULT), record_result(RESULT)] == [{"node": 1}, {"node": 2}]
    assert seen == [RESULT, RESULT]


def test_recorders_nest_and_end_with_an_exception() -> None:
    with recording_on(lambda result: {"outer": True}):
        with recording_on(lambda result: {"inner": True}):
            assert record_result(RESULT) == {"inner": True}
        with pytest.raises(ZeroDivisionError), recording_on(lambda result: {"inner": 1 // 0}):
            record_result(RESULT)
        assert record_result(RESULT) == {"outer": True}


def test_another_thread_is_another_test() -> None:
    found: list[dict[str, Any]] = []
    with recording_on(lambda result: {"here": True}):
        thread = threading.Thread(target=lambda: found.append(record_result(RESULT)))
        thread.start()
        thread.join()
    assert found == [{"verdict": "PASS"}]
