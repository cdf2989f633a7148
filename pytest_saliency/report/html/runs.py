"""The runs that a joined document was made of, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_saliency.report.html.text import instant, name

Document = Mapping[str, Any]


def run_rows(document: Document) -> list[dict[str, Any]]:
    """Return every run that was joined into this one, in the order of the document; none of a single run."""
    return [_row(part) for part in document["run"].get("merged") or ()]


def _row(part: Mapping[str, Any]) -> dict[str, Any]:
    git, tester, versions = part.get("git") or {}, part.get("tester") or {}, part.get("versions") or {}
    changed = {True: ", with changes that are not in it", None: ", whether changed is not known"}
    commit = f"{str(git['commit'])[:12]}{changed.get(git.get('dirty'), '')}" if git.get("commit") else "not recorded"
    return {
        "id": str(part.get("id"))[:8],
        "started": instant(part.get("started")),
        "finished": instant(part.get("finished")),
        "tester": name(tester.get("name") or "nobody named"),
        "commit": commit,
        "platform": name(part.get("platform")),
        "versions": ", ".join(f"{key} {versions[key]}" for key in sorted(versions)),
        "command": str(part.get("command") or ""),
        "checks": len(part["nodes"]) if isinstance(part.get("nodes"), list) else None,
    }
