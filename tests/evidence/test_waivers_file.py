"""The file of waivers: read strictly, instants above all; what is wrong with one entry leaves the others alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_saliency.evidence.instants import read_instant, shown_instant
from pytest_saliency.evidence.waiver_file import WaiverFileError, load_waivers, read_waivers, same_person
from pytest_saliency.evidence.waivers import assess, fitness

from .waiving import KEYS, NOW, file_of, record, waiver


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-12-31T00:00:00Z", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31t00:00:00z", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31T00:00:00+00:00", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2028-02-29T23:59:59.999999999Z", datetime(2028, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2016-12-31T23:59:60.9Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_instants_in_utc_are_read_and_never_later_than_written(text: str, instant: datetime) -> None:
    assert read_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T00:00:00Z",
        "2027-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0000-12-31T23:59:60Z",
        "2026-12-31T24:00:00Z",
        "2026-12-31T23:60:00Z",
        "2026-12-31T12:00:60Z",
        "2026-12-30T23:59:60Z",
        "2026-13-31T23:59:60Z",
        "2026-12-31T23:59:61Z",
        "2026-02-30",
        "9999-12-31",
        "0000-01-01",
        "2026-1-31",
        "2026-12-31Z",
        "2026-12-31T00:00Z",
        "2026-12-31T00:00:00",
        "2026-12-31 00:00:00Z",
        "2026-12-31T00:00:00+02:00",
        "9999-12-31T23:59:59-23:59",
        "2026-12-31T00:00:00-00:00",
        "12026-12-31T00:00:00Z",
        "2026-12-31T00:00:00Z\n",
        "２０２６-12-31T00:00:00Z",
        "tomorrow",
        "",
        "never",
    ],
)
def test_anything_else_is_unreadable_and_counts_as_expired(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        read_instant(text)
    written = '"' + text.replace("\n", "\\n") + '"'
    (made,) = assess(read_waivers(file_of(waiver(expires=written)), "w.yaml"), [record()], NOW)
    assert made["state"] == "unreadable"
    assert made["why"].startswith("It counts as expired: 'expires' in waiver 'pilot-site' must be")


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (datetime(2026, 4, 30, 23, 59, 59, tzinfo=UTC), "invalid"),  # not granted yet
        (datetime(2026, 5, 1, tzinfo=UTC), "applies"),
        (datetime(2026, 5, 2, 23, 59, 59, 999999, tzinfo=UTC), "applies"),
        (datetime(2026, 5, 3, tzinfo=UTC), "expired"),
    ],
)
def test_plain_days_are_whole_days_in_utc(now: datetime, state: str) -> None:
    waivers = read_waivers(file_of(waiver(created="2026-05-01", expires="2026-05-02")), "w.yaml")
    (made,) = assess(waivers, [record()], now)
    assert made["state"] == state, made["why"]
    assert (made["created"], made["expires"]) == ("2026-05-01", "2026-05-02")


def test_a_waiver_may_hold_for_one_day_and_not_for_less() -> None:
    one = read_waivers(file_of(waiver(created="2026-05-01", expires="2026-05-01")), "w.yaml")
    assert one.entries[0].problems == ()
    none = read_waivers(file_of(waiver(created="2026-05-02", expires="2026-05-01")), "w.yaml")
    assert "'expires' is not after 'created'" in none.entries[0].problems[0].message


@given(st.text(max_size=40))
def test_no_text_is_read_by_accident(text: str) -> None:
    try:
        instant = read_instant(text)
    except ValueError:
        return
    assert read_instant(shown_instant(instant)) == instant.replace(microsecond=0)


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        (waiver(without=("expires",)), "unreadable"),
        (waiver(expires="20261231"), "unreadable"),
        (waiver(expires=""), "unreadable"),
        (waiver(expires="[2026]"), "unreadable"),
        (waiver(expires="!!timestamp 2026-12-31T00:00:00Z"), "unreadable"),
        (waiver(without=("created",)), "invalid"),
        (waiver(created="2026-05-32T00:00:00Z"), "invalid"),
        (waiver(created="2027-05-01T00:00:00Z"), "invalid"),
        (waiver(without=("approved_by",)), "invalid"),
        (waiver(without=("risk",)), "invalid"),
        (waiver(without=("bound",)), "invalid"),
        (waiver(bound="{}"), "invalid"),
        (waiver(bound="{iou_drop: yes}"), "invalid"),
        (waiver(bound="{iou_drop: .inf}"), "invalid"),
        (waiver(bound="{iou_drop: .nan}"), "invalid"),
        (waiver(bound="{iou_drop: true}"), "invalid"),
        (waiver(bound="{iou_drop: 0.5, iou_drop: 0.9}"), "invalid"),
        (waiver(bound="0.5"), "invalid"),
        (waiver(model="abc"), "invalid"),
        (waiver(model='"*"'), "invalid"),
        (waiver(check='""'), "invalid"),
        (waiver(reason='" "'), "invalid"),
        (waiver(reason='"a\\u202eb"'), "invalid"),
        (waiver(approved_by="ann  LEE"), "invalid"),
        (waiver(approved_by='"Ann\\u00a0L\\u200bee"'), "invalid"),
        (waiver(id="Pilot Site"), "invalid"),
        (waiver(severity="warn"), "invalid"),
        ("  - just text\n", "unreadable"),
        ("  -\n", "unreadable"),
    ],
)
def test_a_problem_in_one_waiver_makes_that_one_worthless_and_leaves_the_other(entry: str, state: str) -> None:
    others = [waiver(id="before"), waiver(id="after")]
    found = read_waivers(file_of(others[0], entry, others[1]), "w.yaml")
    made = assess(found, [record()], NOW)
    assert [one["state"] for one in made] == ["applies", state, "applies"]
    line = 3 + len(others[0].splitlines())
    problems = found.entries[1].problems
    assert problems
    assert all(line <= problem.line < line + len(entry.splitlines()) + 1 for problem in problems)
    assert [one["state"] for one in fitness(found, NOW)] == ["in force", state, "in force"]


def test_a_misspelt_key_is_named_with_its_place_and_the_word_that_was_meant() -> None:
    (entry,) = read_waivers(file_of(waiver(without=("expires",), expiers="2026-12-31T00:00:00Z")), "w.yaml").entries
    told = {f"{problem.line}:{problem.column} {problem.message}" for problem in entry.problems}
    assert "12:5 unknown key 'expiers' in waiver 'pilot-site'; did you mean 'expires'?" in told
    assert any("'expires' is missing in waiver 'pilot-site'" in one for one in told)


def test_two_waivers_of_one_name_are_both_worthless() -> None:
    made = assess(
        read_waivers(file_of(waiver(), waiver(bound="{iou_drop: 0.9}"), waiver(id="x")), "w"), [record()], NOW
    )
    assert [one["state"] for one in made] == ["invalid", "invalid", "applies"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "UTF-8"),
        (b"format: 1\nwaivers: [", "cannot be read as YAML"),
        (b"- a\n", "is a mapping that starts with 'format: 1'"),
        (b"waivers: []\n", "'format' is missing"),
        (b"format: 2\nwaivers: []\n", "1:9  'format' must be 1"),
        (b"format: true\nwaivers: []\n", "'format' must be 1"),
        (b"format: 1\n", "'waivers' must be a list"),
        (b"format: 1\nwaivers: {a: 1}\n", "'waivers' must be a list"),
        (b"format: 1\nwaiver: []\n", "did you mean 'waivers'?"),
        (file_of(waiver()) + b"waivers: []\n", "used twice"),
        (file_of(waiver()) + b"format: 2\n", "used twice"),
        (b"{format: 1, waivers: [{id: a, id: b}]}", "used twice"),
        (file_of(waiver(bound="&b {iou_drop: 0.5}"), waiver(id="two", bound="*b")), "alias"),
        (file_of(waiver()) + b"---\nformat: 1\n", "one YAML document"),
        (b"%TAG ! x\n---\nformat: 1\n", "directives"),
        (b"a: " + b"[" * 100, "nested deeper"),
        (b"#" * 600_000, "bytes"),
    ],
)
def test_a_file_that_is_no_file_of_waivers_is_one_error_and_excuses_nothing(content: bytes, said: str) -> None:
    with pytest.raises(WaiverFileError) as caught:
        read_waivers(content, "w.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("w.yaml cannot be used as a file of waivers, and nothing is excused by it:\n")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WaiverFileError, match=r"cannot be read: .*w.yaml: No such file"):
        load_waivers(tmp_path / "w.yaml")
    with pytest.raises(WaiverFileError, match="cannot be read"):
        load_waivers(tmp_path)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_crash(content: bytes) -> None:
    for head in (b"", b"format: 1\nwaivers:\n  - "):
        try:
            found = read_waivers(head + content, "w.yaml")
        except WaiverFileError:
            continue
        assert all(one["state"] != "applies" for one in assess(found, [record()], NOW))


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), st.text(max_size=30), max_size=3))
def test_odd_values_never_excuse_more(changes: dict[str, str]) -> None:
    quoted = {
        key: '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"' for key, value in changes.items()
    }
    try:
        found = read_waivers(file_of(waiver(**quoted)), "w.yaml")
    except WaiverFileError:
        return
    (made,) = assess(found, [record()], NOW)
    harmless = {"id", "reason", "risk", "requested_by", "approved_by"}
    assert made["state"] != "applies" or set(changes) <= harmless or not changes


def test_the_words_are_those_of_this_file_and_not_of_a_contract() -> None:
    for content in (b"", b"#" * 600_000, file_of(waiver()) + b"---\na: 1\n", b"a: " + b"[" * 100):
        with pytest.raises(WaiverFileError) as caught:
            read_waivers(content, "w.yaml")
        assert "contract" not in str(caught.value)
    with pytest.raises(WaiverFileError, match="a file of waivers starts with 'format: 1'"):
        read_waivers(b"", "w.yaml")


def test_nothing_in_it_can_write_on_a_terminal() -> None:
    nasty = '"a\\x9b2J\\u202eb\\u2028c"'
    text = file_of(waiver(id=nasty), waiver(check=nasty), waiver(expires=nasty), waiver(**{"rea\u202eson": "x"}))
    made = assess(read_waivers(text, "w.yaml"), [record()], NOW)
    assert {one["state"] for one in made} == {"invalid", "unreadable"}
    for one in made:
        said = [one["id"], one["why"], *one["problems"]]
        assert all(line.isprintable() for line in said), said


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ann Lee", "ann lee", True),
        ("Ann Lee", "AnnLee", True),
        ("Ann Lee", "Ａｎｎ Lee", True),
        ("STRASSE", "straße", True),
        ("Ann Lee", "Ann\u200b Lee\t", True),
        ("Ann Lee", "Anna Lee", False),
    ],
)
def test_spelling_makes_no_second_person(one: str, other: str, same: bool) -> None:
    assert same_person(one, other) is same
