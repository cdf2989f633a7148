"""The drift paper's protocol with one command: trains both stages, then ``pytest`` on the contract.

At full size, where the images are (a folder with five folders of images):

    python run.py --full --data FOLDER --start WEIGHTS   # or --download

At small size, on generated pictures and narrow networks, in a few minutes: ``python run.py``. A run that was
interrupted goes on. Exit code: that of the contract (0 holds, 1 does not), or 2 with one sentence if there was nothing
to judge.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "chest_xray"
sys.path[:0] = [one for one in (str(HERE), str(SHARED)) if one not in sys.path]

import torch  # noqa: E402
from drift_paper import contracts, generator  # noqa: E402
from drift_paper.networks import FULL, NARROW, PAPER, SIDE, TRANSFORMERS, Architecture, build  # noqa: E402
from twostage import images, judging, networks, pixels, training  # noqa: E402

from pytest_saliency.errors import SaliencyError  # noqa: E402
from pytest_saliency.records.whole import write_text_whole  # noqa: E402
from pytest_saliency.report.drift_table import table_lines  # noqa: E402

CLASSES = len(generator.CLASSES)
GENERATED = "generated"
SIZES = {
    "epochs": (20, 3),
    "step": (1e-4, 5e-4),
    "head_epochs": (30, 200),
    "signs": (1.0, 2.5),
    "held_out": (0.25, 0.5),
}
"""What is taken at full and at small size unless it is given: at small size enough images must be right to decide."""
ENDINGS = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Run:
    """Options, images, and the device that trains."""

    options: argparse.Namespace
    folder: images.Folder
    split: images.Split
    device: str

    @property
    def out(self) -> Path:
        path: Path = self.options.out
        return path

    @property
    def size(self) -> str:
        return FULL if self.options.full else NARROW

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        return (*PAPER, *TRANSFORMERS) if self.options.future else PAPER

    def trainer(self, architecture: Architecture) -> training.Trainer:
        options = self.options
        recipe = training.Recipe(
            architecture.mean,
            architecture.std,
            head_epochs=options.head_epochs,
            head_step=1e-3 if options.full else 1e-2,
            tune_epochs=options.epochs,
            tune_step=options.step,
            batch=options.batch,
            erased=0.0,
            still_norm=True,
        )
        return training.Trainer(recipe, options.seed, self.device, self.out / "state" / architecture.name, say)

    def data(self, architecture: Architecture, part: Sequence[images.Picture]) -> training.Data:
        side = architecture.side if self.options.full else SIDE
        decoded = pixels.decoded(self.folder.root, part, side, 3, self.out / "cache")
        return training.Data(decoded, pixels.labels_of(part), CLASSES)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--full", action="store_true", help="the paper's networks at full size (default: narrow ones)")
    add("--data", type=Path, help="folder with five folders of images (default: generated pictures)")
    add("--out", type=Path, default=HERE / "run", help="folder of the run (default run, beside this file)")
    add("--start", help="folder with weights NETWORK.pth or .safetensors; or 'generated': learn generated shapes first")
    add("--download", action="store_true", help="fetch the weights that torchvision and timm publish")
    add("--future", action="store_true", help="train the transformers too, and run the contracts of future work")
    add("--epochs", type=int, help="epochs of fine-tuning (default 20 at full size, else 3)")
    add("--step", type=float, help="AdamW's step in fine-tuning (default 0.0001 at full size, else 0.0005)")
    add("--head-epochs", type=int, help="epochs of the head on the frozen backbone (default 30 at full size, else 200)")
    add("--source-epochs", type=int, default=6, help="epochs of --start generated (default 6)")
    add("--batch", type=int, default=32, help="images a step (default 32)")
    add("--images", type=int, default=100, help="generated pictures of each class (default 100)")
    add("--signs", type=float, help="how strong signs in generated pictures are (default 1 at full size, else 2.5)")
    add("--held-out", type=float, help="share of each class that is held out (default 0.25 at full size, else 0.5)")
    add("--seed", type=int, default=0, help="of pictures, split and training (default 0)")
    add("--patients", type=Path, help="CSV file with the columns image and patient")
    add("--patient-pattern", help="regular expression for file names whose first group is the patient")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps: where training runs")
    return made


def begin(options: argparse.Namespace) -> Run:
    """Look at what was given, generate pictures if none were, and split."""
    for name, (full, small) in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, full if options.full else small)
    if not options.full and (options.download or options.start not in (None, GENERATED)):
        raise SaliencyError("there are no published weights of narrow networks; add --full, or leave the option out.")
    if not options.full:
        options.start = GENERATED
    if options.start is None and not options.download:
        raise SaliencyError(
            "the protocol starts from networks trained on other images: give a folder of weights with --start FOLDER,"
            " let them be fetched with --download, or take --start generated."
        )
    if options.start is not None and options.download:
        raise SaliencyError("--start and --download both give first weights; give one.")
    for name, least in (("epochs", 1), ("head_epochs", 1), ("source_epochs", 1), ("batch", 2), ("images", 10)):
        if getattr(options, name) < least:
            raise SaliencyError(f"--{name.replace('_', '-')} {getattr(options, name)} is below {least}.")
    data = options.data
    if data is None:
        data = options.out / "pictures"
        done = data / "whole"
        if not done.is_file():
            side = max(one.side for one in PAPER) if options.full else SIDE
            generator.write_folder(data, options.images, side, options.seed, options.signs)
            write_text_whole(done, "")
    folder = images.find(data, options.patients, options.patient_pattern)
    if len(folder.classes) != CLASSES:
        raise SaliencyError(
            f"{data} has {len(folder.classes)} classes, and the paper's task has {CLASSES}; examples/chest_xray takes"
            " any number."
        )
    _same_run(options, folder)
    split = images.split(folder, options.held_out, options.seed)
    return Run(options, folder, split, training.prepare(options.device))


def train(run: Run, architecture: Architecture) -> None:
    """Both stages of one architecture; what an earlier run finished is not done again."""
    weights = run.out / "weights" / architecture.name
    before, after = weights / "tl.safetensors", weights / "ft.safetensors"
    if after.is_file():
        return
    say(architecture.name)
    trainer = run.trainer(architecture)
    data = run.data(architecture, run.split.train)
    trainer.generator("weights")
    model = build(architecture.name, CLASSES, run.size)
    if before.is_file():
        training.load_weights(model, before)
    else:
        networks.load_backbone(model, *first_weights(run, architecture, trainer))
        training.transfer(model, data, trainer)
        training.save_weights(model, before)
    held_out = run.data(architecture, run.split.held_out)
    first = training.accuracy(model, held_out, trainer)
    width = max(2, len(str(run.options.epochs)))
    training.fine_tune(model, data, trainer, lambda epoch: weights / f"epoch_{epoch:0{width}}.safetensors")
    training.save_weights(model, after)
    say(f"  accuracy on held-out images: {first:.3f}, fine-tuned {training.accuracy(model, held_out, trainer):.3f}")


def first_weights(
    run: Run, architecture: Architecture, trainer: training.Trainer
) -> tuple[networks.Mapping[str, torch.Tensor], int, str]:
    """Return the tensors that the backbone starts from, the classes of the task, and where they are from."""
    options = run.options
    published = networks.Network(architecture.source, architecture.published)
    if options.download:
        return networks.published(published), CLASSES, f"the published {architecture.published}"
    if options.start != GENERATED:
        folder = Path(options.start)
        files = [folder / f"{name}{end}" for name in (architecture.published, architecture.name) for end in ENDINGS]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise SaliencyError(f"{folder} has no weights of {architecture.name}; expected {files[0].name}, or .pth.")
        return networks.state_in(found), CLASSES, str(found)
    side = architecture.side if options.full else SIDE
    labels = torch.arange(options.images * generator.SOURCE_CLASSES) % generator.SOURCE_CLASSES
    made = generator.shapes(labels, side, options.seed).mul(255).round().to(torch.uint8)
    data = training.Data(made[:, None].expand(-1, 3, -1, -1).numpy(), labels, generator.SOURCE_CLASSES)
    model = build(architecture.name, generator.SOURCE_CLASSES, run.size)
    training.fit(model, data, trainer, "source", options.source_epochs, 1e-3 if options.full else 3e-3)
    return model.state_dict(), CLASSES, "the source task"


def judge(run: Run) -> judging.Judged:
    """Put the contracts beside the weights and run pytest on them."""
    names = [*contracts.PAPER, *((contracts.TRANSFORMERS, contracts.EXPLAINERS) if run.options.future else ())]
    for name in names:
        write_text_whole(run.out / name, contracts.text_of(name, narrow=not run.options.full))
    images.write_cases(run.folder, run.split.held_out, run.out / "held_out.csv")
    here = Path(os.path.relpath(HERE, run.out)).as_posix()
    write_text_whole(run.out / "pytest.ini", f"[pytest]\npythonpath = {here}\n")
    say(f"pytest {' '.join(names)}")
    return judging.judge(run.out, names, "report")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    start = time.perf_counter()
    try:
        run = begin(options)
        counts = f"{len(run.split.train)} images to train on, {len(run.split.held_out)} held out"
        say(f"{run.folder.root}: {counts}; {run.folder.patients}")
        for architecture in run.architectures:
            train(run, architecture)
        judged = judge(run)
    except SaliencyError as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrun: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    for line in (*judging.verdict_lines(judged.records), "", *table_lines(judged.records)):
        say(line)
    say(f"\nIt took {time.perf_counter() - start:.0f} s.")
    say(f"Contracts {run.out}\nReport    {judged.html}\nBundle    {judged.bundle}")
    return judged.exit_code


def say(text: str) -> None:
    print(text, flush=True)


def _same_run(options: argparse.Namespace, folder: images.Folder) -> None:
    """Refuse to mix this run with another one in the same folder; remember what this one is."""
    where = ("data", "out", "device", "future", "patients", "patient_pattern")  # results do not depend on these
    told = {key: str(value) for key, value in sorted(vars(options).items()) if key not in where}
    told["images"] = hashlib.sha256((folder.digest + folder.patients).encode()).hexdigest()
    images.refuse_other_run(options.out, told)


if __name__ == "__main__":
    sys.exit(main())
