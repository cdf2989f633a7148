"""``pytest-saliency init``: a commented contract to fill in, or one with limits that a pilot proposes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pytest_saliency.contracts.drafting import Head

IMAGENET: Mapping[str, Any] = {
    "resize": 256,
    "center_crop": 224,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
ASSUMED: Mapping[str, Mapping[str, Any] | str] = {
    "torchvision": IMAGENET,
    "timm": "weights",
    "huggingface": "weights",
}
"""What is taken for the preprocessing of a model from each source, where none is given."""
MOST = 300
FEWEST = 20


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite files that are there already (never a proposed contract).")
@click.option(
    "--from",
    "pilot",
    nargs=3,
    type=click.Path(path_type=Path),
    metavar="BEFORE AFTER DATA",
    help="Propose a contract from a pilot: two checkpoints and a folder with one folder of images a class.",
)
@click.option(
    "--model",
    help="With --from: torchvision:NAME, timm:NAME, huggingface:FOLDER, or package.module:function of the module.",
)
@click.option("--classes", type=click.IntRange(min=2), help="With --from: outputs of torchvision or timm.")
@click.option(
    "--order",
    help="With --from: the class folders in the order of the model's outputs, separated by commas; else alphabetical.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="With --from: the contract to write.")
@click.option("--layer", default="auto", show_default=True, help="With --from: where maps are read.")
@click.option("--preprocess", help="With --from: as a contract writes it, such as '{resize: 256, channels: 1}'.")
@click.option(
    "--images", default=MOST, show_default=True, type=click.IntRange(min=FEWEST), help="With --from: at most."
)
@click.option("--seed", default=7, show_default=True, type=click.IntRange(min=0), help="With --from: of the sample.")
@click.option("--device", default="auto", show_default=True, help="With --from: auto, cpu, cuda[:n] or mps.")
def init(
    folder: Path,
    force: bool,
    pilot: tuple[Path, Path, Path] | None,
    model: str | None,
    classes: int | None,
    order: str | None,
    out: Path | None,
    layer: str,
    preprocess: str | None,
    images: int,
    seed: int,
    device: str,
) -> None:
    """Write a commented contract, a conftest sketch and a CI workflow into FOLDER.

    With --from a pilot is run instead, and one contract is written with the limits that it allows and the number of
    images that each check needs: by default contracts/NAME.saliency.yaml in FOLDER, named after AFTER.
    """
    if pilot is None:
        if any(one is not None for one in (model, out, classes, order, preprocess)):
            raise click.UsageError(
                "--model, --classes, --order, --out and --preprocess belong to --from BEFORE AFTER DATA."
            )
        _templates(folder, force)
        return
    before, after, data = pilot
    if model is None:
        raise click.UsageError(
            "--from needs --model: torchvision:resnet18, or package.module:function of your own code."
        )
    target = out or folder / "contracts" / f"{_slug(after.stem)}.saliency.yaml"
    names = tuple(name.strip() for name in order.split(",")) if order is not None else ()
    _proposal(_head(target, before, after, data, model, classes, names, layer, preprocess, images, seed), device)


def _templates(folder: Path, force: bool) -> None:
    from pytest_saliency.templates import starter_files

    files = {folder / name: text for name, text in starter_files().items()}
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise click.ClickException(
            f"nothing was written, as {', '.join(there)} {'is' if len(there) == 1 else 'are'} there already;"
            " --force overwrites."
        )
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
    contract = next(path for path in files if path.suffix in (".yaml", ".yml") and ".saliency" in path.suffixes)
    click.echo(
        "\nNext:\n"
        f"  1. name your models and images in {contract}\n"
        f"  2. pytest-saliency layers MODEL                 shows the layers to choose from\n"
        f"  3. pytest-saliency validate {contract.parent}\n"
        f"  4. pytest {contract.parent}"
    )


def _head(
    target: Path,
    before: Path,
    after: Path,
    data: Path,
    model: str,
    classes: int | None,
    order: tuple[str, ...],
    layer: str,
    preprocess: str | None,
    images: int,
    seed: int,
) -> Head:
    """Look at what was given, as far as that is possible without running a model."""
    from datetime import UTC, datetime

    from pytest_saliency.contracts.drafting import Head
    from pytest_saliency.contracts.models import SHIPPING
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.errors import SaliencyError

    if target.exists():
        raise SaliencyError(f"nothing was written, as {target} is there already; give another name with --out.")
    if not target.name.endswith((".saliency.yaml", ".saliency.yml")):
        raise SaliencyError(f"--out {target} would not be collected by pytest; its name must end in .saliency.yaml.")
    for word, path in (("before", before), ("after", after)):
        if not path.is_file():
            raise SaliencyError(f"weights of model '{word}' are missing: there is no file {path}; check the path.")
    if before.resolve() == after.resolve():
        raise SaliencyError(f"before and after are the same file, {before}, so that nothing could have changed.")
    source, _, name = model.partition(":")
    if not name or not source:
        raise SaliencyError(
            f"--model {model} is not torchvision:NAME, such as torchvision:resnet18, timm:NAME, huggingface:FOLDER, nor"
            " package.module:function."
        )
    if source == "python":  # as a contract names it
        model = name
    if classes is not None and source not in SHIPPING:
        raise SaliencyError(
            "--classes is for torchvision architectures and those of timm; others set their own outputs."
        )
    if source == "huggingface" and not Path(name).is_dir():
        raise SaliencyError(f"--model {model}: there is no folder {name}; give one as save_pretrained leaves it.")
    if data.is_file():
        raise SaliencyError(
            f"{data} is a file, and a pilot takes a folder with one folder of images a class. For a table write the"
            " contract by hand (pytest-saliency init FOLDER; 'csv' under 'cases')."
        )
    if not data.is_dir():
        raise SaliencyError(f"image folder {data} does not exist; check the path.")
    cases = Cases.from_imagefolder(data, classes=order or None)
    folders = len(cases.class_names or ())
    written = _preprocess(preprocess)
    assumed = written is None and source in ASSUMED
    return Head(
        path=target,
        slug=_slug(target.name.split(".saliency")[0]),
        before=before,
        after=after,
        data=data,
        model=model,
        classes=(classes or folders) if source in SHIPPING else None,
        layer=layer,
        preprocess=ASSUMED[source] if assumed else written,
        assumed=assumed,
        images=len(cases),
        sample=min(images, len(cases)),
        seed=seed,
        day=datetime.now(UTC).date().isoformat(),
        order=order,
    )


def _preprocess(text: str | None) -> Mapping[str, Any] | None:
    """Return what the user wrote as a contract's ``preprocess``; the contract's parser judges its keys."""
    if text is None:
        return None
    import yaml

    from pytest_saliency.errors import SaliencyError

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SaliencyError(f"--preprocess {text!r} is not a mapping such as '{{resize: 256, channels: 1}}'.")
    return found


def _slug(text: str) -> str:
    """Return a name of small letters, digits and dashes."""
    kept = "".join(one if one.isascii() and one.isalnum() else "-" for one in text.lower()).strip("-")
    return "-".join(part for part in kept.split("-") if part) or "release"


def _proposal(head: Head, device: str) -> None:
    from pytest_saliency.contracts.pilot import run_pilot
    from pytest_saliency.errors import ContractError, SaliencyError
    from pytest_saliency.records.whole import write_text_whole

    click.echo(f"pilot: {head.sample} of {head.images} images of {head.data}, {head.before} to {head.after}")
    try:
        made = run_pilot(head, Path.cwd(), device, click.echo)
    except ContractError as error:
        raise SaliencyError(f"what was given cannot be written as a contract:\n{error}") from None
    if head.path.exists():  # written by somebody else while the pilot ran
        raise SaliencyError(f"nothing was written, as {head.path} is there by now; give another name with --out.")
    write_text_whole(head.path, made.text)
    click.echo(f"wrote {head.path}: {len(made.results)} checks, each of which these two models pass")
    if made.warning:
        click.echo(f"but {made.warning}")
    if head.assumed:
        click.echo(
            f"its preprocess is assumed, from {head.owner}'s own weights: correct it if yours differ, and run again"
        )
    click.echo(
        "\nNext:\n"
        f"  1. pytest {head.path} --saliency-json run.json\n"
        f"  2. pytest-saliency plan {head.path} --pilot run.json     how many images each check needs, by simulation\n"
        "  3. fine-tune cleanly with other seeds, and take limits from pytest-saliency calibrate: one pilot does not"
        " tell how far clean models differ"
    )
