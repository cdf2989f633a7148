"""From a folder of validation images to two CSV files: the images to be tested, and those held out for confusions.

The paper counts confusions on "a held-out validation set" and tests on a sample of validation images. So each class is
halved: one half is sampled from, the other is counted. The split rests on the files' names alone and nothing is written
into the folder.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXTENSIONS = (".jpeg", ".jpg", ".png")
WORDNET = re.compile(r"n\d{8}")
"""How the class folders of ImageNet are named; in this order stand the outputs of torchvision's networks."""
TESTED, HELD_OUT = "tested.csv", "held-out.csv"


class DataError(Exception):
    """The data are not as they must be; one sentence that says what to do."""


@dataclass(frozen=True)
class Row:
    """One image: its absolute path, its path below the folder (its name in all records), its class index."""

    path: Path
    id: str
    label: int


def listed(folder: Path, classes: int | None = None, named: re.Pattern[str] | None = None) -> list[Row]:
    """Return the images of ``folder/<class>/<image>``, or of its ``val``; classes are the folders in sorted order.

    Folders whose names are all numbers are in the order of the numbers. Hidden files are no images.

    Raises
    ------
    DataError
        No such folder, no class folders, another number of them than ``classes``, one without images, or names that are
        neither ``named`` so nor the numbers from 0 on, whose order would be another than that of the model's outputs.
    """
    root = folder / "val" if (folder / "val").is_dir() else folder
    if not root.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder whose class folders hold the validation images.")
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2 or (classes is not None and len(names) != classes):
        wanted = "two or more" if classes is None else f"{classes:,}"
        raise DataError(
            f"{root} has {len(names)} class folders, and {wanted} are needed: <folder>/val/<class>/<image>, one folder"
            " a class, in the order of the model's outputs."
        )
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    numbered = [name.lstrip("0") or "0" for name in names] == [str(number) for number in range(len(names))]
    if named is not None and not numbered and not all(named.fullmatch(name) for name in names):
        raise DataError(
            f"the class folders of {root} (for one, '{names[0]}') are not named as ImageNet's are, n01440764 and so on,"
            " nor by the number of the class, so nothing says which of the model's outputs each of them is."
        )
    rows = []
    for label, name in enumerate(names):
        files = sorted(
            path
            for path in (root / name).iterdir()
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
        )
        if not files:
            raise DataError(f"{root / name} holds no image ({', '.join(EXTENSIONS)}).")
        rows += [Row(path.absolute(), f"{name}/{path.name}", label) for path in files]
    return rows


def halves(rows: Sequence[Row], seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Return tested and held-out rows: of each class half, by a hash of the image's name.

    Of an odd number the tested half has one more.
    """
    order = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}/{row.id}".encode()).digest())
    tested: list[Row] = []
    held_out: list[Row] = []
    taken: dict[int, int] = {}
    for row in order:
        count = taken[row.label] = taken.get(row.label, 0) + 1
        (tested if count % 2 else held_out).append(row)
    return sorted(tested, key=lambda row: row.id), sorted(held_out, key=lambda row: row.id)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the columns that a contract's ``csv`` reads; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "id"))
        writer.writerows((str(row.path), row.label, row.id) for row in rows)
    beside.replace(path)


def write_halves(rows: Sequence[Row], folder: Path) -> tuple[int, int]:
    """Write both files into ``folder``, and return how many images each lists.

    Raises
    ------
    DataError
        A class has one image only, so that none of it is held out.
    """
    tested, held_out = halves(rows)
    alone = {row.label: row for row in tested}.keys() - {row.label for row in held_out}
    if alone:
        only = next(row for row in tested if row.label in alone)
        raise DataError(
            f"{len(alone)} of the classes have one image only (for one, {only.path}); two are needed, one to be tested"
            " and one to count confusions on."
        )
    write_csv(tested, folder / TESTED)
    write_csv(held_out, folder / HELD_OUT)
    return len(tested), len(held_out)
