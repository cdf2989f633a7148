"""Every trap of ``fixtures/contracts/bad`` gives exactly the report that lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_saliency.contracts.contract import load_contract, parse_contract
from pytest_saliency.contracts.loader import MAX_BYTES, MAX_NODES
from pytest_saliency.errors import ContractError

BAD = sorted((Path(__file__).parents[2] / "fixtures" / "contracts" / "bad").glob("*.yaml"))


def report(content: bytes) -> str:
    with pytest.raises(ContractError) as caught:
        parse_contract(content, Path("x.saliency.yaml"))
    return str(caught.value)


def test_the_corpus_is_there() -> None:
    assert len(BAD) >= 50


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_report(file: Path) -> None:
    with pytest.raises(ContractError) as caught:
        load_contract(file)
    assert str(caught.value) + "\n" == file.with_suffix(".txt").read_text(encoding="utf-8")
    assert caught.value.path == str(file)
    places = [(problem.line, problem.column) for problem in caught.value.problems]
    assert places == sorted(places)
    lines = file.read_bytes().count(b"\n") + 1
    assert all(1 <= line <= lines and column >= 1 for line, column in places)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ContractError, match=f"this file cannot be read: {reason}"):
            load_contract(path)


def test_too_large_a_file_is_not_parsed() -> None:
    assert f"a contract has at most {MAX_BYTES}" in report(b"#" * (MAX_BYTES + 1))


def test_too_many_values() -> None:
    assert f"more than {MAX_NODES} values in this file" in report(b"models: [" + b"a," * (MAX_NODES + 1) + b"]")


def test_deep_nesting_never_reaches_the_recursion_limit() -> None:
    for text in (b"[" * 100_000, b"{a: " * 50_000, b"- " * 100_000, b"? " * 100_000):
        assert "nested deeper than" in report(text)


def test_an_alias_cannot_nest_what_the_composer_saw_flat() -> None:
    levels = "\n".join(f"k{i}: &k{i} [{'*k' + str(i - 1) if i else 1}]" for i in range(40))
    assert "aliases nest deeper than" in report(levels.encode())


def test_long_values_are_cut_in_messages() -> None:
    text = report(b"saliency: " + b"x" * 5000)
    assert "..." in text
    assert max(map(len, text.splitlines())) < 200


def test_reading_runs_no_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    text = f"saliency: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{marker}']]"
    assert "YAML tags are refused" in report(text.encode())
    assert not marker.exists()
