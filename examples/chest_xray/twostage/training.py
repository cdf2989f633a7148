"""Two stages: a new head on a frozen backbone, then everything; what is done is kept, so that a run can go on.

Randomness of an epoch comes from the seed and the epoch alone. So a run that was interrupted and goes on ends in the
weights of a run that was not.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pytest_saliency.errors import SaliencyError, first_line
from pytest_saliency.records.whole import write_bytes_whole
from twostage.networks import head_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How both stages train: epochs, AdamW's step and decay, batch, normalisation, and how pictures are varied.

    ``shift`` is a share of the side, ``contrast`` the range of factors, ``erased`` the side of a grey square as a
    share of the picture's (0: none). With ``still_norm`` batch norm keeps its running statistics in stage 2 too.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    head_epochs: int = 30
    head_step: float = 1e-2
    tune_epochs: int = 10
    tune_step: float = 1e-3
    pretext_epochs: int = 6
    pretext_step: float = 2e-3
    batch: int = 32
    decay: float = 1e-2
    shift: float = 0.06
    contrast: tuple[float, float] = (0.8, 1.2)
    erased: float = 0.25
    still_norm: bool = False


@dataclass(frozen=True)
class Data:
    """Pictures as bytes (N, C, S, S) and labels (N,)."""

    pixels: NDArray[np.uint8]
    labels: Tensor
    classes: int


@dataclass(frozen=True)
class Trainer:
    """What training needs beside model and data. ``state`` is where an interrupted fine-tuning is kept."""

    recipe: Recipe
    seed: int
    device: str
    state: Path
    say: Say

    def normalised(self, pixels: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        mean, std = (torch.tensor(one, device=pixels.device).view(shape) for one in (self.recipe.mean, self.recipe.std))
        return (pixels - mean) / std

    def batch(self, data: Data, rows: Tensor) -> Tensor:
        """Return pixels in [0, 1] on the device."""
        picked = torch.from_numpy(np.ascontiguousarray(data.pixels[rows.numpy()]))
        return picked.to(self.device).to(torch.float32).div_(255.0)

    def generator(self, *what: object) -> torch.Generator:
        """Return a generator for ``what`` alone, and seed torch, which draws dropout."""
        told = hashlib.sha256("\0".join(map(str, (self.seed, *what))).encode()).digest()
        number = int.from_bytes(told[:7], "big")
        torch.manual_seed(number)
        return torch.Generator().manual_seed(number)


def prepare(device: str) -> str:
    """Make training repeatable on this machine and return the device: ``auto`` takes CUDA where there is one."""
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except Exception as error:  # torch raises several types for devices that are not there
        raise SaliencyError(f"--device {device} cannot be used: {first_line(error)}.") from None
    return device


def pretext(model: nn.Module, data: Data, trainer: Trainer) -> None:
    """Let the backbone learn which of four orientations it sees, on the training pictures and without their labels.

    For networks that were trained on nothing before. Stage 1 puts its own head on.
    """
    name, head = head_of(model, data.classes)
    turning = _like(head, 4)
    model.set_submodule(name, turning)
    turned = Data(data.pixels, torch.zeros(len(data.labels), dtype=torch.int64), 4)
    recipe = trainer.recipe
    fit(model, turned, trainer, "pretext", recipe.pretext_epochs, recipe.pretext_step, turn=True)
    model.set_submodule(name, head)


def transfer(model: nn.Module, data: Data, trainer: Trainer) -> None:
    """Stage 1: train the last layer alone, on features that the frozen backbone computes once, in inference mode."""
    _, head = head_of(model, data.classes)
    inputs = _inputs_of(model, head, data, trainer).to(trainer.device)
    labels = data.labels.to(trainer.device)
    recipe = trainer.recipe
    generator = trainer.generator("head")
    _begin_anew(head)
    head.to(trainer.device).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.head_step, weight_decay=recipe.decay)
    for _ in range(recipe.head_epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(recipe.batch):
            loss = nn.functional.cross_entropy(head(inputs[rows]).flatten(1), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.cpu().eval()


def fine_tune(model: nn.Module, data: Data, trainer: Trainer, keep: Callable[[int], Path] | None) -> None:
    """Stage 2: train everything. ``keep`` names the file that the weights after each epoch are written to."""
    recipe = trainer.recipe
    fit(model, data, trainer, "tune", recipe.tune_epochs, recipe.tune_step, keep=keep, still=recipe.still_norm)


def scores(model: nn.Module, data: Data, trainer: Trainer) -> Tensor:
    """Return logits (N, classes) in inference mode."""
    model.to(trainer.device).eval()
    with torch.inference_mode():
        made = [
            model(trainer.normalised(trainer.batch(data, rows))).cpu()
            for rows in torch.arange(len(data.labels)).split(trainer.recipe.batch)
        ]
    model.cpu()
    return torch.cat(made)


def accuracy(model: nn.Module, data: Data, trainer: Trainer) -> float:
    return float((scores(model, data, trainer).argmax(1) == data.labels).float().mean())


def save_weights(model: nn.Module, file: Path) -> None:
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_bytes_whole(file, save(state))


def load_weights(model: nn.Module, file: Path) -> None:
    model.load_state_dict(load_file(file))
    model.eval()


def fit(
    model: nn.Module,
    data: Data,
    trainer: Trainer,
    stage: str,
    epochs: int,
    step: float,
    *,
    turn: bool = False,
    still: bool = False,
    keep: Callable[[int], Path] | None = None,
) -> None:
    """Train the whole model, the step going to zero along a cosine; go on from the last finished epoch.

    ``turn`` shows each picture in one of four orientations, which is then its label. ``still`` leaves batch norm in
    inference mode.
    """
    recipe = trainer.recipe
    model.to(trainer.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=step, weight_decay=recipe.decay)
    batches = -(-len(data.labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs * batches))
    file = trainer.state / f"{stage}.pt"
    identity = f"{asdict(recipe)} {trainer.seed} {epochs} {step} {len(data.labels)} {data.pixels.shape}"
    done = _go_on(file, identity, model, optimiser, schedule, trainer)
    for epoch in range(done + 1, epochs + 1):
        generator = trainer.generator(stage, epoch)
        model.train()
        for module in model.modules() if still else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        seen = 0.0
        for rows in torch.randperm(len(data.labels), generator=generator).split(recipe.batch):
            if len(rows) == 1 and len(data.labels) > 1:
                continue  # batch norm has no spread of one picture
            pixels = varied(trainer.batch(data, rows), recipe, generator)
            labels = data.labels[rows]
            if turn:
                labels = torch.randint(4, (len(rows),), generator=generator)
                pixels = torch.stack(
                    [torch.rot90(one, int(turns), (1, 2)) for one, turns in zip(pixels, labels, strict=True)]
                )
            output = model(trainer.normalised(pixels))
            logits = output if isinstance(output, Tensor) else output[0]  # auxiliary heads are not trained
            loss = nn.functional.cross_entropy(logits, labels.to(trainer.device))
            if not bool(torch.isfinite(loss)):
                raise SaliencyError(f"training diverged in epoch {epoch}: the loss is not finite; take a smaller step.")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            seen += float(loss.detach()) * len(rows)
        model.eval()
        if keep is not None:
            save_weights(model, keep(epoch))
        _hold(file, identity, epoch, model, optimiser, schedule)
        trainer.say(f"  {stage} epoch {epoch} of {epochs}: loss {seen / len(data.labels):.3f}")
    model.cpu().eval()
    file.unlink(missing_ok=True)


def varied(pixels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Return the batch moved a little, each picture with its own contrast and brightness and a grey square in it."""
    count, _, height, width = pixels.shape
    reach = round(recipe.shift * height)
    down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
    low, high = recipe.contrast
    factor, lift = torch.rand((2, count, 1, 1, 1), generator=generator).to(pixels.device)
    made = torch.roll(pixels, (down, right), dims=(2, 3)) * (low + (high - low) * factor) + 0.1 * (lift - 0.5)
    side = round(recipe.erased * height)
    if side:
        tops = torch.randint(0, height - side + 1, (count, 1), generator=generator)
        lefts = torch.randint(0, width - side + 1, (count, 1), generator=generator)
        rows, columns = torch.arange(height), torch.arange(width)
        tall, wide = (rows >= tops) & (rows < tops + side), (columns >= lefts) & (columns < lefts + side)
        hole = (tall[:, None, :, None] & wide[:, None, None, :]).to(pixels.device)
        made = torch.where(hole, made.mean((1, 2, 3), keepdim=True), made)
    return made.clamp(0.0, 1.0)


def _inputs_of(model: nn.Module, head: nn.Module, data: Data, trainer: Trainer) -> Tensor:
    """Return what the head is given for each picture."""
    kept: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, given: kept.append(given[0].detach().cpu()))
    try:
        scores(model, data, trainer)
    finally:
        handle.remove()
    return torch.cat(kept)


def _begin_anew(head: nn.Module) -> None:
    """Zero weights: the first step is then the same whatever seed made the network, and nothing is preferred."""
    for one in head.parameters():
        nn.init.zeros_(one)


def _like(head: nn.Module, outputs: int) -> nn.Module:
    if isinstance(head, nn.Conv2d):
        return nn.Conv2d(head.in_channels, outputs, 1)
    assert isinstance(head, nn.Linear)
    return nn.Linear(head.in_features, outputs)


def _hold(
    file: Path, identity: str, epoch: int, model: nn.Module, optimiser: torch.optim.Optimizer, schedule: object
) -> None:
    content = io.BytesIO()
    held = {
        "identity": identity,
        "epoch": epoch,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),  # type: ignore[attr-defined]
    }
    torch.save(held, content)
    write_bytes_whole(file, content.getvalue())


def _go_on(
    file: Path,
    identity: str,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    trainer: Trainer,
) -> int:
    """Load what an interrupted training left and return its last finished epoch; 0 if there is nothing of this one."""
    if not file.is_file():
        return 0
    try:
        held = torch.load(file, map_location=trainer.device, weights_only=True)
    except Exception:  # whatever torch raises for a file that is not one of its own
        return 0
    if held.get("identity") != identity:
        return 0
    model.load_state_dict(held["model"])
    optimiser.load_state_dict(held["optimiser"])
    schedule.load_state_dict(held["schedule"])
    trainer.say(f"  goes on after epoch {held['epoch']}")
    return int(held["epoch"])
