"""The preprocessing that ships with weights, as a contract would write it.

Each package has its own words for it, and its own special cases. So what was read from the words is held against what
the package does with one picture, and is refused where the two differ: a model must not see other pixels than it was
made for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_saliency.errors import SaliencyError, SubjectError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

PICTURE = (344, 296)
"""Width and height of the picture that is tried: no side divides another, and both are beyond most crops."""
WITHIN = 2.5 / 255
"""Packages resize 8-bit pixels and round after each direction; here resizing is done in float, without rounding."""
INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""As Pillow numbers them."""
OTHERS = {1: "lanczos", 4: "box", 5: "hamming"}


def from_torchvision(transform: Any, where: str) -> Mapping[str, Any]:
    """Return what ``weights.transforms()`` of torchvision does; ``where`` begins errors ("model 'ft'").

    Raises
    ------
    SubjectError
        Something in it that a contract has no word for.
    """
    if not all(hasattr(transform, key) for key in ("resize_size", "crop_size", "mean", "std", "interpolation")):
        raise _no_word(where, f"torchvision's {type(transform).__name__}", "it is not the preset for images")
    made = {
        "resize": _one(transform.resize_size),
        "interpolation": str(transform.interpolation.value),
        "center_crop": _one(transform.crop_size),
        **_normalise(transform.mean, transform.std),
    }
    return held_against([made], transform, where, "torchvision")


def from_timm(model: Any, where: str, channels: int | None = None) -> Mapping[str, Any]:
    """Return what timm's own transform for ``model`` does in evaluation (``resolve_model_data_config``).

    ``channels`` are those that the model takes, where it was made with others than its weights have.
    """
    data: Any = import_module("timm.data")
    said = data.resolve_model_data_config(model)
    size = said["input_size"][1:]
    if channels not in (None, len(said["mean"])):
        raise _no_word(where, "timm's configuration", f"it has {len(said['mean'])} means for {channels} channels")
    scaled = [math.floor(side / said["crop_pct"]) for side in size]
    squashed = said["crop_mode"] == "squash"
    made = {
        "resize": scaled if squashed or scaled[0] != scaled[1] else scaled[0],
        "interpolation": said["interpolation"],
        "center_crop": _one(size),
        **_normalise(said["mean"], said["std"]),
    }
    return held_against([made], data.create_transform(**said, is_training=False), where, "timm")


def from_processor(processor: Any, where: str) -> Mapping[str, Any]:
    """Return what an image processor of transformers does.

    Its classes share words and differ in what they make of them, so that several readings are tried.
    """

    def run(picture: Image) -> Tensor:
        made: Tensor = processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return made

    who = type(processor).__name__
    resample = getattr(processor, "resample", None)
    code = int(getattr(resample, "value", resample) if resample is not None else 2)
    if getattr(processor, "do_resize", False) and code not in INTERPOLATIONS:
        raise _no_word(where, f"the image processor {who}", f"it resizes by {OTHERS.get(code, code)}")
    edges = _said(getattr(processor, "size", None))
    if edges.get("shortest_edge") and edges.get("longest_edge"):
        raise _no_word(where, f"the image processor {who}", "its resize has a 'longest_edge', which some images reach")
    scale = 255 * (processor.rescale_factor if getattr(processor, "do_rescale", True) else 1)
    shift = 1.0 if getattr(processor, "rescale_offset", False) else 0.0
    normal = getattr(processor, "do_normalize", False)
    mean = list(processor.image_mean) if normal else [0.0] * 3
    std = list(processor.image_std) if normal else [1.0] * 3
    looks = [_normalise([round((m + shift) / scale, 9) for m in mean], [round(s / scale, 9) for s in std])]
    if getattr(processor, "include_top", False):  # EfficientNet: divided by the standard deviations once more
        looks.append(_normalise(looks[0]["mean"], [round(s * s / scale, 9) for s in std]))
    readings = [{**one, **look} for one in _geometries(processor, INTERPOLATIONS.get(code, "")) for look in looks]
    return held_against(readings, run, where, f"the image processor {who}")


def _geometries(processor: Any, interpolation: str) -> Iterable[dict[str, Any]]:
    size, crop = _sides(getattr(processor, "size", None)), _sides(getattr(processor, "crop_size", None))
    cut = {"center_crop": _one(crop)} if getattr(processor, "do_center_crop", False) and crop else {}
    if not getattr(processor, "do_resize", False) or not size:
        yield cut
        return
    yield {"resize": size[0] if len(size) == 1 else size, "interpolation": interpolation, **cut}
    share = getattr(processor, "crop_pct", None)
    if share and len(size) == 1:  # ConvNeXt: enlarged and cut below 384 pixels, squashed from there on
        yield {"resize": int(size[0] / share), "interpolation": interpolation, "center_crop": size[0]}
        yield {"resize": [size[0], size[0]], "interpolation": interpolation}


def _sides(size: Any) -> list[int]:
    """Return the sides of a processor's size: one for the shorter side, two for height and width."""
    said = _said(size)
    if said.get("height") and said.get("width"):
        return [int(said["height"]), int(said["width"])]
    return [int(said["shortest_edge"])] if said.get("shortest_edge") else []


def _said(size: Any) -> dict[str, Any]:
    if size is None:
        return {}
    return dict(size) if isinstance(size, Mapping) else {key: getattr(size, key, None) for key in _KEYS}


_KEYS = ("height", "width", "shortest_edge", "longest_edge")


def held_against(
    readings: Iterable[Mapping[str, Any]], transform: Callable[[Image], Any], where: str, who: str
) -> Mapping[str, Any]:
    """Return the first of ``readings`` that does to a picture what ``transform`` does to it.

    Raises
    ------
    SubjectError
        None does.
    """
    picture = _picture()
    try:
        expected = transform(picture)
    except Exception as error:  # the package's own code
        raise _no_word(where, who, f"it does not take an ordinary picture ({first_line(error)})") from error
    why = "it says nothing that could be read"
    for reading in readings:
        difference = _difference(reading, picture, expected)
        if isinstance(difference, float) and difference <= WITHIN:
            return reading
        why = difference if isinstance(difference, str) else f"read as {_words(reading)} it gives other pixels"
    raise _no_word(where, who, why)


def _difference(reading: Mapping[str, Any], picture: Image, expected: Tensor) -> float | str:
    """Return the largest difference in pixels from 0 to 1, or the sentence that says why there is none."""
    import numpy as np
    import torch

    from pytest_saliency.engine.preprocess import Preprocess

    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
    try:
        ours = Preprocess.of(reading)
        made = ours.normalise(ours.geometry(pixels, "picture")[None])[0]
    except SaliencyError as error:
        return first_line(error)
    if made.shape != expected.shape:
        return f"read as {_words(reading)} it gives {tuple(made.shape)} instead of {tuple(expected.shape)}"
    std = torch.tensor(reading.get("std") or [1.0]).reshape(-1, 1, 1)
    return float(((made - expected) * std).abs().max())


def _picture() -> Image:
    """Return a picture with edges and texture whose values stay away from black and white.

    Bicubic resizing overshoots at edges, and who cuts that off at which step would count otherwise.
    """
    import numpy as np
    from PIL import Image

    width, height = PICTURE
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9.0 + y / 23.0), np.sin(y / 5.0) * np.cos(x / 31.0), ((x // 40 + y // 37) % 2) * 2.0 - 1.0]
    values = np.stack([128 + 44 * wave for wave in waves], axis=-1)
    return Image.fromarray(values.round().astype(np.uint8), "RGB")


def _normalise(mean: Iterable[float], std: Iterable[float]) -> dict[str, Any]:
    means, stds = [float(m) for m in mean], [float(s) for s in std]
    channels = {"channels": len(means)} if len(means) in (1, 3) else {}
    return {"mean": means, "std": stds, **channels}


def _one(sizes: Iterable[int]) -> int | list[int]:
    """Return one number for a square."""
    found = [int(size) for size in sizes]
    return found[0] if len(set(found)) == 1 else found


def _words(reading: Mapping[str, Any]) -> str:
    said = [f"{key}: {value}" for key, value in reading.items() if key in ("resize", "interpolation", "center_crop")]
    return "{" + ", ".join(said) + "}"


def _no_word(where: str, who: str, why: str) -> SubjectError:
    return SubjectError(
        f"{where} says 'preprocess: weights', but a contract cannot say what {who} does: {why}. Write 'preprocess' out"
        " as near as it comes, or do it in a function (preprocess: {python: module:function})."
    )
