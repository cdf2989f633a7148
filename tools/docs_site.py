"""Hooks of the site (see ``mkdocs.yml``): what differs between ``docs/`` in the repository and the site.

The generated reference pages are added. Links that lead out of ``docs/`` become the name of the file, because the site
holds nothing else of the repository.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from the code."""
    from mkdocs.structure.files import File

    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from tools.docs_reference import pages

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Name files outside of ``docs/`` instead of linking them."""
    return without_ways_out(markdown, page.file.src_uri)


def without_ways_out(markdown: str, page: str) -> str:
    """Return the text of ``page`` with each link out of ``docs/`` as words and the file's path in the repository."""

    def named(match: re.Match[str]) -> str:
        words, target = match.groups()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target.partition("#")[0]))
        if path.startswith("docs/"):
            return match[0]
        return f"{words} (`{path}` in the repository)" if words.strip("`") != path else f"`{path}`"

    return LINK.sub(named, markdown)
