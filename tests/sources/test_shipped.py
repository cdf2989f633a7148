"""Weights that ship with torchvision and timm: taken from the caches, downloaded only where the contract says so."""

from __future__ import annotations

import hashlib
import io
from email.message import Message
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import SqueezeNet1_1_Weights, get_model_weights

from pytest_saliency.contracts.model_sources.made import needs
from pytest_saliency.contracts.shipped_preprocess import from_timm, from_torchvision, held_against
from pytest_saliency.contracts.states import WeightsError
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.errors import SubjectError

from .conftest import Make

SQUEEZE = {"torchvision": "squeezenet1_1", "weights": "DEFAULT"}
TIMM = {"timm": "test_resnet", "weights": "DEFAULT"}
REPOSITORY = "timm/test_resnet.r160_in1k"


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


# -- torchvision -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeeze() -> tuple[nn.Module, bytes]:
    torch.manual_seed(1)
    model = torchvision.models.squeezenet1_1()
    written = io.BytesIO()
    torch.save(model.state_dict(), written)
    return model, written.getvalue()


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, squeeze: tuple[nn.Module, bytes]) -> str:
    """Let torchvision's entry name our file: its address alone is changed."""
    digest = hashlib.sha256(squeeze[1]).hexdigest()
    made = f"https://download.pytorch.org/models/squeezenet1_1-{digest[:8]}.pth"
    monkeypatch.setattr(SqueezeNet1_1_Weights.DEFAULT.value, "url", made)
    return made


class Answer(io.BytesIO):
    def info(self) -> Message:
        made = Message()
        made["Content-Length"] = str(len(self.getvalue()))
        return made


def cached(tmp_path: Path, address: str) -> Path:
    path = tmp_path / "torch_home" / "hub" / "checkpoints" / address.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    return path


def test_weights_in_the_cache_are_taken(
    make: Make, tmp_path: Path, address: str, squeeze: tuple[nn.Module, bytes]
) -> None:
    cached(tmp_path, address).write_bytes(squeeze[1])
    made = make(**SQUEEZE, preprocess="weights")
    assert same(made.model, squeeze[0])
    assert made.weights_sha256 == hashlib.sha256(squeeze[1]).hexdigest()
    assert made.source == f"torchvision:squeezenet1_1 weights IMAGENET1K_V1 ({address})"
    assert made.preprocess.describe() == {
        "resize": 256,
        "interpolation": "bilinear",
        "center_crop": 224,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "channels": 3,
    }


def test_nothing_is_downloaded_unless_the_contract_says_so(make: Make, tmp_path: Path, address: str) -> None:
    with pytest.raises(WeightsError) as caught:
        make(**SQUEEZE)
    text = str(caught.value)
    assert "not on this machine" in text
    assert f"come from {address} and lie in {tmp_path}" in text
    assert "Write 'download: true'" in text
    with pytest.raises(WeightsError, match="not on this machine"):
        make(**SQUEEZE, download=False)
    assert not (tmp_path / "torch_home" / "hub" / "checkpoints").exists()


def test_a_download_is_checked_and_kept(
    make: Make, tmp_path: Path, address: str, squeeze: tuple[nn.Module, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def urlopen(request: Any) -> Answer:
        asked.append(request.full_url)
        return Answer(squeeze[1])

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    for _ in range(2):
        assert same(make(**SQUEEZE, download=True).model, squeeze[0])
    assert asked == [address], "the second time it is there"
    cached_file = next((tmp_path / "torch_home").rglob("*.pth"))
    cached_file.unlink()
    monkeypatch.setattr("torch.hub.urlopen", lambda request: Answer(squeeze[1][:-5]))
    with pytest.raises(WeightsError, match=r"'ft' could not be downloaded from https:.*invalid hash value"):
        make(**SQUEEZE, download=True)
    assert not cached_file.exists(), "half a file is not kept"

    def no_network(request: Any) -> Any:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(WeightsError, match=r"Name or service not known. Try again, or fetch them yourself"):
        make(**SQUEEZE, download=True)


def test_a_cached_file_that_was_changed_is_refused(
    make: Make, tmp_path: Path, address: str, squeeze: tuple[nn.Module, bytes]
) -> None:
    cached(tmp_path, address).write_bytes(squeeze[1] + b"x")
    with pytest.raises(WeightsError, match=r"damaged: .* its name says that it begins with"):
        make(**SQUEEZE)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"torchvision": "squeezenet1_1", "weights": "IMAGENET1K_V2"}, "has DEFAULT, IMAGENET1K_V1. A file whose name"),
        ({"torchvision": "mnasnet0_75", "weights": "DEFALT"}, "no weights 'DEFALT' for mnasnet0_75; it has DEFAULT"),
        ({**SQUEEZE, "num_classes": 5}, "num_classes: 5, but the weights IMAGENET1K_V1 of squeezenet1_1 are for 1000"),
        ({**SQUEEZE, "sha256": "0" * 64}, "are not the declared ones: .*squeezenet1_1"),
    ],
)
def test_torchvision_names_that_do_not_fit(
    make: Make, tmp_path: Path, address: str, squeeze: tuple[nn.Module, bytes], declared: Any, sentence: str
) -> None:
    cached(tmp_path, address).write_bytes(squeeze[1])
    with pytest.raises(WeightsError, match=sentence):
        make(**declared)


def test_the_names_of_the_first_densenets(make: Make, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = torchvision.models.densenet121(num_classes=2)
    old = {}
    for key, value in model.state_dict().items():
        for word in ("norm", "conv"):
            if "denselayer" in key:
                key = key.replace(f".{word}1.", f".{word}.1.").replace(f".{word}2.", f".{word}.2.")
        old[key] = value
    old = {key: value for key, value in old.items() if not key.endswith("num_batches_tracked")}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old, "as in densenet121-a639ec97.pth"
    torch.save(old, tmp_path / "old.pth")
    made = make(torchvision="densenet121", num_classes=2, weights="old.pth")
    assert same(made.model, model)
    assert made.source.endswith("(names of torchvision's first DenseNets) (without num_batches_tracked)")


def test_architectures_are_built_as_torchvision_builds_them_for_weights(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GoogLeNet: the input is transformed, the auxiliary heads are dropped. Its own builder is the truth."""
    state = torchvision.models.googlenet(init_weights=False, aux_logits=True).state_dict()
    entry = torchvision.models.GoogLeNet_Weights.DEFAULT
    monkeypatch.setattr(type(entry), "get_state_dict", lambda self, *args, **kwargs: state)
    theirs = torchvision.models.googlenet(weights=entry).eval()
    monkeypatch.setattr(entry.value, "url", "https://download.pytorch.org/models/googlenet.pth")
    torch.save(state, cached(tmp_path, entry.url))
    ours = make(torchvision="googlenet", weights="IMAGENET1K_V1").model.eval()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(pixels), theirs(pixels))
    assert same(ours, theirs)


# -- timm --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def released(folder: Path) -> tuple[nn.Module, Path]:
    """Lay a file into the cache as huggingface_hub does: named by its digest, with a link to it."""
    torch.manual_seed(3)
    model = timm.create_model("test_resnet")
    repository = folder / f"models--{REPOSITORY.replace('/', '--')}"
    for part in ("blobs", "refs", "snapshots/abc"):
        (repository / part).mkdir(parents=True)
    save_file(model.state_dict(), repository / "new")
    blob = repository / "blobs" / hashlib.sha256((repository / "new").read_bytes()).hexdigest()
    (repository / "new").rename(blob)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / "model.safetensors").symlink_to(blob)
    return model, blob


def test_timm_weights_in_the_cache_are_taken(make: Make, hub: Path) -> None:
    model, blob = released(hub)
    for declared in (TIMM, {"timm": "test_resnet.r160_in1k", "weights": "DEFAULT"}, {**TIMM, "weights": "r160_in1k"}):
        made = make(**declared)
        assert same(made.model, model)
        assert made.weights_sha256 == blob.name
        assert made.source.endswith(f"weights test_resnet.r160_in1k (huggingface.co/{REPOSITORY})")
    blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(WeightsError, match=r"are damaged: .* and the hub says"):
        make(**TIMM)


def test_timm_weights_that_are_not_there(make: Make, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=rf"not on this machine.*{REPOSITORY} \(model.safetensors\)"):
        make(**TIMM)
    with pytest.raises(WeightsError, match=r"could not be downloaded from https://huggingface.co/timm/test_resnet"):
        make(**TIMM, download=True)
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        released(hub)
        return str(next(hub.rglob("snapshots/*/model.safetensors")))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    make(**TIMM, download=True)
    assert asked == [(REPOSITORY, "model.safetensors")]
    make(**TIMM, download=True)
    assert len(asked) == 1, "the second time it is there"


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"timm": "test_resnet"}, "timm architecture but no weights: its random weights would be others in every run"),
        ({"timm": "test_rsnet", "weights": "w.pt"}, "timm has no model 'test_rsnet'; did you mean 'test_resnet'?"),
        ({**TIMM, "weights": "r160"}, "no weights 'r160' for test_resnet; did you mean 'r160_in1k'"),
        ({**TIMM, "timm": "test_resnet.other"}, "no weights 'other' for test_resnet; it has r160_in1k"),
        ({**TIMM, "timm": "test_resnet.r160_in1k", "weights": "a"}, "name one tag, in one of the two"),
        ({**TIMM, "num_classes": 5}, "num_classes: 5, but the weights test_resnet.r160_in1k are for 1000"),
        ({**TIMM, "args": {"wide": 3}}, r"timm does not build test_resnet.r160_in1k from \{'wide': 3\}: .*unexpected"),
        ({**TIMM, "args": {"pretrained": True}}, "'pretrained' in 'args'; where weights come from is said by"),
    ],
)
def test_timm_problems(make: Make, hub: Path, declared: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SubjectError, match=sentence):
        make(**declared)


def test_timm_with_a_checkpoint_of_ones_own(make: Make, tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = timm.create_model("test_vit", num_classes=5, in_chans=1)
    optimizer = torch.optim.AdamW(model.parameters()).state_dict()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "optimizer": optimizer, "epoch": 3}, tmp_path / "w.ckpt")
    made = make(timm="test_vit", num_classes=5, args={"in_chans": 1}, weights="w.ckpt")
    assert same(made.model, model)
    assert made.source == "timm:test_vit weights w.ckpt (under 'state_dict') (prefix 'model.' removed)"
    with pytest.raises(WeightsError, match=r"another architecture: .*2 of another shape \(head.bias 5 instead of 6"):
        make(timm="test_vit", num_classes=6, args={"in_chans": 1}, weights="w.ckpt")
    with pytest.raises(WeightsError, match="belong to another architecture"):
        make(timm="test_resnet", num_classes=5, weights="w.ckpt")
    with pytest.raises(SubjectError, match="has 3 means for 1 channels"):
        make(timm="test_vit", num_classes=5, args={"in_chans": 1}, weights="w.ckpt", preprocess="weights")


def test_a_layout_that_timm_has_left_behind(make: Make, tmp_path: Path) -> None:
    """The first ConvNeXts called their layers otherwise; timm's own loader turns them into today's."""
    torch.manual_seed(5)
    model = timm.create_model("test_convnext", num_classes=5)
    old = {}
    for key, value in model.state_dict().items():
        was = key.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.").replace("head.fc.", "head.")
        for stage in range(4):
            was = was.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
            was = was.replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
        for mine, theirs in (("conv_dw", "dwconv"), ("mlp.fc1", "pwconv1"), ("mlp.fc2", "pwconv2")):
            was = was.replace(mine, theirs)
        old[was] = value
    assert old.keys() != model.state_dict().keys()
    torch.save(old, tmp_path / "old.pth")
    made = make(timm="test_convnext", num_classes=5, weights="old.pth")
    assert same(made.model, model)
    assert made.source.endswith("(keys as timm reads them)")
    old["downsample_layers.0.0.weight"] = torch.ones(*old["downsample_layers.0.0.weight"].shape[:1], 4, 4, 4)
    torch.save(old, tmp_path / "four.pth")
    with pytest.raises(WeightsError, match="another architecture"):  # timm would draw the first layer at random
        make(timm="test_convnext", num_classes=5, args={"in_chans": 4}, weights="four.pth")


# -- preprocessing -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """A picture of an ordinary size, with soft shapes, edges and some noise."""
    draw = np.random.default_rng(3)
    height, width = 427, 640
    y, x = np.mgrid[:height, :width] / 60.0
    soft = [np.sin(x + phase) * np.cos(0.7 * y - phase) for phase in (0.0, 1.0, 2.0)]
    values = np.stack(soft, -1) * 70 + 128 + 20 * (((x * 3).astype(int) + (y * 2).astype(int)) % 2)[..., None]
    return Image.fromarray((values + draw.normal(0, 4, values.shape)).clip(0, 255).astype(np.uint8), "RGB")


def ours(said: Any, picture: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
    preprocess = Preprocess.of(said)
    return preprocess.normalise(preprocess.geometry(pixels, "photograph")[None])[0]


def close(found: torch.Tensor, expected: torch.Tensor, std: Any) -> None:
    """Theirs rounds to 8 bits after each direction of the resize; ours keeps what lies between."""
    assert found.shape == expected.shape
    difference = ((found - expected) * torch.tensor(std).reshape(-1, 1, 1)).abs() * 255
    assert float(difference.max()) < 2.5
    assert float(difference.mean()) < 0.4


@pytest.mark.parametrize("architecture", ["resnet50", "vit_b_16", "efficientnet_b4", "swin_v2_t", "inception_v3"])
def test_torchvision_preprocessing(architecture: str, photograph: Image.Image) -> None:
    for entry in get_model_weights(architecture):
        transform = entry.transforms()
        said = from_torchvision(transform, "model 'ft'")
        close(ours(said, photograph), transform(photograph), said["std"])
        pixels = torch.from_numpy(np.asarray(photograph).copy()).permute(2, 0, 1).float() / 255
        inside = transform(pixels).clamp(
            *(((edge - torch.tensor(said["mean"])) / torch.tensor(said["std"])).reshape(3, 1, 1) for edge in (0.0, 1.0))
        )  # bicubic overshoots; ours ends at black and white
        torch.testing.assert_close(ours(said, photograph), inside, atol=1e-4, rtol=0)  # in float theirs rounds as ours


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "resnet18.a1_in1k", "test_efficientnet"])
def test_timm_preprocessing(name: str, photograph: Image.Image) -> None:
    from timm.data import create_transform, resolve_model_data_config

    model = timm.create_model(name, num_classes=2)
    said = from_timm(model, "model 'ft'")
    theirs = create_transform(**resolve_model_data_config(model), is_training=False)
    close(ours(said, photograph), theirs(photograph), said["std"])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"crop_mode": "border"}, "a contract cannot say what timm does: .*gives other pixels"),
        ({"interpolation": "lanczos"}, "cannot say what timm does: preprocess: 'interpolation' must be one of"),
        ({"crop_mode": "squash", "crop_pct": 1.0}, None),
        ({"input_size": (3, 96, 160)}, "gives"),
        ({"crop_pct": 0.8, "input_size": (3, 128, 128)}, None),
    ],
)
def test_timm_preprocessing_that_has_no_words(changed: dict[str, Any], sentence: str | None) -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    model.pretrained_cfg = {**model.pretrained_cfg, **changed}
    if sentence is None:
        assert from_timm(model, "model 'ft'")["resize"] in ([160, 160], 160)
    else:
        with pytest.raises(SubjectError, match=sentence):
            from_timm(model, "model 'ft'")


def test_a_reading_that_is_off_by_little_is_refused() -> None:
    transform = get_model_weights("resnet50").IMAGENET1K_V1.transforms()
    right = from_torchvision(transform, "model 'ft'")
    for wrong in ({"resize": 257}, {"interpolation": "bicubic"}, {"mean": [0.5, 0.456, 0.406]}, {"center_crop": 223}):
        with pytest.raises(SubjectError, match="model 'ft' says 'preprocess: weights'"):
            held_against([{**right, **wrong}], transform, "model 'ft'", "torchvision")


def test_a_file_does_not_tell_which_of_torchvisions_weights_it_began_with(make: Make, tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v3_large(num_classes=2).state_dict(), tmp_path / "w.pt")
    with pytest.raises(SubjectError, match=r"does not tell .* \(IMAGENET1K_V1: \{resize: 256, .*V2: \{resize: 232"):
        make(torchvision="mobilenet_v3_large", num_classes=2, weights="w.pt", preprocess="weights")
    torch.save(torchvision.models.squeezenet1_1(num_classes=2).state_dict(), tmp_path / "s.pt")
    made = make(torchvision="squeezenet1_1", num_classes=2, weights="s.pt", preprocess="weights")
    assert made.preprocess.resize == 256, "where all of them agree, that is what is meant"


@pytest.mark.parametrize("architecture", ["inception_v3", "googlenet"])
def test_a_file_does_not_tell_whether_the_input_is_rescaled(make: Make, architecture: str) -> None:
    with pytest.raises(WeightsError, match=r"whether .* \(transform_input\).*Write args: \{transform_input: true\}"):
        make(torchvision=architecture, num_classes=2, weights="w.pt")
    with pytest.raises(WeightsError, match="there is no file"):
        make(torchvision=architecture, num_classes=2, weights="w.pt", args={"transform_input": True})


def test_a_package_that_is_broken_gives_one_line() -> None:
    error = needs("timm", "timm", "ft", RuntimeError("numpy has another ABI\nA module that was compiled\n"))
    assert "cannot be imported here (RuntimeError: numpy has another ABI)" in str(error)
    assert "\n" not in str(error)
