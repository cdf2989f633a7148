"""Writing an evidence bundle: a folder that says what was tested, on which model, by what, with which result.

It appears whole or not at all, and nothing that was written earlier is changed. See ``layout`` for what lies in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.attachments import left_out, taken_in
from pytest_saliency.evidence.canonical import canonical, settled
from pytest_saliency.evidence.contracts import contract_files
from pytest_saliency.evidence.deviating import with_derived
from pytest_saliency.evidence.layout import (
    CASES,
    CONTRACT_SUFFIX,
    LOCK_SUFFIX,
    MANIFEST,
    RESULTS,
    RUN,
    WAIVERS,
)
from pytest_saliency.evidence.manifest import Entry, bundle_id, manifest_of
from pytest_saliency.evidence.private import with_keyed_ids, without_places
from pytest_saliency.evidence.rendered import rendered
from pytest_saliency.evidence.split import cases_lines, results_part, run_part
from pytest_saliency.records.whole import new_folder


@dataclass(frozen=True)
class Written:
    """A bundle that was written: where, its identifier, and what is to be told of it."""

    path: Path
    id: str
    problems: tuple[str, ...] = ()


def write_bundle(
    parent: Path,
    document: Mapping[str, Any],
    *,
    root: Path,
    maps: bool = False,
    case_key: bytes | None = None,
    waivers: Path | None = None,
) -> Written:
    """Write the bundle of a run as a new folder in ``parent``.

    Parameters
    ----------
    root
        What paths in the document are relative to.
    maps
        Take in maps and pictures, which may show patients. Without it no pixel and no map is in the bundle.
    case_key
        Replace ids and clusters by digests keyed with it.
    waivers
        The file of waivers, taken in as it is.

    Raises
    ------
    SaliencyError
        A file that belongs into it cannot be read or was changed, or the folder cannot be written.
    """
    made, files, problems = bundle_document(document, root=root, maps=maps, case_key=case_key)
    if waivers is not None:
        try:
            files[WAIVERS] = waivers.read_bytes()
        except OSError as error:
            raise SaliencyError(f"{waivers} belongs into the bundle and cannot be read: {error.strerror}.") from None
    files |= document_files(made, files)
    final = parent / folder_name(made)
    manifest = manifest_of({path: Entry.of(content) for path, content in files.items()})
    with new_folder(final) as part:
        for path in sorted(files):
            target = part / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files[path])
        (part / MANIFEST).write_bytes(manifest)
    return Written(final, bundle_id(manifest), tuple(problems))


def bundle_document(
    document: Mapping[str, Any], *, root: Path, maps: bool, case_key: bytes | None
) -> tuple[dict[str, Any], dict[str, bytes], list[str]]:
    """Return the document as the bundle says it, the files that are taken in, and what is to be told."""
    files, problems = contract_files(document, root)
    taken: dict[str, Any] = dict(document)
    if maps:
        if case_key is not None:  # ids are drawn into the contact sheets
            taken = {**taken, "records": [{**record, "pictures": []} for record in taken["records"]]}
        taken, attached = taken_in(taken, root)
        files |= attached
    else:
        taken = left_out(taken)
    taken["deviations"] = [*(taken.get("deviations") or ()), *problems]
    original = taken
    taken = without_places(taken, root)
    if case_key is not None:
        taken = with_keyed_ids(taken, case_key)
    taken = settled(taken)
    # What was replaced in them may differ from what was replaced in the records that they follow from.
    return {**taken, "deviations": with_derived(taken, original)}, files, problems


def document_files(document: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what is made from the document: its three parts, and what is rendered from it."""
    return {
        RUN: canonical(run_part(document)),
        RESULTS: canonical(results_part(document)),
        CASES: cases_lines(document),
        **rendered(document, configuration(files), files.get),
    }


def configuration(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of contracts, locks and waivers among the files of a bundle."""
    return {
        path: Entry.of(content).sha256
        for path, content in files.items()
        if path == WAIVERS or path.endswith((CONTRACT_SUFFIX, LOCK_SUFFIX))
    }


def folder_name(document: Mapping[str, Any]) -> str:
    """Return the name of the folder: when the run started (UTC), and the beginning of its id."""
    run = document["run"]
    digits = re.sub(r"[^0-9T]", "", str(run.get("started") or "").partition("+")[0].partition("Z")[0])[:15]
    return f"{digits or 'unknown'}Z-{re.sub(r'[^0-9a-f]', '', str(run.get('id') or '').lower())[:8] or 'unknown'}"
