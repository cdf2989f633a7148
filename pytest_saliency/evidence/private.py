"""What a bundle does not say: where on which machine it was made, and, where a key is given, who the cases are.

Left as they are, because digests or decisions stand on them: the text of contracts and waivers, which lie in the bundle
word by word (and what records take from it: lines in ``source``, reasons, requirements, names of models and layers),
the ids of cases without a key, and whatever a decision says. The headline of a check without a decision may be the
message of an error, which names places.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DECLARED = ("node", "check", "contract", "axes", "requirement", "policy")
KEPT = (*DECLARED, "decision", "criterion", "per_image", "everyone", "inputs", "seed")
NAMED = ("name", "layer")
"""What a subject takes from its contract."""
LOCKED = ("contract", "state", "at", "commit", "changes")
"""What the row of a lock takes from contract and lock."""
WITHHELD = "ended in an error; its message may name cases, so it is not part of a record with keyed ids"

# An absolute path: a slash that nothing precedes which would make it a part of a word, an address or a relative path.
_POSIX = re.compile(r"(?<![\w.:/\\~-])/(?:[^\s/'\"<>|;,:()\[\]{}]+/)*([^\s/'\"<>|;,:()\[\]{}]+)/?")
_WINDOWS = re.compile(r"(?<![\w])[A-Za-z]:[\\/](?:[^\s\\/'\"<>|;,:()]+[\\/])*([^\s\\/'\"<>|;,:()]*)")

Text = Callable[[str], str]


def without_places(document: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the document without absolute paths: those below ``root`` become relative, of others the name stays."""
    here = sorted({str(root), str(root.resolve())}, key=len, reverse=True)
    home = str(Path.home())

    def shorten(text: str) -> str:
        for folder in here:
            if len(folder) > 1:
                text = text.replace(folder + "/", "").replace(folder + "\\", "").replace(folder, ".")
        if len(home) > 1:
            text = text.replace(home, "~")
        text = _POSIX.sub(lambda found: f".../{found[1]}", text)
        return _WINDOWS.sub(lambda found: f".../{found[1]}", text)

    made = _around(document, shorten)
    made["records"] = [_record_without_places(record, shorten) for record in document["records"]]
    return made


def _record_without_places(record: Mapping[str, Any], shorten: Text) -> dict[str, Any]:
    made = {key: value if key in KEPT else _mapped(value, shorten) for key, value in record.items()}
    source = record.get("source")
    if source:
        made["source"] = {**source, "file": shorten(str(source["file"]))}
    if isinstance(record.get("subjects"), Mapping):
        made["subjects"] = {role: _subject(record, subject, shorten) for role, subject in record["subjects"].items()}
    if record.get("decision") is not None:
        made["headline"] = record.get("headline")
    return made


def _subject(record: Mapping[str, Any], subject: Any, shorten: Text) -> Any:
    made = _mapped(subject, shorten)
    if record.get("contract") is not None and isinstance(made, dict):
        made |= {key: subject[key] for key in NAMED if key in subject}
    return made


def _around(document: Mapping[str, Any], change: Text) -> dict[str, Any]:
    """Return the document without its records; waivers stay, and of locks what contract and lock say."""
    made = {key: _mapped(value, change) for key, value in document.items() if key not in ("records", "waivers")}
    if "waivers" in document:
        made["waivers"] = document["waivers"]
    if document.get("families"):
        made["families"] = document["families"]
    if document.get("locks"):
        made["locks"] = [
            {**_mapped(row, change), **{key: row[key] for key in LOCKED if key in row}} for row in document["locks"]
        ]
    return made


def with_keyed_ids(document: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """Return the document with ids and clusters as HMAC-SHA256 under ``key``; rows stay in their order.

    The same id has the same digest in every check. Ids are also replaced wherever a text names one as a whole word.
    The message of a check that ended in an error is withheld, because it may name a file that is no known case.
    """

    def digest(name: object) -> str:
        text = str(name).encode("utf-8", "backslashreplace")
        return hmac.new(key, text, hashlib.sha256).hexdigest()

    names = _names(document)
    words = _words(names, digest)
    made = _around(document, words)
    made["records"] = [_keyed_record(record, digest, words) for record in document["records"]]
    return made


def _names(document: Mapping[str, Any]) -> set[str]:
    found = set()
    for record in document["records"]:
        for table in ("per_image", "everyone"):
            for column in ("id", "cluster"):
                found |= {str(name) for name in (record.get(table) or {}).get(column, ()) if name is not None}
    return found


def _words(names: set[str], digest: Callable[[object], str]) -> Text:
    """Return what replaces known names in text. Short numbers are left: they cannot be told from counts."""
    telling = {name for name in names if len(name) > 3 or not name.isdecimal()}

    def replace(text: str) -> str:
        if text in names:
            return digest(text)
        if not any(name in text for name in telling):
            return text
        for name in sorted((name for name in telling if name in text), key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", digest(name), text)
        return text

    return replace


def _keyed_record(record: Mapping[str, Any], digest: Callable[[object], str], words: Text) -> dict[str, Any]:
    fixed = {*DECLARED, "decision", "criterion", "seed", "source", "inputs", "subjects"}
    made = {key: value if key in fixed else _mapped(value, words) for key, value in record.items()}
    for table in ("per_image", "everyone"):
        if record.get(table) is not None:
            made[table] = {
                name: [None if value is None else digest(value) for value in column]
                if name in ("id", "cluster")
                else list(column)
                for name, column in record[table].items()
            }
    for name in ("worst", "gallery"):
        if record.get(name):
            made[name] = [
                {**_mapped(row, words), "id": digest(row["id"])} if "id" in row else row for row in record[name]
            ]
    if record.get("decision") is not None:
        made["headline"] = record.get("headline")
    elif record.get("verdict") == "ERROR":
        made["headline"] = WITHHELD
    return made


def _mapped(value: Any, change: Text) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(entry, change) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(entry, change) for entry in value]
    return value
