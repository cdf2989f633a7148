"""``pytest-saliency lock``: fix what contracts declare before they are run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; say whether each contract is what was locked.")
@click.option("--replace", is_flag=True, help="Lock a contract anew that changed since it was locked.")
def lock(paths: tuple[Path, ...], check: bool, replace: bool) -> None:
    """Write a lock beside each contract, or compare contracts with their locks.

    PATHS are contracts, or folders that are searched for them (default: the current folder). With --check the exit
    code is 1 if a contract changed since it was locked, or is not locked. A lock of what a contract declared before is
    replaced only with --replace; what changed is printed either way.
    """
    from pytest_saliency.contracts.finding import contract_files
    from pytest_saliency.errors import ContractError

    if check and replace:
        raise click.UsageError("--check writes nothing, so that there is nothing to --replace.")
    bad = 0
    files = contract_files(paths or (Path(),))
    for file in files:
        try:
            if check:
                good, lines = checked(file)
            else:
                good, lines = locked(file, replace)
            bad += not good
            click.echo("\n".join(lines))
        except ContractError as error:
            bad += 1
            click.echo(f"{file}\n{error}", err=True)
    if bad:
        count = f"{bad} of {len(files)} contract{'s' if len(files) != 1 else ''}"
        raise click.ClickException(f"{count} {'not as locked' if check else 'not locked'}.")


def locked(file: Path, replace: bool) -> tuple[bool, list[str]]:
    """Lock the contract at ``file``; a lock of something else stays unless ``replace`` says otherwise."""
    from pytest_saliency.evidence.contracts import lock_beside
    from pytest_saliency.evidence.lock import write_lock

    beside = lock_beside(file)
    if not beside.exists():
        return True, [f"{file}: locked in {write_lock(file).name}"]
    good, lines = checked(file)
    if good:
        return True, [f"{line} {beside.name} stays as it is." for line in lines]
    if not replace:
        return False, [*lines, f"  {beside.name} stays as it is; to lock the contract as it is now, add --replace"]
    return True, [*lines, f"  locked anew in {write_lock(file).name}"]


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
