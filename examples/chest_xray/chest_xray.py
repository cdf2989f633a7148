"""The drift protocol on any folder of images: ``python chest_xray.py --data FOLDER``.

Splits the images (by patient where patients are known), trains a network in two stages, writes weights of every epoch,
a contract, and runs ``pytest`` on it: verdicts, an HTML report, an evidence bundle. A run that was interrupted goes on.
Exit code: 0 if the contract holds, 1 if it does not, 2 if there was nothing to judge, with one sentence that says why.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twostage import images, judging, networks, pixels, small_network, training
from twostage.contract import DECLARED, Written

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.whole import write_text_whole

NOT_CALIBRATED = ("max_agreement", "max_share", "min_advantage", "max_accuracy_drop")  # conventions, or wishes


@dataclass(frozen=True)
class Run:
    """One run of the protocol: options, what was found, and what trains."""

    options: argparse.Namespace
    network: networks.Network
    folder: images.Folder
    split: images.Split
    recipe: training.Recipe
    train: training.Data
    held_out: training.Data
    device: str

    @property
    def out(self) -> Path:
        path: Path = self.options.out
        return path

    @property
    def weights(self) -> Path:
        return self.out / "weights"

    def trainer(self, seed: int, name: str) -> training.Trainer:
        return training.Trainer(self.recipe, seed, self.device, self.out / "state" / name, say)

    def contract(self) -> Written:
        options, recipe, classes = self.options, self.recipe, self.folder.classes
        source = self.network.spec(len(classes), options.width)
        return Written(
            options.name,
            source,
            classes,
            options.size,
            self.network.channels,
            recipe.mean,
            recipe.std,
            "held_out.csv",
            units=len({one.patient or one.path for one in self.split.held_out}),
        )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--data", type=Path, required=True, help="folder with one folder of images a class")
    add("--out", type=Path, default=Path("chest-xray-run"), help="folder of the run (default chest-xray-run)")
    add("--architecture", default="small", help="small (default), torchvision:NAME or timm:NAME")
    add("--start", type=Path, help="file with weights of that network, trained on other images")
    add("--download", action="store_true", help="fetch the weights that torchvision or timm publish")
    add("--pretext", action="store_true", help="begin with four orientations of your own images (small does so)")
    add("--size", type=int, default=128, help="side of the network's input in pixels (default 128)")
    add("--epochs", type=int, default=10, help="epochs of fine-tuning (default 10)")
    add("--head-epochs", type=int, default=30, help="epochs of the head on the frozen backbone (default 30)")
    add("--pretext-epochs", type=int, default=6, help="epochs of the pretext (default 6)")
    add("--step", type=float, default=1e-3, help="step of fine-tuning (default 0.001)")
    add("--batch", type=int, default=32, help="images a step (default 32)")
    add("--width", type=int, default=16, help="channels of the small network's first layer (default 16)")
    add("--held-out", type=float, default=0.25, help="share of each class that is held out (default 0.25)")
    add("--seed", type=int, default=0, help="of split and training (default 0)")
    add("--patients", type=Path, help="CSV file with the columns image and patient")
    add("--patient-pattern", help="regular expression for file names whose first group is the patient")
    add("--clean", type=int, default=0, help="clean repeats that limits are calibrated from: 3 or more (default: none)")
    add("--level", type=float, default=0.95, help="chance that a further clean run keeps a limit (default 0.95)")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps: where training runs")
    add("--name", default="chest-xray", help="name of the contract (default chest-xray)")
    return made


def check(options: argparse.Namespace) -> None:
    """Refuse options that make no run.

    Raises
    ------
    SaliencyError
        One sentence for the first of them.
    """
    for name, least in (("size", 32), ("epochs", 1), ("head_epochs", 1), ("batch", 2), ("width", 4), ("seed", 0)):
        if getattr(options, name) < least:
            raise SaliencyError(f"--{name.replace('_', '-')} {getattr(options, name)} is below {least}.")
    if not 0.05 <= options.held_out <= 0.9:
        raise SaliencyError(f"--held-out {options.held_out} is not between 0.05 and 0.9.")
    if options.clean in (1, 2) or options.clean < 0:
        raise SaliencyError(f"--clean {options.clean}: limits need 3 clean repeats at least, or none (0).")
    if options.start is not None and options.download:
        raise SaliencyError("--start and --download both give first weights; give one.")


def begin(options: argparse.Namespace) -> Run:
    """Look at everything that was given, and decode the images."""
    check(options)
    network = networks.Network.of(options.architecture)
    if network.source != networks.SMALL and options.start is None and not (options.download or options.pretext):
        raise SaliencyError(
            f"transfer learning starts from a network that knows something: give weights of {network.name} with --start"
            " FILE, let them be fetched with --download, or begin with --pretext on your own images."
        )
    folder = images.find(options.data, options.patients, options.patient_pattern)
    split = images.split(folder, options.held_out, options.seed)
    _same_run(options, folder)
    parts = [
        training.Data(
            pixels.decoded(folder.root, part, options.size, network.channels, options.out / "cache"),
            pixels.labels_of(part),
            len(folder.classes),
        )
        for part in (split.train, split.held_out)
    ]
    mean, std = network.normalisation
    recipe = training.Recipe(
        mean,
        std,
        head_epochs=options.head_epochs,
        tune_epochs=options.epochs,
        tune_step=options.step,
        pretext_epochs=options.pretext_epochs,
        batch=options.batch,
    )
    return Run(options, network, folder, split, recipe, parts[0], parts[1], training.prepare(options.device))


def train(run: Run) -> None:
    """Both stages; what an earlier run finished is not done again."""
    classes = len(run.folder.classes)
    before, after = run.weights / "tl.safetensors", run.weights / "ft.safetensors"
    trainer = run.trainer(run.options.seed, "main")
    trainer.generator("weights")
    model = run.network.build(classes, run.options.width)
    if before.is_file():
        training.load_weights(model, before)
    else:
        say("Stage 1: a new head on a frozen backbone")
        _first_weights(run, model, trainer)
        training.transfer(model, run.train, trainer)
        training.save_weights(model, before)
    say(f"  accuracy on held-out images: {training.accuracy(model, run.held_out, trainer):.3f}")
    if after.is_file():
        training.load_weights(model, after)
    else:
        say("Stage 2: everything is fine-tuned")
        width = max(2, len(str(run.options.epochs)))
        training.fine_tune(model, run.train, trainer, lambda epoch: run.weights / f"epoch_{epoch:0{width}}.safetensors")
        training.save_weights(model, after)
    say(f"  accuracy on held-out images: {training.accuracy(model, run.held_out, trainer):.3f}")


def calibrate(run: Run) -> dict[str, float]:
    """Fine-tune again with other seeds, run the contract on each, and let them propose limits."""
    classes, names = len(run.folder.classes), []
    for number in range(1, run.options.clean + 1):
        name = f"clean-{number}"
        names.append(f"{name}.json")
        after = run.weights / name / "ft.safetensors"
        if not after.is_file():
            say(f"Clean repeat {number} of {run.options.clean}")
            trainer = run.trainer(run.options.seed + number, name)
            model = run.network.build(classes, run.options.width)
            training.load_weights(model, run.weights / "tl.safetensors")
            training.fine_tune(model, run.train, trainer, None)
            training.save_weights(model, after)
        if not (run.out / names[-1]).is_file():
            repeat = replace(run.contract(), after=f"weights/{name}/ft.safetensors", epochs=False)
            write_text_whole(run.out / f"{name}.saliency.yaml", repeat.text())
            judging.judge(run.out, [f"{name}.saliency.yaml"], name, report=False)
    file = f"{names[0].removesuffix('.json')}.saliency.yaml"
    found = judging.calibrated(run.out, file, names, run.options.level)
    without = [key for key in DECLARED if key not in found and key not in NOT_CALIBRATED]
    if without:
        raise SaliencyError(
            f"the clean repeats gave no limit for {', '.join(without)}, and a contract would only look calibrated;"
            f" 'pytest-saliency calibrate {file} {' '.join(names)}' in {run.out} says why. Mostly too few held-out"
            " images are right in both stages (hold out more), or the repeats differ much (repeat more often)."
        )
    return {key: value for key, value in found.items() if key not in NOT_CALIBRATED}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    start = time.perf_counter()
    try:
        run = begin(options)
        counts = f"{len(run.split.train)} images to train on, {len(run.split.held_out)} held out"
        say(f"{options.data}: {len(run.folder.classes)} classes, {counts}; {run.folder.patients}")
        images.write_cases(run.folder, run.split.held_out, run.out / "held_out.csv")
        if run.network.source == networks.SMALL:  # the folder then needs nothing of this example
            shutil.copyfile(small_network.__file__, run.out / "small_network.py")
        train(run)
        contract = run.contract()
        if options.clean:
            contract = replace(contract, limits=calibrate(run), origin="clean")
        file = f"{options.name}.saliency.yaml"
        write_text_whole(run.out / file, contract.text())
        say(f"pytest {file}")
        judged = judging.judge(run.out, [file], "report")
    except SaliencyError as error:
        print(f"chest_xray: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nchest_xray: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    say("")
    for line in judging.verdict_lines(judged.records):
        say(line)
    held = "holds" if judged.exit_code == judging.HELD else "does not hold"
    say(f"\nThe contract {held}. It took {time.perf_counter() - start:.0f} s.")
    say(f"Contract  {run.out / file}\nReport    {judged.html}\nBundle    {judged.bundle}")
    return judged.exit_code


def say(text: str) -> None:
    print(text, flush=True)


def _first_weights(run: Run, model: training.nn.Module, trainer: training.Trainer) -> None:
    options, classes = run.options, len(run.folder.classes)
    if options.start is not None:
        networks.load_backbone(model, networks.state_in(options.start), classes, str(options.start))
    elif options.download:
        networks.load_backbone(model, networks.published(run.network), classes, f"the published {run.network.name}")
    else:
        training.pretext(model, run.train, trainer)


def _same_run(options: argparse.Namespace, folder: images.Folder) -> None:
    """Refuse to mix this run with another one in the same folder; remember what this one is."""
    where = ("data", "out", "device", "clean", "level", "patients", "patient_pattern")  # results do not depend on these
    told = {key: str(value) for key, value in sorted(vars(options).items()) if key not in where}
    told["images"] = hashlib.sha256((folder.digest + folder.patients).encode()).hexdigest()
    images.refuse_other_run(options.out, told)


if __name__ == "__main__":
    sys.exit(main())
