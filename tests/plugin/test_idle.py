"""A repository without contracts pays nothing: nothing heavy is imported, nothing is shown or written."""

from __future__ import annotations

import pytest

HEAVY = ("torch", "torchvision", "numpy", "scipy", "yaml", "pydantic", "jinja2", "PIL", "safetensors")

WATCH = f"""
import sys
def pytest_unconfigure(config):
    print("HEAVY", sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def test_an_idle_session_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(WATCH)
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["HEAVY []"])
    result.stdout.no_fnmatch_line("*saliency: *")


def test_the_watch_sees_heavy_imports(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(WATCH)
    pytester.makepyfile("def test_numpy(): import numpy")
    pytester.runpytest_subprocess().stdout.fnmatch_lines(["HEAVY ['numpy']"])


def test_the_plugin_can_be_switched_off(pytester: pytest.Pytester) -> None:
    (pytester.path / "broken.saliency.yaml").write_text("checks: [")
    pytester.makepyfile("def test_nothing(pytestconfig): assert not pytestconfig.pluginmanager.has_plugin('saliency')")
    result = pytester.runpytest_subprocess("-p", "no:saliency")
    result.assert_outcomes(passed=1)
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.INTERRUPTED


def test_options_have_ini_twins_and_the_marker_is_declared(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_inprocess("--help").stdout.str()
    for name in ("device", "batch", "json", "images"):
        assert f"--saliency-{name}" in shown
        assert f"saliency_{name}" in shown
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.saliency(contract, check, kind)*"])
