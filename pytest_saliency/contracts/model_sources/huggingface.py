"""Image classifiers from a local folder, as ``save_pretrained`` of transformers leaves it.

Nothing is asked of a network, no code of the folder is run, and pickles are read by torch's restricted loader only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_saliency.contracts.model_sources.made import Made, needs
from pytest_saliency.contracts.shipped_preprocess import from_processor
from pytest_saliency.contracts.states import LISTED, WeightsError
from pytest_saliency.contracts.weights import checked_sha256
from pytest_saliency.errors import SubjectError, first_line

if TYPE_CHECKING:
    from pytest_saliency.contracts.models import ModelSpec
    from pytest_saliency.contracts.place import Place

CONFIG = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTER = "adapter_config.json"
ATTENTIONS = ("eager", "sdpa")
"""Those that transformers brings itself."""
ARGUMENTS = ("attn_implementation",)
UNNAMED = re.compile(r"LABEL_\d+")
"""How transformers calls classes that were given no name."""
OFFLINE = {"local_files_only": True, "trust_remote_code": False}


def make(name: str, folder: str, spec: ModelSpec, place: Place) -> Made:
    """Return the model with its weights in it, or its architecture alone where the contract gives another file.

    Raises
    ------
    SubjectError
        No transformers, no such folder, one without configuration or weights, of a model that classifies no images, or
        that needs code of its own.
    """
    path = place.path(folder)
    if not (path / CONFIG).is_file():
        what = f"has no {CONFIG}" if path.is_dir() else "is not there"
        raise SubjectError(
            f"model '{name}': the folder {path} {what}{_below(path)}; give a folder as"
            " model.save_pretrained(FOLDER) leaves it."
        )
    arguments = dict(spec.args or {})
    unknown = sorted(arguments.keys() - set(ARGUMENTS))
    if unknown:
        raise SubjectError(
            f"model '{name}': 'args' of a Hugging Face folder may hold {', '.join(ARGUMENTS)}, not '{unknown[0]}'."
        )
    transformers = _transformers(name)
    config = _config(name, transformers, path)
    for said in (arguments.get("attn_implementation"), getattr(config, "_attn_implementation", None)):
        if said not in (None, *ATTENTIONS):
            raise SubjectError(
                f"model '{name}': the attention {said!r} of the folder {path} may be code that is fetched from the hub;"
                f" write args: {{attn_implementation: {ATTENTIONS[0]}}} and take it out of {CONFIG}."
            )
    ships = partial(_preprocess, name, path)
    labels = _labels(config)
    auto = transformers.AutoModelForImageClassification
    if spec.weights is not None:
        with _quiet(transformers), _sentences(name, path):
            model = auto.from_config(config, trust_remote_code=False, **arguments)
        return Made(model, preprocess=ships, labels=labels)
    digest = _sha256(name, path, spec.sha256)
    import torch

    with _quiet(transformers), _sentences(name, path):
        model, told = auto.from_pretrained(
            str(path),
            config=config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused right below, by name
            dtype=torch.float32,
            **OFFLINE,
            **arguments,
        )
    _refuse_holes(name, path, told)
    return Made(model, sha256=digest, preprocess=ships, labels=labels)


def _below(path: Path) -> str:
    """Return the words for folders in it that do have a configuration, as a Trainer leaves its checkpoints."""
    there = sorted(file.parent.name for file in path.glob(f"*/{CONFIG}"))
    return f", but in it {', '.join(there[-3:])} {'has' if len(there) == 1 else 'have'} one" if there else ""


def _transformers(name: str) -> Any:
    try:
        import transformers
    except Exception as error:
        raise needs("huggingface", "transformers", name, error) from error
    return transformers


def _config(name: str, transformers: Any, path: Path) -> Any:
    """Return the configuration, after what ``config.json`` says was looked at without the package."""
    try:
        said = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SubjectError(f"model '{name}': {path / CONFIG} cannot be read: {first_line(error)}.") from error
    if not isinstance(said, Mapping):
        raise SubjectError(f"model '{name}': {path / CONFIG} holds no mapping.")
    if "auto_map" in said:
        raise SubjectError(
            f"model '{name}': the folder {path} brings code of its own ('auto_map' in {CONFIG}), which is never run."
            " Build the model in python: from code of your repository."
        )
    if said.get("transformers_weights") is not None:
        raise SubjectError(
            f"model '{name}': {path / CONFIG} names a file of weights of its own ('transformers_weights'), whose digest"
            f" would not be that of {WEIGHTS[0]}; call that file {WEIGHTS[0]} and take the entry out."
        )
    if (path / ADAPTER).exists():
        raise SubjectError(
            f"model '{name}': the folder {path} holds an adapter ({ADAPTER}), which is loaded in some installations and"
            " not in others; merge it into the model and save that with model.save_pretrained(FOLDER)."
        )
    with _quiet(transformers), _sentences(name, path):
        config = transformers.AutoConfig.from_pretrained(str(path), **OFFLINE)
    names = [str(one) for one in said.get("architectures") or ()]
    known = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    other = bool(names) and not any("ImageClassification" in one for one in names)
    if type(config) not in known or other:
        what = ", ".join(names) or said.get("model_type", "no known model")
        raise SubjectError(
            f"model '{name}': the folder {path} holds {what}, which is no image classifier; a model for image"
            " classification is needed (AutoModelForImageClassification)."
        )
    return config


def _sha256(name: str, path: Path, expected: str | None) -> str:
    """Return the SHA-256 of the weights: of the file, or, where they are in parts, of what ``sha256sum`` says of them.

    Raises
    ------
    WeightsError
        No weights, parts that are missing, or another digest than declared.
    """
    file = next((path / one for one in WEIGHTS if (path / one).is_file()), None)
    if file is None:
        raise WeightsError(
            f"weights of model '{name}' are missing: the folder {path} has none of {', '.join(WEIGHTS[::2])}. Save the"
            " model with model.save_pretrained(FOLDER), or fetch the files that Git LFS left out."
        )
    if file.suffix != ".json":
        return checked_sha256(file, name, expected)
    try:
        parts = sorted(set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"weights of model '{name}': {file} is no index of weights: {first_line(error)}.") from error
    lines = [f"{checked_sha256(path / str(part), name, None)}  {part}\n" for part in parts]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    if expected is not None and digest != expected:
        raise WeightsError(
            f"weights of model '{name}' are not the declared ones: the {len(parts)} parts in {path} have sha256"
            f" {digest} (of the lines that sha256sum prints for them), the contract says {expected}."
        )
    return digest


def _refuse_holes(name: str, path: Path, told: Mapping[str, Any]) -> None:
    """Raise where the file lacks tensors of the model, whose numbers would be random."""
    missing = sorted(map(str, told.get("missing_keys") or ()))
    differ = sorted(str(one[0] if isinstance(one, tuple) else one) for one in told.get("mismatched_keys") or ())
    parts = [
        f"{len(keys)} {word} ({', '.join(keys[:LISTED])}{', ...' if len(keys) > LISTED else ''})"
        for word, keys in (("missing", missing), ("of another shape", differ))
        if keys
    ]
    if parts:
        raise WeightsError(
            f"weights of model '{name}' belong to another model: of the tensors in {path}, {'; '.join(parts)}. They"
            " would be random numbers; save the trained classifier with model.save_pretrained(FOLDER)."
        )


def _labels(config: Any) -> tuple[str, ...]:
    """Return the names of the outputs, or none where nobody gave any."""
    said = dict(getattr(config, "id2label", None) or {})
    names = tuple(str(said[key]) for key in sorted(said, key=int))
    if sorted(map(int, said)) != list(range(len(said))):  # which output has which name is not told
        return ()
    return () if any(UNNAMED.fullmatch(one) for one in names) else names


def _preprocess(name: str, path: Path) -> Mapping[str, Any]:
    if not any((path / one).is_file() for one in PROCESSORS):
        raise SubjectError(
            f"model '{name}' says 'preprocess: weights', but the folder {path} has no {PROCESSORS[0]}; save it with"
            " processor.save_pretrained(FOLDER), or write 'preprocess' out."
        )
    transformers = _transformers(name)
    with _quiet(transformers), _sentences(name, path):
        processor = transformers.AutoImageProcessor.from_pretrained(str(path), **OFFLINE)
    return from_processor(processor, f"model '{name}'")


@contextlib.contextmanager
def _sentences(name: str, path: Path) -> Iterator[None]:
    """Make one sentence of whatever transformers raises."""
    try:
        yield
    except Exception as error:
        text = str(error)
        why = first_line(error)
        if "weights_only" in text or "WeightsUnpickler" in text:
            why = "its weights are a pickle with more than tensors in it, which could run any code; save safetensors"
        raise SubjectError(
            f"model '{name}': transformers cannot read the folder {path} ({type(error).__name__}: {why})."
        ) from error


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and advice of transformers out of the run; what it says of holes is told by us."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
