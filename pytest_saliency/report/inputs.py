"""What a command is given: the JSON file of a run, or the folder of a bundle. Both hold the same document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError


def read_given(path: Path) -> dict[str, Any]:
    """Return the document at ``path``. A bundle is read, not verified.

    Raises
    ------
    SaliencyError
        There is no run at ``path``.
    """
    if path.is_dir():
        from pytest_saliency.evidence.read import read_bundle

        try:
            return read_bundle(path).document
        except SaliencyError as error:
            raise SaliencyError(f"{path} cannot be read as a bundle: {str(error).rstrip('.')}.") from None
    from pytest_saliency.records.runfile import read_run

    return read_run(path)


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Turn what a document of the wrong shape causes into a sentence; ``what`` names it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        said = str(error) or type(error).__name__
        raise SaliencyError(
            f"{what}: the content is not what a run writes ({type(error).__name__}: {said}); it was changed after it"
            " was written. Write it again with pytest --saliency-json."
        ) from error
