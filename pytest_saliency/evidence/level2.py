"""Level 2: the per-image numbers follow from the stored maps. Needs torch, and a bundle that was written with maps.

``faithful`` cannot be scored from maps alone: it needs the model and the images, which is level 3.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.checks.fates import another_image
from pytest_saliency.decide.tolerance import Tolerance
from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.again import guarded
from pytest_saliency.evidence.findings import Found
from pytest_saliency.evidence.folder import content_of
from pytest_saliency.evidence.layout import CASES
from pytest_saliency.evidence.outcome import names_of
from pytest_saliency.evidence.tolerated import tolerance_for, too_far

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BYTES = 1 << 33
EXACTLY = Tolerance(0.0, 0.0)
DRIFT = ("iou_drop", "displacement", "correlation", "concentration_change")

Record = Mapping[str, Any]


def check_maps(folder: Path, document: Mapping[str, Any]) -> Found:
    """Return what level 2 found.

    Raises
    ------
    SaliencyError
        torch is not installed.
    """
    if find_spec("torch") is None:
        raise SaliencyError("level 2 needs torch, which is not installed here; levels 0 and 1 do not.")
    from pytest_saliency.checks.registry import KINDS

    found = Found(2)
    scored: list[str] = []
    without: list[str] = []
    for name, record in zip(names_of(document["records"]), document["records"], strict=True):
        if record.get("decision") is None:
            continue
        maps, kind = record.get("maps"), KINDS.get(str(record.get("kind")))
        if not maps and not (kind and "method" in kind.fixed):
            without.append(name)
            continue
        if record.get("kind") not in SCORED or _of_masks(record):
            found.skipped.append(
                f"the numbers of {name}: {record.get('kind')} needs the model and the images (level 3)"
            )
            continue
        path = str(maps["path"]) if isinstance(maps, Mapping) else "maps/"
        before = len(found.findings)
        guarded(found, path, name, lambda: _check(folder, name, record, found))  # noqa: B023 - called at once
        if len(found.findings) == before:
            scored.append(name)
    if without:
        found.skipped.append(_without(without, any(record.get("maps") for record in document["records"])))
    if scored:
        found.checked.append(f"the per-image numbers of {', '.join(scored)} follow from the stored maps")
    return found


def _without(names: Sequence[str], others: bool) -> str:
    """Return the words for the checks ``names`` without maps; ``others``: the bundle has maps of other checks."""
    if others:
        return f"level 2 for {', '.join(names)}: of these the bundle has no maps"
    checks = f"{len(names)} check{'s' if len(names) != 1 else ''}"
    return f"level 2 for {checks}: the bundle has no maps (--saliency-bundle-maps keeps them)"


def _of_masks(record: Record) -> bool:
    """Tell whether the numbers depend on masks, which come with the images and not with the maps."""
    return bool((record.get("criterion") or {}).get("region") == "masks")


def _check(folder: Path, name: str, record: Record, found: Found) -> None:
    path = str(record["maps"]["path"])
    arrays = arrays_of(content_of(folder, path, MAX_BYTES))
    n = len(record["per_image"]["id"])
    for array, values in arrays.items():
        if values.ndim < 2 or len(values) != n or values.dtype.name != "float32":
            found.add(path, f"{name}: {array} is {values.dtype} {values.shape}, and {n} maps of float32 are due")
            return
    from pytest_saliency.engine.threads import cpu_threads

    with cpu_threads(1):  # a few maps at a time: threads would wait for each other longer than they work
        for line in other_statuses(record, arrays):
            found.add(CASES, f"{name}: {line} in {path}")
        scored = SCORED[record["kind"]](record, arrays)
    for column, made in scored.items():
        said = record["per_image"].get(column)
        if said is None:
            continue
        tolerance = tolerance_for(column, record["inputs"]) or EXACTLY
        problem = too_far(said, [None if value != value else value for value in made.tolist()], tolerance)
        if problem is not None:
            found.add(CASES, f"{name}: {column} does not follow from the maps in {path}: it {problem}")


def other_statuses(record: Record, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return a sentence for every column of statuses that the stored maps contradict.

    That a method has no meaning on an image (``degenerate``) the method says, and no map shows.
    """
    import torch

    from pytest_saliency.engine.maps import judge

    table, found = record["per_image"], []
    for array, values in arrays.items():
        column = next((one for one in (f"status_{array}", "status") if one in table), None)
        if column is None or array == "again":
            continue
        made = judge(torch.from_numpy(values.copy())).tolist()
        pairs = enumerate(zip(table[column], made, strict=True))
        other = next(((row, said, one) for row, (said, one) in pairs if said not in (one, "degenerate")), None)
        if other is not None:
            row, said, one = other
            found.append(f"{column} does not follow from the maps: row {row} is {said!r}, and its map {one!r},")
    return found


def arrays_of(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` that somebody else made: nothing is unpickled, and bombs are refused.

    Raises
    ------
    SaliencyError
        It holds no arrays as this package writes them.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as held:
            if sum(entry.file_size for entry in held.infolist()) > MAX_BYTES:
                raise SaliencyError(f"unpacks to more than {MAX_BYTES} bytes")
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile, MemoryError, NotImplementedError) as error:
        raise SaliencyError(f"does not hold maps as this package writes them ({error})") from None


@dataclass(frozen=True)
class _Stored:
    """Maps as far as measures look at them: values, and which are usable."""

    values: Any
    ok: NDArray[Any]

    @classmethod
    def of(cls, values: NDArray[Any], status: Any) -> _Stored:
        import numpy as np
        import torch

        return cls(torch.from_numpy(values.copy()), np.asarray([one == "ok" for one in status], dtype=bool))


def class_sensitive(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns of ``class_sensitive`` that maps alone give."""
    import numpy as np

    from pytest_saliency.measure.pairs import compare

    table, size = record["per_image"], record["inputs"]["size"]
    first = _Stored.of(arrays["top1"], table["status_top1"])
    second = _Stored.of(arrays["top2"], table["status_top2"])

    def agreement(a: Any, b: Any, usable: NDArray[Any]) -> NDArray[Any]:
        made = compare(a, b, ["agreement"], fraction=record["criterion"]["top_k"], size=tuple(size) if size else None)
        return np.where(usable, made["agreement"].numpy(), np.nan)

    columns = {"agreement": agreement(first.values, second.values, first.ok & second.ok)}
    if len(first.ok) > 1:
        units = record["per_image"].get("cluster") if record["cases"].get("units") else None
        turned = np.asarray(another_image(len(first.ok), units), dtype=np.int64)
        other = first.values[turned]
        columns["other_image_agreement"] = agreement(first.values, other, first.ok & first.ok[turned])
    if "again" in arrays and "self_agreement" in table:
        # Which repeats are usable is in the record only: an undefined one may be a changed prediction.
        usable = np.asarray([value is not None for value in table["self_agreement"]], dtype=bool)
        again = _Stored.of(arrays["again"], ["ok"] * len(usable))
        columns["self_agreement"] = agreement(first.values, again.values, first.ok & usable)
    return columns


def no_semantic_drift(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns of ``no_semantic_drift``, which maps alone give."""
    import numpy as np

    from pytest_saliency.checks.drift import concentrations, measure
    from pytest_saliency.checks.drift_excess import CONCENTRATION

    table = record["per_image"]
    before: Any = _Stored.of(arrays["before"], table["status_before"])
    after: Any = _Stored.of(arrays["after"], table["status_after"])
    rows = np.arange(len(before.ok))
    size = tuple(int(side) for side in record["inputs"]["size"])
    made = measure(before, after, rows, float(record["criterion"]["top_fraction"]), size)
    columns = {name: np.asarray(made[name]) for name in DRIFT}
    if CONCENTRATION in table:
        columns[CONCENTRATION] = concentrations(before, rows, size)
    return columns


def avoids(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the column of ``avoids`` that maps alone give, where the region is a border or a box."""
    import numpy as np

    from pytest_saliency.checks import inside
    from pytest_saliency.checks.avoids import AvoidsParameters, Border, Box, weights_of

    region = AvoidsParameters(**record["criterion"]).region
    assert isinstance(region, Border | Box), "masks are not among the maps"
    stored: Any = _Stored.of(arrays["map"], record["per_image"]["status"])
    weights = weights_of(region, tuple(int(side) for side in record["inputs"]["size"]))[0]
    found = inside.measured(stored, np.arange(len(stored.ok)), stored.ok, lambda _: weights)
    return {"mass_inside": np.asarray(found["mass_inside"])}


def not_vacuous(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the column of ``not_vacuous``: which maps show nothing."""
    import numpy as np
    import torch

    from pytest_saliency.engine.maps import judge

    values = torch.from_numpy(arrays["top1"].copy())
    made = judge(values).astype("<U10")
    # What only the method can say is taken from it; the rest must follow from the maps.
    said = np.asarray(record["per_image"]["status"])
    made[said == "degenerate"] = "degenerate"
    return {"vacuous": ((made != "ok") | (values[0].numel() == 1)).astype(float)}


def planted_evidence(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns of ``planted_evidence`` that the maps of its mosaics give."""
    import numpy as np

    from pytest_saliency.measure.planted import cell_shares

    table = record["per_image"]
    stored = _Stored.of(arrays["mosaic"], table["status"])
    cells = int(record["criterion"]["cells"])
    shares = cell_shares(stored.values, tuple(record["inputs"]["size"]), cells).numpy()
    own = np.arange(cells) == np.asarray(table["cell"])[:, None]
    return {
        "own_share": np.where(stored.ok, shares.max(axis=1, initial=-1.0, where=own), np.nan),
        "largest_other_share": np.where(stored.ok, shares.max(axis=1, initial=-1.0, where=~own), np.nan),
    }


def model_dependent(record: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns of ``model_dependent`` that the trained model's maps give; no randomised one is stored."""
    import numpy as np

    from pytest_saliency.checks.randomised import floor, likeness
    from pytest_saliency.decide.sets import compared_of, floor_sets, partners_of

    criterion, clusters = record["criterion"], record["per_image"].get("cluster")
    stored: Any = _Stored.of(arrays["top1"], record["per_image"]["status"])
    most, fraction, size = int(criterion["images"]), float(criterion["top_fraction"]), tuple(record["inputs"]["size"])
    sets = floor_sets(len(stored.ok), clusters, most, int(record["seed"], 16))
    chosen, partners = np.asarray(compared_of(sets, most), dtype=np.int64), partners_of(sets, clusters)
    columns = {name: np.full(len(stored.ok), np.nan) for name in ("floor", "likeness")}
    columns["floor"][chosen] = floor(stored, chosen, [partners[int(i)] for i in chosen], fraction, size)
    columns["likeness"][chosen] = likeness(stored, chosen, fraction, size)
    return columns


SCORED = {
    "avoids": avoids,
    "class_sensitive": class_sensitive,
    "model_dependent": model_dependent,
    "no_semantic_drift": no_semantic_drift,
    "not_vacuous": not_vacuous,
    "planted_evidence": planted_evidence,
}
