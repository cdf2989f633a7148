"""Attention rollout against its formula in float64 on four ways to write a vision transformer, and what it refuses."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, assert_class_sensitive, explain
from pytest_saliency.engine.methods.attention import Watch
from pytest_saliency.engine.methods.rollout import Rolling, layer_of
from pytest_saliency.errors import ExplanationAssertionError, MethodError

from .helpers import BY_NAME, cases_of, run
from .nets import TinyViT, pictures, seed_weights
from .oracles import Array, distance

CLASSES = 5


def torchvision_vit() -> nn.Module:
    models = importlib.import_module("torchvision.models.vision_transformer")
    made: nn.Module = models.VisionTransformer(16, 4, 3, 2, 16, 32, num_classes=CLASSES)
    return made


def timm_vit(name: str = "vision_transformer.VisionTransformer", **settings: Any) -> nn.Module:
    module, _, cls = name.partition(".")
    build = getattr(importlib.import_module(f"timm.models.{module}"), cls)
    made: nn.Module = build(
        img_size=16, patch_size=4, embed_dim=16, depth=3, num_heads=2, mlp_ratio=2, num_classes=CLASSES, **settings
    )
    return made


def timm_deit() -> nn.Module:
    return timm_vit("deit.VisionTransformerDistilled")


def timm_averaging() -> nn.Module:
    return timm_vit(global_pool="avg")


def timm_without_token() -> nn.Module:
    return timm_vit(global_pool="avg", class_token=False)


def timm_registers() -> nn.Module:
    return timm_vit(reg_tokens=4)


def hugging_face_vit() -> nn.Module:
    transformers = importlib.import_module("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4
    )
    config.num_labels = CLASSES
    made: nn.Module = transformers.ViTForImageClassification(config)
    return made


# how each is built, the word of its attention modules, its target layer, and the tokens that the head reads
MODELS: dict[str, tuple[Callable[[], nn.Module], str, str, slice]] = {
    "own": (TinyViT, "attention", "blocks.0", slice(0, 1)),
    "torchvision": (torchvision_vit, "self_attention", "encoder.layers.encoder_layer_0", slice(0, 1)),
    "timm": (timm_vit, "attn", "blocks.0", slice(0, 1)),
    "timm deit": (timm_deit, "attn", "blocks.0", slice(0, 2)),
    "timm averaging": (timm_averaging, "attn", "blocks.0", slice(1, None)),
    "timm without token": (timm_without_token, "attn", "blocks.0", slice(0, None)),
    "timm registers": (timm_registers, "attn", "blocks.0", slice(0, 1)),
    "hugging face": (hugging_face_vit, "attention", "vit.layers.0", slice(0, 1)),
}


def built(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        model = MODELS[name][0]()
    model = seed_weights(model, 21).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2.0)  # attention that is not the same everywhere
    return model


def explained(model: nn.Module, name: str, images: NDArray[np.float32], batch: int = 3, **keys: Any) -> Explained:
    subject = Subject(model, layer=MODELS[name][2])
    return explain(subject, cases_of(images, CLASSES), device="cpu", batch_size=batch, **keys)


def weights_of(module: Any, tokens: Array) -> Array:
    """softmax(q k^T / sqrt(d)) of the tokens (n, T, D) that an attention module gets, from its parameters."""

    def projected(linear: Any) -> Array:
        return tokens @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()

    heads, width = 2, tokens.shape[2]
    if hasattr(module, "in_proj_weight"):
        both = tokens @ module.in_proj_weight.detach().numpy().T + module.in_proj_bias.detach().numpy()
        q, k = both[..., :width], both[..., width : 2 * width]
    elif hasattr(module, "qkv"):
        both = projected(module.qkv)
        q, k = both[..., :width], both[..., width : 2 * width]
    else:
        q, k = projected(module.q_proj), projected(module.k_proj)
    q, k = (part.reshape(*part.shape[:2], heads, -1) for part in (q, k))
    logits = np.einsum("nthd,nshd->nhts", q, k) / np.sqrt(q.shape[3])
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def oracle(model: nn.Module, name: str, images: NDArray[np.float32], heads: str) -> Array:
    """Abnar and Zuidema 2020, eq. 1, from the parameters of a copy in float64."""
    twin = copy.deepcopy(model).double()
    layers: list[Array] = []

    def look(module: nn.Module, args: Any, kwargs: Any) -> None:
        given = args[0] if args else kwargs["hidden_states"]
        layers.append(weights_of(module, given.detach().numpy()))

    for path, module in twin.named_modules():
        if path.rpartition(".")[2] == MODELS[name][1]:
            module.register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        twin(torch.from_numpy(images).double())
    assert len(layers) == 3
    product = np.eye(layers[0].shape[-1])
    for layer in layers:
        joined = {"mean": layer.mean(1), "max": layer.max(1), "min": layer.min(1)}[heads]
        step = 0.5 * joined + 0.5 * np.eye(joined.shape[-1])
        product = step / step.sum(-1, keepdims=True) @ product
    return product[:, MODELS[name][3], -16:].mean(1).reshape(-1, 4, 4)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_formula(name: str) -> None:
    model = built(name)
    images = pictures(4, (3, 16, 16), seed=2)
    found = explained(model, name, images)
    for heads in ("mean", "max", "min"):
        expected = oracle(model, name, images, heads)
        made = found.maps(f"rollout[heads:{heads}]", "top2")
        assert distance(made.values.double().numpy(), expected) < 5e-5
        assert np.ptp(expected) > 0.2 * expected.max(), "attention that looks somewhere"
    assert found.maps("rollout").method == "rollout[heads:mean]"
    stage = found.costs()["stages"]["rollout[heads:mean]"]
    assert (stage["passes"], stage["images"]) == (2, {"capture": 4})


def test_a_part_of_the_image_that_alone_is_looked_at_has_the_map() -> None:
    """Every layer attends to token 7 alone: A^ = (I + J) / 2 has eighths of the identity and the rest at token 7."""
    rolling = Rolling("mean", 2)
    attention = torch.zeros(2, 3, 17, 17)
    attention[..., 7] = 1.0
    for _ in range(3):
        rolling.add(attention)
    assert rolling.product is not None
    expected = torch.eye(17) / 8
    expected[:, 7] += 7 / 8
    assert torch.allclose(rolling.product, expected.expand(2, 17, 17), atol=1e-6)


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rows_stay_shares(heads: str) -> None:
    attention = torch.randn(3, 4, 9, 9, generator=torch.Generator().manual_seed(1)).mul(3).softmax(-1)
    layer = layer_of(attention, heads)
    assert torch.allclose(layer.sum(-1), torch.ones(3, 9), atol=1e-6)
    rolling = Rolling(heads, 3)
    for _ in range(12):
        rolling.add(attention)
    assert rolling.product is not None
    assert rolling.layers == 12
    assert torch.allclose(rolling.product.sum(-1), torch.ones(3, 9), atol=1e-5)
    assert float(rolling.product.min()) >= 0


def test_the_model_computes_as_before_and_keeps_nothing() -> None:
    for name in ("timm", "torchvision", "hugging face"):
        model = built(name)
        images = pictures(2, (3, 16, 16), seed=2)
        with torch.no_grad():
            before = model(torch.from_numpy(images))
            seen: list[Tensor] = []
            with Watch(2, seen.append):
                watched = model(torch.from_numpy(images))
        before, watched = (getattr(one, "logits", one) for one in (before, watched))
        assert torch.allclose(before, watched, atol=1e-5)
        assert [tuple(one.shape) for one in seen] == [(2, 2, 17, 17)] * 3
        found = explained(model, name, images)
        _ = found.logits
        looks = [sorted(vars(module)) for module in model.modules()]
        found.maps("rollout")
        assert [sorted(vars(module)) for module in model.modules()] == looks
        assert not any(place for m in model.modules() for key, place in vars(m).items() if key.endswith("_hooks"))


def test_attention_is_the_same_fused_or_not() -> None:
    model: Any = built("timm")
    images = pictures(3, (3, 16, 16), seed=2)
    fused = explained(model, "timm", images).maps("rollout").values
    for block in model.blocks:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
    assert torch.allclose(explained(model, "timm", images).maps("rollout").values, fused, atol=1e-6)


def test_half_precision_is_close() -> None:
    model = built("timm")
    images = pictures(3, (3, 16, 16), seed=2)
    one = explained(model, "timm", images).maps("rollout").values
    two = explained(model, "timm", images, precision="bf16").maps("rollout").values
    assert np.corrcoef(one.flatten(), two.flatten())[0, 1] > 0.98


@pytest.mark.parametrize("causal", [False, True])
def test_masks_scales_and_grouped_heads_of_fused_attention_are_followed(causal: bool) -> None:
    draw = torch.Generator().manual_seed(5)
    q, k, v = (torch.randn(2, heads, 6, 4, generator=draw) for heads in (4, 2, 2))
    seen: list[Tensor] = []
    mask = torch.rand(6, 6, generator=draw) > 0.4
    mask.fill_diagonal_(True)
    for given in (
        {"is_causal": causal},
        {"attn_mask": mask, "scale": 0.7},
        {"attn_mask": torch.randn(6, 6, generator=draw)},
    ):
        seen.clear()
        with Watch(2, seen.append):
            made = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **given)  # type: ignore[arg-type]
        assert torch.allclose(seen[0] @ v.repeat_interleave(2, 1), made, atol=1e-5)


def test_an_encoder_of_torch_takes_no_shortcut_around_it() -> None:
    """nn.TransformerEncoderLayer computes in one fused call where nobody watches."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.fc = nn.Conv2d(3, 16, 4, stride=4), nn.Linear(16, CLASSES)
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.encoder(self.patch(x).flatten(2).mT).mean(1))

    model = seed_weights(Encoder(), 8).eval()
    images = pictures(2, (3, 16, 16), seed=2)
    found = explain(Subject(model, layer="patch"), cases_of(images, CLASSES), device="cpu").maps("rollout")
    twin = copy.deepcopy(model).double()
    layers: list[Array] = []
    for layer in twin.encoder.layers:
        layer.norm1.register_forward_hook(
            lambda m, a, out, layer=layer: layers.append(weights_of(layer.self_attn, out.detach().numpy()))
        )
    with torch.no_grad():
        twin(torch.from_numpy(images).double())
    one, two = (0.5 * layer.mean(1) + 0.5 * np.eye(16) for layer in layers)
    assert distance(found.values.double().numpy(), (two @ one).mean(1).reshape(-1, 4, 4)) < 1e-5


# -- no class, no transformer ---------------------------------------------------------------------------------------


def test_no_class_enters_so_that_class_sensitivity_fails() -> None:
    model = built("timm")
    found = explained(model, "timm", pictures(12, (3, 16, 16), seed=2))
    assert torch.equal(found.maps("rollout", "top1").values, found.maps("rollout", "top2").values)
    cases = Cases.from_arrays(pictures(40, (3, 16, 16), seed=2), [0, 1] * 20)
    many = explain(Subject(model, layer="blocks.0"), cases, device="cpu")
    with pytest.raises(ExplanationAssertionError, match="FAIL"):
        assert_class_sensitive(many, method="rollout", keep="all")


def test_a_model_without_attention_is_a_sentence() -> None:
    model = BY_NAME["relu"].model()
    with pytest.raises(MethodError, match="rollout needs a vision transformer, but no attention was seen in model"):
        run(model, pictures(2, model.image)).maps("rollout")


def test_windows_are_a_sentence() -> None:
    models = importlib.import_module("torchvision.models.swin_transformer")
    with torch.random.fork_rng(devices=[]):
        model = models.SwinTransformer([2, 2], 8, [2, 2], [2, 2], [2, 2], num_classes=CLASSES).eval()
    found = explain(Subject(model), cases_of(pictures(2, (3, 16, 16)), CLASSES), device="cpu")
    with pytest.raises(MethodError, match=r"but model 'SwinTransformer' attends within windows \(16 an image\)"):
        found.maps("rollout")


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ([(2, 1, 5, 5), (2, 1, 4, 4)], "changes the number of its tokens between layers \\(5, then 4\\)"),
        ([(2, 1, 5, 5), (2, 1, 1, 5)], "pools its tokens by attention \\(1 ask 5\\)"),
        ([(6, 1, 5, 5)], "attends within windows \\(3 an image\\)"),
        ([(2, 1, 4, 9, 9)], "attends within groups of its tokens \\(weights of shape \\(2, 1, 4, 9, 9\\)\\)"),
    ],
)
def test_what_is_no_layer_of_a_rollout_is_told(shapes: list[tuple[int, ...]], sentence: str) -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            made = self.fc(self.conv(x).mean((2, 3)))
            for shape in shapes:
                n = len(x) * shape[0] // 2
                q, k = torch.ones(n, *shape[1:-1], 3), torch.ones(n, *shape[1:-2], shape[-1], 3)
                made = made + F.scaled_dot_product_attention(q, k, k).sum() * 0
            return made

    found = explain(Subject(Attending(), layer="conv"), cases_of(pictures(2, (3, 8, 8)), CLASSES), device="cpu")
    with pytest.raises(MethodError, match=f"rollout needs layers that attend between all patches.*{sentence}"):
        found.maps("rollout")


def test_tokens_that_are_no_grid_are_a_sentence() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            tokens = torch.ones(len(x), 1, 104, 3)
            return self.fc(self.conv(x).mean((2, 3))) + F.scaled_dot_product_attention(tokens, tokens, tokens).sum() * 0

    found = explain(Subject(Odd(), layer="conv"), cases_of(pictures(2, (3, 8, 8)), CLASSES), device="cpu")
    with pytest.raises(
        MethodError, match="cannot tell which of the 104 tokens of model 'Odd' are the patches of an image"
    ):
        found.maps("rollout")
