"""The HTML report of a run: one file without script or remote asset, made from the run's records alone."""

from __future__ import annotations

from pytest_saliency.report.html.pictures import pictures_below
from pytest_saliency.report.html.render import render_html

__all__ = ["pictures_below", "render_html"]
