"""``pytest-saliency sign``: put a signature with name, time and meaning beside an evidence bundle."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from pytest_saliency.errors import SaliencyError


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Private key, Ed25519 or ECDSA, in PEM.",
)
@click.option("--name", required=True, help="The full name of the person who signs.")
@click.option("--meaning", required=True, help='What the signature means, as "approved for release".')
@click.option("--password-env", metavar="VARIABLE", help="Environment variable with the password of the key.")
def sign(bundle: Path, key: Path, name: str, meaning: str, password_env: str | None) -> None:
    """Sign the evidence bundle in the folder BUNDLE, after verifying it up to level 1.

    The signature is over the bundle's identifier and the models under test. It lies in BUNDLE/signatures; nothing
    else of the bundle changes, and earlier signatures stay. Needs the extra: pip install 'pytest-saliency[sign]'.
    """
    from pytest_saliency.evidence.signing import sign_bundle

    password = None
    if password_env is not None:
        if password_env not in os.environ:
            raise SaliencyError(f"--password-env names {password_env}, which is not set.")
        password = os.fsencode(os.environ[password_env])
    written = sign_bundle(bundle, key.read_bytes(), name=name, meaning=meaning, at=datetime.now(UTC), password=password)
    click.echo(f"signed as {name} ({meaning}): {written}")
