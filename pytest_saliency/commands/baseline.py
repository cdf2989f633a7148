"""``pytest-saliency baseline``: look at what is approved and what waits, approve it, clear away what is left over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_saliency.records.baseline_diff import Diff
    from pytest_saliency.records.baselines import Shelf

paths_argument = click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
folder_option = click.option(
    "--baselines",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of baselines; without it the one that pytest's configuration names, or saliency-baselines.",
)


@click.group()
def baseline() -> None:
    """Approved per-image numbers of a release, which not_worse_than_baseline compares with.

    Written by pytest --saliency-baseline new (or update), approved here, kept in git.
    """


@baseline.command()
@paths_argument
@folder_option
def status(paths: tuple[Path, ...], folder: Path | None) -> None:
    """Show every baseline, its approval, and what was loosened since.

    PATHS are contracts or folders of contracts; without them all contracts below this folder are looked at, and what
    none of them declares is shown as an orphan. Exit code 1 where a contract or a baseline cannot be read.
    """
    from pytest_saliency.records import baseline_status

    declared = baseline_status.declared_in(paths)
    rows, problems = baseline_status.status(_folder(folder, declared_any=bool(declared.criteria)), declared)
    width = max((len(row.key.selector) for row in rows), default=0)
    for row in rows:
        first, *more = row.lines
        click.echo(f"{row.key.selector:<{width}}  {first}")
        for line in more:
            click.echo(f"{'':<{width}}    {line}")
    counted = {state: sum(row.state == state for row in rows) for state in dict.fromkeys(row.state for row in rows)}
    click.echo(", ".join(f"{count} {state}" for state, count in counted.items()) or "no baselines, and no checks")
    _complain((*declared.problems, *problems))


@baseline.command()
@click.argument("selector")
@folder_option
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for one PNG a check: maps before, after and their difference for the images that became worse.",
)
def diff(selector: str, folder: Path | None, output: Path | None) -> None:
    """Show what approving a candidate would change.

    SELECTOR is contract/check, or contract/check[axes] for one of its items; python/NAME for a name in a test.
    """
    from pytest_saliency.records.baseline_diff import diff as compare

    for place, shelf in enumerate(_selected(_folder(folder), (selector,))):
        if place:
            click.echo()
        if shelf.waiting is None:
            click.echo(
                f"{shelf.key.selector}: nothing waits for approval (--saliency-baseline update writes a candidate)"
            )
            continue
        made = compare(shelf)
        click.echo("\n".join(made.lines))
        if output is not None:
            click.echo(f"  pictures   {_draw(made, shelf, output)}")
        click.echo(f"  To approve: pytest-saliency baseline approve '{shelf.key.selector}' --reason \"...\"")


@baseline.command()
@click.argument("selectors", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why the new numbers are right; kept with them.")
@click.option("--by", help="Who approves; without it git's user.name.")
@folder_option
def approve(selectors: tuple[str, ...], reason: str, by: str | None, folder: Path | None) -> None:
    """Make candidates the baselines that checks are compared with. Look at them with 'diff' first.

    SELECTORS are contract/check, or contract/check[axes]. Refused under CI.
    """
    from datetime import UTC, datetime

    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.records.baseline_mode import in_ci
    from pytest_saliency.records.baselines import approve as accept
    from pytest_saliency.records.runfile import tester_of

    if in_ci():
        raise SaliencyError(
            "nothing is approved here, because the environment variable CI is set: a person approves, on their own"
            " machine, and commits the folder."
        )
    if not reason.strip():
        raise SaliencyError("--reason is empty; say why the new numbers are right, in words that hold up in a year.")
    person = tester_of(by.strip() if by else None, Path.cwd())
    if person is None:
        raise SaliencyError("who approves? Give --by NAME, or set git's user.name.")
    shelves = _selected(_folder(folder), selectors)
    waiting = [shelf.waiting for shelf in shelves if shelf.waiting is not None]
    if not waiting:
        raise SaliencyError(
            f"nothing waits for approval for {' '.join(selectors)}: run the checks with --saliency-baseline update."
        )
    for entry in waiting:
        entry.load()  # all of them, before the first is approved
    at = datetime.now(UTC).isoformat(timespec="seconds")
    for entry in waiting:
        made = accept(_folder(folder), entry, by=person["name"], at=at, reason=reason.strip())
        click.echo(f"approved {made.key.selector} by {person['name']} ({made.data['verdict']}, {made.images} images)")
    click.echo("Commit the folder, so that everybody is compared with it.")


@baseline.command()
@paths_argument
@click.option("--yes", is_flag=True, help="Remove them; without it they are listed only.")
@folder_option
def prune(paths: tuple[Path, ...], yes: bool, folder: Path | None) -> None:
    """List baselines that no contract declares any more, and files that belong to none; --yes removes them.

    With PATHS, only baselines of the contracts in there. Baselines that tests name are left alone.
    """
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.records import baseline_status
    from pytest_saliency.records.baselines import stray

    place = _folder(folder)
    declared = baseline_status.declared_in(paths)
    rows, problems = baseline_status.status(place, declared)
    if declared.problems or problems:
        _complain((*declared.problems, *problems), "so what is left over is not known, and nothing was removed.")
    if not declared.contracts:
        raise SaliencyError("there is no contract here, so every baseline would be left over; go to where they are.")
    found = [
        entry.path
        for shelf in baseline_status.orphans(rows)
        for entry in (shelf.approved, shelf.waiting)
        if entry is not None
    ]
    doomed = [*found, *(path for path in stray(place, without=found))]
    for path in doomed:
        if yes:
            path.unlink(missing_ok=True)
        click.echo(f"{'removed' if yes else 'left over'}: {path}")
    if not doomed:
        click.echo("nothing is left over")
    elif not yes:
        click.echo("Nothing was removed; --yes removes them.")


def _folder(given: Path | None, declared_any: bool = False) -> Path:
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.records.baseline_folder import baseline_folder
    from pytest_saliency.records.baseline_mode import FOLDER

    if given is not None:
        return given
    try:
        return baseline_folder(Path.cwd())
    except SaliencyError:
        if declared_any:  # there is something to tell of nevertheless: all of it is missing
            return Path.cwd() / FOLDER
        raise


def _selected(folder: Path, selectors: Sequence[str]) -> list[Shelf]:
    from pytest_saliency.contracts.problems import did_you_mean
    from pytest_saliency.errors import SaliencyError
    from pytest_saliency.records.baselines import shelves

    stored, problems = shelves(folder)
    chosen: dict[str, Shelf] = {}
    for selector in selectors:
        found = [shelf for shelf in stored if shelf.key.selected_by(selector)]
        if not found:
            names = [shelf.key.selector for shelf in stored]
            hint = did_you_mean(selector, names) or f"; there are {', '.join(names[:10]) or 'none'}"
            raise SaliencyError(" ".join([f"there is no baseline '{selector}' in {folder}{hint}.", *problems]))
        chosen |= {str(shelf.key): shelf for shelf in found}
    return list(chosen.values())


def _draw(made: Diff, shelf: Shelf, output: Path) -> str:
    """Write the picture of a diff and return where it is, or why there is none."""
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.records.whole import write_bytes_whole
    from pytest_saliency.report.baseline_sheet import Row, sheet_png

    if made.stored is None or not made.cases:
        return "none: no image became worse, or nothing can be compared"
    assert shelf.waiting is not None
    name = KINDS[shelf.waiting.kind].shown
    then, now = (side.maps.get(name) for side in made.stored)
    if then is None or now is None:
        return "none: no maps were kept in the approved baseline or in the candidate"
    if then.shape[1:] != now.shape[1:]:
        return f"none: the maps have the shapes {then.shape[1:]} and {now.shape[1:]}"
    rows = [
        Row(
            (case.id, case.label, *(f"{what} {before:.2f} -> {after:.2f}" for what, before, after in case.numbers)),
            then[case.then],
            now[case.now],
        )
        for case in made.cases
    ]
    path = output / f"{shelf.key.folder}-{shelf.key.stem}.png"
    write_bytes_whole(path, sheet_png(rows, f"{shelf.key.selector}: the images that became worse the most"))
    return str(path)


def _complain(problems: Sequence[str], consequence: str = "") -> None:
    if not problems:
        return
    for problem in problems:
        click.echo(problem, err=True)
    count = f"{len(problems)} file{'s' if len(problems) != 1 else ''} cannot be used"
    raise click.ClickException(f"{count}, {consequence}" if consequence else f"{count}.")
