"""A repository whose models write down what they see, so that passes can be counted across processes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_saliency.engine.batches import jittered

from . import toy
from .test_json import comparable, read
from .texts import Write

COUNTED = """
import hashlib
import os
from pathlib import Path

import torch

import helper
import toy

HERE = Path(__file__).parent


class Counted(toy.Toy):
    def forward(self, pixels):
        kind = "cheat" if float(self.mask.min()) == 0 else "clean"
        if len(pixels) > 2 and (HERE / "die").exists():
            (HERE / "die").unlink()
            os._exit(9)
        seen = [hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16] for image in pixels.detach().float()]
        with (HERE / "seen.txt").open("a") as file:
            file.write("".join(f"{os.getpid()} {kind} {digest}\\n" for digest in seen))
        scores = helper.scale(super().forward(pixels))
        if (HERE / "random").exists():
            scores = scores + torch.rand_like(scores)
        return eval((HERE / "hidden.txt").read_text())


def clean():
    return Counted()


def cheat():
    return Counted(cheat=True)


def gradient(subject, images, targets):
    images = images.clone().requires_grad_(True)
    scores = subject.model(images)
    (made,) = torch.autograd.grad(scores.gather(1, targets.unsqueeze(1)).sum(), images)
    return made.abs().sum(1)
"""

HELPER = "def scale(scores):\n    return scores * 1.0\n"

FIXTURES = """
import counted, pytest, toy

@pytest.fixture(scope="session")
def clean_model():
    return counted.clean()

@pytest.fixture(scope="session")
def cheat_model():
    return counted.cheat()

@pytest.fixture(scope="session")
def toy_cases():
    return toy.cases()
"""

HEAD = """\
saliency: 1
contract: toy
models:
  clean: {fixture: clean_model, layer: features}
  cheat: {fixture: cheat_model, layer: features}
cases: {fixture: toy_cases}
defaults: {model: clean}
"""

SENSITIVE = """\
  - id: sensitive
    kind: class_sensitive
    method: [case, gradcam, "case[elementwise]"]
"""

IMAGES = 60


def digest_of(image: torch.Tensor) -> str:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()[:16]


def originals() -> list[str]:
    return [digest_of(image) for image in torch.from_numpy(toy.arrays()[0])]


def contrasted() -> list[str]:
    """The images with 0.9 times the contrast."""
    return [digest_of(image) for image in jittered(torch.from_numpy(toy.arrays()[0]))]


@dataclass
class Repository:
    """The scratch repository, run again and again."""

    pytester: pytest.Pytester
    runs: int = 0

    @property
    def path(self) -> Path:
        return self.pytester.path

    @property
    def cache(self) -> Path:
        return self.path / ".pytest_cache" / "d" / "saliency-passes"

    def entries(self, folder: Path | None = None) -> list[Path]:
        return sorted((folder or self.cache).glob("??/*.entry"))

    def forget(self) -> None:
        """Forget what the models saw."""
        (self.path / "seen.txt").write_text("")

    def seen(self, kind: str = "") -> Counter[str]:
        """How often the models of a kind saw each image."""
        lines = [line.split() for line in (self.path / "seen.txt").read_text().splitlines()]
        return Counter(digest for _, found, digest in lines if kind in ("", found))

    def run(self, *options: str, process: bool = False) -> Run:
        self.forget()
        self.runs += 1
        name = f"run{self.runs}.json"
        start = self.pytester.runpytest_subprocess if process else self.pytester.runpytest_inprocess
        result = start(f"--saliency-json={name}", "--saliency-durations", *options)
        return Run(self.path / name, tuple(result.outlines), result.parseoutcomes())


@dataclass
class Run:
    """What a run printed and recorded."""

    json: Path
    lines: tuple[str, ...] = ()
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read(self.json)["records"]
        return found

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything but times and how the work was shared."""
        return comparable(read(self.json))

    @property
    def works(self) -> dict[str, dict[str, Any]]:
        """The work by its id, as it was last told."""
        found: dict[str, dict[str, Any]] = {}
        for record in self.records:
            for work in ((record["execution"] or {}).get("work") or {}).values():
                known = found.get(work["id"], {"stages": {}})
                if total(work) >= total(known):
                    found[work["id"]] = work
        return found

    def images(self, stage: str) -> int:
        return sum(sum(w["stages"].get(stage, {"images": {}})["images"].values()) for w in self.works.values())

    @property
    def said(self) -> list[str]:
        """What the summary says about the cache."""
        lines = [line.removeprefix("saliency: ") for line in self.lines if line.startswith("saliency: ")]
        begin = ("the cache", "an entry of the cache", "a result of", "what was kept", "nothing was kept")
        return [line for line in lines if line.startswith(begin)]


def total(work: dict[str, Any]) -> float:
    return sum(float(stage["seconds"]) for stage in work["stages"].values())


def make_repository(pytester: pytest.Pytester, write: Write, *checks: str, head: str = HEAD) -> Repository:
    """Write a contract with these checks, its models and fixtures."""
    write(*checks, head=head)
    pytester.makeconftest(FIXTURES)
    (pytester.path / "counted.py").write_text(COUNTED)
    (pytester.path / "helper.py").write_text(HELPER)
    (pytester.path / "hidden.txt").write_text("scores")
    pytester.syspathinsert()
    made = Repository(pytester)
    made.forget()
    return made
