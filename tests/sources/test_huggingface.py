"""Folders that transformers wrote: loaded without a network and without code, and everything that can be wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import nn

from pytest_saliency import Cases, explain
from pytest_saliency.contracts.labels import refuse_other_labels
from pytest_saliency.contracts.models import ModelSpec
from pytest_saliency.contracts.shipped_preprocess import from_processor
from pytest_saliency.contracts.sources import needs_class_names
from pytest_saliency.errors import SubjectError

from .conftest import Make

NAMES = ("cat", "dog", "fox")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(1)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", id2label=dict(enumerate(NAMES))
    )
    return transformers.ResNetForImageClassification(config).eval()


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(2)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=3)
    return transformers.ViTForImageClassification(config).eval()


@pytest.fixture
def folder(tmp_path: Path, trained: Any) -> Path:
    transformers.utils.logging.disable_progress_bar()
    trained.save_pretrained(tmp_path / "model")
    transformers.ViTImageProcessor(size={"height": 32, "width": 40}, resample=3).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_as_it_was_saved(
    make: Make, folder: Path, trained: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    made = make(NAMES, huggingface="model", preprocess="weights")
    assert capfd.readouterr() == ("", ""), "no progress bars among pytest's dots"
    pixels = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        assert torch.equal(made.model(pixels).logits, trained(pixels).logits)
    assert made.source == "huggingface:model"
    assert made.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert (made.preprocess.resize, made.preprocess.interpolation) == ((32, 40), "bicubic")
    explained = explain(made, Cases.from_arrays(np.random.default_rng(0).random((3, 3, 32, 40)), [0, 1, 2]))
    assert explained.maps("gradcam").values.shape == (3, *explained.layer.grid)
    assert make(huggingface="model", sha256=made.weights_sha256).weights_sha256 == made.weights_sha256


def test_weights_in_parts_and_in_a_checkpoint(make: Make, tmp_path: Path, vit: Any) -> None:
    vit.save_pretrained(tmp_path / "parts", max_shard_size="5kB")
    parts = sorted((tmp_path / "parts").glob("model-*.safetensors"))
    assert len(parts) > 1
    lines = "".join(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts)
    made = make(huggingface="parts", args={"attn_implementation": "eager"})
    assert made.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest(), "sha256sum model-* | sha256sum"
    assert made.model.config._attn_implementation == "eager"
    parts[0].unlink()
    with pytest.raises(SubjectError, match=f"there is no file .*{parts[0].name}"):
        make(huggingface="parts")
    state = {f"model.{key}": value for key, value in vit.state_dict().items()}
    torch.save({"state_dict": state, "optimizer_states": []}, tmp_path / "lit.ckpt")
    loaded = make(huggingface="parts", weights="lit.ckpt")
    assert all(torch.equal(value, loaded.model.state_dict()[key]) for key, value in vit.state_dict().items())
    assert loaded.source == "huggingface:parts weights lit.ckpt (under 'state_dict') (prefix 'model.' removed)"


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("cat", "dgo", "fox"),
            "no output for class 'dgo' of the cases; did you mean 'dog'. Its 3 outputs are cat, dog",
        ),
        (("cat", "fox", "dog"), "class 'fox' is number 1 in the cases, but output 2 of model 'ft'.*order .*: cat, dog"),
        (("n1", "n2"), "no output for class 'n1' of the cases. Its 3 outputs"),
        (("Cat", "dog", "FOX"), None),
        (("n1", "n2", "n3"), None),
        (("cat", "dog"), None),
    ],
)
def test_labels_are_held_against_the_cases(
    make: Make, folder: Path, names: tuple[str, ...], sentence: str | None
) -> None:
    if sentence is None:
        make(names, huggingface="model")
    else:
        with pytest.raises(SubjectError, match=sentence):
            make(names, huggingface="model")


def test_names_that_do_not_count_from_zero_tell_nothing(make: Make, folder: Path) -> None:
    spoil_config(folder, id2label={"1": "cat", "2": "dog", "3": "fox"})
    make(("dog", "cat", "fox"), huggingface="model")


def test_labels_are_asked_for() -> None:
    assert needs_class_names(ModelSpec(huggingface="model"))
    refuse_other_labels("ft", ["crane", "Crane", "cat"], ["crane", "Crane", "cat"])  # as ImageNet has two of them
    with pytest.raises(SubjectError, match="class 'cat' is number 0"):
        refuse_other_labels("ft", ["crane", "Crane", "cat"], ["cat", "Crane", "crane"])
    refuse_other_labels("ft", ["tench, Tinca tinca", "great_white shark"], ["tinca tinca", "great white shark"])


def spoil_config(folder: Path, **changed: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))


def swap_for(model: type[Any], config: Any) -> Any:
    def spoil(folder: Path) -> None:
        shutil.rmtree(folder)
        model(config).save_pretrained(folder)

    return spoil


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def headless(folder: Path) -> None:
    swap_for(transformers.ViTModel, transformers.ViTConfig(**SMALL, image_size=32, patch_size=8))(folder)
    spoil_config(folder, architectures=["ViTForImageClassification"])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model": Path, "code": pytest.raises}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "declared", "sentence"),
    [
        (shutil.rmtree, {}, "the folder .*model is not there; give a folder as model.save_pretrained"),
        (lambda f: (f / "config.json").unlink(), {}, "has no config.json; give a folder as"),
        (lambda f: (f / "config.json").write_text("{"), {}, "config.json cannot be read: Expecting"),
        (lambda f: (f / "config.json").write_text("[]"), {}, "config.json holds no mapping"),
        (lambda f: (f / "config.json").write_text('{"model_type": "none-such"}'), {}, "cannot read the folder"),
        (lambda f: (f / "model.safetensors").unlink(), {}, "missing: the folder .* has none of model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 40), {}, "cannot read the folder .*SafetensorError"),
        (pickled, {}, "cannot read the folder .*pickle with more than tensors in it"),
        (lambda f: (f / "preprocessor_config.json").unlink(), {"preprocess": "weights"}, "has no preprocessor_config"),
        (
            lambda f: (f / "preprocessor_config.json").write_text("{"),
            {"preprocess": "weights"},
            "cannot read the fold",
        ),
        (lambda f: spoil_config(f, auto_map={"AutoConfig": "own.Config"}), {}, "brings code of its own .* never run"),
        (lambda f: spoil_config(f, transformers_weights="other.safetensors"), {}, "names a file of weights of its own"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), {}, "holds an adapter .adapter_config.json., which"),
        (
            lambda f: spoil_config(f, attn_implementation="some/kernel"),
            {},
            "'some/kernel' of the folder .* fetched from",
        ),
        (lambda f: None, {"args": {"attn_implementation": "some/kernel"}}, "may be code that is fetched from the hub"),
        (headless, {}, "another model: .* 2 missing .classifier.bias, classifier.weight.. They would be random"),
        (
            swap_for(transformers.ViTModel, transformers.ViTConfig(**SMALL, image_size=32, patch_size=8)),
            {},
            "holds ViTModel, which is no image classifier",
        ),
        (
            swap_for(transformers.BertForMaskedLM, transformers.BertConfig(**SMALL, vocab_size=20)),
            {},
            "holds BertForMaskedLM, which is no image classifier",
        ),
        (
            lambda f: None,
            {"args": {"trust_remote_code": True}},
            "may hold attn_implementation, not 'trust_remote_code'",
        ),
        (lambda f: None, {"sha256": "0" * 64}, "not the declared ones"),
        (
            lambda f: spoil_config(f, hidden_sizes=[8, 16]),
            {},
            "another model: .* of another shape .classifier.1.weight",
        ),
    ],
)
def test_problems(make: Make, folder: Path, spoil: Any, declared: dict[str, Any], sentence: str) -> None:
    spoil(folder)
    with pytest.raises(SubjectError, match=sentence) as caught:
        make(huggingface="model", **declared)
    assert "\n" not in str(caught.value)


def test_without_the_package(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SubjectError, match=r"needs the package transformers, .*pip install 'pytest-saliency\[hugging"):
        make(huggingface="model")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SubjectError, match=r"needs the package timm, which .*pip install 'pytest-saliency\[timm\]'"):
        make(timm="test_resnet", weights="w.pt")


@pytest.mark.parametrize(
    ("kind", "settings", "geometry"),
    [
        ("ViTImageProcessor", {}, {"resize": [224, 224], "interpolation": "bilinear"}),
        (
            "ConvNextImageProcessor",
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
            {"resize": 256, "center_crop": 224},
        ),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}, {"resize": [384, 384]}),
        ("BitImageProcessor", {}, {"resize": 224, "center_crop": 224, "interpolation": "bicubic"}),
        ("DeiTImageProcessor", {}, {"resize": [256, 256], "center_crop": 224}),
        ("EfficientNetImageProcessor", {"rescale_offset": True}, {"resize": [346, 346]}),
        ("ViTImageProcessor", {"do_rescale": False}, {"resize": [224, 224]}),
        ("LevitImageProcessor", {}, None),
        ("ViTImageProcessor", {"resample": 1}, None),
    ],
)
def test_image_processors(kind: str, settings: dict[str, Any], geometry: dict[str, Any] | None) -> None:
    """What comes out has been held against the processor itself; see the numbers in test_shipped."""
    processor = getattr(transformers, kind)(**settings)
    if geometry is None:
        with pytest.raises(SubjectError, match=f"cannot say what the image processor {kind} does: .*(pixels|lanczos)"):
            from_processor(processor, "model 'ft'")
        return
    said = from_processor(processor, "model 'ft'")
    assert {key: said[key] for key in geometry} == geometry
    black = processor(images=Image.new("RGB", (400, 400)), return_tensors="pt")["pixel_values"][0]
    expected = -torch.tensor(said["mean"]) / torch.tensor(said["std"])
    torch.testing.assert_close(black[:, 5, 5], expected, atol=1e-4, rtol=1e-4)


def test_a_longest_edge_that_only_some_images_reach() -> None:
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    processor.size = {"shortest_edge": 256, "longest_edge": 512}
    with pytest.raises(SubjectError, match="its resize has a 'longest_edge', which some images reach"):
        from_processor(processor, "model 'ft'")
