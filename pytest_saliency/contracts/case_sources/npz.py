"""Images and labels in one NumPy archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.label_sets import label_reading
from pytest_saliency.errors import CasesError, first_line

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.engine.cases import Cases


def make(value: str, spec: CasesSpec, place: Place) -> Cases:
    """Return the images of the archive.

    Raises
    ------
    CasesError
        No such file, no archive, arrays that are missing or hold objects.
    """
    return _npz(place.path(value), spec.classes, value, label_reading(spec))


def _npz(path: Path, classes: Sequence[str] | None, source: str, of_labels: Mapping[str, Any]) -> Cases:
    import zipfile
    import zlib

    import numpy as np

    from pytest_saliency.engine.cases import Cases

    arrays: dict[str, Any] = {}
    key = "images"
    if not path.is_file():
        raise CasesError(f"cases are missing: there is no file {path}; check the path.")
    try:
        # opened here, because numpy leaves the file open when it is no zip archive
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise CasesError(f"{path} is no .npz file; numpy.savez(path, images=..., labels=...) writes one.")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                found = stored.files
                for key in (key for key in ("images", "labels", "ids", "masks") if key in found):
                    arrays[key] = stored[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise CasesError(f"cases in {path} cannot be read: array '{key}': {first_line(error)}.") from error
        raise CasesError(
            f"cases in {path} cannot be read without running code from the file: array '{key}' holds Python objects."
            " Save it as an array of numbers (or of texts, for ids)."
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CasesError(f"cases in {path} cannot be read: {first_line(error)}. Write the file anew.") from error
    for key in ("images", "labels"):
        if key not in arrays:
            raise CasesError(
                f"{path} has no array '{key}'; it has {', '.join(found) or 'none'}. Save 'images' and 'labels'."
            )
    return Cases.from_arrays(
        arrays["images"],
        arrays["labels"],
        ids=arrays.get("ids"),
        masks=arrays.get("masks"),
        class_names=classes,
        source=source,
        **of_labels,
    )
