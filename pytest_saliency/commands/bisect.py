"""``pytest-saliency bisect``: which block of a model moved the evidence, and how far along the way it moved."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_saliency.checks.bisecting import Bisection
    from pytest_saliency.contracts.check import CheckItem
    from pytest_saliency.contracts.contract import Contract

IMAGES, STEPS = 64, 10


@click.command()
@click.argument("contract", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("item")
@click.option("--images", default=IMAGES, show_default=True, type=click.IntRange(min=2), help="Images at most.")
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(2, 100), help="Steps between weights.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Draws the images.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def bisect(contract: Path, item: str, images: int, steps: int, seed: int, device: str, as_json: bool) -> None:
    """Find the block between the two models of a drift check that moved the evidence.

    CONTRACT is a contract file, ITEM one of its no_semantic_drift items, as evidence-kept[layercam]. Blocks of the
    model after are put into the model before one by one and one after the other from either end, and weights are mixed
    step by step; each such model is measured against the model before. It runs your models, and decides nothing.
    """
    from pytest_saliency.contracts.contract import load_contract
    from pytest_saliency.errors import ContractError

    try:
        loaded = load_contract(contract)
    except ContractError as error:
        raise click.ClickException(error.render()) from None
    check = _item(loaded, item)
    found = _run(loaded, check, images, steps, seed, device)
    if as_json:
        click.echo(json.dumps({"item": check.name, "method": check.parameters["method"], **found.to_dict()}, indent=2))
    else:
        click.echo("\n".join(lines_of(found, check.name, str(check.parameters["method"]), check.roles)))


def _item(contract: Contract, name: str) -> CheckItem:
    """Return the item that is meant: by its whole name, or by the id of a check that has one item."""
    from pytest_saliency.contracts.contract import expand
    from pytest_saliency.errors import SaliencyError

    items = [item for item in expand(contract) if item.kind == "no_semantic_drift"]
    named = [item for item in items if item.name == name] or [item for item in items if item.check == name]
    if len(named) == 1:
        return named[0]
    known = ", ".join(item.name for item in (named or items)) or "none"
    other = next((item.kind for item in expand(contract) if name in (item.name, item.check)), None)
    if not named and other is not None:
        raise SaliencyError(
            f"{name} is of kind {other}, which compares no two models; bisect takes no_semantic_drift items: {known}."
        )
    what = f"{name} has {len(named)} items" if named else f"{contract.path} declares no drift check {name!r}"
    raise SaliencyError(f"{what}; name one of them: {known}.")


def _run(contract: Contract, check: CheckItem, images: int, steps: int, seed: int, device: str) -> Bisection:
    from pytest_saliency.checks.bisecting import bisect as work
    from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
    from pytest_saliency.contracts.imports import make_importable
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.contracts.sources import make_cases, make_subject, needs_class_names
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.explained import Explained, explain
    from pytest_saliency.engine.methods.names import PLANNABLE, parse_method
    from pytest_saliency.engine.subject import Subject
    from pytest_saliency.errors import SaliencyError

    specs = {role: contract.models[check.roles[role]] for role in ("before", "after")}
    for what, fixture in (
        ("the cases", check.cases.fixture),
        *((f"model '{check.roles[role]}'", spec.fixture) for role, spec in specs.items()),
    ):
        if fixture is not None:
            raise SaliencyError(
                f"{what} of {check.name} come from fixture '{fixture}', which only pytest can call; declare them by"
                " python:, torchvision: or files to bisect them."
            )
    parameters = NoSemanticDriftParameters(**check.parameters)
    place = Place(contract.path.parent.resolve(), Path.cwd(), True, {})
    undo = make_importable((place.folder, place.root))
    try:
        cases = make_cases(check.cases, place)
        if len(cases) > images:
            cases = cases.sample(images, seed, "balanced")
        subjects = {
            role: make_subject(
                check.roles[role],
                spec,
                place,
                cases.class_names if needs_class_names(spec) else None,
                contract.document.data["models"][check.roles[role]],
            )
            for role, spec in specs.items()
        }
        named = parse_method(parameters.method)
        methods = (parameters.method,) if named is not None and named.base in PLANNABLE else None

        def explained(subject: Subject, over: Cases) -> Explained:
            return explain(subject, over, device=device, methods=methods, targets=("label",))

        def tell(done: int, planned: int) -> None:
            if sys.stderr.isatty():
                click.echo(f"\r{done} of {planned} models", nl=done >= planned, err=True)

        return work(subjects["before"], subjects["after"], cases, parameters, steps=steps, explain=explained, tell=tell)
    finally:
        undo()


def lines_of(found: Bisection, item: str, method: str, roles: dict[str, str]) -> list[str]:
    """Return the finding as text."""
    from pytest_saliency.checks.bisecting import CLEAR

    before, after = roles["before"], roles["after"]
    whole, best = found.whole[found.measure], found.moved_by
    limit = "" if found.limit is None else f", limit {found.limit:g}"
    lines = [
        f"{item}: {before} to {after}, {method}, {found.kept} of {found.images} images kept, {found.models} models",
        f"{found.title} of {after}: {_figure(whole)}{limit}",
    ]
    if math.isnan(found.share):
        lines.append("no block moved the evidence: the maps of the two models do not differ in this measure")
    else:
        clear = found.share >= CLEAR
        said = f"{_figure(best.values['alone'])} with it alone, {_figure(best.values['without'])} with all but it"
        word = "the block that moved the evidence" if clear else "no block moved the evidence by itself; most of it"
        lines.append(f"{word}: {best.name} ({round(100 * found.share)} % of the change; {said})")
    if found.limit is not None:
        where = "the limit is not passed on the way from one model's weights to the other's"
        if found.moved_at is not None:
            where = f"the limit is passed at {found.moved_at:.2f} of the way from {before}'s weights to {after}'s"
        lines.append(where)
    header = ("block", "alone", "up to it", "from it on", "all but it", "effect")
    rows = [
        (one.name, *(_figure(one.values[way]) for way in ("alone", "up_to", "from", "without")), _figure(one.effect))
        for one in found.blocks
    ]
    lines += ["", *_table([header, *rows])]
    steps = [
        (f"{share:.2f}", _figure(means[found.measure]), _figure(accuracy)) for share, means, accuracy in found.steps
    ]
    lines += ["", *_table([("share of the way", found.title, "accuracy"), *steps])]
    return [*lines, *(f"note: {one}" for one in found.failures)]


def _figure(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "   ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
