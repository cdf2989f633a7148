"""Whatever a record holds, a plot is well-formed, static and finite, or not there."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.records import HOSTILE, hostile_document, sample_document, sample_record
from pytest_saliency.report.plots.axes import Scale, labels, nice_range, ticks
from pytest_saliency.report.plots.histogram import Marks, Series, counted, histogram
from pytest_saliency.report.plots.plot import Plot, plot_name
from pytest_saliency.report.plots.registry import plots_of
from pytest_saliency.report.plots.standalone import DARK, standalone
from pytest_saliency.report.plots.svg import TONES, WIDTH, coordinate, plain, text, width_of, wrapped
from tests.report.drawn import SVG, Read

ELEMENTS = {"svg", "title", "desc", "style", "g", "path", "rect", "circle", "text"}
RECORDS = [
    sample_record("class_sensitive", groups=True, clusters=True, n=90),
    sample_record("faithful", "PASS", curves=True, against=("random",), undefined=1),
    sample_record("no_semantic_drift", "FAIL", undefined=2),
]


def check(plot: Plot, svg: str | None = None) -> None:
    """Hold one plot to every rule that does not depend on its numbers."""
    markup = plot.svg if svg is None else svg
    root = ElementTree.fromstring(markup)
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= ELEMENTS
    assert root.get("role") == "img"
    assert [one.tag.removeprefix(SVG) for one in root][:3] == ["title", "desc", "style"]
    assert root[0].text == plot.title
    assert root[1].text == plot.alt
    assert len(root.findall(f".//{SVG}style")) <= (1 if svg is None else 2)
    height = float(root.get("viewBox", "").split()[3])
    for one in root.iter():
        for key, value in one.attrib.items():
            assert not key.lower().startswith("on")
            assert "href" not in key
            assert key not in ("id", "style")
            if key in ("x", "y", "cx", "cy", "r", "width", "height", "x1", "d", "viewBox", "transform", "stroke-width"):
                assert not re.search("nan|inf", value, re.IGNORECASE), (key, value)
            if key in ("x", "cx"):
                assert 0.0 <= float(value) <= WIDTH
            if key in ("y", "cy"):
                assert 0.0 <= float(value) <= height
            if key in ("width", "height"):
                assert float(value) >= 0.0
        assert not re.search(
            r"url\(|@import|expression|javascript", "".join(one.itertext()) if one.tag == f"{SVG}style" else ""
        )
    assert re.fullmatch(r"[A-Za-z0-9+_-]{1,80}", plot.name)
    assert plain(plot.alt, 4000) == plot.alt
    assert not re.search(r"\b(nan|inf)\b", plot.alt, re.IGNORECASE)


def test_every_plot_of_the_samples_keeps_the_rules_and_is_the_same_every_time() -> None:
    first, second = sample_document(), sample_document()
    for one, two in zip(first["records"], second["records"], strict=True):
        plots = plots_of(one)
        assert plots == plots_of(two)
        assert bool(plots) == (one["decision"] is not None)
        for plot in plots:
            check(plot)
            check(plot, standalone(plot, one["node"]))


def test_names_that_try_to_be_markup_stay_text() -> None:
    records = hostile_document()["records"]
    for number, record in enumerate(records):
        if record["decision"] is None:
            continue
        word = HOSTILE[number % len(HOSTILE)]
        record["subjects"] = {role: {**one, "layer": word} for role, one in record["subjects"].items()}
        columns = record["per_image"]
        for name in list(columns):
            if name.endswith("[blur]"):
                columns[name.replace("[blur]", f"[{word}]")] = columns.pop(name)
        if record["kind"] == "faithful" and record["inputs"]["curves"]:
            curves = record["inputs"]["curves"]
            curves[word] = curves.pop("blur")
        for plot in plots_of(record):
            check(plot)
            alone = standalone(plot, word)
            check(plot, alone)
            assert "<script" not in alone
            assert "onload=alert" not in re.sub(r">[^<]*<", "><", alone), "only ever between tags, as text"


@pytest.mark.parametrize("word", HOSTILE)
def test_a_hostile_line_of_text_is_one_text_element(word: str) -> None:
    root = ElementTree.fromstring(f"<g>{text(1, 2, word)}</g>")
    (one,) = root
    assert one.text == plain(word, 200)
    assert len(one) == 0
    assert re.fullmatch(r"[A-Za-z0-9+_-]+", plot_name("curves", word))


def test_names_are_not_shared_by_two_texts() -> None:
    assert plot_name("a", "b/c") != plot_name("a", "b c")
    assert plot_name("a", "blur") == "a-blur"


PLACES = [
    ("per_image",),
    ("inputs",),
    ("inputs", "curves"),
    ("inputs", "curves", "blur"),
    ("inputs", "curves", "blur", "deletion"),
    ("inputs", "curves", "blur", "shares"),
    ("inputs", "curves", "blur", "n"),
    ("inputs", "channels"),
    ("decision",),
    ("decision", "measures"),
    ("decision", "measures", "agreement"),
    ("decision", "measures", "iou_drop"),
    ("decision", "measures", "iou_drop", "limit"),
    ("decision", "measures", "iou_drop", "side"),
    ("decision", "measures", "iou_drop", "interval"),
    ("decision", "measures", "agreement", "interval", "low"),
    ("decision", "measures", "advantage[blur]", "limit"),
    ("everyone",),
    ("everyone", "label"),
    ("cases", "classes"),
    ("worst",),
    ("gallery",),
    ("subjects",),
    ("kind",),
    *(
        ("per_image", name)
        for name in (
            "agreement",
            "self_agreement",
            "active_channels",
            "cluster",
            "label",
            "block",
            "status",
            "drops[blur]",
            "softmax_drop[mean]",
            "drop_of_random[blur]",
            "iou_drop",
            "displacement",
            "correlation",
            "concentration_change",
        )
    ),
]
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.sampled_from([0, 1, -1, 0.5, 1e308, 5e-324, 1e-300, True]),
)
JUNK = st.one_of(
    st.none(),
    NUMBERS,
    st.text(max_size=5),
    st.lists(st.one_of(st.none(), NUMBERS, st.text(max_size=2), st.lists(NUMBERS, max_size=4)), max_size=6),
    st.dictionaries(
        st.sampled_from(["low", "blur", "n", "shares", "limit", "drops[]", "drops[x]"]), NUMBERS, max_size=3
    ),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.sampled_from(RECORDS), st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
def test_a_damaged_record_never_breaks_a_plot(
    record: dict[str, Any], damage: list[tuple[tuple[str, ...], Any]]
) -> None:
    changed = copy.deepcopy(record)
    for place, junk in damage:
        inside: Any = changed
        for name in place[:-1]:
            inside = inside.get(name) if isinstance(inside, dict) else None
        if isinstance(inside, dict):
            inside[place[-1]] = junk
    for plot in plots_of(changed):
        check(plot)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(NUMBERS, st.none()), max_size=30),
    st.sampled_from(["agreement", "self_agreement", "other_image_agreement", "active_channels"]),
)
def test_any_numbers_can_be_plotted(values: list[Any], name: str) -> None:
    record = copy.deepcopy(RECORDS[0])
    record["per_image"] = {**record["per_image"], name: values, "cluster": None, "label": [0] * len(values)}
    for plot in plots_of(record):
        check(plot)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], None),
        ([None, None], None),
        ([0.3], "n = 1 image"),
        ([0.0, 0.0, 0.0], "n = 3 images"),
        ([1.0, 1.0], "n = 2 images"),
        ([0.2, None, None, None], "3 undefined, not drawn"),
        ([0.2, 7.0, -1.0], "2 outside the scale, not drawn"),
        ([0.2, "high", float("nan")], "2 undefined, not drawn"),
    ],
)
def test_few_equal_or_no_numbers(values: list[Any], said: str | None) -> None:
    record = {**RECORDS[0], "decision": {}}
    record["per_image"] = {"agreement": values}
    plots = plots_of(record)
    assert len(plots) == (said is not None)
    for plot in plots:
        check(plot)
        assert said in Read.of(plot.svg).words()
        shares = [share for _, _, share in Read.of(plot.svg).bars()]
        inside = sum(isinstance(value, float) and 0 <= value <= 1 for value in values)
        numbers = sum(isinstance(value, float) and math.isfinite(value) for value in values)
        assert sum(shares) == pytest.approx(inside / numbers, abs=0.01)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.25, 1e-9, 1e9])
def test_equal_numbers_have_a_scale_of_their_own(value: float) -> None:
    plot = histogram("x", "x", "x", Series("x", np.full(4, value)), Marks())
    assert plot is not None
    check(plot)
    assert len(Read.of(plot.svg).all("rect", "s-accent")) == 2


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.integers(1, 40))
def test_counts_are_those_of_exact_arithmetic(values: list[int], bins: int) -> None:
    counts, lost = counted(np.asarray(values) / 1000, np.asarray([i / bins for i in range(bins + 1)]))
    expected = [0] * bins
    for value in values:
        expected[min(value * bins // 1000, bins - 1)] += 1
    assert (counts, lost) == (expected, 0)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 30))
def test_round_numbers_hold_the_range(low: float, span: float, parts: int) -> None:
    high = low + span
    first, last, step = nice_range(low, high, parts)
    assert first <= low + 1e-6 * step
    assert last >= high - 1e-6 * step
    assert (last - first) / step <= parts + 2
    places = ticks(first, last, parts)
    assert len(places) >= 2
    assert len(set(labels(places))) == len(places)
    scale = Scale(first, last, 10.0, 200.0)
    assert [scale(first), scale(last)] == pytest.approx([10.0, 200.0])
    assert all(10.0 - 1e-6 <= scale(place) <= 200.0 + 1e-6 for place in places)


def test_numbers_are_spelt_one_way() -> None:
    assert [coordinate(v) for v in (0, -0.001, 1.0, 1.005, 12.5, 100)] == ["0", "0", "1", "1", "12.5", "100"]
    assert labels([0.0, 0.05, 0.1]) == ["0.00", "0.05", "0.10"]
    assert labels([-2.0, 0.0, 2.0]) == ["−2", "0", "2"]


@given(st.text(max_size=200), st.sampled_from([60, 120, 320]))
def test_wrapping_loses_nothing_and_keeps_to_the_width(words: str, width: int) -> None:
    lines = wrapped(words, width, 11)
    assert "".join("".join(lines).split()) == "".join(words.split())
    assert all(width_of(line, 11) <= width or len(line) == 1 for line in lines)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    light = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]


@pytest.mark.parametrize("tones", [TONES, DARK])
def test_a_file_of_its_own_can_be_read_in_light_and_dark(tones: Mapping[str, str]) -> None:
    paper = luminance(tones["paper"])
    for name in ("ink", "faint", "accent", "bad", "good"):
        high, low = sorted((luminance(tones[name]), paper), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, name
    svg = standalone(plots_of(RECORDS[0])[0], "node")
    assert all(f"--{name}:{colour}" in svg for name, colour in tones.items())
    read = Read.of(svg)
    sheet = read.all("rect")[0]
    assert sheet.get("class") == "f-paper"
    assert [sheet.get("width"), sheet.get("height")] == read.root.get("viewBox", "").split()[2:]
    assert (sheet.get("x"), sheet.get("y")) == ("0", "0")
    assert "node" in read.words()


def test_plots_need_no_torch() -> None:
    code = (
        "import sys, json\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch': raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from pytest_saliency.report.plots.registry import plots_of\n"
        "print(len(plots_of(json.load(sys.stdin))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(RECORDS[1]),
        text=True,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout) == len(plots_of(RECORDS[1]))
