"""Images of a Hugging Face dataset in a local folder.

Read without a network and without code of the folder: what ``Dataset.save_to_disk`` wrote, Parquet files, or the
"imagefolder" layout of the datasets library. Images are decoded when they are needed, by the readers of image files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.case_sources.files import as_declared, file_reading
from pytest_saliency.contracts.case_sources.lists import label_names, listed_labels
from pytest_saliency.contracts.case_sources.tables import OPTIONAL, Table, label_columns, mask_columns
from pytest_saliency.contracts.label_sets import label_reading, label_sets, listed_sets, lists_labels
from pytest_saliency.errors import CasesError, first_line

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import CasesSpec, Columns
    from pytest_saliency.contracts.place import Place
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.images import ImageSource

SHARD = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]{8,})?$")


def make(value: str, spec: CasesSpec, place: Place) -> Cases:
    """Return the images of one split.

    Raises
    ------
    CasesError
        No such folder (names of the hub are not looked up), split, column or row; the library is not installed.
    """
    from pytest_saliency.contracts.models import Columns
    from pytest_saliency.engine.cases import Cases
    from pytest_saliency.engine.label_masks import with_label_masks
    from pytest_saliency.engine.multi_label import LabelReading, with_units, without_units

    if spec.dicom is not None and spec.dicom.cluster is not None:
        raise CasesError(f"cases of {value} take clusters from a column ('columns.cluster'), not from DICOM files.")
    columns = spec.columns or Columns()
    data = _dataset(place.path(value), value, spec.split)
    lists = None if columns.labels else listed_labels(data, columns.label, spec, value)
    every = _table(data, columns, spec.where, value, lists)
    table = every.where(spec.where)
    table.filled(columns)
    rows = [int(place.rpartition(" ")[2]) for place, _ in table.rows]
    sets = lists is not None or lists_labels(spec)
    labels, matrix = [0] * len(rows), list[list[float]]()
    class_names: Sequence[str] | None
    if lists is not None:
        listed = [(place, lists[row] or []) for (place, _), row in zip(table.rows, rows, strict=True)]
        matrix, class_names = listed_sets(listed, label_names(data, columns.label, spec), spec)
    elif sets:
        matrix, class_names = label_sets(table, columns, spec)
    else:
        _refuse_single(columns, spec, value)
        labels, class_names = table.labels(columns.label, spec.classes or _names_of(data, columns.label), every)
    fetch, sort = _fetch(data, columns.image, value)
    masks = None if columns.mask is None else _masks(data, columns.mask, rows, value)
    by_label = {label: _masks(data, name, rows, value) for label, name in (columns.masks or {}).items()}
    made = Cases(
        ids=tuple(table.optional(columns.id) or (f"{data.split or 'row'}-{row:06d}" for row in rows)),
        labels=tuple(labels),
        images=tuple(_image(fetch, sort, row, spec) for row in rows),
        groups=_tuple(table.optional(columns.group)),
        clusters=_tuple(table.optional(columns.cluster)),
        masks=masks,
        class_names=None if class_names is None else tuple(class_names),
        source=value,
    )
    how = LabelReading(**label_reading(spec))
    units = with_units(made, matrix, how) if sets else without_units(made, how)
    return as_declared(with_label_masks(units, made, by_label, len(matrix[0])) if by_label else units, spec)


def _refuse_single(columns: Columns, spec: CasesSpec, source: str) -> None:
    """Raise CasesError where something belongs to several labels, but a row has one."""
    said = {"pairs": spec.pairs, "no_label": spec.no_label, "columns.masks": columns.masks}
    for key, value in said.items():
        if value:
            raise CasesError(
                f"cases of {source} have '{key}', which belongs to several labels an image, but column"
                f" '{columns.label}' holds one; name a column of lists, 'columns: {{labels: [...]}}', or a 'separator'."
            )


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _dataset(path: Path, source: str, split: str | None) -> Any:
    if not path.is_dir():
        raise CasesError(
            f"there is no folder {path} for huggingface: {source}; datasets are read from local folders only, never"
            " from the hub: save it there first with Dataset.save_to_disk."
        )
    try:
        import datasets
    except Exception as error:  # not installed, or not with the pyarrow that is
        gone = isinstance(error, ModuleNotFoundError) and error.name == "datasets"
        why = "is not installed" if gone else f"cannot be imported here ({type(error).__name__}: {first_line(error)})"
        raise CasesError(
            f"reading Hugging Face datasets needs the package datasets, which {why}; pip install"
            " 'pytest-saliency[huggingface]'."
        ) from None
    with _offline(datasets):
        try:
            found = _load(datasets, path)
        except CasesError:
            raise
        except Exception as error:  # the library raises its own errors, pyarrow's, and those of the file system
            raise CasesError(
                f"the dataset in {path} cannot be read: {first_line(error)}. Save it anew with Dataset.save_to_disk."
            ) from error
    if not isinstance(found, Mapping):
        if split is not None and split != str(found.split):
            raise CasesError(f"the dataset in {path} is one split ({found.split}); leave 'split: {split}' out.")
        return found
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        said = "'split' is missing" if split is None else f"there is no split '{split}'"
        raise CasesError(
            f"the dataset in {path} has the splits {', '.join(map(str, found))}; {said}: name one of them."
        )
    return found[split]


def _load(datasets: Any, path: Path) -> Any:
    from pytest_saliency.engine.images import PICTURES

    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return datasets.load_from_disk(str(path))
    parquet = sorted(path.rglob("*.parquet"))
    if parquet:
        files: dict[str, list[str]] = {}
        for file in parquet:
            files.setdefault(SHARD.sub("", file.stem), []).append(str(file))
        if len({file.parent for file in parquet}) > 1:
            raise CasesError(
                f"{path} has Parquet files in several folders, which are several datasets; name the folder of one."
            )
        return datasets.load_dataset("parquet", data_files=files)
    if any(path.rglob("*.py")):
        raise CasesError(
            f"{path} has Python code and no data that can be read without it; code of datasets is not run: save the"
            " dataset with save_to_disk."
        )
    if not any(file.suffix.lower() in PICTURES for file in path.rglob("*")):
        raise CasesError(f"{path} holds no dataset: none saved by save_to_disk, no Parquet files and no images.")
    return datasets.load_dataset("imagefolder", data_dir=str(path))


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Keep the library off the network and its progress bars off the terminal."""
    from huggingface_hub import constants

    places: tuple[Any, ...] = (datasets.config, constants)
    bars = not datasets.are_progress_bars_disabled()
    before = [place.HF_HUB_OFFLINE for place in places]
    for place in places:
        place.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value
        if bars:
            datasets.enable_progress_bars()


def _table(
    data: Any, columns: Columns, where: Mapping[str, Any] | None, source: str, lists: list[list[str] | None] | None
) -> Table:
    """Return the columns that cases are made of, as text; of images, masks and ``lists`` only that they are there."""
    header = tuple(data.column_names)
    named = {
        **dict.fromkeys(label_columns(columns), "label"),
        **{getattr(columns, key): key for key in OPTIONAL},
        **dict.fromkeys(mask_columns(columns), "mask"),
    }
    if columns.image in named:
        raise CasesError(
            f"cases of {source} take image and {named[columns.image]} from one column, '{columns.image}'; name two."
        )
    if lists is not None and columns.label in (where or {}):
        raise CasesError(
            f"'where' names column '{columns.label}' of {source}, which holds a list a row; take rows by another one."
        )
    wanted = {*named, *(where or {})}
    read = [name for name in header if name in wanted and name not in (columns.image, *mask_columns(columns))]
    cells = {
        name: _texts(data, name, source, name in (columns.labels or ()))
        for name in read
        if lists is None or name != columns.label
    }
    if lists is not None:
        cells[columns.label] = ["" if row is None else "there" for row in lists]
    rows = tuple(
        (f"{source}: row {row}", dict.fromkeys(header, "there") | {name: column[row] for name, column in cells.items()})
        for row in range(len(data))
    )
    table = Table(f"the dataset in {source}", header, rows)
    table.require(columns)
    return table


def _texts(data: Any, column: str, source: str, bits: bool = False) -> list[str]:
    """Return a column as text; of ``bits``, which say whether a label is present, True is 1."""
    names = _names_of(data, column)
    values = list(data.with_format(None)[column])
    several = next((row for row, value in enumerate(values) if isinstance(value, list | tuple | dict)), None)
    if several is not None:
        raise CasesError(
            f"{source}: row {several}: column '{column}' holds several values, and one a row is needed; only the labels"
            " of an image may be a list ('columns.label')."
        )
    if bits:
        values = [int(value) if isinstance(value, bool) else value for value in values]
    known = names or ()
    return [
        "" if value is None else known[value] if isinstance(value, int) and 0 <= value < len(known) else str(value)
        for value in values
    ]


def _names_of(data: Any, column: str) -> list[str] | None:
    """Return the names of a column of classes, in the order of their indices; None for other columns."""
    names = getattr(data.features.get(column), "names", None)
    return None if names is None else list(names)


def _fetch(data: Any, column: str, source: str) -> tuple[Callable[[int], Any], str]:
    """Return what hands out one image, and whether as the content of a file or as an array."""
    import datasets

    only = data.select_columns([column])
    if isinstance(data.features[column], datasets.Value | datasets.ClassLabel):
        raise CasesError(
            f"column '{column}' of the dataset in {source} holds {data.features[column].dtype}, no images; where these"
            f" are paths, save it after dataset.cast_column('{column}', datasets.Image()), or use csv."
        )
    if not isinstance(data.features[column], datasets.Image):
        return _Arrays(only.with_format("numpy"), column), "array"
    return _Contents(only.cast_column(column, datasets.Image(decode=False)).with_format(None), column), "content"


class _Contents:
    """Hands out the bytes of the image in a row."""

    def __init__(self, data: Any, column: str) -> None:
        self._data, self._column = data, column

    def __call__(self, row: int) -> bytes:
        held = self._data[row][self._column]
        if held is None:
            raise ValueError("there is no image in this row")
        found: bytes | None = held["bytes"]
        return Path(held["path"]).read_bytes() if found is None else found


class _Arrays(_Contents):
    """Hands out the array in a row."""

    def __call__(self, row: int) -> Any:
        return self._data[row][self._column]


def _image(fetch: Callable[[int], Any], sort: str, row: int, spec: CasesSpec) -> ImageSource:
    from pytest_saliency.engine.images import BytesImage, DatasetImage

    return BytesImage(fetch, row, file_reading(spec)) if sort == "content" else DatasetImage(fetch, row)


def _masks(data: Any, column: str, rows: list[int], source: str) -> tuple[Any, ...]:
    from pytest_saliency.engine.masks import BytesMask

    fetch, sort = _fetch(data, column, source)
    if sort != "content":
        raise CasesError(f"column '{column}' of the dataset in {source} holds no images; masks are images.")
    return tuple(BytesMask(fetch, row) for row in rows)
