"""``pytest-saliency``: artefacts only. Running checks is pytest's job.

Exit codes: 0 all is well, 1 something was found or cannot be done, 2 the command was used wrongly.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from pytest_saliency import __version__
from pytest_saliency.errors import SaliencyError

COMMANDS = (
    "baseline",
    "bisect",
    "calibrate",
    "init",
    "lock",
    "merge",
    "plan",
    "plot",
    "report",
    "selftest",
    "sign",
    "summary",
    "verify",
    "waivers",
)
"""Commands with a file of their own, ``commands/NAME.py``, which is imported when the command is used."""

SCHEMAS = ("contract", "run", "bundle-run", "results", "cases-line", "manifest", "waivers", "lock", "baseline")
"""What there is a JSON Schema of."""


class _Sentences(click.Group):
    """Turns what a user can mend into one sentence on stderr and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"pytest_saliency.commands.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SaliencyError as error:
            raise click.ClickException(str(error)) from None
        except BrokenPipeError:  # `... | head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise click.ClickException(f"{error.filename or 'a file'}: {reason}") from None


@click.group(cls=_Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pytest-saliency")
def main() -> None:
    """Explanation regression tests for image classifiers. Run the tests themselves with pytest."""


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--text-only", is_flag=True, help="Do not look whether the named weights and images are there.")
def validate(paths: tuple[Path, ...], text_only: bool) -> None:
    """Check contracts without running anything and without importing any of your code.

    PATHS are contract files, or folders that are searched for *.saliency.yaml and *.saliency.yml.
    """
    from pytest_saliency.contracts.contract import expand, load_contract
    from pytest_saliency.contracts.finding import contract_files
    from pytest_saliency.contracts.paths import missing_paths
    from pytest_saliency.errors import ContractError, Problem

    files = contract_files(paths)
    slugs: dict[str, Path] = {}
    bad = 0
    for file in files:
        try:
            contract = load_contract(file)
            problems = () if text_only else missing_paths(contract)
            earlier = slugs.setdefault(contract.slug, file)
            if earlier is not file:
                twice = f"contract '{contract.slug}' is also declared by {earlier}; each needs its own name"
                problems = (Problem(*contract.place("contract"), twice), *problems)
            if problems:
                raise ContractError(str(file), problems)
        except ContractError as error:
            bad += 1
            click.echo(f"{file}\n{error}", err=True)
            continue
        count = len(expand(contract))
        click.echo(f"{file}: ok, {count} item{'s' if count != 1 else ''}")
    if bad:
        raise click.ClickException(f"{bad} of {len(files)} contract{'s' if len(files) != 1 else ''} cannot be used.")


@main.command()
@click.argument("name", default="contract", type=click.Choice(SCHEMAS))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
def schema(name: str, output: Path | None) -> None:
    """Print the JSON Schema of the contract file, for editors, or of another file that this package writes or reads."""
    from pytest_saliency.contracts.schema import shipped_schema
    from pytest_saliency.evidence.schemas import schema_text

    text = shipped_schema() if name == "contract" else schema_text(name)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"wrote {output}")


@main.command()
@click.argument("model")
@click.option("--input", "size", default="3x224x224", show_default=True, help="Channels and size of one image.")
@click.option("--num-classes", type=click.IntRange(min=1), help="Outputs of a torchvision or timm architecture.")
@click.option(
    "--reshape",
    type=click.Choice(["channels_first", "channels_last", "tokens"]),
    help="How outputs are laid out, where that cannot be seen from their shape.",
)
@click.option("--last", default=30, show_default=True, type=click.IntRange(min=0), help="How many; 0 shows all.")
def layers(model: str, size: str, num_classes: int | None, reshape: Any, last: int) -> None:
    """Show the layers of MODEL that maps can be read from.

    MODEL is the name of a torchvision architecture, timm:NAME, huggingface:FOLDER, exported:FILE, or module:attribute
    of your own code (a module, or a function without arguments that returns one). Nothing is downloaded.
    """
    shape = _parse_size(size)
    from pytest_saliency.layer_table import layer_table

    sys.path.insert(0, str(Path.cwd()))
    try:
        table = layer_table(model, shape, num_classes, reshape, last)
    finally:
        sys.path.remove(str(Path.cwd()))
    click.echo(table)


def _parse_size(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not all(part.isascii() and part.isdigit() and 0 < len(part) < 6 for part in parts) or len(parts) not in (3, 4):
        raise click.BadParameter(f"'{text}' is not a size such as 3x224x224 or 1x16x64x64", param_hint="'--input'")
    shape = tuple(int(part) for part in parts)
    if 0 in shape:
        raise click.BadParameter(f"'{text}' has a zero in it", param_hint="'--input'")
    return shape
