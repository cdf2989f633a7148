"""The checkpoints of a training, named by a pattern: found, put in order, and explained one at a time."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytest_saliency.errors import SubjectError

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.engine.explained import Explained

MOST = 500


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts as people count: epoch_2 before epoch_10; equal numbers by their spelling."""
    parts = re.split(r"(\d+)", text)
    return tuple((1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts)


def find_checkpoints(pattern: str, place: Place) -> list[str]:
    """Return the files that ``pattern`` names, as paths from the contract's folder, in natural order.

    Raises
    ------
    SubjectError
        None does, or more than ``MOST`` do.
    """
    found = sorted(
        (
            PurePosixPath(name.replace("\\", "/")).as_posix()
            for name in glob.glob(pattern, root_dir=place.folder, recursive=True)  # noqa: PTH207 - takes '..' and '**'
            if place.path(name).is_file()
        ),
        key=natural,
    )
    if not found:
        raise SubjectError(
            f"checkpoints: no file matches '{pattern}' in {place.folder}; check the pattern, which starts at the"
            " contract's own folder, or save the checkpoints there."
        )
    if len(found) > MOST:
        raise SubjectError(
            f"checkpoints: {len(found)} files match '{pattern}'; at most {MOST} are followed. Narrow the pattern, as"
            " epoch_*0.safetensors for each tenth."
        )
    return found


def names_of(paths: list[str]) -> list[str]:
    """Return what each checkpoint is called: the file's name without its ending, or all of the path where two agree."""
    stems = [PurePosixPath(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(PurePosixPath(path).with_suffix("")) for path in paths]


def spec_of(after: ModelSpec, name: str, path: str) -> ModelSpec:
    """Return the model under test with the weights at ``path`` instead of its own.

    Raises
    ------
    SubjectError
        The model comes from a fixture, which owns it.
    """
    if after.fixture is not None:
        raise SubjectError(
            f"checkpoints are loaded into the architecture of 'after', but that comes from fixture '{after.fixture}',"
            " which owns its model; declare it by torchvision: or python:, or pass checkpoints= to"
            " assert_no_semantic_drift in Python."
        )
    return after.model_copy(update={"weights": path, "sha256": None, "name": name})


@dataclass(frozen=True)
class OneAtATime(Mapping[str, "Explained"]):
    """Explanations by role, of which those in ``made`` are made whenever they are asked for, and not kept."""

    held: Mapping[str, Explained]
    made: Mapping[str, Callable[[], Explained]]

    def __getitem__(self, role: str) -> Explained:
        return self.held[role] if role in self.held else self.made[role]()

    def __iter__(self) -> Iterator[str]:
        yield from self.held
        yield from self.made

    def __len__(self) -> int:
        return len(self.held) + len(self.made)
