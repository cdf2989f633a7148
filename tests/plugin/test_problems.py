"""What a user can get wrong: one sentence with the line of the contract, a failing exit code, never a traceback."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from .texts import CONTRACT, SENSITIVE, Write

CLEAN = 'clean: {python: "toy:build", layer: features}'
CASES = 'cases: {python: "toy:cases"}'


def model(text: str) -> dict[str, str]:
    return {CLEAN: f'clean: {{python: "toy:build", {text}}}'}


def cases(text: str) -> dict[str, str]:
    return {CASES: f"cases: {text}"}


MADE = "\n\ndef made():\n    images, labels = arrays(60)\n    {}\n    return Cases.from_arrays(images, labels)\n"
NET = "\n\nclass Net(Toy):\n    def forward(self, x):\n        {}\n\ndef build():\n    return Net()\n"

PROBLEMS: dict[str, tuple[dict[str, str], str, str, int]] = {
    "layer that does not exist": (
        model("layer: featurs"),
        "",
        "model 'clean' has no layer 'featurs'. Did you mean 'features'*",
        5,
    ),
    "layer without a grid": (model("layer: head"), "", "layer 'head' of model 'clean' has no spatial grid*", 5),
    "missing weights": (model("layer: features, weights: gone.pt"), "", "weights of model 'clean' are missing: *", 5),
    "pickled weights": (model("weights: pickled.pt"), "", "weights of model 'clean' are refused: *is a pickle*", 5),
    "weights of another net": (model("weights: other.pt"), "", "weights of model 'clean' belong to another arch*", 5),
    "no such module": ({'"toy:build"': '"toys:build"'}, "", "python: toys:build: there is no module 'toys'*", 5),
    "no such folder": (cases("{imagefolder: gone}"), "", "image folder *gone does not exist*", 7),
    "no images": (cases("{imagefolder: empty}"), "", "image folder *empty holds no image*", 7),
    "a corrupt image": (
        {**model("layer: features, preprocess: {resize: [16, 16]}"), **cases("{imagefolder: broken}")},
        "",
        "image 'b/bad.png' cannot be read*",
        10,
    ),
    "sizes that differ": (cases("{imagefolder: mixed}"), "", "images have different sizes: 'a/0.png'*'resize'*", 10),
    "labels beyond the classes": (cases('{python: "toy:made"}'), MADE.format("labels[5] = 9"), "*case-0005*9*", 10),
    "one class only": (cases('{python: "toy:made"}'), MADE.format("labels[:] = 1"), "*one class*", 10),
    "NaN logits": ({}, NET.format("return super().forward(x) * float('nan')"), "*case-0000*", 10),
    "no cases": (cases('{python: "toy:made"}'), MADE.format("images, labels = [], []"), "*no cases*", 7),
    "no image is right": ({}, NET.format("return -super().forward(x)"), "*no image to decide on*'keep'*", 10),
    "n too small": (cases('{python: "toy:cases", args: {n: 3}}'), "", "*could not PASS with 3 images*needs 5*", 10),
}


@pytest.fixture
def files(pytester: pytest.Pytester) -> None:
    def save(name: str, size: tuple[int, int]) -> None:
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 10, 10)).save(path)

    torch.save({"net": torch.nn.Linear(2, 2)}, pytester.path / "pickled.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), pytester.path / "other.pt")
    (pytester.path / "empty" / "a").mkdir(parents=True)
    (pytester.path / "empty" / "b").mkdir()
    for i in range(4):
        for label in ("a", "b"):
            save(f"broken/{label}/{i}.png", (16, 16))
            save(f"mixed/{label}/{i}.png", (16 + i, 16))
    (pytester.path / "broken" / "b" / "bad.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + bytes(np.arange(64, dtype=np.uint8))
    )


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", PROBLEMS)
def test_one_sentence_with_its_line(pytester: pytest.Pytester, write: Write, name: str) -> None:
    changes, code, sentence, line = PROBLEMS[name]
    head = CONTRACT
    for before, after in changes.items():
        assert before in head
        head = head.replace(before, after, 1)
    write(SENSITIVE, head=head)
    with (pytester.path / "toy.py").open("a") as file:
        file.write(code)
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"sensitive: {sentence}", f"toy.saliency.yaml:{line}"])
    shown: list[Any] = [text for text in result.stdout.lines if "Traceback" in text or ".py:" in text]
    assert shown == []


def test_blank_maps_everywhere_are_never_green(pytester: pytest.Pytester, write: Write) -> None:
    # Each logit is minus the other colours' evidence: right on every image, and Grad-CAM has nothing positive to show.
    write(SENSITIVE)
    with (pytester.path / "toy.py").open("a") as file:
        file.write(NET.format("z = super().forward(x); return z - z.sum(1, keepdim=True)"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["sensitive: *", "saliency: 1 check: 1 INCONCLUSIVE"])
