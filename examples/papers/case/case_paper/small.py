"""Two small networks for the run at small size, built and trained like the paper's: a plain one and a dense one.

The dense one has the layer names of DenseNet-201 where the paper looks: ``features.norm5`` and the last convolution of
the last block.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import DenseNet

from case_paper.textures import CLASSES, Pictures, pictures, write_imagefolder

TRAINED_ON, VALIDATION = 400, 240
EPOCHS, BATCH, STEP = 4, 32, 4e-3
DENSE_SEEDS = (0, 1)


def plain() -> nn.Module:
    """Return a small network of the VGG kind; module ``features.9`` is its last convolution, with a grid of 8x8."""
    widths, layers, before = (12, 24, 32), [], 1
    for width in widths:
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if width < widths[-1] else []
        before = width
    made = nn.Sequential()
    made.add_module("features", nn.Sequential(*layers))
    made.add_module("pool", nn.AdaptiveAvgPool2d(1))
    made.add_module("flatten", nn.Flatten())
    made.add_module("classifier", nn.Linear(before, len(CLASSES)))
    return made


def dense() -> nn.Module:
    """Return a DenseNet with blocks of two and three layers for pictures of 32 pixels; its last grid is 8x8."""
    made = DenseNet(growth_rate=8, block_config=(2, 3), num_init_features=16, bn_size=2, num_classes=len(CLASSES))
    made.features.conv0 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
    return made


BUILT = {"plain": plain, "dense": dense}


def train(network: str, made: Pictures, seed: int, epochs: int = EPOCHS) -> nn.Module:
    """Train a network with AdamW and a cosine schedule; the same seed gives the same weights on the same machine."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = BUILT[network]()
    pixels = torch.from_numpy(made.images).float().div(255).unsqueeze(1)
    labels = torch.from_numpy(made.labels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=STEP, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(labels) // BATCH))
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(model(pixels[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def accuracy(model: nn.Module, made: Pictures) -> float:
    with torch.inference_mode():
        logits: Tensor = model(torch.from_numpy(made.images).float().div(255).unsqueeze(1))
    return float((logits.argmax(1) == torch.from_numpy(made.labels)).float().mean())


def prepare(root: Path) -> list[str]:
    """Draw the pictures, train the networks, and return what was made, a line each.

    Writes ``data/small`` and ``weights`` below ``root``.
    """
    from safetensors.torch import save_file

    from case_paper.sampling import listed, write_halves

    torch.set_num_threads(1)  # the same seeds then give the same weights on any number of cores
    training, validation = pictures(TRAINED_ON, 0), pictures(VALIDATION, 1)
    write_imagefolder(validation, root / "data" / "small" / "val")
    tested, held_out = write_halves(listed(root / "data" / "small"), root / "data" / "small")
    lines = [f"{TRAINED_ON} pictures to train on, {tested} to be tested, {held_out} held out"]
    (root / "weights").mkdir(exist_ok=True)
    for network, seed in (("plain", 0), *(("dense", seed) for seed in DENSE_SEEDS)):
        model = train(network, training, seed)
        save_file(model.state_dict(), root / "weights" / f"{network}-{seed}.safetensors")
        lines.append(f"{network}-{seed}: accuracy {accuracy(model, validation):.3f} on all validation pictures")
    return lines
