"""A run as a CycloneDX 1.6 document: the models with what was measured of them, the contracts, and what is declared.

Where a run's records go in CycloneDX, and where they do not fit:

- each model is a ``machine-learning-model`` component with its model card; the images are a ``data`` component. The
  digest of a weights file is a hash; those of a state in memory and of a set of cases are properties, because
  CycloneDX hashes are of files.
- a measure is a performance metric: text for its value and its interval, and the check as the slice. That the interval
  is two one-sided bounds has no field, and stands in the evidence.
- each contract is a standard, each of its checks a requirement; checks in Python tests make up one more standard.
- each decided check is a claim with evidence. A PASS is supported by it; a FAIL is contradicted by it
  (``counterEvidence``); INCONCLUSIVE is neither, and the evidence stands alone. A check without a result claims
  nothing.
- an attestation maps each requirement to its claim with a conformance of 1 for PASS and 0 for everything else, because
  the field knows no third answer; the rationale begins with the verdict. A waiver that applies is a mitigation and
  raises no score. There is no confidence: an interval is not one.
- ``affirmation`` stays empty: it needs a signature, and those are made over the bundle.

The same document of a run gives the same bytes. The serial number is a UUID version 5 of the SHA-256 of everything
else in the file, models and results among it; the only times in it are those of the run and of its waivers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from pytest_saliency.evidence.cyclonedx_components import data_components, model_components, properties
from pytest_saliency.evidence.cyclonedx_declared import declarations, instant_or_none, standards

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
NAMESPACE = UUID("4e018624-8cea-471f-9402-c732c7aab9b2")
"""Of serial numbers; drawn once, without a meaning."""

Document = Mapping[str, Any]


def bom(document: Document) -> dict[str, Any]:
    """Return the CycloneDX document of a run; references to files are to those of the evidence bundle beside it."""
    from pytest_saliency.evidence.canonical import canonical, settled

    document = settled(document)  # so that a run and its bundle, which writes 1.0 as 1, give the same
    records = list(document.get("records") or ())
    body: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": _metadata(document),
        "components": [*model_components(records), *data_components(records)],
        "definitions": {"standards": standards(records)},
        "declarations": declarations(document, records),
    }
    if not records:
        del body["definitions"], body["declarations"]
    made: dict[str, Any] = settled(body)
    serial = uuid5(NAMESPACE, hashlib.sha256(canonical(made)).hexdigest())
    return {**made, "serialNumber": f"urn:uuid:{serial}"}


def _metadata(document: Document) -> dict[str, Any]:
    run = document.get("run") or {}
    git = run.get("git") or {}
    tool = {
        "type": "application",
        "name": "pytest-saliency",
        "version": str((run.get("versions") or {}).get("pytest-saliency", "unknown")),
    }
    made: dict[str, Any] = {
        "tools": {"components": [tool]},
        "properties": properties(
            {
                "run": run.get("id"),
                "commit": git.get("commit"),
                "uncommitted_changes": git.get("dirty"),
                "platform": run.get("platform"),
            },
            {"deviation": list(document.get("deviations") or ())},
        ),
    }
    when = instant_or_none(run.get("finished"))
    return {"timestamp": when, **made} if when else made
