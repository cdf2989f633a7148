"""The report in a real Chromium: quiet, asking for nothing, as wide as the screen, and all of it on paper."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures.records import hostile_document, sample_document, with_gallery
from pytest_saliency.report.html import pictures_below, render_html

from .browser import Browser, chromium

LOOKS = [(1280, False), (1280, True), (360, False), (360, True)]
WIDER = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll') && !one.closest('svg')
    && !(one.closest('thead') && getComputedStyle(one.closest('thead')).position === 'absolute')
    && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 120))"""

BROKEN = """[...document.querySelectorAll('.measures td.number')].filter(one => {
    const range = document.createRange(); range.selectNodeContents(one);
    return new Set([...range.getClientRects()].map(box => Math.round(box.bottom))).size > 1;
}).map(one => one.innerText)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of every kind and verdict, with pictures of the failed ones."""
    root = tmp_path_factory.mktemp("report")
    document = sample_document()
    decided = [record["decision"] is not None for record in document["records"]]
    document["records"] = [
        with_gallery(record, root) if had else record for record, had in zip(document["records"], decided, strict=True)
    ]
    path = root / "report.html"
    path.write_text(render_html(document, pictures_below(root)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of names that attack, and of names of 10,000 characters."""
    document = hostile_document()
    for record in document["records"][:4]:
        endless = "W" * 10_000
        record |= {"headline": endless, "requirement": endless, "check": endless, "node": f"a::{endless}"}
        if record["decision"] is not None:
            record["method"]["name"] = record["cases"]["source"] = endless
            record["worst"][0] |= {"id": endless, "label": endless, "values": {endless: 1.0}}
            record["criterion"][endless] = endless
            record["decision"]["notes"] = [endless]
    document["run"]["command"] = document["run"]["platform"] = "V" * 10_000
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    path.write_text(render_html(document, lambda path: None), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["report", "hostile"])
def file(request: pytest.FixtureRequest) -> Path:
    made: Path = request.getfixturevalue(request.param)
    return made


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_it_is_quiet_asks_for_nothing_and_fits(browser: Browser, file: Path, width: int, dark: bool) -> None:
    page = browser.open(file, width, dark=dark)
    try:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.requests() == []
        assert page.complaints() == []
        assert page.evaluate("document.scripts.length") == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(WIDER) == []
    finally:
        page.close()


def test_no_number_of_a_table_is_broken_over_two_lines(browser: Browser, report: Path) -> None:
    page = browser.open(report, 1280)
    try:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.querySelectorAll('.measures td.number').length") > 20
        assert page.evaluate(BROKEN) == []
    finally:
        page.close()


def test_the_browser_would_have_noticed(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!DOCTYPE html><title>bad</title><div style='width:2000px'>wide</div>"
        "<img src='http://example.invalid/a.png'><script>console.error('loud')</script>",
        encoding="utf-8",
    )
    page = browser.open(bad, 360)
    assert page.requests() == ["http://example.invalid/a.png"]
    assert any("loud" in said for said in page.complaints())
    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.documentElement.scrollWidth") > 360
    page.close()


def test_the_policy_keeps_what_should_not_be_there_from_running(browser: Browser, report: Path, tmp_path: Path) -> None:
    """Were markup to get in all the same, the policy of the page is what stops it."""
    text = report.read_text(encoding="utf-8")
    planted = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    planted += "<img src='http://example.invalid/a.png'>"
    path = tmp_path / "planted.html"
    path.write_text(text.replace("<main>", f"<main>{planted}"), encoding="utf-8")
    page = browser.open(path)
    assert page.evaluate("document.title") != "taken"
    assert page.complaints()
    page.close()


def test_every_picture_is_seen(browser: Browser, report: Path) -> None:
    page = browser.open(report)
    seen = page.evaluate("[...document.images].map(one => one.complete && one.naturalWidth > 0)")
    assert len(seen) > 10
    assert all(seen)
    page.close()


def test_what_passed_folds_out_without_script(browser: Browser, report: Path) -> None:
    page = browser.open(report)
    seen = "document.querySelector('details.pass .headline').checkVisibility()"
    assert page.evaluate(seen) is False
    page.evaluate("document.querySelector('details.pass summary').click()")
    assert page.evaluate(seen) is True
    page.close()


def test_printed_it_has_every_page_and_folded_checks_too(browser: Browser, report: Path, tmp_path: Path) -> None:
    page = browser.open(report)
    content = page.pdf()
    assert page.complaints() == []
    page.close()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") + content.count(b"/Type /Page/") > 3
    tool = shutil.which("pdftotext")
    if tool is None:
        return
    path = tmp_path / "report.pdf"
    path.write_bytes(content)
    done = subprocess.run([tool, "-layout", str(path), "-"], capture_output=True, text=True, check=True)
    text = " ".join(done.stdout.split())
    for word in ("No release", "NOT RUN", "How to read this report", "What PASS rests on"):
        assert word in text
    folded = next(one for one in sample_document()["records"] if one["verdict"] == "PASS")
    assert folded["seed"] in text, "what is folded on the screen is printed all the same"


def colours(path: Path) -> set[tuple[int, int, int]]:
    with Image.open(path) as picture:
        shown = picture.convert("RGB")
        found = shown.getcolors(shown.width * shown.height)
    assert found is not None
    return {pixel for _, pixel in found if isinstance(pixel, tuple)}


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_it_is_light_or_dark_as_the_reader_wants(
    browser: Browser, report: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    page = browser.open(report, width, dark=dark)
    path = page.screenshot(tmp_path / "seen.png")
    with Image.open(path) as picture:
        assert picture.width == width
        corner = picture.convert("L").getpixel((2, 2))
    assert isinstance(corner, int)
    assert corner < 60 if dark else corner > 230
    assert len(colours(path)) > 20
    page.close()


def test_verdicts_differ_without_any_colour(browser: Browser, report: Path, tmp_path: Path) -> None:
    """Each verdict's sign is another shape, seen by one who sees no colour."""
    page = browser.open(report, grey=True)
    shapes: dict[str, Any] = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.counts .badge')]"
        ".map(one => [one.textContent.trim(), one.querySelector('svg').innerHTML]))"
    )
    assert len(shapes) == len(set(shapes.values())) == 5
    for red, green, blue in colours(page.screenshot(tmp_path / "grey.png")):
        assert max(red, green, blue) - min(red, green, blue) <= 3
    page.close()


def test_without_a_browser_it_is_skipped_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("SALIENCY_NEEDS_CHROMIUM", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium here"):
        chromium()
    monkeypatch.setenv("SALIENCY_NEEDS_CHROMIUM", "1")
    with pytest.raises(pytest.fail.Exception, match="no Chromium here"):
        chromium()
