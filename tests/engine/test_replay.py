"""Replays of what follows a layer against the whole model with a hook that replaces the layer's output."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_saliency import Subject
from pytest_saliency.engine.layers import observe, resolve_layer
from pytest_saliency.engine.methods.perturbation import Site
from pytest_saliency.engine.replay import Replays
from pytest_saliency.engine.runner import Runner
from pytest_saliency.engine.sizing import BatchSize
from pytest_saliency.engine.stubs import NoReplayError, leaves, walk
from pytest_saliency.engine.tail import Front, Tail
from pytest_saliency.errors import SubjectError

from .nets import NETS, Bomb, Net, pictures, seed_weights
from .replay_nets import (
    REFUSED,
    REPLAYED,
    Alternating,
    Box,
    Bundle,
    Dense,
    Functional,
    Opaque,
    Parts,
    Residual,
    TupleLayer,
    built,
)
from .test_side_effects import changes, fingerprint, untidy

IMAGE = (3, 12, 16)


# -- the whole model, by a hook -------------------------------------------------------------------------------------


def logits_of(output: Any) -> Tensor:
    if isinstance(output, dict):
        output = output["logits"]
    elif isinstance(output, tuple):
        output = output[1]
    output = getattr(output, "logits", output)
    logits = output.reshape(len(output), -1)
    return torch.cat([-logits, logits], 1) if logits.shape[1] == 1 else logits


def with_output(model: nn.Module, layer: str, inputs: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Scores of the whole model when the last call of ``layer`` returns ``change`` of what it returns."""
    module = model.get_submodule(layer)
    calls, last = 0, 0

    def hook(_m: nn.Module, _a: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        first = output[0] if isinstance(output, tuple) else output
        fresh = change(first.clone()) if calls == last else first.clone()
        return (fresh, *output[1:]) if isinstance(output, tuple) else fresh

    with torch.no_grad():
        for _ in range(2):  # the first pass counts the calls
            handle = module.register_forward_hook(hook)
            calls = 0
            scores = logits_of(model(inputs.clone()))
            handle.remove()
            last = calls
    return scores


@contextlib.contextmanager
def site_of(model: nn.Module, images: Tensor, layer: str, **settings: Any) -> Iterator[Site]:
    subject = Subject(model, layer=layer, name="net", **settings)
    runner = Runner(subject, torch.device("cpu"))
    with runner.session():
        yield Site(runner, resolve_layer(runner, images[:2], observe(runner, images[:2])), BatchSize(4))


def changed_rows(output: Tensor) -> Tensor:
    """Three variations of (1, ...): two halves at zero, and noise."""
    noise = torch.from_numpy(pictures(1, (1, output.numel()), seed=4)).reshape(output.shape).to(output)
    half = torch.zeros_like(output).flatten()
    half[::2] = 1.0
    half = half.reshape(output.shape)
    return torch.cat([output * half, output * (1 - half), output + noise])


def check(model: nn.Module, images: Tensor, layer: str, **settings: Any) -> tuple[Site, Replays]:
    """Replay three changes of every image, in two batches, and compare with the whole model."""
    with site_of(model, images, layer, **settings) as site:
        replays = Replays(site, "Ablation-CAM")
        for start in range(0, len(images), 2):
            batch = images[start : start + 2]
            record = replays.record(batch)
            torch.testing.assert_close(record.scores, with_output(model, layer, batch, lambda a: a))
            for image in range(len(batch)):
                rows = changed_rows(record.output[image : image + 1])
                found = replays(record, image, rows.clone())
                for row, scores in zip(rows, found, strict=True):
                    expected = with_output(model, layer, batch[image : image + 1], lambda _a, r=row: r[None].clone())
                    torch.testing.assert_close(scores[None], expected, rtol=1e-4, atol=1e-5)
                # The same row alone: what precedes the layer has one row too, and no memory to spare.
                alone = replays(record, image, rows[2:].clone())
                torch.testing.assert_close(alone, found[2:], rtol=1e-4, atol=1e-5)
        return site, replays


@pytest.mark.parametrize("kind", REPLAYED, ids=lambda k: k.__name__)
def test_what_follows_is_replayed(kind: type[nn.Module]) -> None:
    images = torch.from_numpy(pictures(3, IMAGE))
    model = built(kind)
    site, replays = check(model, images, model.layer)
    assert site.notes == {}
    assert not replays.whole
    assert "channels" not in site.images
    assert replays._front is REPLAYED[kind]


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.name)
def test_the_table_is_replayed(net: Net) -> None:
    model: Any = net.model()
    images = torch.from_numpy(pictures(3, model.image))
    site, replays = check(model, images, model.layer, reshape=net.reshape, output=net.output)
    assert site.notes == {}
    assert not replays.whole


@pytest.mark.parametrize("kind", REFUSED, ids=lambda k: k.__name__)
def test_the_whole_model_runs_where_it_must_and_says_so(kind: type[nn.Module]) -> None:
    images = torch.from_numpy(pictures(3, IMAGE))
    model = built(kind)
    site, replays = check(model, images, model.layer)
    assert replays.whole
    (note,) = site.notes
    assert note.startswith(f"Ablation-CAM runs the whole model 'net' for each channel, because {REFUSED[kind]}")
    assert note.endswith(".")
    assert site.images["channels"] == 3 * (3 + 1)


def test_a_model_that_changes_its_way_later_is_noticed_then() -> None:
    class Branching(Alternating):
        def forward(self, x: Tensor) -> Any:
            self.count = int(x[0, 0, 0, 0] > 0.5)
            return super().forward(x)

    images = torch.from_numpy(pictures(4, IMAGE))
    images[:2, 0, 0, 0], images[2:, 0, 0, 0] = 0.25, 0.75
    site, replays = check(built(Branching), images, "conv3")
    assert replays.whole
    assert len(site.notes) == 1
    assert "do not run in the same order" in next(iter(site.notes))


@pytest.mark.parametrize(("batch", "image"), [(0, 0), (0, 1), (1, 1)])
def test_a_replay_that_is_wrong_for_one_image_is_noticed(
    batch: int, image: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image of the first batch is tried, and the last one of each later batch."""
    honest = Tail.replay
    batches = 0

    def wrong(self: Tail, record: Any, which: int, changed: Tensor, front: Front) -> Tensor:
        off = 0.01 if (batches, which) == (batch, image) else 0.0
        return honest(self, record, which, changed, front) * (1.0 + off)

    monkeypatch.setattr(Tail, "replay", wrong)
    images = torch.from_numpy(pictures(4, IMAGE))
    model = built(Residual)
    with site_of(model, images, model.layer) as site:
        replays = Replays(site, "Ablation-CAM")
        for batches in range(2):
            replays.record(images[2 * batches : 2 * batches + 2])
            assert replays.whole == (batches >= batch)
    assert "gives other scores than the model" in next(iter(site.notes))


class Whitens(nn.Module):
    """Scales by a statistic of the batch, which a replay of equal rows would not show."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean().sqrt()


def test_rows_that_change_each_other_are_noticed() -> None:
    images = torch.from_numpy(pictures(1, IMAGE))
    model = built(Functional)
    model.conv4 = nn.Sequential(model.conv4, Whitens())
    with site_of(model, images, "conv3") as site:
        replays = Replays(site, "Ablation-CAM")
        replays.record(images)
        assert replays.whole


# -- costs ----------------------------------------------------------------------------------------------------------


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x


def test_the_front_runs_once_a_batch() -> None:
    model = built(Functional)
    model.conv1, model.conv4 = nn.Sequential(Counter(), model.conv1), nn.Sequential(Counter(), model.conv4)
    front, back = model.conv1[0].seen, model.conv4[0].seen
    images = torch.from_numpy(pictures(4, IMAGE))
    with site_of(model, images, "conv3") as site:
        front.clear()
        replays = Replays(site, "Ablation-CAM")
        replays.record(images[:2])
        # Learnt from one image and from two; the batch; one image with half the activations, to compare with.
        assert sorted(front) == [1, 1, 2, 2]
        assert site.images["capture"] == 3 + 2 + 1
        front.clear(), back.clear()
        record = replays.record(images[2:])
        assert (front, back) == ([2], [2, 2])
        replays(record, 1, record.output[1:].expand(7, -1, -1, -1))
        assert (front, back) == ([2], [2, 2, 7])
        assert site.images["tail"] == 2 * (2 + 1) + 2 + 7


def test_only_what_is_read_again_is_kept() -> None:
    images = torch.from_numpy(pictures(2, IMAGE))
    kept: dict[str, int] = {}
    for kind in (Residual, Functional, Dense, TupleLayer):
        model = built(kind)
        with site_of(model, images, model.layer) as site, torch.no_grad():
            kept[kind.__name__] = len(Tail(site.runner, model.layer, images).record(images).kept)
    # Shortcut; what feeds functional operations; stem and first dense layer; the layer's second tensor.
    assert kept == {"Residual": 1, "Functional": 2, "Dense": 2, "TupleLayer": 1}


def test_no_graph_is_built() -> None:
    images = torch.from_numpy(pictures(2, IMAGE))
    model = built(Residual)
    with site_of(model, images, model.layer) as site, torch.enable_grad():
        replays = Replays(site, "Ablation-CAM")
        record = replays.record(images)
        found = replays(record, 0, record.output[:1].clone())
    assert not found.requires_grad
    assert not any(tensor.requires_grad for tensor in (record.scores, record.output, *record.kept.values()))
    assert not found.is_inference()


# -- nothing stays --------------------------------------------------------------------------------------------------


class Bombed(Residual):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.front_bomb, self.tail_bomb = Bomb(error), Bomb(error)

    def forward(self, x: Tensor) -> Any:
        x = self.front_bomb(self.relu(self.norm(self.stem(x))))
        return self.fc(self.tail_bomb(self.body(x) + x).mean((2, 3)))


@pytest.mark.parametrize("fuse", range(6))
@pytest.mark.parametrize("where", ["front_bomb", "tail_bomb"])
@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError("full"), KeyboardInterrupt()])
def test_an_exception_leaves_nothing(error: BaseException, where: str, fuse: int) -> None:
    images = torch.from_numpy(pictures(2, IMAGE))
    model = untidy(seed_weights(Bombed(error), 3).eval())
    before = fingerprint(model)
    caught: BaseException | None = None
    try:
        with site_of(model, images, model.layer) as site:
            getattr(model, where).fuse = fuse
            replays = Replays(site, "Ablation-CAM")
            record = replays.record(images)
            replays(record, 0, record.output[:1].expand(3, -1, -1, -1).clone())
            replays(record, 1, record.output[1:].clone())
    except BaseException as raised:
        caught = raised
    # In front of the layer there are four passes; behind it, one more in each of seven replays.
    assert (caught is not None) == (where == "tail_bomb" or fuse < 4)
    if caught is not None:
        assert error in (caught, caught.__cause__, caught.__context__)
    getattr(model, where).fuse = -1
    assert changes(model, before) == []


def test_an_instance_with_a_forward_of_its_own_keeps_it() -> None:
    images = torch.from_numpy(pictures(2, IMAGE))
    model = built(Residual)
    plain = model.body[0].forward
    model.body[0].forward = own = lambda x: plain(x) * 0.5
    site, _ = check(model, images, model.layer)
    assert site.notes == {}
    assert vars(model.body[0])["forward"] is own
    assert "forward" not in vars(model.body[1])


def test_hooks_of_the_user_act_once() -> None:
    images = torch.from_numpy(pictures(2, IMAGE))
    model = built(Residual)
    for module in (model.stem, model.body[0], model.body[1], model.body[2]):
        module.register_forward_hook(lambda _m, _a, output: output * 1.25)
    site, _ = check(model, images, model.layer)
    assert site.notes == {}


# -- errors ---------------------------------------------------------------------------------------------------------


def test_a_model_that_fails_is_reported_as_itself() -> None:
    images = torch.from_numpy(pictures(2, IMAGE))
    model = seed_weights(Bombed(ValueError("broken")), 3).eval()
    with site_of(model, images, model.layer) as site:
        model.tail_bomb.fuse = 0
        model.tail_bomb.error = ValueError("broken")

        def always(x: Tensor) -> Tensor:
            raise ValueError("broken")

        model.tail_bomb.forward = always
        with pytest.raises(SubjectError, match="broken"):
            Replays(site, "Ablation-CAM").record(images)
        assert site.notes == {}


def test_a_layer_that_runs_a_varying_number_of_times_is_refused() -> None:
    class Looping(Opaque):
        count = 0

        def forward(self, x: Tensor) -> Any:
            self.count += 1
            x = self.conv2(self.boxed(F.max_pool2d(F.relu(self.conv1(x)), 4)).inside)
            for _ in range(1 + self.count % 2):
                x = self.conv3(x)
            return self.fc(x.flatten(1))

    images = torch.from_numpy(pictures(1, IMAGE))
    model = built(Looping)
    with site_of(model, images, "conv3") as site:
        replays = Replays(site, "Ablation-CAM")
        record = replays.record(images)
        assert replays.whole
        with pytest.raises(SubjectError, match=r"layer 'conv3' of model 'net' ran \d times in one forward pass"):
            replays(record, 0, record.output.clone())


def test_taking_apart_and_putting_together() -> None:
    x = torch.zeros(2)
    structure = {"a": [x, (1, None)], "b": Parts(x + 1, x + 2), "c": Bundle(Parts(x, x), {"d": "e"})}
    again = walk(structure, lambda leaf: leaf, "it")
    assert again is not structure
    assert type(again["b"]) is Parts
    assert type(again["c"]) is Bundle
    assert again["c"].named == {"d": "e"}
    assert [type(leaf).__name__ for leaf in leaves(again, "it")] == [
        *("Tensor", "int", "NoneType", "Tensor", "Tensor", "Tensor", "Tensor", "str")
    ]
    doubled = walk(structure, lambda leaf: leaf + 1 if isinstance(leaf, Tensor) else leaf, "it")
    assert torch.equal(doubled["b"].windows, x + 3)
    assert torch.equal(structure["b"].windows, x + 2)
    with pytest.raises(NoReplayError, match="it returns an object of type Box"):
        walk([Box(x)], lambda leaf: leaf, "it")


# -- real architectures ---------------------------------------------------------------------------------------------

zoo = pytest.importorskip("torchvision.models")

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "resnet18": (lambda: zoo.resnet18(weights=None), "layer4", 64),
    "resnet18-inner": (lambda: zoo.resnet18(weights=None), "layer3.1.conv2", 64),
    "densenet121-deep": (lambda: zoo.densenet121(weights=None), "features.denseblock4.denselayer15.conv2", 64),
    "densenet121-norm": (lambda: zoo.densenet121(weights=None), "features.norm5", 64),
    "vgg11_bn": (lambda: zoo.vgg11_bn(weights=None, num_classes=7), "features.26", 64),
    "mobilenet_v3_small": (lambda: zoo.mobilenet_v3_small(weights=None), "features.9.block.1", 64),
    "googlenet": (lambda: zoo.googlenet(weights=None, init_weights=False), "inception5a.branch2", 64),
    "inception-input": (
        lambda: zoo.googlenet(weights=None, init_weights=False, transform_input=True, aux_logits=False),
        "inception5b",
        64,
    ),
    "efficientnet_b0": (lambda: zoo.efficientnet_b0(weights=None), "features.7.0.block.2", 64),
    "vit": (lambda: zoo.VisionTransformer(32, 8, 3, 2, 24, 48), "encoder.layers.encoder_layer_1.ln_1", 32),
    "swin_t": (lambda: zoo.swin_t(weights=None), "features.5.4.mlp", 64),
    "convnext_tiny": (lambda: zoo.convnext_tiny(weights=None), "features.7.1", 64),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_torchvision_is_replayed(name: str) -> None:
    build, layer, size = ARCHITECTURES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        model = build().eval()
        if name == "vit":
            nn.init.normal_(model.heads.head.weight)
        # Without statistics of its own a deep network with random weights lets nothing through.
        if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
            with torch.no_grad():
                for module in model.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.momentum = 1.0
                model.train()(torch.from_numpy(pictures(4, (3, size, size), seed=2)))
                model.eval()
    images = torch.from_numpy(pictures(2, (3, size, size)))
    with site_of(model, images, layer) as site:
        replays = Replays(site, "Ablation-CAM")
        record = replays.record(images)
        assert site.notes == {}
        rows = changed_rows(record.output[1:])[1:]
        found = replays(record, 1, rows.clone())
        expected = with_output(model, layer, images[1:].expand(2, -1, -1, -1), lambda _a: rows.clone())
        scale = float(expected.abs().max())
        assert float((expected[0] - record.scores[1]).abs().max()) > 1e-4 * scale
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-5)
        assert not replays.whole
