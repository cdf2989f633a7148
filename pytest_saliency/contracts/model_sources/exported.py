"""Programs that ``torch.export.save`` wrote: unflattened, so that their layers have the names they were written with.

An exported program is a list of operations for one way through the model, fixed in type and device, and in every size
that was not exported as free. What of that would make maps wrong or impossible is refused when the program is loaded.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.expressions import formulas, is_formula
from pytest_saliency.contracts.model_sources.made import Made
from pytest_saliency.contracts.weights import checked_sha256
from pytest_saliency.errors import SubjectError, first_line

if TYPE_CHECKING:
    from torch import nn

    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place

HOW = "torch.export.export(model.eval(), (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},))"
TRAINING = {"batch_norm": 5, "dropout": 2}
"""Operations with a flag for training, and the place of the flag."""
PLAIN = ("weight_", "tensor_")
"""How files begin that hold the numbers of a tensor, and nothing else."""
LISTED = 8


def make(name: str, file: str, spec: ModelSpec, place: Place) -> Made:
    """Return the program as modules.

    Raises
    ------
    SubjectError
        No exported program, one for a fixed number of images or in training mode, or one without the layer.
    """
    path = place.path(file)
    digest = checked_sha256(path, name, spec.sha256)
    _refuse_other_formats(name, path)
    _refuse_code(name, path)
    program = _loaded(name, path)
    _refuse_fixed_batch(name, path, program)
    _refuse_training(name, path, program)
    import torch

    try:
        with _quiet():
            model = torch.export.unflatten(program)
    except Exception as error:  # what it cannot put together again
        raise SubjectError(
            f"model '{name}': the layers of the program {path} cannot be put together again ({first_line(error)});"
            " build the model in python: or fixture:."
        ) from error
    _refuse_gone(name, path, model, spec.layer)
    return Made(model, sha256=digest)


def _refuse_other_formats(name: str, path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        inside = []
    parts = [one.partition("/")[2] for one in inside]
    if any(one.startswith("code/") for one in parts):
        what = "a TorchScript archive, in which no layer can be watched"
    elif any("aotinductor" in one for one in parts):
        what = "a program that was compiled for one processor, without layers"
    elif "data.pkl" in parts:
        what = "a checkpoint of weights; name the architecture they belong to and give the file under 'weights'"
    elif inside and not any(one.startswith("models/") for one in parts):
        what = "no program that this version knows"
    elif not inside:
        what = f"no archive ({path.stat().st_size:,} bytes); it may be cut short or a Git LFS pointer"
    else:
        return
    raise SubjectError(
        f"model '{name}': {path} is {what}. 'exported' takes what torch.export.save(program, FILE) wrote, of {HOW}."
    )


def _refuse_code(name: str, path: Path) -> None:
    """Raise where the archive holds pickles or formulas that could run code: torch reads both without restriction."""
    import torch

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        inside = {one.partition("/")[2]: one for one in names}
        if len({one.partition("/")[2].lower() for one in names}) < len(names):
            raise SubjectError(
                f"model '{name}': the program {path} is refused: it has two files of one name, of which readers may"
                " take either. Write it anew with torch.export.save."
            )
        for one in (one for one in inside if one.startswith("models/") and one.endswith(".json")):
            try:
                program = json.loads(archive.read(inside[one]))
            except (ValueError, RecursionError) as error:
                raise _damaged(name, path, one, error) from error
            wrong = next((text for text in formulas(program) if not is_formula(text)), None)
            if wrong is not None:
                raise SubjectError(
                    f"model '{name}': the program {path} is refused: {one} in it gives a size as {wrong[:60]!r}, which"
                    " is no formula, and reading it could run any code. Export the model anew where you trust it."
                )
        pickles = [one for one in inside if one.endswith(".pt")]  # sample inputs; in older archives weights as well
        for config in (one for one in inside if one.endswith("_config.json")):
            try:
                payloads = json.loads(archive.read(inside[config]))["config"].values()
                kept = [(str(one["path_name"]), bool(one.get("use_pickle"))) for one in payloads]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise _damaged(name, path, config, error) from error
            folder = config.rpartition("/")[0]
            pickles += [f"{folder}/{file}" for file, pickled in kept if pickled or not file.startswith(PLAIN)]
        for one in pickles:
            try:
                torch.load(io.BytesIO(archive.read(inside[one])), map_location="cpu", weights_only=True)
            except Exception as error:
                raise SubjectError(
                    f"model '{name}': the program {path} is refused: {one} in it is a pickle of more than tensors, and"
                    " reading it could run any code. Export the model with tensors as example inputs and without"
                    " objects of its own."
                ) from error


def _damaged(name: str, path: Path, part: str, error: Exception) -> SubjectError:
    return SubjectError(f"model '{name}': the program {path} is damaged: {part} cannot be read ({first_line(error)}).")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's warnings and tracebacks to itself: what went wrong is raised as well."""
    logger = logging.getLogger("torch.export")
    before = logger.disabled
    try:
        logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _loaded(name: str, path: Path) -> Any:
    import torch

    try:
        with _quiet():
            program = torch.export.load(str(path))
    except Exception as error:  # another version of torch, an operation of a package that is not here, no such device
        raise SubjectError(
            f"model '{name}': torch {torch.__version__} cannot load the program {path}"
            f" ({type(error).__name__}: {first_line(error)}). Export it with this version of torch, or build the model"
            " in python: or fixture:."
        ) from error
    if all(device.type == "cpu" for device in _devices(program)):
        return program
    try:
        from torch.export.passes import move_to_device_pass

        return move_to_device_pass(program, "cpu")
    except Exception as error:
        raise SubjectError(
            f"model '{name}': the program {path} was exported on another device and cannot be moved to the CPU"
            f" ({first_line(error)}); export it from model.cpu()."
        ) from error


def _devices(program: Any) -> set[Any]:
    """Return the devices that the program's values lie on."""
    values = [node.meta.get("val") for node in program.graph.nodes]
    return {value.device for value in values if hasattr(value, "device")}


def _images(program: Any) -> Any:
    """Return the first value that the program is given by its user, or None."""
    given = set(program.graph_signature.user_inputs)
    found = (node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in given)
    return next((value for value in found if hasattr(value, "shape")), None)


def _refuse_fixed_batch(name: str, path: Path, program: Any) -> None:
    images = _images(program)
    if images is None or not len(images.shape):
        raise SubjectError(f"model '{name}': the program {path} takes no tensor of images.")
    if isinstance(images.shape[0], int):
        raise SubjectError(
            f"model '{name}': the program {path} was exported for {images.shape[0]} image(s) at a time, and maps are"
            f" made in batches of any size. Export it with a free batch dimension: {HOW}, with two images or more."
        )


def _refuse_training(name: str, path: Path, program: Any) -> None:
    for node in program.graph.nodes:
        called = str(node.target).split(".")
        at = TRAINING.get(called[1]) if len(called) > 1 else None
        functional = "_native_batch_norm_legit" in called[1:2] or "_native_batch_norm_legit_functional" in called[1:2]
        flag = functional or (at is not None and len(node.args) > at and node.args[at] is True)
        if flag:
            raise SubjectError(
                f"model '{name}': the program {path} was exported in training mode ({called[1]} depends on the other"
                f" images or on chance), which cannot be turned off any more. Call model.eval() first: {HOW}."
            )


def _called(model: nn.Module) -> list[str]:
    """Return the names of the modules that the program's graphs call, in the order of the modules."""
    called = {
        f"{name}.{node.target}".removeprefix(".")
        for name, module in model.named_modules()
        for node in getattr(getattr(module, "graph", None), "nodes", ())
        if node.op == "call_module"
    }
    return [name for name, _ in model.named_modules() if name in called]


def _refuse_gone(name: str, path: Path, model: nn.Module, layer: str) -> None:
    names = [one for one in _called(model) if "@" not in one]  # "@1" is the second call of a module
    if layer in ("auto", "penultimate", *names):
        return
    close = difflib.get_close_matches(layer, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    some = ", ".join(names[-LISTED:]) or "none"
    raise SubjectError(
        f"model '{name}': the program {path} has no layer '{layer}'; {hint}An exported program keeps only modules that"
        f" ran when it was exported, under the names they had then. Its last layers are {some}."
    )
