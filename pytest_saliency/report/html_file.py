"""The HTML report of a run as a file (``--saliency-html``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.report.paths import option_path


def write(document: Mapping[str, Any], config: pytest.Config) -> list[str]:
    """Write the report if it was asked for; return the line that says where it is.

    With ``--saliency-images none`` it holds no pixel of any image, whatever earlier runs have left on disk.
    """
    path = option_path(config, "html")
    if path is None:
        return []
    from pytest_saliency.records.whole import write_text_whole
    from pytest_saliency.report.html import pictures_below, render_html
    from pytest_saliency.session import Settings

    read = pictures_below(config.rootpath, *_cache_folder(config))
    # What was drawn follows the setting already; only "none" is repeated, so that nothing older slips in.
    images = "none" if Settings.of(config).images == "none" else "all"
    write_text_whole(path, render_html(document, read, images=images))
    return [f"HTML report written to {path}"]


def _cache_folder(config: pytest.Config) -> list[Path]:
    """Return where this run drew its pictures, which lies outside of the root where cache_dir says so."""
    cache = getattr(config, "cache", None)
    return [] if cache is None else [cache.mkdir("saliency")]
