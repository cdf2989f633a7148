"""A folder with one folder of images a class: which pictures there are, whose they are, and how they are split."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_saliency.engine.images import EXTENSIONS
from pytest_saliency.errors import SaliencyError, first_line
from pytest_saliency.records.whole import write_text_whole

SETTINGS = "settings.json"
FEWEST = 10
"""Images a class below which neither training nor a decision means anything."""
NAMED_PATIENTS = (
    re.compile(r"(?P<patient>\d{5,})_\d{1,4}"),  # 00000013_005, as NIH ChestX-ray14 names its files
    re.compile(r"(?P<patient>person\d+)_.+", re.IGNORECASE),
    re.compile(r"(?P<patient>(?:patient|pat|subject)[-_]?\d+)(?:[-_].*)?", re.IGNORECASE),
)
"""File names that carry a patient, without their ending; believed only if one of them fits every file."""


@dataclass(frozen=True)
class Picture:
    """One image file: its path from the data folder (also its id), class index, patient if known, SHA-256."""

    path: str
    label: int
    patient: str | None
    digest: str


@dataclass(frozen=True)
class Folder:
    """What was found: the folder, class names in the order of the model's outputs, pictures, and who named patients."""

    root: Path
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    patients: str

    @property
    def digest(self) -> str:
        """SHA-256 over names, classes, patients and contents."""
        lines = [f"{one.path}\0{one.label}\0{one.patient}\0{one.digest}" for one in self.pictures]
        return hashlib.sha256("\n".join([*self.classes, *lines]).encode()).hexdigest()


@dataclass(frozen=True)
class Split:
    """Pictures to train on and pictures held out."""

    train: tuple[Picture, ...]
    held_out: tuple[Picture, ...]


def find(root: Path, patients: Path | None = None, pattern: str | None = None) -> Folder:
    """Return the pictures below ``root``, one folder a class.

    ``patients``: CSV file with the columns ``image`` (path from ``root``, or the file's name) and ``patient``.
    ``pattern``: regular expression for file names whose first group is the patient.

    Raises
    ------
    SaliencyError
        No such folder, fewer than two classes, fewer than ``FEWEST`` images in one, or patients that are not given
        for every image.
    """
    if not root.is_dir():
        raise SaliencyError(f"{root} is not a folder; --data takes a folder with one folder of images a class.")
    classes = tuple(sorted(one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith(".")))
    by_class = {
        name: sorted(file for file in (root / name).rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
        for name in classes
    }
    if not any(by_class.values()):
        raise SaliencyError(f"there is no image in {root}; it needs one folder of images a class.")
    if len(classes) < 2:
        raise SaliencyError(
            f"{root} has one class, '{classes[0]}'; with nothing to tell apart there is nothing to learn."
        )
    small = next((name for name in classes if len(by_class[name]) < FEWEST), None)
    if small is not None:
        raise SaliencyError(
            f"class '{small}' in {root} has {len(by_class[small])} images; {FEWEST} are needed at least. Add images, or"
            " take the folder away."
        )
    files = [(file, label) for label, name in enumerate(classes) for file in by_class[name]]
    names = [file.relative_to(root).as_posix() for file, _ in files]
    whose, told = _patients(names, patients, pattern)
    pictures = [
        Picture(name, label, whose.get(name), _digest(file)) for name, (file, label) in zip(names, files, strict=True)
    ]
    return Folder(root, classes, tuple(pictures), told)


def split(folder: Folder, share: float, seed: int) -> Split:
    """Hold out about ``share`` of each class, whole patients only; equal files stay on one side too.

    Who is held out depends on the names and the seed, not on the order of files or on other patients.

    Raises
    ------
    SaliencyError
        Of a class nothing would be left to train on, or nothing to hold out.
    """
    groups: dict[str, list[Picture]] = defaultdict(list)
    for name, one in zip(_units(folder.pictures), folder.pictures, strict=True):
        groups[name].append(one)
    wanted = {label: share * count for label, count in Counter(one.label for one in folder.pictures).items()}
    held: Counter[int] = Counter()
    train: list[Picture] = []
    out: list[Picture] = []
    for name in sorted(groups, key=lambda one: hashlib.sha256(f"{seed}\0{one}".encode()).hexdigest()):
        group = groups[name]
        main = Counter(one.label for one in group).most_common(1)[0][0]
        if held[main] + len(group) <= math.ceil(wanted[main]):
            out += group
            held.update(one.label for one in group)
        else:
            train += group
    for word, side in (("to train on", train), ("held out", out)):
        gone = set(range(len(folder.classes))) - {one.label for one in side}
        if gone:
            raise SaliencyError(
                f"no image of class '{folder.classes[min(gone)]}' would be {word}: it has too few patients to be split."
                " Add patients, or take the class away."
            )
    return Split(tuple(sorted(train, key=_path)), tuple(sorted(out, key=_path)))


def write_cases(folder: Folder, pictures: Sequence[Picture], file: Path) -> None:
    """Write the CSV file that a contract reads: paths from its own place, labels by name, patients if known."""
    known = all(one.patient is not None for one in pictures)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".part")
    with beside.open("w", newline="", encoding="utf-8") as open_file:
        rows = csv.writer(open_file, lineterminator="\n")
        rows.writerow(["image", "id", "label", *(["cluster"] if known else [])])
        for one in pictures:
            image = Path(os.path.relpath(folder.root / one.path, file.parent)).as_posix()
            rows.writerow([image, one.path, folder.classes[one.label], *([one.patient] if known else [])])
    beside.replace(file)


def refuse_other_run(out: Path, told: Mapping[str, str]) -> None:
    """Write what the run in ``out`` depends on, or compare with what was written there.

    Raises
    ------
    SaliencyError
        ``out`` holds a run with other settings or images; mixing them would judge weights that never belonged together.
    """
    file = out / SETTINGS
    if not file.is_file():
        write_text_whole(file, json.dumps(dict(told), indent=2) + "\n")
        return
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        known = {}
    other = [key for key in told if not isinstance(known, dict) or known.get(key) != told[key]]
    if other:
        raise SaliencyError(
            f"{out} holds a run with other {', '.join(other)}; give another folder with --out, or remove this one."
        )


def _path(one: Picture) -> str:
    return one.path


def _units(pictures: Sequence[Picture]) -> list[str]:
    """Return what must stay together: the patient, or the file; files with the same bytes join what they are of."""
    first: dict[str, str] = {}
    joined: dict[str, str] = {}

    def root_of(name: str) -> str:
        while joined.get(name, name) != name:
            name = joined[name]
        return name

    for one in pictures:
        name = root_of(one.patient if one.patient is not None else one.path)
        joined[root_of(first.setdefault(one.digest, name))] = name
    return [root_of(one.patient if one.patient is not None else one.path) for one in pictures]


def _patients(names: Sequence[str], file: Path | None, pattern: str | None) -> tuple[Mapping[str, str], str]:
    """Return the patient of each image and who said so."""
    if file is not None:
        return _from_csv(names, file), f"patients from {file.name}"
    if pattern is not None:
        try:
            asked = re.compile(pattern)
        except re.error as error:
            raise SaliencyError(f"--patient-pattern {pattern!r} is not a regular expression: {error}.") from None
        if asked.groups < 1:
            raise SaliencyError(f"--patient-pattern {pattern!r} has no group; put the patient into brackets.")
        found = {name: asked.search(Path(name).name) for name in names}
        without = next((name for name, match in found.items() if match is None), None)
        if without is not None:
            raise SaliencyError(f"--patient-pattern {pattern!r} does not fit {without}; it must name every patient.")
        return {name: match.group(1) for name, match in found.items() if match}, "patients from --patient-pattern"
    for known in NAMED_PATIENTS:
        matches = {name: known.fullmatch(Path(name).stem) for name in names}
        if all(matches.values()):
            return {name: match["patient"] for name, match in matches.items() if match}, "patients from file names"
    return {}, "no patients known: split by file"


def _from_csv(names: Sequence[str], file: Path) -> Mapping[str, str]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as open_file:
            rows = list(csv.DictReader(open_file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SaliencyError(f"patients in {file} cannot be read: {first_line(error)}.") from None
    for column in ("image", "patient"):
        if not rows or column not in rows[0]:
            raise SaliencyError(f"{file} has no column '{column}'; it needs image (path from --data) and patient.")
    told = {str(row["image"]).replace("\\", "/"): str(row["patient"] or "").strip() for row in rows}
    found = {name: told.get(name) or told.get(Path(name).name) or "" for name in names}
    without = [name for name in names if not found[name]]
    if without:
        raise SaliencyError(
            f"{file} names no patient for {len(without)} of {len(names)} images, the first {without[0]}."
        )
    return found


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as open_file:
            return hashlib.file_digest(open_file, "sha256").hexdigest()
    except OSError as error:
        raise SaliencyError(f"image {file} cannot be read: {error.strerror}; mend its rights, or remove it.") from None
