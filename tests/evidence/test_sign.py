"""Signatures: by whom, when, meaning what; nothing else may be added to a bundle."""

from __future__ import annotations

import base64
import builtins
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pytest_saliency.cli import main
from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.dsse import Key, SigningError
from pytest_saliency.evidence.signing import sign_bundle
from pytest_saliency.evidence.verify import verify

from .bundles import bundle_of, copy_of, rehash

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def pair(private: Any, password: bytes | None = None) -> tuple[bytes, bytes]:
    """Return a private key and its public key in PEM."""
    closed = BestAvailableEncryption(password) if password else NoEncryption()
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, closed),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("bundle"), {"kept": "PASS"}).path


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    return copy_of(bundle, tmp_path / "copy")


KEYS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_holds_name_time_and_meaning_and_verifies(folder: Path, kind: str) -> None:
    private, public = pair(KEYS[kind]())
    identifier = verify(folder, 0).id
    written = sign_bundle(folder, private, name="Jane Roe", meaning="approved for release", at=AT)
    report = verify(folder, 1, keys=[Key("jane.pem", public)], expected_id=identifier)
    assert report.findings == ()
    assert report.id == identifier
    assert len(report.signatures) == 1
    assert "Jane Roe, 2026-03-02T09:00:00+00:00: approved for release" in report.signatures[0]
    assert "verified with jane.pem" in report.signatures[0]
    statement = json.loads(base64.b64decode(json.loads(written.read_bytes())["payload"]))
    assert statement["subject"][0] == {"name": "manifest.json", "digest": {"sha256": identifier}}
    assert {row["name"] for row in statement["subject"][1:]} == {"tl", "ft"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"


def test_the_envelope_is_dsse_checked_without_the_library_that_made_it(folder: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    written = sign_bundle(folder, pair(key)[0], name="Jane Roe", meaning="reviewed", at=AT)
    envelope = json.loads(written.read_bytes())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    assert kind == b"application/vnd.in-toto+json"
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)  # the protocol's own formula
    key.public_key().verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)


def test_several_people_sign_and_a_missing_one_is_found(folder: Path) -> None:
    pairs = [pair(ed25519.Ed25519PrivateKey.generate()) for _ in range(3)]
    for number, (private, _) in enumerate(pairs[:2]):
        sign_bundle(folder, private, name=f"Person {number}", meaning="reviewed", at=AT)
    sign_bundle(folder, pairs[0][0], name="Person 0", meaning="approved", at=AT)
    keys = [Key(f"{number}.pem", public) for number, (_, public) in enumerate(pairs)]
    assert len(verify(folder, 0, keys=keys[:2]).signatures) == 3
    assert verify(folder, 0, keys=keys[:2]).whole
    report = verify(folder, 0, keys=keys)
    assert report.exit_code == 4
    assert "no valid signature by 2.pem" in str(report.findings[0])
    assert any("nobody named" in line for line in verify(folder, 0).signatures)


def test_each_changed_byte_of_a_signature_is_found(folder: Path) -> None:
    written = sign_bundle(folder, pair(KEYS["p256"]())[0], name="Jane Roe", meaning="approved", at=AT)
    content = written.read_bytes()
    for place in range(0, len(content), 3):
        written.write_bytes(content[:place] + bytes([content[place] ^ (1 << (place % 7))]) + content[place + 1 :])
        found = {finding.file for finding in verify(folder, 0).findings}
        assert found == {written.relative_to(folder).as_posix()}, place
    written.write_bytes(content)
    assert verify(folder, 0).whole


def test_a_signature_of_another_bundle_or_other_models_is_found(folder: Path, tmp_path: Path) -> None:
    private, public = pair(ed25519.Ed25519PrivateKey.generate())
    written = sign_bundle(folder, private, name="Jane Roe", meaning="approved", at=AT)
    other = bundle_of(tmp_path / "other", {"sensitive": "PASS"}).path
    (other / "signatures").mkdir()
    (other / "signatures" / written.name).write_bytes(written.read_bytes())
    report = verify(other, 0, keys=[Key("jane.pem", public)])
    assert any("signs bundle" in finding.what for finding in report.findings)
    assert any("no valid signature by jane.pem" in finding.what for finding in report.findings)
    # Changed afterwards, with all hashes made anew: the signature names another identifier.
    (folder / "junit.xml").write_bytes(b"<testsuites/>")
    rehash(folder)
    assert any("signs bundle" in finding.what for finding in verify(folder, 0).findings)


def test_a_statement_for_other_models_is_found_at_level_1(folder: Path) -> None:
    from pytest_saliency.evidence.dsse import envelope_of, payload_of, public_part

    private, _ = pair(ed25519.Ed25519PrivateKey.generate())
    identifier = verify(folder, 0).id
    assert identifier is not None
    models = [{"name": "another", "digest": {"sha256": "0" * 64}}]
    payload = payload_of(identifier, models, public_part(private), name="J", time="t", meaning="m")
    (folder / "signatures").mkdir()
    (folder / "signatures" / "a.dsse.json").write_bytes(envelope_of(payload, private)[0])
    assert verify(folder, 0).whole
    assert any(finding.file == "signatures/a.dsse.json" for finding in verify(folder, 1).findings)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"payload":3,"payloadType":"x","signatures":[]}',
        b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"a","sig":"YQ=="}]}',
        canonical(
            {
                "payload": base64.b64encode(b'{"predicate":{"publicKey":{"keyid":3}}}').decode(),
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"keyid": "a", "sig": ""}],
            }
        ),
        b"[" * 10_000,
        b"\xff",
    ],
)
def test_what_is_no_signature_is_found(folder: Path, content: bytes) -> None:
    (folder / "signatures").mkdir()
    (folder / "signatures" / "a.dsse.json").write_bytes(content)
    report = verify(folder, 1)
    assert {finding.file for finding in report.findings if finding.level == 0} == {"signatures/a.dsse.json"}


def test_keys_that_cannot_be_used_give_a_sentence(folder: Path) -> None:
    good, public = pair(ed25519.Ed25519PrivateKey.generate())
    closed, _ = pair(ed25519.Ed25519PrivateKey.generate(), b"secret")
    with pytest.raises(SigningError, match="of type rsa"):
        sign_bundle(folder, pair(rsa.generate_private_key(65537, 2048))[0], name="J", meaning="m", at=AT)
    for private, password, said in (
        (closed, None, "no password was given"),
        (good, b"secret", "a key that has none"),
        (closed, b"wrong", r"the password is wrong, or the file is damaged\.$"),
        (b"no key", None, r"cannot be read; it must be Ed25519 or ECDSA in PEM \(PKCS#8\)\.$"),
        (public, None, r"^this is the public key; give the private one\.$"),
    ):
        with pytest.raises(SigningError, match=said):
            sign_bundle(folder, private, name="J", meaning="m", at=AT, password=password)
    for name, meaning in (("", "m"), ("J", " "), ("J\nK", "m"), ("J", "x" * 501)):
        with pytest.raises(SigningError, match="must be one line"):
            sign_bundle(folder, good, name=name, meaning=meaning, at=AT)
    for content, said in (
        (b"no key", "x.pem holds no public key in PEM; it must be Ed25519 or ECDSA in PEM."),
        (good, "x.pem is the private key; give the public one, which 'openssl pkey -pubout' makes."),
        (closed, "x.pem is the private key; give the public one, which 'openssl pkey -pubout' makes."),
    ):
        with pytest.raises(SigningError, match=f"^{re.escape(said)}$"):
            verify(folder, 0, keys=[Key("x.pem", content)])
    assert not (folder / "signatures").exists()
    sign_bundle(folder, closed, name="J", meaning="m", at=AT, password=b"secret")
    assert verify(folder, 0).whole


def test_a_bundle_that_is_not_whole_is_not_signed(folder: Path) -> None:
    (folder / "junit.xml").write_bytes(b"")
    with pytest.raises(SigningError, match=r"it is not whole: level 0: junit\.xml"):
        sign_bundle(folder, pair(KEYS["ed25519"]())[0], name="J", meaning="m", at=AT)


def test_the_commands_sign_and_demand_keys(folder: Path, tmp_path: Path) -> None:
    private, public = pair(ed25519.Ed25519PrivateKey.generate(), b"secret")
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "pub.pem").write_bytes(public)
    run = CliRunner().invoke
    words = ["sign", str(folder), "--key", str(tmp_path / "key.pem"), "--name", "Jane Roe", "--meaning", "approved"]
    assert "no password was given" in run(main, words).output
    assert "which is not set" in run(main, [*words, "--password-env", "NOT_SET_HERE"]).output
    signed = run(main, [*words, "--password-env", "KEY_PASSWORD"], env={"KEY_PASSWORD": "secret"})
    assert signed.exit_code == 0, signed.output
    verified = run(main, ["verify", str(folder), "--key", str(tmp_path / "pub.pem")])
    assert verified.exit_code == 0, verified.output
    assert "Jane Roe" in verified.output
    other = pair(ed25519.Ed25519PrivateKey.generate())[1]
    (tmp_path / "other.pem").write_bytes(other)
    assert run(main, ["verify", str(folder), "--key", str(tmp_path / "other.pem")]).exit_code == 4
    assert run(main, ["verify", str(folder), "--key", str(tmp_path / "key.pem")]).exit_code == 2


def test_without_the_extra_one_sentence_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = pair(ed25519.Ed25519PrivateKey.generate())
    sign_bundle(folder, private, name="Jane Roe", meaning="approved", at=AT)
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] in ("securesystemslib", "cryptography"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SigningError, match=r"pytest-saliency\[sign\]"):
        sign_bundle(folder, private, name="J", meaning="m", at=AT)
    with pytest.raises(SigningError, match=r"pytest-saliency\[sign\]"):
        verify(folder, 0, keys=[Key("jane.pem", public)])
    report = verify(folder, 0)
    assert report.whole
    assert any("not verified" in line for line in report.signatures)
    assert any("pytest-saliency[sign]" in line for line in report.skipped)
