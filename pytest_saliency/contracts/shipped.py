"""Files of weights that ship with a package: found where its cache has them, downloaded only if the contract says so.

Known by the addresses that the installed package holds. What was found is checked against the digest in its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from pytest_saliency.contracts.states import WeightsError
from pytest_saliency.errors import first_line
from pytest_saliency.records.hashing import sha256_of_file

IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
"""The first digits of the SHA-256 in the name of a file, as torch.hub has it."""


def hub_file(url: str, what: str, download: bool) -> Path:
    """Return the file that ``torch.hub`` keeps under ``url``; ``what`` begins errors ("weights X of model 'ft'").

    Raises
    ------
    WeightsError
        It is not there and may not be downloaded, cannot be, or is another file than its name says.
    """
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(url).path).name
    found = IN_NAME.search(path.name)
    if not path.is_file():
        if not download:
            raise not_here(what, url, str(path))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), found[1] if found else None, progress=False)
        except Exception as error:  # no network, no such address, another digest, no room
            raise _failed(what, url, error) from error
    if found and not (digest := sha256_of_file(path)).startswith(found[1]):
        raise WeightsError(
            f"{what} are damaged: {path} has sha256 {digest}, and its name says that it begins with {found[1]}. Remove"
            " the file and fetch it anew."
        )
    return path


def huggingface_file(repository: str, names: Sequence[str], what: str, download: bool) -> Path:
    """Return the first of ``names`` that the cache of huggingface_hub has of ``repository``; else download it.

    Raises
    ------
    WeightsError
        As :func:`hub_file`.
    """
    import huggingface_hub
    from huggingface_hub import constants

    where = f"https://huggingface.co/{repository}"
    for name in names:
        found = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(found, str) and os.path.exists(found):  # noqa: PTH110
            return _untampered(Path(found), what)
    if not download:
        raise not_here(what, f"{where} ({names[0]})", str(constants.HF_HUB_CACHE))
    failure: Exception | None = None
    for name in names:
        try:
            return _untampered(Path(huggingface_hub.hf_hub_download(repository, name)), what)
        except WeightsError:
            raise
        except Exception as error:  # no network, offline, no such repository or file, no right to it
            failure = failure or error
    assert failure is not None
    raise _failed(what, where, failure) from failure


def _untampered(path: Path, what: str) -> Path:
    """Return ``path``, whose link leads to a file that is named by its own SHA-256 wherever the hub knows that."""
    named = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", named) and (digest := sha256_of_file(path)) != named:
        raise WeightsError(
            f"{what} are damaged: {path} has sha256 {digest}, and the hub says {named}. Remove the file and fetch it"
            " anew."
        )
    return path


def not_here(what: str, address: str, path: str) -> WeightsError:
    """Return the sentence for a file that is not there while nothing may be downloaded."""
    return WeightsError(
        f"{what} are not on this machine, and nothing is downloaded unless the contract says so: they would come from"
        f" {address} and lie in {path}. Write 'download: true' in the model, or fetch them yourself and give the file"
        " under 'weights'."
    )


def _failed(what: str, address: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{what} could not be downloaded from {address}: {first_line(error)}. Try again, or fetch them yourself and"
        " give the file under 'weights'."
    )
