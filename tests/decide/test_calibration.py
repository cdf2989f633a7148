"""A small version of ``benchmarks/calibration.py``: the same simulations with fewer draws."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.decide import rates

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DRAWS = 400


@pytest.fixture(scope="module")
def calibration() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import calibration

        yield calibration
        for name in [
            name for name in sys.modules if name.partition(".")[0] in {"calibration", "calibrating", "common"}
        ]:
            del sys.modules[name]


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")
def test_simulations_decide_as_the_package_does(calibration: Any) -> None:
    """Each part decides many samples at once in its own way; all of them compare that with the package."""
    from calibrating import rows

    for part in calibration.PARTS:
        part.check(rows.generator(1, part.__name__))


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")
def test_on_the_limit_no_decision_errs_more_often_than_alpha(calibration: Any) -> None:
    """With 400 draws a rate of 0.05 is told from one of 0.09; the benchmark's 20,000 tell it from 0.055."""
    cases = [case for part in calibration.PARTS for case in part.CASES if case.dear == 1]
    assert len(cases) > 40
    found = calibration.simulate(cases, [20], DRAWS, 7)
    for row in found:
        for count in row.counts():
            claimed = 0.06 if row.wrong.claimed else 0.20
            assert rates.lower_bound(count, row.wrong.draws, 1e-4) <= claimed, row
    assert sum(count > 0 for row in found for count in row.counts()) > 40, "something is decided, wrongly at times"


def test_a_test_that_errs_more_often_is_noticed(calibration: Any) -> None:
    from calibrating import rows

    honest, broken = rows.Wrong(1000, 900, 20_000), rows.Wrong(1000, 1300, 20_000)
    assert rows.Row("x", "y", 20, honest, 0.0).holds
    assert not rows.Row("x", "y", 20, broken, 0.0).holds
    assert rows.Row("x", "y", 20, rows.Wrong(None, 900, 20_000), 0.0).counts() == [900]
