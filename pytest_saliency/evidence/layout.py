"""What lies where in a bundle.

Two runs of one commit on one machine give the same bytes but for these files: ``run.json`` (who, when, how long, what
it cost, under which identifier), what is rendered from it (``junit.xml``, ``report.html``, ``model.cdx.json``), and
``manifest.json``, which lists their digests.
"""

from __future__ import annotations

import re

FORMAT = 1
MANIFEST = "manifest.json"
RUN = "run.json"
RESULTS = "results.json"
CASES = "cases.jsonl"
WAIVERS = "waivers.yaml"
JUNIT = "junit.xml"
REPORT = "report.html"
BOM = "model.cdx.json"
ATTESTATION = "attestation.intoto.json"
CONTRACTS = "contract"
MAPS = "maps"
PICTURES = "pictures"
SIGNATURES = "signatures"

# Not as in a repository: a bundle that lies in one must not be collected as a contract, nor locked.
CONTRACT_SUFFIX = ".yaml"
RESOLVED_SUFFIX = ".resolved.json"
LOCK_SUFFIX = ".lock.json"
SIGNATURE_SUFFIX = ".dsse.json"

REQUIRED = (RUN, RESULTS, CASES, JUNIT, REPORT, ATTESTATION)
"""What every bundle holds beside the manifest."""

DIFFERS = (RUN, JUNIT, REPORT, BOM, MANIFEST)
"""What may differ between two runs of one commit."""

_ROLES = {
    RUN: "run",
    RESULTS: "results",
    CASES: "cases",
    WAIVERS: "waivers",
    JUNIT: "junit",
    REPORT: "report",
    BOM: "bill of materials",
    ATTESTATION: "attestation",
}
_FOLDERS = (
    (rf"{CONTRACTS}/[^/]+{re.escape(LOCK_SUFFIX)}", "contract lock"),
    (rf"{CONTRACTS}/[^/]+{re.escape(RESOLVED_SUFFIX)}", "resolved contract"),
    (rf"{CONTRACTS}/[^/]+{re.escape(CONTRACT_SUFFIX)}", "contract"),
    (rf"{MAPS}/[^/]+\.npz", "maps"),
    (rf"{PICTURES}/[^/]+/[^/]+\.(png|jpg)", "picture"),
    (rf"{PICTURES}/[^/]+\.png", "picture"),
)
UNKNOWN = "unknown"


def role_of(path: str) -> str:
    """Return what the file at ``path`` (relative, forward slashes) is for; ``unknown`` for what no bundle has."""
    if path in _ROLES:
        return _ROLES[path]
    return next((role for pattern, role in _FOLDERS if re.fullmatch(pattern, path)), UNKNOWN)


def safe_name(text: str) -> str:
    """Return ``text`` as the name of a file, readable, safe on every system, and not shared by two texts."""
    import hashlib

    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[-80:].strip("-")
    return f"{readable}-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"
