"""One baseline: the entry (JSON) and the arrays it names, read without trusting them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.baseline_arrays import columns_from, ids_digest, maps_from
from pytest_saliency.records.baseline_key import Key

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
ARRAYS = re.compile(r"[0-9a-f]{64}\.npz")
APPROVAL = ("by", "at", "reason")
KEPT = ("criterion", "subjects", "cases", "method", "verdict", "headline")
MAX_BYTES = 20_000_000


def shown(path: Path) -> str:
    """Return a file of the folder of baselines as messages name it, the same on every machine."""
    return "/".join(path.parts[-3:])


class BaselineError(SaliencyError):
    """A baseline is missing, not approved, damaged, or not of what it is compared with."""


@dataclass(frozen=True)
class Entry:
    """An entry as it lies in its file; ``sha256`` is of the file's bytes."""

    key: Key
    path: Path
    sha256: str
    data: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of the check that the numbers are of."""
        return str(self.data["kind"])

    @property
    def criterion(self) -> Mapping[str, Any]:
        """Every resolved parameter of that check."""
        found: Mapping[str, Any] = self.data["criterion"]
        return found

    @property
    def approval(self) -> Mapping[str, Any] | None:
        """Who approved it, when and why; None where nobody did."""
        found: Mapping[str, Any] | None = self.data["approval"]
        return found

    @property
    def arrays_path(self) -> Path:
        """Where its arrays lie."""
        return self.path.with_name(str(self.data["arrays"]["path"]))

    @property
    def images(self) -> int:
        """How many images it is of."""
        return int(self.data["images"]["n"])

    @property
    def content(self) -> dict[str, Any]:
        """What it says, but for when it was made and who approved it: two entries with equal content are one."""
        return {name: value for name, value in self.data.items() if name not in ("made", "approval")}

    def load(self) -> Stored:
        """Read its arrays.

        Raises
        ------
        BaselineError
            They are gone, damaged, or not of the images that the entry names.
        """
        from pytest_saliency.records.arrays import read_arrays

        try:
            arrays = read_arrays(self.arrays_path, str(self.data["arrays"]["sha256"]))
            columns = columns_from(arrays, shown(self.arrays_path), str(self.data["images"]["sha256"]))
        except SaliencyError as error:
            raise BaselineError(
                f"the baseline {self.key.selector} cannot be used: {_local(str(error), self.path)}"
            ) from None
        if len(columns["id"]) != self.images:
            raise BaselineError(
                f"the baseline {self.key.selector} cannot be used: {shown(self.path)} is of {self.images} images and"
                f" {self.arrays_path.name} of {len(columns['id'])}; restore both, or make it anew."
            )
        return Stored(columns, maps_from(arrays))


@dataclass(frozen=True, eq=False)
class Stored:
    """The per-image numbers of a baseline as a record has them, and its maps (n, *grid), in the order of the ids."""

    per_image: Mapping[str, Sequence[Any]]
    maps: Mapping[str, NDArray[Any]]


def entry_of(
    key: Key,
    record: Mapping[str, Any],
    arrays: Mapping[str, Any],
    run: Mapping[str, Any],
    maps: Sequence[str],
    compared: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the entry for ``record``, not approved; ``arrays`` identify its ``.npz``, ``run`` the run it is from.

    ``compared``: by id the checks that compare with it, and their limits.
    """
    execution = record.get("execution") or {}
    measures = record["decision"]["measures"]
    return {
        "format": FORMAT,
        "key": key.to_dict(),
        "kind": record["kind"],
        **{name: record[name] for name in KEPT},
        "execution": {name: execution.get(name) for name in ("device", "precision", "versions")},
        "measured": {
            name: {part: measure[part] for part in ("title", "estimate", "interval", "limit", "side", "n", "undefined")}
            for name, measure in measures.items()
        },
        "images": {"n": len(record["per_image"]["id"]), "sha256": ids_digest(record["per_image"]["id"])},
        "arrays": dict(arrays),
        "maps": sorted(maps),
        "compared": dict(compared),
        "made": {"at": run.get("finished"), "git": run.get("git")},
        "approval": None,
    }


def read_entry(path: Path, key: Key | None = None) -> Entry:
    """Return the entry in the file ``path``; with ``key``, that of this key.

    Raises
    ------
    BaselineError
        The file cannot be read, is no entry, is of a newer format, or belongs to another key.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BaselineError(f"the baseline {shown(path)} cannot be read: {error.strerror or error}.") from error
    if len(content) > MAX_BYTES:
        raise BaselineError(f"{shown(path)} is no baseline of this package: it is larger than {MAX_BYTES:,} bytes.")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BaselineError(
            f"the baseline {shown(path)} is damaged: {error}. Restore it from git, or make it anew."
        ) from None
    made = data.get("format") if isinstance(data, dict) else None
    if isinstance(made, int) and not isinstance(made, bool) and made > FORMAT:
        raise BaselineError(
            f"the baseline {shown(path)} has format {made}, and this release reads up to {FORMAT}; it was written by a"
            " newer release of pytest-saliency: use that one."
        )
    why = _wrong(data)
    if why:
        raise BaselineError(f"the baseline {shown(path)} is damaged: {why}. Restore it from git, or make it anew.")
    found = Key.from_dict(data["key"])
    if key is not None and found != key:
        raise BaselineError(
            f"{shown(path)} is the baseline of {found.selector}, not of {key.selector}: it was moved or renamed by"
            " hand. Give it its old name, or make a new one."
        )
    return Entry(found, path, hashlib.sha256(content).hexdigest(), data)


def _local(text: str, path: Path) -> str:
    """Return ``text`` without the folders above the baselines, which are this machine's own."""
    return text.replace(f"{path.parents[2]}/", "")


def _wrong(data: Any) -> str:
    """Return what keeps ``data`` from being an entry, or nothing."""
    if not isinstance(data, dict):
        return "it is not a mapping"
    if data.get("format") != FORMAT or isinstance(data.get("format"), bool):
        return f"its format is {data.get('format')!r}"
    wanted: dict[str, type | tuple[type, ...]] = {
        "key": dict,
        "kind": str,
        "criterion": dict,
        "subjects": dict,
        "cases": dict,
        "method": dict,
        "execution": dict,
        "measured": dict,
        "images": dict,
        "arrays": dict,
        "made": dict,
        "compared": dict,
        "verdict": str,
        "headline": str,
    }
    for name, kind in wanted.items():
        if not isinstance(data.get(name), kind):
            return f"'{name}' is missing or not what it should be"
    if not _is_key(data["key"]):
        return "'key' is not one"
    arrays, images = data["arrays"], data["images"]
    if not ARRAYS.fullmatch(str(arrays.get("path"))) or arrays.get("sha256") != str(arrays["path"])[:64]:
        return "'arrays' does not name a file by its SHA-256"
    if not isinstance(images.get("n"), int) or not isinstance(images.get("sha256"), str):
        return "'images' has no number or digest"
    approval = data.get("approval", False)
    if approval is not None and not (
        isinstance(approval, dict)
        and all(isinstance(approval.get(part), str) and approval[part].strip() for part in APPROVAL)
    ):
        return "'approval' is neither empty nor complete (by, at, reason)"
    return ""


def _is_key(data: Mapping[str, Any]) -> bool:
    axes = data.get("axes")
    return (
        isinstance(data.get("check"), str)
        and (data.get("contract") is None or isinstance(data["contract"], str))
        and isinstance(axes, list)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in axes
        )
    )
