"""Signatures of a bundle: DSSE envelopes in ``signatures/``, each over a statement about the bundle's identifier.

The statement is in-toto's; its predicate holds the signer's name, the time and the meaning of the signature (21 CFR
11.50 asks for these three) and the public key, so that damage shows without the key at hand. Who holds that key is not
thereby known: only a key that the verifier brings along says so. Keys are Ed25519 or ECDSA in PEM, through
securesystemslib (extra ``sign``), which is imported nowhere else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.canonical import ParseError, canonical, parse
from pytest_saliency.evidence.findings import Found
from pytest_saliency.evidence.folder import FileError, content_of
from pytest_saliency.evidence.intoto import STATEMENT
from pytest_saliency.evidence.layout import MANIFEST, SIGNATURE_SUFFIX, SIGNATURES

PAYLOAD = "application/vnd.in-toto+json"
SIGNATURE = "urn:pytest-saliency:signature:v1"
KINDS = ("ed25519", "ecdsa")
MAX_ENVELOPE = 1 << 20
PRIVATE_MARK, PUBLIC_MARK = b"PRIVATE KEY-----", b"-----BEGIN PUBLIC KEY-----"
KIND_OF_KEY = "it must be Ed25519 or ECDSA in PEM"
MISSING = "signing and verifying signatures needs securesystemslib: pip install 'pytest-saliency[sign]'."


class SigningError(SaliencyError):
    """A key that cannot be used, or a signature that cannot be made."""


@dataclass(frozen=True)
class Key:
    """A public key that a signature is demanded by; ``name`` is how messages call it."""

    name: str
    pem: bytes


@dataclass(frozen=True)
class Signed:
    """What a signature says: who, when, meaning what, over which bundle and models, with which key."""

    name: str
    time: str
    meaning: str
    manifest: str
    models: list[Any]
    keyid: str


def payload_of(identifier: str, models: Sequence[Mapping[str, Any]], key: Mapping[str, Any], **said: str) -> bytes:
    """Return the statement that is signed; ``said``: name, time and meaning."""
    return canonical(
        {
            "_type": STATEMENT,
            "subject": [{"name": MANIFEST, "digest": {"sha256": identifier}}, *models],
            "predicateType": SIGNATURE,
            "predicate": dict(said) | {"publicKey": dict(key)},
        }
    )


def envelope_of(payload: bytes, private: bytes, password: bytes | None = None) -> tuple[bytes, str]:
    """Return the envelope over ``payload``, signed with the private key in PEM, and the id of its key."""
    dsse, signer = _library(), _signer(private, password)
    envelope = dsse.Envelope(payload, PAYLOAD, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict()), str(signer.public_key.keyid)


def public_part(private: bytes, password: bytes | None = None) -> dict[str, str]:
    """Return the public key that belongs to a private one, as the statement holds it."""
    keyid = str(_signer(private, password).public_key.keyid)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    public = load_pem_private_key(private, password).public_key()
    return {"keyid": keyid, "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()}


def check_signatures(
    folder: Path, paths: Sequence[str], identifier: str, keys: Sequence[Key], found: Found
) -> list[str]:
    """Check every envelope and that each of ``keys`` signed; return a line for each signature."""
    lines = []
    held: set[str] = set()
    try:
        wanted = {_keyid(key): key.name for key in keys}
        able = True
        _library()
    except _MissingLibraryError:
        wanted, able = {}, False
        if keys:
            raise
    for path in sorted(paths):
        try:
            signed = _checked(content_of(folder, path, MAX_ENVELOPE), path, identifier, able)
        except (FileError, SigningError) as error:
            found.add(path, str(error))
            continue
        held.add(signed.keyid)
        known = wanted.get(signed.keyid)
        if not able:
            state = "not verified: " + MISSING.rstrip(".")
            found.skipped.append(f"{path}: the signature, because {MISSING}")
        else:
            state = f"verified with {known}" if known else "intact, but by a key that nobody named here (see --key)"
        lines.append(f"{signed.name}, {signed.time}: {signed.meaning} (key {signed.keyid[:16]}, {state})")
    for keyid, name in wanted.items():
        if keyid not in held:
            said = f"no valid signature by {name} (key {keyid[:16]})"
            found.add(SIGNATURES, said, f"NOT SIGNED BY {name}")
    return lines


def _checked(content: bytes, path: str, identifier: str, able: bool) -> Signed:
    """Return what an envelope says, or raise a SigningError that says what is wrong with it."""
    if not path.endswith(SIGNATURE_SUFFIX) or path.count("/") != 1:
        raise SigningError("is no signature, and only signatures may be added to a bundle")
    try:
        envelope = parse(content)
        payload = _decoded(envelope["payload"])
        statement = parse(payload)
        signature = envelope["signatures"][0]
        key = statement["predicate"]["publicKey"]
        signed = _said(statement, key)
        rebuilt = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD,
            "signatures": [{"keyid": signed.keyid, "sig": base64.b64encode(_decoded(signature["sig"])).decode()}],
        }
        whole = canonical(rebuilt) == content and canonical(statement) == payload
    except (ParseError, KeyError, IndexError, TypeError, ValueError) as error:
        raise SigningError(f"is no signature as this package makes them ({type(error).__name__}: {error})") from None
    if not whole:
        raise SigningError("was changed: it is not spelled as it was written")
    if signed.manifest != identifier:
        raise SigningError(f"signs bundle {signed.manifest}, and this is bundle {identifier}")
    if able:
        _verify(envelope, key)
    return signed


def _said(statement: Mapping[str, Any], key: Mapping[str, Any]) -> Signed:
    subjects, predicate = statement["subject"], statement["predicate"]
    if statement["_type"] != STATEMENT or statement["predicateType"] != SIGNATURE:
        raise ValueError("another type of statement")
    if set(predicate) != {"name", "time", "meaning", "publicKey"} or subjects[0]["name"] != MANIFEST:
        raise ValueError("no name, time and meaning, or another subject")
    texts = [predicate["name"], predicate["time"], predicate["meaning"], subjects[0]["digest"]["sha256"], key["keyid"]]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError("name, time, meaning, digest or key is no printable text")
    name, time, meaning, manifest, keyid = texts
    return Signed(name, time, meaning, manifest, list(subjects[1:]), keyid)


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, AttributeError):
        raise ValueError("no base64") from None


def _verify(envelope: Mapping[str, Any], key: Mapping[str, Any]) -> None:
    from securesystemslib.exceptions import VerificationError

    try:
        public = _public(str(key["pem"]).encode("ascii"))
        if public.keyid != key["keyid"]:
            raise ValueError("its public key has another id")
        copied = {**envelope, "signatures": [dict(row) for row in envelope["signatures"]]}  # from_dict changes them
        _library().Envelope.from_dict(copied).verify([public], 1)
    except (SigningError, VerificationError, ValueError, KeyError, TypeError) as error:
        raise SigningError(f"the signature does not hold: {error}") from None


def _keyid(key: Key) -> str:
    """Return the id of a public key in PEM."""
    _library()
    try:
        return str(_public(key.pem).keyid)
    except SigningError as error:
        raise SigningError(f"{key.name} {error}.") from None


def _public(pem: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    try:
        made = SSlibKey.from_crypto(load_pem_public_key(pem))
    except UnsupportedAlgorithm:
        raise SigningError(f"holds a public key of a kind that cannot be used; {KIND_OF_KEY}") from None
    except (ValueError, TypeError):
        if PRIVATE_MARK in pem:
            raise SigningError("is the private key; give the public one, which 'openssl pkey -pubout' makes") from None
        raise SigningError(f"holds no public key in PEM; {KIND_OF_KEY}") from None
    if made.keytype not in KINDS:
        raise SigningError(f"is a key of type {made.keytype}; use Ed25519 or ECDSA")
    return made


def _signer(private: bytes, password: bytes | None) -> Any:
    _library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

    try:
        signer = CryptoSigner(load_pem_private_key(private, password))
    except TypeError:
        given = (
            "it has a password, and no password was given (--password-env)"
            if password is None
            else "a password was given for a key that has none"
        )
        raise SigningError(f"the private key cannot be opened: {given}.") from None
    except UnsupportedAlgorithm:
        raise SigningError(f"the private key is of a kind that cannot be used; {KIND_OF_KEY}.") from None
    except ValueError:
        if PUBLIC_MARK in private:
            raise SigningError("this is the public key; give the private one.") from None
        if password is not None and PRIVATE_MARK in private:
            raise SigningError(
                "the private key cannot be opened: the password is wrong, or the file is damaged."
            ) from None
        raise SigningError(f"the private key cannot be read; {KIND_OF_KEY} (PKCS#8).") from None
    if signer.public_key.keytype not in KINDS:
        raise SigningError(f"the private key is of type {signer.public_key.keytype}; use Ed25519 or ECDSA.")
    return signer


class _MissingLibraryError(SigningError):
    """The extra ``sign`` is not installed."""


def _library() -> Any:
    try:
        import cryptography.hazmat.primitives.serialization  # noqa: F401
        from securesystemslib import dsse
    except ImportError:
        raise _MissingLibraryError(MISSING) from None
    return dsse
