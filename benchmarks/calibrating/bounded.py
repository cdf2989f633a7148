"""Means with a range: betting, for many samples at once, and what rests on it."""

from __future__ import annotations

import math

import numpy as np

from calibrating.pools import BOUNDED, Pool, beta, two_point, zeros
from calibrating.rows import ALPHA, Case, Floats, Wrong, chunks
from pytest_saliency.decide import limits, means
from pytest_saliency.decide.limited import Limited, Question

LOST = 0.03


def p_above(values: Floats, limit: float, low: float = 0.0, high: float = 1.0, alpha: float = ALPHA) -> Floats:
    """Return for each row of (draws, n) the betting p-value of "the mean is at most ``limit``", written anew."""
    x = (values - low) / (high - low)
    m = (limit - low) / (high - low)
    n = x.shape[1]
    t = np.arange(1, n + 1)
    centre = (0.5 + np.cumsum(x, axis=1)) / (t + 1)
    spread = (0.25 + np.cumsum((x - centre) ** 2, axis=1)) / (t + 1)
    before = np.hstack([np.full((len(x), 1), 0.25), spread[:, :-1]])
    bets = np.minimum(np.sqrt(2.0 * math.log(1.0 / alpha) / (n * before)), 0.75 / m if m > 0.0 else math.inf)
    capital = np.cumsum(np.log1p(bets * (x - m)), axis=1).max(axis=1)
    return np.exp(-np.maximum(capital, 0.0))


def p_below(values: Floats, limit: float, low: float = 0.0, high: float = 1.0, alpha: float = ALPHA) -> Floats:
    """Return the p-values of "the mean is at least ``limit``"."""
    return p_above(-values, -limit, -high, -low, alpha)


def plain(pool: Pool, decision: str, low: float = 0.0, high: float = 1.0) -> Case:
    """Return the simulation of one mean that is to be at most its limit."""

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws, 2_000):
            values = pool.sample(rng, size, n)
            passed += int((p_below(values, pool.mean, low, high) < ALPHA).sum())
            failed += int((p_above(values, pool.mean, low, high) < ALPHA).sum())
        return Wrong(passed, failed, draws)

    return Case(decision, pool.name, run)


def with_lost(pool: Pool) -> Case:
    """Return the simulation where a share of the images is undefined: 1 for PASS and 0 for FAIL, on two limits."""

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws, 2_000):
            values, lost = pool.sample(rng, size, n), rng.random((size, n)) < LOST
            worst, best = (1.0 - LOST) * pool.mean + LOST, (1.0 - LOST) * pool.mean
            passed += int((p_below(np.where(lost, 1.0, values), worst) < ALPHA).sum())
            failed += int((p_above(np.where(lost, 0.0, values), best) < ALPHA).sum())
        return Wrong(passed, failed, draws)

    return Case("mean with a range", f"{pool.name}, {LOST:.0%} undefined", run)


def two_sided(pool: Pool) -> Case:
    """Return the simulation of a signed mean whose size is limited, with the mean at the upper end."""

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws, 2_000):
            values = 2.0 * pool.sample(rng, size, n) - 1.0
            limit = 2.0 * pool.mean - 1.0
            within = np.maximum(p_below(values, limit, -1.0), p_above(values, -limit, -1.0))
            beyond = 2.0 * np.minimum(p_above(values, limit, -1.0), p_below(values, -limit, -1.0))
            passed += int((within < ALPHA).sum())
            failed += int((beyond < ALPHA).sum())
        return Wrong(passed, failed, draws)

    return Case("size of a signed mean (concentration change)", f"2 {pool.name} - 1", run)


def together() -> Case:
    """Return the simulation of four limits at once, each exactly on its mean, of related numbers: Holm for FAIL."""
    pools = (beta(2.0, 5.0), beta(1.0, 9.0), beta(5.0, 2.0), two_point(0.3))

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        from scipy.special import ndtr
        from scipy.stats import beta as distribution

        failed = passed = 0
        for size in chunks(draws, 2_000):
            common_part = rng.standard_normal((size, n, 1))
            u = ndtr(math.sqrt(0.6) * common_part + math.sqrt(0.4) * rng.standard_normal((size, n, 4)))
            columns = [distribution.ppf(u[..., 0], 2, 5), distribution.ppf(u[..., 1], 1, 9)]
            columns += [distribution.ppf(u[..., 2], 5, 2), (u[..., 3] > 0.7).astype(float)]
            above = np.stack([p_above(x, pool.mean) for x, pool in zip(columns, pools, strict=True)])
            below = np.stack([p_below(x, pool.mean) for x, pool in zip(columns, pools, strict=True)])
            failed += int((4.0 * above.min(axis=0) < ALPHA).sum())
            passed += int((below.max(axis=0) < ALPHA).sum())
        return Wrong(passed, failed, draws)

    return Case("several limits at once (no_semantic_drift)", "four related measures, each on its limit", run, dear=2)


def change(name: str, pool: Pool, shared: float) -> Case:
    """Return the simulation of a worsening with a range: the difference of two numbers of one pool, moved by 0.1."""

    def run(rng: np.random.Generator, n: int, draws: int) -> Wrong:
        passed = failed = 0
        for size in chunks(draws, 2_000):
            then = pool.sample(rng, size, n)
            now = np.where(rng.random((size, n)) < shared, then, pool.sample(rng, size, n))
            # A tenth of what is left of the range is lost on each image, so that the mean change is known.
            worse = now + 0.1 * (1.0 - now) - then
            limit = 0.1 * (1.0 - pool.mean)
            passed += int((p_below(worse, limit, -1.0) < ALPHA).sum())
            failed += int((p_above(worse, limit, -1.0) < ALPHA).sum())
        return Wrong(passed, failed, draws)

    return Case("worsening, excess over a reference (range of a difference)", name, run)


CASES = (
    *(plain(pool, "mean with a range") for pool in BOUNDED),
    with_lost(beta(2.0, 5.0)),
    with_lost(zeros(0.6, beta(2.0, 5.0))),
    two_sided(beta(6.0, 4.0)),
    together(),
    change("half of the images unchanged, beta(2, 5)", beta(2.0, 5.0), 0.5),
    change("all images drawn anew, beta(0.5, 0.5)", beta(0.5, 0.5), 0.0),
)

QUESTION = Question(
    kind="simulated",
    entries=(Limited("number", "max_number", "mean number", 0.0, 1.0, 0.0, "<=", "it is larger"),),
    held="it holds",
    undefined="",
)


def check(rng: np.random.Generator) -> None:
    """Raise AssertionError where this and ``limits.decide`` differ on the same numbers."""
    for pool in BOUNDED:
        if pool.mean < 0.05:
            continue
        for shift in (-0.06, 0.0, 0.06):
            values = np.clip(pool.sample(rng, 1, 100)[0] + shift, 0.0, 1.0)
            made = limits.decide(
                QUESTION,
                {"number": values},
                limits={"max_number": pool.mean},
                kept=100,
                total=100,
                seed=7,
                described=False,
            )
            ordered = means.canonical(values, 7)[None]
            passed, failed = (p(ordered, pool.mean)[0] for p in (p_below, p_above))
            measure = made.measures["number"]
            assert measure.p_pass is not None
            assert math.isclose(measure.p_pass, passed, rel_tol=1e-9)
            assert measure.p_fail is not None
            assert math.isclose(measure.p_fail, failed, rel_tol=1e-9)
