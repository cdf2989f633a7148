"""Shapes that `auto` can be led astray by: attention heads, tensors that are handed on, pooling, tokens, volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine.layers import LayerInfo, candidates, choose
from pytest_saliency.engine.layout import find_layout

from .helpers import raw, run, six
from .nets import ConvNet, Tiny, make, pictures, seed_weights


class Heads(nn.Module):
    """Attention that shows its queries, keys and weights as modules do in timm: (N, heads, tokens, width)."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q_norm, self.k_norm, self.attn_drop = nn.Identity(), nn.LayerNorm(width // heads), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = self.attn_drop((self.q_norm(q) @ self.k_norm(k).transpose(-1, -2)).softmax(-1))
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, d))


class Attention(Heads):
    """The same, called what it is."""


class Parts(nn.Module):
    """Attention as transformers has it: three linear layers, called by keyword."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, hidden: Tensor) -> Tensor:
        k, v, q = self.key(hidden), self.value(hidden), self.query(hidden)
        return (q @ k.transpose(-1, -2) / 3).softmax(-1) @ v


class SelfAttention(Parts):
    """The same, called what it is."""


class Encoder(nn.Module):
    def __init__(self, attention: nn.Module, attribute: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(8)
        setattr(self, attribute, attention)
        self.attribute = attribute
        self.norm2, self.mlp = nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        attention = getattr(self, self.attribute)
        normed = self.norm1(x)
        x = x + (attention(hidden=normed) if isinstance(attention, Parts) else attention(normed))
        return x + self.mlp(self.norm2(x))


class Transformer(Tiny):
    """A ViT with ``front`` tokens before the patches; the mean of those in front is read, or of the patches."""

    image = (3, 16, 16)
    layer = "auto"

    def __init__(
        self, attention: type[nn.Module] = Attention, front: int = 1, pooled: bool = False, word: str = "attention"
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.tokens = nn.Parameter(torch.zeros(1, front, 8))
        self.blocks = nn.Sequential(Encoder(attention(), word), Encoder(attention(), word))
        self.front, self.pooled = front, pooled
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        x = self.blocks(torch.cat([self.tokens.expand(len(x), -1, -1), patches], 1))
        return self.fc(x[:, self.front :].mean(1) if self.pooled else x[:, : self.front].mean(1))


def drawn(build: Callable[[], Any], seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        return seed_weights(build(), seed).eval()


def chosen(model: nn.Module, shape: tuple[int, ...], choice: str = "auto") -> LayerInfo:
    return choose(model, torch.from_numpy(pictures(2, shape, seed=3)), choice)


@pytest.mark.parametrize("attention", [Attention, SelfAttention])
def test_auto_takes_what_the_last_attention_was_given(attention: type[nn.Module]) -> None:
    model = drawn(lambda: Transformer(attention), 31)
    info = chosen(model, (3, 16, 16))
    assert (info.name, info.grid, info.layout.prefix) == ("blocks.1.norm1", (4, 4), 1)
    assert chosen(model, (3, 16, 16), "penultimate").name == "blocks.0"


def test_attention_is_known_by_its_attribute_where_classes_have_no_names() -> None:
    """As in an exported program, whose modules are all of one class."""
    assert chosen(drawn(lambda: Transformer(Parts, word="attn"), 31), (3, 16, 16)).name == "blocks.1.norm1"


@pytest.mark.parametrize("attention", [Heads, Attention])
def test_heads_and_attention_weights_are_never_a_grid(attention: type[nn.Module]) -> None:
    """(N, 2, 17, 4) and (N, 2, 17, 17) are 17 tokens in two heads, and not two channels of a picture."""
    model = drawn(lambda: Transformer(attention, word="mix"), 31)
    names = {info.name for info in candidates(model, torch.from_numpy(pictures(2, (3, 16, 16), seed=3)))}
    assert names
    assert not {name for name in names if name.endswith(("q_norm", "k_norm", "attn_drop"))}


@pytest.mark.parametrize("front", [1, 2, 4, 5])
@pytest.mark.parametrize("pooled", [False, True])
def test_tokens_in_front_stay_out_of_the_grid(front: int, pooled: bool) -> None:
    """A class token, a distillation token, registers without and with a class token."""
    model = drawn(lambda: Transformer(front=front, pooled=pooled), 32)
    info = chosen(model, (3, 16, 16))
    assert (info.grid, info.layout.prefix) == ((4, 4), front)
    assert info.name == ("blocks" if pooled else "blocks.1.norm1")
    explained = run(model, six(model), layer="auto")
    for method in ("gradcam", "layercam", "case", "eigencam"):
        assert raw(explained, method).shape == (6, 4, 4)


class Frames(nn.Module):
    """Tokens of a video: patches in space and time behind a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv3d(1, 8, (2, 4, 4), stride=(2, 4, 4))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.block, self.last = Encoder(Attention(), "attention"), Encoder(Attention(), "attention")
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        return self.fc(self.last(self.block(torch.cat([self.token.expand(len(x), -1, -1), patches], 1)))[:, 0])


def test_a_grid_of_tubes_is_named_by_hand() -> None:
    """Stride 2 in time and 4 in space: the shape alone does not say so, a callable does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Frames().eval()
    images = pictures(3, (1, 8, 16, 16), seed=2)

    def tubes(output: Tensor) -> Tensor:
        return output[:, 1:].transpose(1, 2).reshape(len(output), -1, 4, 4, 4)

    assert find_layout((3, 65, 8), (8, 16, 16)) is None
    subject = Subject(model, layer="block", reshape=tubes)
    explained = explain(subject, Cases.from_arrays(images, [0, 1, 2]), device="cpu")
    found = raw(explained, "hirescam")
    assert found.shape == (3, 4, 4, 4)
    with torch.no_grad():
        patches = model.patch(torch.from_numpy(images)).flatten(2).transpose(1, 2)
        a = model.block(torch.cat([model.token.expand(3, -1, -1), patches], 1))
    a.requires_grad_(True)
    scores = model.fc(model.last(a)[:, 0])
    (g,) = torch.autograd.grad(scores[range(3), scores.argmax(1)].sum(), a)
    expected = tubes((g * a).detach()).sum(1).double().numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


class HandsOn(ConvNet):
    """Behind the last activation only modules that return what they are given."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.last = last

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.last(self.act3(self.conv3(a))).mean((2, 3)))


@pytest.mark.parametrize("last", [nn.Dropout(0.5), nn.Identity(), nn.Sequential(nn.Identity(), nn.Dropout(0.1))])
def test_auto_names_what_made_the_tensor(last: nn.Module) -> None:
    model = make(lambda: HandsOn(last), 33)
    assert chosen(model, model.image).name == "act3"
    assert raw(run(model, six(model), layer="last"), "gradcam").shape == (6, 6, 8)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_rectifier_is_not_handing_on(inplace: bool) -> None:
    """In place it returns the very tensor that it was given, with other numbers in it."""
    model = make(lambda: HandsOn(nn.ReLU(inplace=inplace)), 33)
    assert chosen(model, model.image).name == "last"


def test_a_function_that_no_module_made_is_reached_through_who_hands_it_on() -> None:
    class Functional(HandsOn):
        def after(self, a: Tensor) -> Tensor:
            return self.fc(self.last(torch.tanh(self.act3(self.conv3(a)))).mean((2, 3)))

    assert chosen(make(lambda: Functional(nn.Dropout(0.5)), 33), (3, 12, 16)).name == "last"


class Flattened(ConvNet):
    """VGG's head: pooling that fits the grid to a linear layer."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool, self.fc = pool, nn.Linear(7 * 12, 5)

    def after(self, a: Tensor) -> Tensor:
        return self.fc(self.pool(self.act3(self.conv3(a))).flatten(1))


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d((3, 4)), nn.AdaptiveMaxPool2d((3, 4))])
def test_adaptive_pooling_belongs_to_the_head(pool: nn.Module) -> None:
    model = make(lambda: Flattened(pool), 34)
    assert chosen(model, model.image).name == "act3"
    assert raw(run(model, six(model), layer="pool"), "gradcam").shape == (6, 3, 4)


def test_adaptive_pooling_is_taken_where_nothing_else_has_a_grid() -> None:
    class Only(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.fc = nn.AdaptiveAvgPool2d((3, 4)), nn.Linear(36, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.pool(x).flatten(1))

    assert chosen(drawn(Only, 35), (3, 12, 16)).name == "pool"


def test_a_network_that_is_called_attention_is_looked_into() -> None:
    """It is given features too, but makes another grid of them, or convolves."""

    class AttentionBackbone(nn.Module):
        def __init__(self, pool: bool) -> None:
            super().__init__()
            self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1) if pool else nn.Conv2d(6, 8, 1, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x)).mean((2, 3))

    class Net(Tiny):
        def __init__(self, pool: bool) -> None:
            super().__init__()
            self.stem, self.body, self.fc = nn.Conv2d(3, 6, 3, padding=1), AttentionBackbone(pool), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.body(torch.relu(nn.functional.max_pool2d(self.stem(x), 2))))

    for pool in (False, True):
        assert chosen(drawn(lambda pool=pool: Net(pool), 36), (3, 12, 16)).name == "body.conv"


@pytest.mark.parametrize(
    ("shape", "image", "kind", "grid", "prefix"),
    [
        ((2, 7, 7, 768), (224, 224), "channels_last", (7, 7), 0),
        ((2, 14, 10, 96), (112, 80), "channels_last", (14, 10), 0),
        ((2, 768, 7, 7), (224, 224), "channels_first", (7, 7), 0),
        ((2, 197, 768), (224, 224), "tokens", (14, 14), 1),
        ((2, 198, 768), (224, 224), "tokens", (14, 14), 2),
        ((2, 201, 384), (224, 224), "tokens", (14, 14), 5),
        ((2, 200, 512), (224, 224), "tokens", (14, 14), 4),
        ((2, 49, 768), (224, 224), "tokens", (7, 7), 0),
        ((2, 73, 768), (96, 192), "tokens", (6, 12), 1),
        ((2, 512, 2, 7, 7), (16, 112, 112), "channels_first", (2, 7, 7), 0),
        ((2, 4, 4, 4, 96), (32, 32, 32), "channels_last", (4, 4, 4), 0),
        ((2, 65, 192), (64, 64, 64), "tokens", (4, 4, 4), 1),
    ],
)
def test_layouts_of_known_architectures(
    shape: tuple[int, ...], image: tuple[int, ...], kind: str, grid: tuple[int, ...], prefix: int
) -> None:
    layout: Any = find_layout(shape, image)
    assert (layout.kind, layout.grid, layout.prefix) == (kind, grid, prefix)
