"""Dealing checks out over shards: a partition that depends on the contracts alone, even, and with few passes twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_saliency.contracts.dealing import Dealt, Shard, deal, shard_of_file
from pytest_saliency.errors import SaliencyError

MODELS = "ABCD"


def checks_of(*groups: tuple[str, str, int]) -> list[Dealt]:
    """Return checks from (contract, models, how many)."""
    made = []
    for file, models, number in groups:
        for _ in range(number):
            passes = frozenset((file, model, "cases") for model in models)
            made.append(Dealt(f"{file}::{len(made)}", (file, len(made)), passes))
    return made


def by_shard(checks: list[Dealt], count: int) -> list[list[Dealt]]:
    dealt = deal(checks, count)
    return [[check for check in checks if dealt[check.node] == shard] for shard in range(1, count + 1)]


def passes_of(shards: list[list[Dealt]]) -> int:
    return sum(len(set().union(*(check.passes for check in shard))) for shard in shards)


GROUPS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["A", "B", "AB", "C", "BC"]), st.integers(1, 6)),
    max_size=6,
)


@given(groups=GROUPS, count=st.integers(1, 8), order=st.randoms(use_true_random=False))
def test_every_check_lies_in_one_shard_whatever_the_order(groups: list, count: int, order) -> None:
    checks = checks_of(*groups)
    shuffled = list(checks)
    order.shuffle(shuffled)
    dealt = deal(shuffled, count)
    assert dealt == deal(checks, count)
    assert dealt.keys() == {check.node for check in checks}
    assert set(dealt.values()) <= set(range(1, count + 1))


@given(groups=GROUPS, count=st.integers(1, 8))
def test_no_shard_has_much_more_than_its_share(groups: list, count: int) -> None:
    checks = checks_of(*groups)
    share = -(-len(checks) // count)
    # By the rule: a part is at most one share, and goes where the load, which counts passes too, is smallest.
    most = max((len(check.passes) for check in checks), default=0)
    for shard in by_shard(checks, count):
        assert len(shard) <= 2 * share + most * max(1, len({c.passes for c in checks}))


def test_what_shares_passes_stays_together() -> None:
    """Two contracts with two models each, over two and over four shards: no model is explained twice."""
    checks = checks_of(("a", "A", 3), ("a", "B", 3), ("b", "A", 3), ("b", "B", 3))
    for count in (2, 4):
        shards = by_shard(checks, count)
        assert [len(shard) for shard in shards] == [12 // count] * count
        assert passes_of(shards) == 4


def test_with_fewer_models_than_shards_a_pass_is_made_more_than_once() -> None:
    shards = by_shard(checks_of(("a", "A", 6)), 3)
    assert [len(shard) for shard in shards] == [2, 2, 2]
    assert passes_of(shards) == 3


def test_a_check_goes_where_its_models_are() -> None:
    """A check on A, four on C, and one that compares A with B: the comparison goes to A and not to an emptier shard."""
    shards = by_shard(checks_of(("a", "A", 2), ("a", "C", 3), ("b", "D", 1), ("a", "AB", 1)), 2)
    (place,) = (i for i, shard in enumerate(shards) if any(check.passes == {("a", "C", "cases")} for check in shard))
    other = shards[1 - place]
    assert {model for check in other for _, model, _ in check.passes} >= {"A", "B"}


def test_more_shards_than_checks_leave_some_empty() -> None:
    assert sorted(map(len, by_shard(checks_of(("a", "A", 2)), 5))) == [0, 0, 0, 1, 1]
    assert deal([], 3) == {}


@pytest.mark.parametrize(("text", "shard"), [("1/1", Shard(1, 1)), (" 2/5", Shard(2, 5)), ("5 / 5", Shard(5, 5))])
def test_shards_are_read(text: str, shard: Shard) -> None:
    assert Shard.of(text) == shard


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b", "1/0", "3", "1/2/3", "-1/2", "1.0/2", "", "1/2x", "٣/٤"])
def test_what_is_no_shard_is_one_sentence(text: str) -> None:
    with pytest.raises(SaliencyError, match=r"must be i/n with i from 1 to n, as 2/5; got '") as caught:
        Shard.of(text)
    assert "\n" not in str(caught.value)


def test_python_files_are_dealt_by_name() -> None:
    shards = [shard_of_file(f"tests/test_{i}.py", 4) for i in range(400)]
    assert set(shards) == {1, 2, 3, 4}
    assert min(shards.count(shard) for shard in (1, 2, 3, 4)) > 60
    assert shard_of_file("tests/test_release.py", 1) == 1
