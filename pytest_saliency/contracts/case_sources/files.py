"""How a contract wants its image files read, and clusters that stand in the files themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_saliency.errors import CasesError

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.reading import FileReading


def file_reading(spec: CasesSpec) -> FileReading:
    """Return what ``spec`` says of its files: white, volumes, the window of DICOM."""
    from pytest_saliency.engine.reading import FileReading

    dicom = spec.dicom
    return FileReading(
        white=spec.white,
        volume=bool(spec.volume),
        window="file" if dicom is None else dicom.window,
        function="linear" if dicom is None or dicom.function is None else dicom.function,
    )


def _taken(spec: CasesSpec) -> str:
    """Return which part of a source ``spec`` takes; a record that says the same of two parts would mislead."""
    said = [] if spec.split is None else [f"split={spec.split}"]
    for column, wanted in (spec.where or {}).items():
        said.append(f"{column}={'|'.join(map(str, wanted if isinstance(wanted, tuple) else (wanted,)))}")
    return " ".join(said)


def as_declared(cases: Cases, spec: CasesSpec) -> Cases:
    """Return the cases with what ``spec`` takes and says of their files in their source, and clusters as it asks.

    Raises
    ------
    CasesError
        Clusters from two places, or a file that is no DICOM or has no such entry.
    """
    from pytest_saliency.engine.images import FileImage
    from pytest_saliency.engine.multi_label import by_image

    told = " ".join(filter(None, (_taken(spec), file_reading(spec).told())))
    if told:
        cases = replace(cases, source=f"{cases.source} ({told})")
    if spec.dicom is None or spec.dicom.cluster is None:
        return cases
    keyword = spec.dicom.cluster
    if cases.clusters is not None and not by_image(cases):
        raise CasesError(
            f"cases of {cases.source} have clusters in a column, and 'dicom' names {keyword} too; say it in one place."
        )
    found = []
    for case, image in zip(cases.ids, cases.images, strict=True):
        if not isinstance(image, FileImage):
            raise CasesError(f"image '{case}' is no file of its own, so that its {keyword} cannot be looked up.")
        value = image.entry(case, keyword)
        if value is None:
            raise CasesError(
                f"image '{case}' ({image.path}) has no {keyword}; give the clusters in a column, or leave the case out."
            )
        found.append(value)
    return replace(cases, clusters=tuple(found))
