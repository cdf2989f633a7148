"""Which files the report reads, and what stands where it does not."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.records import sample_document, sample_record, with_gallery
from pytest_saliency.errors import SaliencyError
from pytest_saliency.report.html import pictures_below, render_html
from pytest_saliency.report.html.pictures import LARGEST, shown_tile
from pytest_saliency.report.html.plots import problem_of

from .html_page import read

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def tile(path: str, content: bytes = PNG, **changes: Any) -> dict[str, Any]:
    made = {
        "title": "image",
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "media": "image/png",
        "width": 1,
        "height": 1,
        "word": "",
        "slice": "",
        "alt": "a picture",
    }
    return {**made, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, and a secret beside it."""
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "sub" / "a.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    return inside


def test_a_picture_that_is_there_is_shown(folder: Path) -> None:
    shown = shown_tile(tile("sub/a.png"), pictures_below(folder))
    assert shown.source == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert shown.problem == ""


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../secret.png", "leads out of the folder"),
        ("sub/../../secret.png", "leads out of the folder"),
        ("sub/../sub/a.png", "leads out of the folder"),
        ("link.png", "leads out of the folder"),
        ("linked/secret.png", "leads out of the folder"),
        ("/etc/hostname", "leads out of the folder"),
        ("C:\\secret.png", "not one below the folder"),
        ("\\\\server\\share\\a.png", "not one below the folder"),
        ("..\\secret.png", "not one below the folder"),
        ("", "leads out of the folder"),
        ("sub/a.png\0.txt", "leads out of the folder"),
        ("sub", "it is not a file"),
        ("pipe", "it is not a file"),
        ("gone.png", "there is no such file"),
        ("sub/a.png/more", "there is no such file"),
        ("loop", ""),
        ("x" * 5000, ""),
    ],
)
def test_what_is_not_below_the_folder_is_said_and_not_read(folder: Path, path: str, reason: str) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    shown = shown_tile(tile(path), pictures_below(folder))
    assert shown.source == ""
    assert shown.problem.startswith("Picture ")
    assert reason in shown.problem
    assert len(shown.problem) < 400


def test_a_link_that_stays_inside_is_followed(folder: Path) -> None:
    (folder / "b.png").symlink_to(folder / "sub" / "a.png")
    assert shown_tile(tile("b.png"), pictures_below(folder)).source


def test_an_absolute_path_is_read_below_a_folder_of_our_own_only(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "cache"
    own.mkdir()
    (own / "a.png").write_bytes(PNG)
    read_picture = pictures_below(folder, own)
    assert read_picture(str(own / "a.png")) == PNG
    for path in (folder / "sub" / "a.png", tmp_path / "secret.png", own / ".." / "secret.png"):
        with pytest.raises(SaliencyError, match="leads out"):
            read_picture(str(path))


@pytest.mark.parametrize(
    ("content", "changes", "reason"),
    [
        (PNG + b"\0", {}, "not the picture of this run"),
        (b"<svg onload='alert(1)'/>", {"media": "image/svg+xml"}, "not the PNG or JPEG picture"),
        (b"<script>", {}, "not the PNG or JPEG picture"),
        (PNG, {"media": "text/html"}, "not the PNG or JPEG picture"),
        (PNG, {"media": 'image/png"><script>'}, "not the PNG or JPEG picture"),
        (b"\0" * (LARGEST + 1), {}, "larger than"),
    ],
)
def test_only_the_recorded_picture_is_shown(folder: Path, content: bytes, changes: dict[str, Any], reason: str) -> None:
    (folder / "b.png").write_bytes(content)
    wanted = tile("b.png", PNG if content.startswith(PNG) else content, **changes)
    shown = shown_tile(wanted, pictures_below(folder))
    assert shown.source == ""
    assert reason in shown.problem


def test_a_missing_picture_is_a_sentence_in_the_report(tmp_path: Path) -> None:
    record = with_gallery(sample_record("no_semantic_drift", "FAIL"), tmp_path)
    first = record["gallery"][0]["tiles"][0]["path"]
    (tmp_path / first).unlink()
    (tmp_path / record["gallery"][0]["tiles"][1]["path"]).write_bytes(PNG)
    page = read(render_html(sample_document([record]), pictures_below(tmp_path)))
    said = [one.text for one in page.all("p", cls="missing")]
    assert said[0] == f"Picture {first} is not shown: there is no such file."
    assert len(said) == 2
    assert "its SHA-256 is another one" in said[1] or "not the PNG or JPEG" in said[1]


# Plots


def svg(inside: str, attributes: str = "") -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{inside}</svg>'


@pytest.mark.parametrize(
    "text",
    [
        svg("<rect width='1' height='1' fill='var(--ink, #111)'/>"),
        svg("<defs><clipPath id='a'><path d='M0 0'/></clipPath></defs><g clip-path='url(#a)'/>"),
        svg("<!-- a < b --><text>5 &lt; 6 javascript</text>"),
    ],
)
def test_a_drawing_is_let_through(text: str) -> None:
    assert problem_of(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        svg("<script>alert(1)</script>"),
        svg("<foreignObject><body xmlns='http://www.w3.org/1999/xhtml'/></foreignObject>"),
        svg("<rect onload='alert(1)'/>"),
        svg("", "onload='alert(1)'"),
        svg("<a href='https://example.org'><text>x</text></a>"),
        svg("<image href='https://example.org/a.png'/>"),
        svg("<use href='other.svg#a'/>"),
        svg("<rect fill='url(https://example.org/a)'/>"),
        svg("<style>@import 'https://example.org/a.css';</style>"),
        svg("<style>rect { fill: url('https://example.org/a') }</style>"),
        svg("<animate attributeName='href' to='javascript:alert(1)'/>"),
        "<!DOCTYPE svg [<!ENTITY a 'b'>]>" + svg("&a;"),
        "<p>no svg</p>",
        svg("<g>")[:-3],
        "",
    ],
)
def test_what_does_more_than_draw_is_not(text: str) -> None:
    assert problem_of(text)


def test_pixels_in_a_plot_count_as_pixels() -> None:
    drawn = svg("<image href='data:image/png;base64,AAAA'/>")
    assert problem_of(drawn, pixels=True) == ""
    assert problem_of(drawn, pixels=False)
