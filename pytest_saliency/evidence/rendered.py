"""The files of a bundle that are made from its document alone, so that they can be made again and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.intoto import statement
from pytest_saliency.evidence.layout import ATTESTATION, BOM, JUNIT, REPORT

ReadPicture = Callable[[str], bytes | None]


def rendered(
    document: Mapping[str, Any], configuration: Mapping[str, str], read_picture: ReadPicture
) -> dict[str, bytes]:
    """Return the rendered files by path; ``configuration``: SHA-256 of contracts, locks and waivers in the bundle."""
    from pytest_saliency.report.html.render import render_html
    from pytest_saliency.report.junit_file import junit_xml

    made = {
        ATTESTATION: canonical(statement(document, configuration)),
        JUNIT: junit_xml(document),
        REPORT: render_html(document, read_picture, bundle=True).encode("utf-8"),
    }
    if find_spec("pytest_saliency.evidence.cyclonedx") is not None:
        from importlib import import_module

        made[BOM] = canonical(import_module("pytest_saliency.evidence.cyclonedx").bom(document))
    return made
