"""Adding a signature to a bundle: verified first, beside the bundle's files, never in place of another."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pytest_saliency.evidence.dsse import SigningError, envelope_of, payload_of, public_part
from pytest_saliency.evidence.intoto import subjects
from pytest_saliency.evidence.layout import SIGNATURE_SUFFIX, SIGNATURES
from pytest_saliency.evidence.verify import verify


def sign_bundle(
    folder: Path, private: bytes, *, name: str, meaning: str, at: datetime, password: bytes | None = None
) -> Path:
    """Sign the bundle at ``folder`` with the private key in PEM and return where the signature is.

    ``name``, ``meaning`` and ``at`` (aware) are part of what is signed.

    Raises
    ------
    SigningError
        The bundle is not whole up to level 1, name or meaning is empty, the key cannot be used, or the extra ``sign``
        is not installed.
    """
    for what, text in (("name", name), ("meaning", meaning)):
        if not text.strip() or not text.isprintable() or len(text) > 500:
            raise SigningError(f"the {what} of a signature must be one line of at most 500 characters; got {text!r}.")
    public = public_part(private, password)
    report = verify(folder, 1)
    if report.id is None or report.document is None or not report.whole:
        first = str(report.findings[0]) if report.findings else "it cannot be read"
        raise SigningError(f"{folder} is not signed, because it is not whole: {first}.")
    payload = payload_of(
        report.id,
        subjects(report.document),
        public,
        name=name.strip(),
        time=at.isoformat(timespec="seconds"),
        meaning=meaning.strip(),
    )
    envelope, keyid = envelope_of(payload, private, password)
    return _added(folder / SIGNATURES, keyid, envelope)


def _added(folder: Path, keyid: str, envelope: bytes) -> Path:
    """Write under a name that is not taken; a file appears whole or not at all, and none is ever replaced."""
    from pytest_saliency.records.whole import write_bytes_whole

    if folder.is_symlink():
        raise SigningError(f"{folder} is a symbolic link, which no bundle holds.")
    number = 1
    while (target := folder / f"{keyid[:16]}-{number}{SIGNATURE_SUFFIX}").exists():
        number += 1
    write_bytes_whole(target, envelope)
    return target
