"""Repeat the CASE paper's experiments: prepare the images, run the contracts with pytest, print the paper's tables.

    python run.py --small
    python run.py --imagenet FOLDER --cifar100 FOLDER [--download]

FOLDER of ImageNet: its validation images as <FOLDER>/val/<class>/<image>, or <FOLDER>/<class>/<image>. FOLDER of
CIFAR-100: the one that holds cifar-100-python. Nothing is written into either, unless CIFAR-100 is not there and
--download is said. What is made goes to data/, weights/ and results/ beside this file; a run that was cut off goes on
where it was.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from case_paper.sampling import WORDNET, DataError, listed, write_halves

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
IMAGENET_CLASSES = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        contracts = [name for name in ("small", "imagenet", "cifar100") if getattr(options, name)]
        for name in contracts:
            PREPARED[name](options)
        codes = [check(name, options.pytest) for name in contracts]
    except (DataError, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("run.py: interrupted; the same command goes on where this one was", file=sys.stderr)
        return 130
    return next((code for code in codes if code), 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagenet", type=Path, metavar="FOLDER", help="validation images, a folder a class")
    parser.add_argument("--cifar100", type=Path, metavar="FOLDER", help="the folder that holds cifar-100-python")
    parser.add_argument("--small", action="store_true", help="two small networks on generated pictures; about a minute")
    parser.add_argument("--download", action="store_true", help="fetch weights, and CIFAR-100, that are not there")
    parser.add_argument("--epochs", type=_positive, default=20, help="of fine-tuning on CIFAR-100 (default 20)")
    parser.add_argument("--batch", type=_positive, default=32, help="of fine-tuning on CIFAR-100 (default 32)")
    parser.add_argument(
        "--device", default=None, help="where networks are fine-tuned: cuda where there is one, else cpu"
    )
    parser.add_argument("pytest", nargs="*", help="after --: further arguments of pytest, as --saliency-device=cuda:1")
    options = parser.parse_args(arguments)
    if not (options.imagenet or options.cifar100 or options.small):
        parser.error("give --imagenet FOLDER, --cifar100 FOLDER, both, or --small")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return number


def prepare_small(options: argparse.Namespace) -> None:
    from case_paper.small import prepare

    for line in prepare(HERE):
        print(line, flush=True)


def prepare_imagenet(options: argparse.Namespace) -> None:
    rows = listed(options.imagenet, IMAGENET_CLASSES, WORDNET)

    from case_paper.weights import SHIPPED, fetched

    tested, held_out = write_halves(rows, HERE / "data" / "imagenet")
    print(f"ImageNet: {tested} images to draw from, {held_out} held out", flush=True)
    for architecture in SHIPPED:
        fetched(architecture, download=options.download)


def prepare_cifar100(options: argparse.Namespace) -> None:
    import torch
    from case_paper.cifar import SEEDS, Recipe, read, write_imagefolder
    from case_paper.weights import tuned_on_cifar

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise DataError(f"--device {device} cannot be used ({str(error).splitlines()[0]})") from error
    folder = HERE / "data" / "cifar100"
    write_imagefolder(read(options.cifar100, train=False, download=options.download), folder)
    tested, held_out = write_halves(listed(folder, 100), folder)
    print(f"CIFAR-100: {tested} test images to draw from, {held_out} held out; fine-tuning on {device}", flush=True)
    recipe = Recipe(epochs=options.epochs, batch=options.batch)
    for seed in SEEDS:
        tuned_on_cifar(options.cifar100, HERE / "weights", seed, recipe, device, download=options.download)


PREPARED = {"small": prepare_small, "imagenet": prepare_imagenet, "cifar100": prepare_cifar100}


def check(name: str, further: Sequence[str]) -> int:
    """Run a contract with pytest, print its tables, and return pytest's exit code; 1 where a check was not decided."""
    from case_paper.tables import all_tables

    from pytest_saliency.records.runfile import read_run

    RESULTS.mkdir(exist_ok=True)
    record = RESULTS / f"{name}.json"
    record.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--disable-warnings", f"{name}.saliency.yaml"]
    command += [f"--saliency-json=results/{name}.json", f"--saliency-html=results/{name}.html", *further]
    done = subprocess.run(command, cwd=HERE, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False)
    if not record.is_file():
        print(f"run.py: pytest ended with exit code {done.returncode} and left no records; see above.", file=sys.stderr)
        return done.returncode or 1
    records = read_run(record)["records"]
    text = all_tables(records)
    (RESULTS / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{text}\n\nAlso in results/{name}.md. Every number: results/{name}.json, pictures: results/{name}.html.")
    lost = [one for one in records if one["verdict"] == "ERROR"]
    if lost:
        print(
            f"run.py: {len(lost)} checks could not be decided, {lost[0]['node']}: {lost[0]['headline']}",
            file=sys.stderr,
        )
    return done.returncode or (1 if lost else 0)


if __name__ == "__main__":
    sys.exit(main())
