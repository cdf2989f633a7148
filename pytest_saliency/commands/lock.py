"""``pytest-saliency lock``: fix what contracts declare before they are run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; say whether each contract is what was locked.")
def lock(paths: tuple[Path, ...], check: bool) -> None:
    """Write a lock beside each contract, or compare contracts with their locks.

    PATHS are contracts, or folders that are searched for them (default: the current folder). With --check the exit
    code is 1 if a contract changed since it was locked, or is not locked.
    """
    from pytest_saliency.contracts.finding import contract_files
    from pytest_saliency.errors import ContractError
    from pytest_saliency.evidence.lock import write_lock

    bad = 0
    files = contract_files(paths or (Path(),))
    for file in files:
        try:
            if check:
                good, lines = checked(file)
                bad += not good
                click.echo("\n".join(lines))
            else:
                click.echo(f"{file}: locked in {write_lock(file).name}")
        except ContractError as error:
            bad += 1
            click.echo(f"{file}\n{error}", err=True)
    if bad:
        count = f"{bad} of {len(files)} contract{'s' if len(files) != 1 else ''}"
        raise click.ClickException(f"{count} {'not as locked' if check else 'cannot be locked'}.")


def checked(file: Path) -> tuple[bool, list[str]]:
    """Return whether the contract at ``file`` is what was locked, and lines that say so."""
    from pytest_saliency.contracts.contract import load_contract
    from pytest_saliency.evidence.contracts import lock_beside
    from pytest_saliency.evidence.lock import assess_lock

    contract = load_contract(file)
    beside = lock_beside(file)
    held = beside.read_bytes() if beside.is_file() else None
    row = assess_lock(contract.slug, contract.digest, str(file), contract.text.encode("utf-8"), held, [])
    if row["state"] == "changed" and row["changes"]:
        return False, [f"{file}: changed since it was locked at {row['at']}:", *(f"  {one}" for one in row["changes"])]
    return row["state"] == "unchanged", [f"{file}: {row['why']}"]
