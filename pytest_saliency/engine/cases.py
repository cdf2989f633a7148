"""Cases: an ordered set of identified images with labels, and a digest of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pytest_saliency.engine.images import (
    EXTENSIONS,
    ArrayImage,
    DatasetImage,
    FileImage,
    ImageSource,
    as_pixels,
    files_below,
    image_file,
)
from pytest_saliency.engine.label_masks import are_by_label, file_label_masks, with_label_arrays, with_label_masks
from pytest_saliency.engine.masks import NEEDED, FileMask, MaskSource, array_masks, folder_masks, same_size
from pytest_saliency.engine.multi_label import (
    Blank,
    Label,
    LabelReading,
    Threshold,
    Uncertain,
    image_rows,
    is_label_sets,
    with_units,
    without_units,
)
from pytest_saliency.engine.reading import FileReading
from pytest_saliency.errors import CasesError


@dataclass(frozen=True, eq=False)
class Cases:
    """Images as pixels in [0, 1] with labels; optional groups, clusters (patients) and masks, one an image.

    Made by :meth:`from_arrays`, :meth:`from_imagefolder`, :meth:`from_files` or :meth:`from_dataset`. Sizes may
    differ: the subject resizes. Images that come from files are read when they are needed.

    Where images have several labels, a row is a unit: one label that is present in an image, and in ``others`` the one
    that it is held against (``engine.multi_label``). ``present`` are then all labels of the row's image, ``thresholds``
    the probability above which the row's label counts as found, one half without it, and ``label_masks`` says that
    ``masks`` are those of the rows' labels and not of their images.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    images: tuple[ImageSource, ...] = field(repr=False)
    groups: tuple[str, ...] | None = None
    clusters: tuple[str, ...] | None = None
    masks: tuple[MaskSource, ...] | None = field(default=None, repr=False)
    class_names: tuple[str, ...] | None = None
    source: str = "arrays"
    others: tuple[int, ...] | None = None
    present: tuple[tuple[int, ...], ...] | None = field(default=None, repr=False)
    thresholds: tuple[float, ...] | None = field(default=None, repr=False)
    label_masks: bool = False

    def __post_init__(self) -> None:
        count = len(self.ids)
        if count == 0:
            raise CasesError(
                f"there are no cases in {self.source}; a check over nothing would prove nothing. Give images."
            )
        columns = {
            "labels": self.labels,
            "images": self.images,
            "groups": self.groups,
            "clusters": self.clusters,
            "masks": self.masks,
            "others": self.others,
            "present": self.present,
            "thresholds": self.thresholds,
        }
        for name, values in columns.items():
            if values is not None and len(values) != count:
                raise CasesError(f"{self.source} has {count} ids but {len(values)} {name}; give one each.")
        seen: set[str] = set()
        for case in self.ids:
            if case in seen:
                raise CasesError(f"case id '{case}' is used twice in {self.source}; ids must be unique.")
            seen.add(case)
        for case, label in zip(self.ids, self.labels, strict=True):
            if label < 0:
                raise CasesError(f"case '{case}' has label {label}; labels count from 0. Correct it, or leave it out.")

    def __len__(self) -> int:
        return len(self.ids)

    # -- making ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        ids: Iterable[object] | None = None,
        groups: Iterable[object] | None = None,
        clusters: Iterable[object] | None = None,
        masks: Any = None,
        class_names: Iterable[str] | None = None,
        source: str = "arrays",
        pairs: Mapping[Label, Label] | None = None,
        threshold: Threshold = 0.5,
        uncertain: Uncertain | None = None,
        blank: Blank | None = None,
    ) -> Cases:
        """Make cases from images (N, C, H, W) or (N, C, D, H, W), NumPy or torch, uint8 or floats in [0, 1].

        ``images`` may also be a sequence of (C, *S) arrays of different sizes. ``masks``: for each image an array
        (*S) of bool, or of 0 and 1, True where a pixel is inside; see :meth:`mask`.

        Labels (N, L) of 0 and 1 make units, one for each present label that ``pairs`` names, by name or index, with the
        label it is held against; with empty ``pairs`` they serve as held-out cases of a contrast only. ``threshold``:
        the probability above which a label counts as found, one number or one a label. ``uncertain`` and ``blank`` say
        how cells of -1 and NaN count. ``masks`` may then be one a label: (N, L, *S), or a mapping from labels to (N,
        *S), with None where an image has none of it; a unit has the mask of its own label.

        Raises
        ------
        CasesError
            Pixels outside [0, 1] or not finite, columns of different length, ids used twice, labels that are not
            whole numbers, masks that are not binary or of another size than their image, no images.
        """
        batch = [image if isinstance(image, Tensor) else torch.as_tensor(np.asarray(image)) for image in images]
        names = tuple(str(i) for i in ids) if ids is not None else tuple(f"case-{i:04d}" for i in range(len(batch)))
        if len(names) != len(batch):
            raise CasesError(f"{source} has {len(batch)} images but {len(names)} ids; give one each.")
        for name, image in zip(names, batch, strict=True):
            if image.dim() not in (3, 4):
                raise CasesError(
                    f"image '{name}' has shape {tuple(image.shape)};"
                    " expected channels first: (C, H, W) or (C, D, H, W)."
                )
            as_pixels(image, name)
        sizes = [tuple(image.shape[1:]) for image in batch]
        sets = is_label_sets(labels)
        by_label = masks is not None and are_by_label(masks, sizes[0] if sets and sizes else None)
        made = cls(
            ids=names,
            labels=(0,) * len(names) if sets else _labels(labels, names, source),
            # Copied: images marked or augmented in place afterwards must not change cases made before.
            images=tuple(ArrayImage(image.detach().clone()) for image in batch),
            groups=_texts(groups),
            clusters=_texts(clusters),
            masks=None if masks is None or by_label else array_masks(masks, names, sizes, source),
            class_names=_texts(class_names),
            source=source,
        )
        how = LabelReading(pairs, threshold, uncertain, blank)
        units = with_units(made, labels, how) if sets else without_units(made, how)
        return units if not by_label else with_label_arrays(units, made, masks, sizes, _width(labels, sets))

    @classmethod
    def from_files(
        cls,
        paths: Sequence[str | Path],
        labels: Any,
        ids: Iterable[object] | None = None,
        groups: Iterable[object] | None = None,
        clusters: Iterable[object] | None = None,
        class_names: Iterable[str] | None = None,
        root: str | Path | None = None,
        source: str | None = None,
        masks: Sequence[str | Path] | Mapping[Label, Sequence[str | Path | None]] | None = None,
        pairs: Mapping[Label, Label] | None = None,
        threshold: Threshold = 0.5,
        uncertain: Uncertain | None = None,
        blank: Blank | None = None,
        read_as: FileReading | None = None,
    ) -> Cases:
        """Make cases from image files; paths are relative to ``root``, and the default ids are those paths.

        ``masks``: for each image the file of its mask, of the image's size; what is not black is inside. Labels (N, L)
        and what belongs to them are as in :meth:`from_arrays`, and masks may then be a mapping from labels to such
        files, None where an image has none of it. ``read_as``: which value is white, whether files are
        volumes, and the window of DICOM files.
        """
        base = Path(root) if root is not None else Path()
        names = tuple(str(i) for i in ids) if ids is not None else tuple(Path(p).as_posix() for p in paths)
        where = source or (str(root) if root is not None else "files")
        sets = is_label_sets(labels)
        by_label = file_label_masks(masks, base, where)
        made = cls(
            ids=names,
            labels=(0,) * len(names) if sets else _labels(labels, names, where),
            images=tuple(image_file(base / path, read_as) for path in paths),
            groups=_texts(groups),
            clusters=_texts(clusters),
            masks=None if masks is None or isinstance(masks, Mapping) else tuple(FileMask(base / one) for one in masks),
            class_names=_texts(class_names),
            source=where,
        )
        how = LabelReading(pairs, threshold, uncertain, blank)
        units = with_units(made, labels, how) if sets else without_units(made, how)
        return units if not by_label else with_label_masks(units, made, by_label, _width(labels, sets))

    @classmethod
    def from_imagefolder(
        cls,
        root: str | Path,
        classes: Sequence[str] | None = None,
        masks: str | Path | None = None,
        read_as: FileReading | None = None,
    ) -> Cases:
        """Make cases from ``root/<class>/**/<image>``; ids are the paths below ``root``.

        ``classes`` gives the order of the class indices; without it the folder names count in sorted order.
        ``masks`` is a folder with a mask for every image: an image file of the same size and the same relative path,
        of any image format; what is not black is inside.
        """
        base = Path(root)
        if not base.is_dir():
            raise CasesError(f"image folder {base} does not exist or is not a folder; check the path.")
        found = sorted(entry.name for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not found:
            raise CasesError(
                f"image folder {base} has no class folders; expected {base.name}/<class>/<image>, as torchvision's"
                " ImageFolder."
            )
        names = tuple(classes) if classes is not None else tuple(found)
        unknown = [name for name in found if name not in names]
        if unknown:
            raise CasesError(
                f"image folder {base} has a class folder '{unknown[0]}' that 'classes' does not list"
                f" ({', '.join(names)}); list it, or move the folder away."
            )
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            for path in files_below(base / name):
                if path.suffix.lower() in EXTENSIONS:
                    paths.append(path.relative_to(base))
                    labels.append(label)
        if not paths:
            raise CasesError(f"image folder {base} holds no image ({', '.join(EXTENSIONS)}); fill its folders.")
        made = cls.from_files(paths, labels, root=base, class_names=names, source=str(root), read_as=read_as)
        return made if masks is None else replace(made, masks=folder_masks(Path(masks), paths, made.ids))

    @classmethod
    def from_dataset(cls, dataset: Any, ids: Iterable[object] | None = None) -> Cases:
        """Make cases from a map-style dataset of (image, label) with images as pixels in [0, 1] or PIL images."""
        try:
            count = len(dataset)
        except TypeError:
            raise CasesError("the dataset has no length; a map-style dataset is needed.") from None
        targets = getattr(dataset, "targets", None)
        # `targets` spares reading every image, but is what the dataset has before its target_transform.
        spared = targets is not None and len(targets) == count and getattr(dataset, "target_transform", None) is None
        labels = targets if spared else [dataset[i][1] for i in range(count)]
        names = tuple(str(i) for i in ids) if ids is not None else tuple(f"case-{i:04d}" for i in range(count))
        where = f"dataset {type(dataset).__name__}"
        return cls(
            ids=names,
            labels=_labels(labels, names, where),
            images=tuple(DatasetImage(dataset.__getitem__, i) for i in range(count)),
            class_names=_texts(getattr(dataset, "classes", None)),
            source=where,
        )

    # -- using ----------------------------------------------------------------------------------------------------

    def image(self, index: int) -> Tensor:
        """Return image ``index`` as float32 (C, *S) in [0, 1]."""
        return self.images[index].load(self.ids[index])

    def mask(self, index: int) -> Tensor:
        """Return the mask of image ``index`` at the image's own size, bool (*S), True inside.

        Raises
        ------
        CasesError
            There are no masks, or this one cannot be read or has another size than its image.
        """
        case = self.ids[index]
        if self.masks is None:
            raise CasesError(f"image '{case}' has no mask, because the cases of {self.source} have none. {NEEDED}")
        made = self.masks[index].load(case)
        image = self.images[index]
        if not isinstance(image, ArrayImage):  # masks of arrays were held against their images when they were given
            size = image.size(case) if isinstance(image, FileImage) else tuple(self.image(index).shape[1:])
            same_size(case, tuple(made.shape), size)
        return made

    def class_name(self, label: int) -> str:
        """Return the name of a class, or its index as text."""
        if self.class_names is not None and label < len(self.class_names):
            return self.class_names[label]
        return str(label)

    def subset(self, indices: Sequence[int]) -> Cases:
        """Return the cases at ``indices``, in that order."""

        def pick(column: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if column is None else tuple(column[i] for i in indices)

        return replace(
            self,
            ids=tuple(self.ids[i] for i in indices),
            labels=tuple(self.labels[i] for i in indices),
            images=tuple(self.images[i] for i in indices),
            groups=pick(self.groups),
            clusters=pick(self.clusters),
            masks=pick(self.masks),
            others=pick(self.others),
            present=pick(self.present),
            thresholds=pick(self.thresholds),
        )

    def sample(self, n: int, seed: int, per_class: Literal["balanced", "natural"] = "balanced") -> Cases:
        """Return a seeded sample of ``n`` cases in the original order.

        ``balanced`` takes as equal a number of each class as there are images; ``natural`` ignores classes. Fewer
        than ``n`` cases are an error: a contract that asks for 300 must not quietly decide on 40.

        Of units whole images are drawn, ``n`` of them, each with all its units; ``balanced`` takes them from the labels
        in turn.
        """
        from pytest_saliency.decide.randomness import Stream, seed_from

        together = [[i] for i in range(len(self))] if self.others is None else image_rows(self)
        if n > len(together):
            raise CasesError(
                f"sample asks for {n} cases, but {self.source} has {len(together)}; ask for fewer, or add images."
            )
        if n < 1:
            raise CasesError(f"sample asks for {n} cases; ask for at least one.")
        order = [int(i) for i in Stream(seed_from("sample", str(seed))).permutation(len(together))]
        if per_class == "balanced":
            has = [{self.labels[i] for i in rows} for rows in together]
            queues = [iter([i for i in order if label in has[i]]) for label in sorted(set(self.labels))]
            drawn: dict[int, None] = {}
            while len(drawn) < n:
                for queue in queues:
                    chosen = next((i for i in queue if i not in drawn), None)
                    if chosen is not None:
                        drawn[chosen] = None
            order = list(drawn)
        return self.subset(sorted(i for image in order[:n] for i in together[image]))

    @cached_property
    def case_digests(self) -> tuple[str, ...]:
        """SHA-256 of each image's content, in order."""
        return tuple(image.digest(case) for image, case in zip(self.images, self.ids, strict=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, labels, clusters, groups, image contents, masks and what makes units, in order."""
        return self._digest(range(len(self)))

    @cached_property
    def unordered_digest(self) -> str:
        """SHA-256 over the same in the order of the ids: equal for the same cases in another order."""
        return self._digest(sorted(range(len(self)), key=lambda i: self.ids[i]))

    def _digest(self, order: Iterable[int]) -> str:
        made = hashlib.sha256()
        for i in order:
            group = "" if self.groups is None else self.groups[i]
            cluster = "" if self.clusters is None else self.clusters[i]
            mask = () if self.masks is None else (self.masks[i].digest(self.ids[i]),)
            row = "\x1f".join(
                (self.ids[i], str(self.labels[i]), group, cluster, self.case_digests[i], *mask, *self._unit(i))
            )
            made.update(row.encode() + b"\x1e")
        return made.hexdigest()

    def _unit(self, i: int) -> tuple[str, ...]:
        """Return what a digest says of a row beyond what every case has; nothing for cases with one label."""
        if self.present is None and self.others is None:
            return ()
        other = "" if self.others is None else str(self.others[i])
        present = () if self.present is None else self.present[i]
        cut = 0.5 if self.thresholds is None else self.thresholds[i]
        return ("unit", other, " ".join(map(str, present)), float(cut).hex())


def _labels(values: Any, ids: tuple[str, ...], source: str) -> tuple[int, ...]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1:
        raise CasesError(f"labels of {source} must be one class index an image, not of shape {array.shape}.")
    if array.dtype.kind == "f" and np.all(np.isfinite(array)) and np.all(array == np.round(array)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub" and array.size:
        value = array.flat[0]
        example = value.item() if isinstance(value, np.generic) else value
        raise CasesError(
            f"labels of {source} must be class indices, whole numbers from 0, but the first, of case '{ids[0]}', is"
            f" {example!r}; give the index of each class, and its name in class_names."
        )
    return tuple(int(value) for value in array)


def _width(labels: Any, sets: bool) -> int:
    """Return how many labels the rows of ``labels`` are about."""
    return int(np.shape(labels)[1]) if sets else 0


def _texts(values: Iterable[object] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(str(value) for value in values)
