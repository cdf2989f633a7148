"""Whatever bytes a contract holds, reading it gives a contract or a ContractError."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_saliency.contracts.contract import parse_contract
from pytest_saliency.errors import ContractError

GOOD = [
    file.read_text(encoding="utf-8")
    for file in sorted((Path(__file__).parents[2] / "fixtures" / "contracts" / "good").glob("*.yaml"))
]
SCALARS = (
    "~",
    "null",
    "true",
    "no",
    "0",
    "-1",
    ".nan",
    "1e999",
    "0x1",
    "''",
    '"\\0"',
    "case",
    "explicit",
    "2027-02-30",
)
SYNTAX = ("[]", "{}", "[[]]", "{a: b}", "&x", "*x", "!!str", "<<:", "---", "%YAML", "?", "|", ">", "@", "`", "\t", "\n")
KEYS = ("fixture:", "checks:", "models:", "cases:", "classes:", "args:", "before:", "sample:")
WORDS = st.sampled_from(SCALARS + SYNTAX + KEYS + ("\x00", "\ud7ff", "\ufeff"))
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def read(content: bytes) -> None:
    try:
        contract = parse_contract(content, Path("x"))
    except ContractError as error:
        problems = error.problems
    else:
        assert contract.checks
        contract.resolved()
        return
    assert problems
    for problem in problems:
        assert problem.message == problem.message.strip()
        assert "\n" not in problem.message
        assert problem.line >= 1
        assert problem.column >= 1


@QUIET
@given(st.binary(max_size=200))
def test_bytes(content: bytes) -> None:
    read(content)


@QUIET
@given(st.text(max_size=200))
def test_text(text: str) -> None:
    read(text.encode("utf-8", "surrogatepass"))


@QUIET
@given(st.data())
def test_mutated_contracts(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(GOOD))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        text = text[:start] + data.draw(WORDS | st.text(max_size=4)) + text[start + length :]
    read(text.encode("utf-8", "surrogatepass"))


@QUIET
@given(st.data())
def test_values_swapped_for_others(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(GOOD)).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        i = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[i].partition(": ")
        lines[i] = key + (colon + data.draw(WORDS) if colon else "")
    read("\n".join(lines).encode())
