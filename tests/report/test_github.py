"""Job summary and annotations: what GitHub's own Markdown and a runner's parser make of them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fixtures.records import HOSTILE, hostile_document, sample_document, sample_record, sample_waiver
from pytest_saliency.report.escape import command_data, command_property, log_line, markdown_text, one_line
from pytest_saliency.report.github import SHOWN, SUMMARY_BYTES, annotation_lines, remarks_on
from pytest_saliency.report.github_file import append_summary
from pytest_saliency.report.markdown import render_markdown

ALLOWED = {
    "p", "strong", "ul", "li", "h2", "h3", "table", "thead", "tbody", "tr", "th", "td", "br",
}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text = ""
        self.cells: list[str] = []
        self.columns: set[int] = set()
        self._row = 0
        self._inside = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)
        if tag in ("td", "th"):
            self.cells.append("")
            self._row += 1
            self._inside = True
        if tag == "br":
            self.cells[-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")
        if tag == "tr":
            self.columns.add(self._row)
            self._row = 0

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside:
            self.cells[-1] += data


def page_of(markdown: str) -> Page:
    """Render as GitHub does, with raw HTML let through, which GitHub would filter."""
    return Page(cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE))


def runner(line: str) -> tuple[str, dict[str, str], str] | None:
    """Read a line as the runner does: trimmed, "::name key=value,key=value::message", escapes undone in its order."""
    line = line.lstrip()
    end = line.find("::", 2)
    if not line.startswith("::") or end < 0:
        return None
    name, _, rest = line[2:end].partition(" ")
    undone = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}
    properties = {}
    for pair in filter(None, rest.strip().split(",")):
        key, _, value = pair.partition("=")
        for word, letter in undone.items():
            value = value.replace(word, letter)
        properties[key] = value
    message = line[end + 2 :]
    for word, letter in undone.items():
        message = message.replace(word, letter) if letter not in ":," else message
    return name, properties, message


@pytest.mark.parametrize(
    ("letter", "data", "value"),
    [
        ("%", "%25", "%25"),
        ("\r", "%0D", "%0D"),
        ("\n", "%0A", "%0A"),
        (":", ":", "%3A"),
        (",", ",", "%2C"),
        ("%0A", "%250A", "%250A"),
        ("::error::", "::error::", "%3A%3Aerror%3A%3A"),
        ("a=b;]", "a=b;]", "a=b;]"),
        ("é", "é", "é"),
    ],
)
def test_what_the_runner_must_have_escaped(letter: str, data: str, value: str) -> None:
    assert (command_data(letter), command_property(letter)) == (data, value)


@given(st.text(), st.text().map("x{}x".format))  # the runner trims spaces at both ends
def test_the_runner_reads_what_was_said(message: str, title: str) -> None:
    line = f"::error title={command_property(title)}::{command_data(message)}"
    assert len(re.split("[\r\n]", line)) == 1
    assert runner(line) == ("error", {"title": title}, message)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("\\`*_{}[]()#+-.!|~<>&;:@/'\"=$^w x1\n\t\r\u202e\x1b\u2028é"), max_size=40))
@example("www.example.com")
@example("WWW.example.com wwww.a.b")
@example("https://example.com/a?b=c")
@example("mail@example.com mailto:a@b.c xmpp:a@b.c/d")
@example("@someone #12 &copy; &#x41; $x$ :smile:")
@example("|a|b|\\|")
@example("<!-- --><b>x</b><!-- ")
@example("- x\n> y\n# z\n```\n~~~\n---\n===")
def test_any_text_is_shown_and_nothing_else(text: str) -> None:
    shown = markdown_text(text)
    for around in (f"- **x** {shown}: y\n", f"| a | b |\n| --- | --- |\n| {shown} | end |\n"):
        page = page_of(around)
        assert page.tags <= {"ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td"}
        assert one_line(text) in page.text.replace("\n", " ") or not one_line(text).strip()
        assert page.columns <= {2}


def test_numbers_and_times_can_be_read_without_a_renderer() -> None:
    for text in ("mean IoU drop 0.05 [0.05, 0.07]", "<= 0.40", "moved: 2 of 3", "2026-03-02T08:04:30", "iou_drop"):
        assert markdown_text(text) == text
    assert markdown_text("a_ _b :x: [a](0) <b> http://a.b") != "a_ _b :x: [a](0) <b> http://a.b"


def test_nothing_hostile_gets_into_the_page() -> None:
    page = page_of(render_markdown(hostile_document()))
    assert page.tags <= ALLOWED
    assert page.attributes <= {("align", "right")}
    assert page.columns == {3, 6}
    text = page.text
    for word in HOSTILE[:3]:
        assert one_line(word) in text  # shown as it is
    assert not re.search("[\u202e\u2028\x00\x1b\x07]", text)


def test_a_hostile_run_gives_only_our_commands() -> None:
    document = hostile_document()
    document["waivers"] = [{**waiver, "state": "expired"} for waiver in document["waivers"]]
    lines = annotation_lines(document)
    levels = []
    for line in lines:
        assert not re.search("[\x00-\x1f\x7f\u2028\u202e]", line)
        read = runner(line)
        assert read is not None
        level, properties, message = read
        levels.append(level)
        assert set(properties) <= {"file", "line", "title"}
        assert message
    verdicts = [record["verdict"] for record in document["records"]]
    assert levels.count("error") == verdicts.count("FAIL") + verdicts.count("ERROR")
    assert levels.count("warning") == verdicts.count("INCONCLUSIVE") + len(document["waivers"])


def test_a_class_name_cannot_give_a_command() -> None:
    record = sample_record("class_sensitive", "FAIL", headline="class 'x\n::stop-commands::t\r\n::add-mask::a' is bad")
    (line,) = annotation_lines(sample_document([record]))
    assert line.count("\n") == line.count("\r") == 0
    assert line.startswith("::error ")


@given(st.text(alphabet=st.sampled_from(":#[] \n\r\t\x0b\x85\u2028\u3000ab"), max_size=12))
@example("::error::x")
@example("\u2003::error::x")
@example("###[error]x")
@example(":::error::x")
@example("\n::error::x")
def test_a_line_of_the_log_is_no_command(text: str) -> None:
    shown = log_line(text)
    assert runner(shown) is None
    assert "##[" not in shown
    assert len(re.split("[\r\n]", shown)) == 1
    # Controls become spaces, one for one; then spaces are put between what could be a command, and nothing is lost.
    assert [one for one in shown if one in ":#[]ab"] == [one for one in text if one in ":#[]ab"]


def test_annotations_stand_at_the_limit_that_does_not_hold() -> None:
    record = sample_record("no_semantic_drift", "FAIL")
    record["source"] |= {"line": 24, "lines": {"id": 24, "max_iou_drop": 29, "max_displacement": 30}}
    record["decision"]["measures"]["drifted_share"]["verdict"] = "PASS"
    (line,) = annotation_lines(sample_document([record]), "sub/")
    read = runner(line)
    assert read is not None
    assert read[0] == "error"
    assert read[1]["file"] == "sub/contracts/chest.saliency.yaml"
    assert read[1]["line"] == "29"
    assert read[1]["title"] == "chest/evidence-kept[layercam]: FAIL"
    assert read[2].startswith("evidence-kept: the model looks elsewhere: mean IoU drop ")


@pytest.mark.parametrize(
    ("verdict", "policy", "level"),
    [
        ("FAIL", {}, "error"),
        ("ERROR", {}, "error"),
        ("INCONCLUSIVE", {}, "warning"),
        ("FAIL", {"severity": "warn"}, "warning"),
        ("FAIL", {"known_failure": {"reason": "r", "expires": "2026-12-31"}}, "warning"),
        ("FAIL", {"known_failure": {"reason": "r", "expires": "2020-12-31", "expired": True}}, "error"),
        ("PASS", {}, None),
        ("NOT_RUN", {}, None),
    ],
)
def test_levels(verdict: str, policy: dict[str, Any], level: str | None) -> None:
    record = sample_record("no_semantic_drift", verdict)
    record["policy"] = {**record["policy"], **policy}
    assert [remark.level for remark in remarks_on(sample_document([record]))] == ([level] if level else [])


@pytest.mark.parametrize("state", ["applies", "expired", "unreadable", "lapsed", "other model", "unused", "invalid"])
def test_waivers_that_excuse_nothing_are_warned_of(state: str) -> None:
    record = sample_record("no_semantic_drift", "FAIL")
    document = sample_document([record], waivers=[sample_waiver(record, state=state)])
    assert [remark.level for remark in remarks_on(document)] == ["error", *(["warning"] if state != "applies" else [])]


def test_what_github_would_drop_is_told() -> None:
    record = sample_record("no_semantic_drift", "FAIL")
    records = [{**record, "node": f"a.saliency.yaml::c{i:02d}", "check": f"c{i:02d}"} for i in range(25)]
    lines = annotation_lines(sample_document(records))
    assert len(lines) == SHOWN
    assert "16 more errors are not shown" in lines[-1]  # 9 and 16 are 25
    assert len(annotation_lines(sample_document(records[:SHOWN]))) == SHOWN
    assert "not shown" not in annotation_lines(sample_document(records[:SHOWN]))[-1]


def test_the_page_says_what_failed_first() -> None:
    document = sample_document()
    page = page_of(render_markdown(document))
    checks = [cell for cell in page.cells if cell.startswith("chest/")]
    verdicts = [page.cells[page.cells.index(cell) + 2] for cell in checks]
    order = ["FAIL", "ERROR", "INCONCLUSIVE", "NOT RUN", "PASS"]
    assert sorted(verdicts) == sorted(record["verdict"].replace("_", " ") for record in document["records"])
    assert verdicts == sorted(verdicts, key=order.index)
    for record in document["records"]:
        if record["verdict"] != "PASS":
            assert record["headline"] in page.text
        for subject in (record.get("subjects") or {}).values():
            assert subject["weights_sha256"] in page.text
    red = len(verdicts) - verdicts.count("PASS")
    assert f"Explanation checks: {red} of {len(verdicts)} did not pass" in page.text
    assert "Release decision: no release" in page.text


def test_a_row_of_the_table() -> None:
    record = sample_record("no_semantic_drift", "FAIL")
    measure = record["decision"]["measures"]["iou_drop"]
    page = page_of(render_markdown(sample_document([record])))
    row = page.cells[page.cells.index("chest/evidence-kept[layercam]") :][:6]
    assert row[1:3] == ["layercam", "FAIL"]
    shown = re.search(r"mean IoU drop (\S+) \[(\S+), (\S+)\]", row[3])
    assert shown is not None
    for text, value in zip(
        shown.groups(), (measure["estimate"], measure["interval"]["low"], measure["interval"]["high"]), strict=True
    ):
        assert float(text) == pytest.approx(value, abs=5e-3)
    assert "<= 0.40" in row[4].split("\n")
    assert int(row[5]) == record["decision"]["n"]


def test_a_waived_failure_is_still_a_failure() -> None:
    record = sample_record("no_semantic_drift", "FAIL")
    waived = sample_document([record], waivers=[sample_waiver(record, nodes=[record["node"]])])
    text = page_of(render_markdown(waived)).text
    assert "(waived by W-2026-01)" in text
    assert "1 FAIL" in text
    assert "Release decision: release with waivers" in text


def test_a_run_of_nothing_is_not_green() -> None:
    text = page_of(render_markdown(sample_document([]))).text
    assert "Explanation checks: none ran" in text
    assert "no release" in text


def big(count: int) -> dict[str, Any]:
    record = sample_record("no_semantic_drift", "FAIL")
    return sample_document(
        [{**record, "node": f"a.saliency.yaml::c{i:05d}", "check": f"c{i:05d}"} for i in range(count)]
    )


def test_the_page_stays_below_the_limit_and_says_what_is_missing() -> None:
    document = big(2500)
    whole = render_markdown(document)
    assert len(whole.encode()) > SUMMARY_BYTES
    page = render_markdown(document, SUMMARY_BYTES)
    assert SUMMARY_BYTES * 0.95 < len(page.encode()) <= SUMMARY_BYTES
    last = page.strip().splitlines()[-1]
    found = re.match(r"(?:(\d+) headlines, )?(\d+) checks(?:, .*)?: left out here, as GitHub shows no more", last)
    assert found is not None
    rows = sum(line.startswith("| chest/c") for line in page.splitlines())
    assert rows + int(found[2]) == 2500
    headlines = sum(line.startswith("- **FAIL**") for line in page.splitlines())
    assert headlines + int(found[1] or 0) == 2500
    assert page_of(page).columns <= {3, 6}  # no row is cut


@pytest.mark.parametrize("limit", [-5, 0, 10, 500, 900, 1500, 3000, 10_000])
def test_any_limit_is_kept(limit: int) -> None:
    document = big(40)
    page = render_markdown(document, limit)
    assert len(page.encode()) <= max(limit, 0)
    assert not page or "left out here" in page


def test_the_summary_is_appended(tmp_path: Any) -> None:
    target = tmp_path / "summary.md"
    target.write_text("from an earlier step", encoding="utf-8")
    document = sample_document()
    assert append_summary(document, str(target)) == [f"job summary appended to {target}"]
    assert target.read_text(encoding="utf-8") == f"from an earlier step\n{render_markdown(document)}"


def test_what_is_there_already_counts(tmp_path: Any) -> None:
    target = tmp_path / "summary.md"
    target.write_bytes(b"x" * (SUMMARY_BYTES - 3000))
    append_summary(big(40), str(target))
    assert target.stat().st_size <= SUMMARY_BYTES
    assert "left out here" in target.read_text(encoding="utf-8")
    target.write_bytes(b"x" * (SUMMARY_BYTES - 10))
    (line,) = append_summary(big(40), str(target))
    assert line.startswith("no job summary: ")
    assert target.stat().st_size == SUMMARY_BYTES - 10


def test_outside_of_github(tmp_path: Any) -> None:
    for target in (None, ""):
        (line,) = append_summary(sample_document(), target)
        assert "GITHUB_STEP_SUMMARY is not set" in line
