"""Shards that are not those of one session are told apart, one sentence each."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fixtures.records import sample_document
from pytest_saliency.evidence.deviating import unfounded
from pytest_saliency.evidence.schemas import build
from pytest_saliency.report.merge import merge
from pytest_saliency.report.merge_shards import ShardsError, check_shards, missing_shards, sessions_of

SHA = {"a.saliency.yaml": "1" * 64, "b.saliency.yaml": "2" * 64}


def part(index: int, count: int, contracts: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    shard = {"index": index, "count": count, "contracts": SHA if contracts is None else contracts}
    return {"id": f"{index}{count}" * 16, "started": "2026-03-02T08:00:00+00:00", "shard": shard, **changes}


def test_whole_sessions_are_taken() -> None:
    check_shards([])
    check_shards([part(1, 1)])
    check_shards([part(2, 3), part(1, 3), part(3, 3), part(2, 3)])  # one of them was run again
    check_shards([part(1, 2), {"id": "c" * 32}, part(2, 2)])  # a run that is no shard stands beside them
    other = {"c.saliency.yaml": "3" * 64}
    mixed = [part(1, 2), part(1, 1, other), part(2, 2)]  # sessions over different files
    check_shards(mixed)
    assert sorted(map(len, sessions_of(mixed))) == [1, 2]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([part(1, 2)], "Shard 2 of 2 over a.saliency.yaml, b.saliency.yaml is not among the merged runs. Give"),
        ([part(2, 4, {})], "Shards 1, 3 and 4 of 4 are not among the merged runs. Give"),
        ([part(1, 2), part(2, 3)], r"is shard 1 of 2 and run 23232323 of \S+ shard 2 of 3: they are not shards of one"),
        (
            [part(1, 2), part(2, 2, {**SHA, "b.saliency.yaml": "9" * 64})],
            r"saw different contracts: b.saliency.yaml is sha256 2{64} in run 12121212 of \S+ and sha256 9{64} in run",
        ),
        (
            [part(1, 2), part(2, 2, {"a.saliency.yaml": "1" * 64})],
            r"saw different contracts: b.saliency.yaml is sha256 2{64} in run 12121212 of \S+ and not there in run",
        ),
        (
            [part(1, 2, versions={"torch": "2.6"}), part(2, 2, versions={"torch": "2.7"})],
            "used different versions of torch: 2.6 in run 12121212 .*, 2.7 in run 22222222",
        ),
        (
            [part(1, 2, git={"commit": "a" * 40}), part(2, 2, git={"commit": "b" * 40})],
            r"the shards tested different commits: a{40} in run 12121212 .*, b{40} in run 22222222 .* at one commit\.",
        ),
        ([part(1, 2, git=None), part(2, 2, git={"commit": "b" * 40})], "different commits: none recorded in run"),
        ([part(1, 2, versions={"numpy": "2"}), part(2, 2)], "versions of numpy: 2 in run .*, not installed in run"),
        ([{**part(1, 2), "shard": {"index": 3, "count": 2, "contracts": {}}}], "is not what a run writes"),
        ([{**part(1, 2), "shard": ["1/2"]}], "is not what a run writes"),
        ([{**part(1, 2), "shard": {"index": "1", "count": 2, "contracts": {}}}], "is not what a run writes"),
    ],
)
def test_what_is_no_whole_session_is_one_sentence(parts: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ShardsError, match=said) as caught:
        check_shards(parts)
    assert "\n" not in str(caught.value)
    if "among the merged runs" in said:
        check_shards(parts, partial=True)
        assert said.removesuffix(" Give") in missing_shards(parts)[0]
    else:
        with pytest.raises(ShardsError):
            check_shards(parts, partial=True)


def test_the_documents_fit_their_schema_and_their_deviations_can_be_derived() -> None:
    validator = Draft202012Validator(build.build("run"))
    shards = [
        sample_document([], id=f"{index}" * 32, shard={"index": index, "count": 3, "contracts": SHA})
        for index in (1, 2)
    ]
    merged = merge(shards, partial=True)
    for document in (*shards, merged):
        assert [error.message for error in validator.iter_errors({**document, "families": []})] == []
        assert unfounded(document, ()) == []
    (said,) = (said for said in merged["deviations"] if said.startswith("Shard"))
    assert said.startswith("Shard 3 of 3")
    assert unfounded({**merged, "deviations": ["Shard 9 of 9 is not among the merged runs."]}, ()) != []
    wrong = {**shards[0], "families": [], "run": {**shards[0]["run"], "shard": {"index": 0, "count": 3}}}
    assert list(validator.iter_errors(wrong))
