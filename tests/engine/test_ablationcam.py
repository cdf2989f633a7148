"""Ablation-CAM against its definition in float64: one run of the whole model for each channel set to zero."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_saliency.engine.layout import Layout
from pytest_saliency.engine.methods import ablationcam
from pytest_saliency.engine.methods.ablationcam import ablationcam_method
from pytest_saliency.engine.methods.names import parse_method
from pytest_saliency.engine.methods.perturbation import Perturbed, Site
from pytest_saliency.engine.replay import Replays
from pytest_saliency.engine.tail import Front, Tail
from pytest_saliency.errors import DeviceError, MethodError

from .helpers import TOLERANCE
from .nets import NETS, ConvNet, Net, OneLogit, PooledLinear, TinyViT, make, pictures, seed_weights
from .replay_nets import REFUSED, REPLAYED, Functional, built
from .test_replay import Counter, logits_of, site_of, with_output
from .test_side_effects import changes, fingerprint, untidy

Array = NDArray[np.float64]
Zeroes = Callable[[Tensor, int], None]


# -- the definition -------------------------------------------------------------------------------------------------


def first_zero(output: Tensor, channel: int) -> None:
    output[:, channel] = 0


def last_zero(output: Tensor, channel: int) -> None:
    output[..., channel] = 0


def patches_zero(output: Tensor, channel: int) -> None:
    output[:, 1:, channel] = 0


LAYOUTS: dict[str, tuple[Zeroes, Callable[[Tensor], Tensor]]] = {
    "first": (first_zero, lambda a: a),
    "last": (last_zero, lambda a: a.movedim(-1, 1)),
    "tokens": (patches_zero, lambda a: a[:, 1:].movedim(-1, 1)),
}


def oracle(
    model: nn.Module, layer: str, images: Tensor, layout: str, target: Callable[[Array], NDArray[np.int64]], paper: bool
) -> Array:
    """Maps (N, P) in float64."""
    twin = copy.deepcopy(model).double()
    zero, read = LAYOUTS[layout]
    kept: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        kept[:] = [output.clone()]
        return output

    maps = []
    for image in images.double().split(1):
        scores = with_output(twin, layer, image, keep)[0].numpy()
        # with_output runs twice: what it changes in its second run is the last call.
        index = int(target(scores[None])[0])
        activations = read(kept[0])[0].flatten(1).numpy()
        weights = []
        for channel in range(len(activations)):

            def without(output: Tensor, k: int = channel) -> Tensor:
                zero(output, k)
                return output

            weights.append(scores[index] - with_output(twin, layer, image, without)[0, index].item())
        maps.append(np.array(weights) @ activations / (scores[index] if paper else 1.0))
    return np.stack(maps)


def top1(scores: Array) -> NDArray[np.int64]:
    return scores.argmax(1)


def top2(scores: Array) -> NDArray[np.int64]:
    return scores.argsort(1)[:, -2]


def targets_of(scores: Tensor) -> Mapping[str, Tensor]:
    order = scores.argsort(1, descending=True)
    return {"top1": order[:, 0], "top2": order[:, 1]}


def run(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    batch: int | None = None,
    name: str = "ablationcam",
    targets: Callable[[Tensor], Mapping[str, Tensor]] = targets_of,
    **settings: Any,
) -> tuple[list[Perturbed], Site]:
    """All batches of ``images`` in one pass."""
    parsed = parse_method(name)
    assert parsed is not None
    method = ablationcam_method(parsed.variants)
    assert method.name == name
    with site_of(model, images, layer, **settings) as site:
        step = batch or len(images)
        made = [method.compute(site, images[i : i + step], targets) for i in range(0, len(images), step)]
    return made, site


def maps_of(made: list[Perturbed], target: str = "top1") -> Array:
    return np.concatenate([part.maps[target].values.flatten(1).double().numpy() for part in made])


def distance(found: Array, expected: Array) -> float:
    """The largest difference of any image, as a share of that image's largest value."""
    return float((np.abs(found - expected).max(1) / np.abs(expected).max(1)).max())


def compare(model: Any, layout: str, **settings: Any) -> Site:
    images = torch.from_numpy(pictures(3, getattr(model, "image", (3, 12, 16)), seed=1))
    made, site = run(model, images, model.layer, **settings)
    expected = oracle(model, model.layer, images, layout, top1, False)
    assert distance(maps_of(made), expected) < TOLERANCE
    assert distance(maps_of(made, "top2"), oracle(model, model.layer, images, layout, top2, False)) < TOLERANCE
    return site


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.name)
def test_the_table_agrees_with_the_definition(net: Net) -> None:
    model = net.model()
    site = compare(model, model.layout, reshape=net.reshape, output=net.output)
    assert site.notes == {}


@pytest.mark.parametrize("kind", REPLAYED, ids=lambda k: k.__name__)
def test_every_way_of_replaying_agrees_with_the_definition(kind: type[nn.Module]) -> None:
    site = compare(built(kind), "first")
    assert site.notes == {}
    assert "channels" not in site.images


@pytest.mark.parametrize("kind", REFUSED, ids=lambda k: k.__name__)
def test_the_whole_model_agrees_with_the_definition(kind: type[nn.Module]) -> None:
    site = compare(built(kind), "first")
    (note,) = site.notes
    assert note.startswith("Ablation-CAM runs the whole model 'net' for each channel, because ")
    assert site.images["channels"] >= 3 * 4


@pytest.mark.parametrize("build", [ConvNet, OneLogit])
def test_the_form_of_the_paper(build: Any) -> None:
    model = make(build, 1108)
    images = torch.from_numpy(pictures(4, model.image, seed=1))
    made, _ = run(model, images, model.layer, name="ablationcam[relative]")
    for word, target in (("top1", top1), ("top2", top2)):
        assert distance(maps_of(made, word), oracle(model, model.layer, images, "first", target, True)) < TOLERANCE
        assert not made[0].maps[word].degenerate.any()
    plain, _ = run(model, images, model.layer)
    signs = [float(np.sign((a * b).sum())) for a, b in zip(maps_of(plain, "top2"), maps_of(made, "top2"), strict=True)]
    scores = np.sort(plain[0].scores.numpy(), axis=1)[:, -2]
    assert signs == list(np.sign(scores))


def test_the_form_of_the_paper_has_no_meaning_for_a_score_of_zero() -> None:
    model = make(PooledLinear, 2005)
    with torch.no_grad():
        model.fc.weight[3], model.fc.bias[3] = 0.0, 0.0
    images = torch.from_numpy(pictures(2, model.image, seed=1))
    targets = {"3": torch.tensor([3, 3]), "mixed": torch.tensor([3, 1])}
    made, _ = run(model, images, model.layer, name="ablationcam[relative]", targets=lambda scores: targets)
    assert made[0].maps["3"].degenerate.tolist() == [True, True]
    assert made[0].maps["mixed"].degenerate.tolist() == [True, False]
    assert made[0].maps["mixed"].values.isfinite().all()
    assert made[0].maps["mixed"].values[1].abs().max() > 0
    plain, _ = run(model, images, model.layer, targets=lambda scores: targets)
    assert plain[0].maps["3"].degenerate is None


def test_pooling_and_a_linear_head() -> None:
    """There w_k = W[c, k] mean(A_k)."""
    model = make(PooledLinear, 2005)
    images = torch.from_numpy(pictures(5, model.image, seed=1))
    made, _ = run(model, images, model.layer)
    twin = copy.deepcopy(model).double()
    with torch.no_grad():
        a = twin.until(images.double()).flatten(2)
        rows = twin.fc.weight[twin.after(twin.until(images.double())).argmax(1)]
        expected = torch.einsum("nk,nk,nkp->np", rows, a.mean(2), a).numpy()
    assert distance(maps_of(made), expected) < TOLERANCE


def test_a_large_constant_in_the_scores_does_not_show() -> None:
    """The score without a change comes from a replay like the others: no difference in rounding adds up."""
    model = make(PooledLinear, 2005)
    images = torch.from_numpy(pictures(2, model.image, seed=1))
    expected = oracle(model, model.layer, images, "first", top1, False)
    with torch.no_grad():
        model.fc.bias.add_(1000.0)
    made, _ = run(model, images, model.layer)
    assert distance(maps_of(made), expected) < 1000 * torch.finfo(torch.float32).eps * 10


def test_an_offset_that_all_replays_share_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(ConvNet, 1108)
    images = torch.from_numpy(pictures(2, model.image, seed=1))
    expected = maps_of(run(model, images, model.layer)[0])
    honest = Replays.__call__
    monkeypatch.setattr(Replays, "__call__", lambda *given: honest(*given) + 0.25)
    assert distance(maps_of(run(model, images, model.layer)[0]), expected) < TOLERANCE


def test_an_image_whose_replays_break_off_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores from the tail and from the whole model never meet in one map."""
    model = make(ConvNet, 1108)
    images = torch.from_numpy(pictures(2, model.image, seed=1))
    expected = maps_of(run(model, images, model.layer)[0])
    monkeypatch.setattr(ablationcam, "CPU_BYTES", 1)
    honest, single = Tail.replay, 0

    def breaking(self: Tail, record: Any, image: int, changed: Tensor, front: Front) -> Tensor:
        nonlocal single
        single += len(changed) == 1
        if single == 4:
            raise ValueError("no more")
        return honest(self, record, image, changed, front) + (0.25 if len(changed) == 1 else 0.0)

    monkeypatch.setattr(Tail, "replay", breaking)
    made, site = run(model, images, model.layer)
    (note,) = site.notes
    assert "because running only what follows layer 'act2' raised ValueError at " in note
    assert note.endswith(": no more.")
    assert distance(maps_of(made), expected) < TOLERANCE


# -- batches, memory, passes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [ConvNet, TinyViT])
def test_batch_and_place_change_nothing(build: Any) -> None:
    model = make(build, 1645)
    images = torch.from_numpy(pictures(6, model.image, seed=1))
    reshape = "tokens" if build is TinyViT else None
    one = maps_of(run(model, images, model.layer, batch=1, reshape=reshape)[0])
    four = maps_of(run(model, images, model.layer, batch=4, reshape=reshape)[0])
    back = maps_of(run(model, images.flip(0), model.layer, reshape=reshape)[0])[::-1]
    assert distance(four, one) < TOLERANCE / 2
    assert distance(back, one) < TOLERANCE / 2


def test_replays_fill_the_bytes_they_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(Functional)
    model.conv1, model.conv4 = nn.Sequential(Counter(), model.conv1), nn.Sequential(Counter(), model.conv4)
    front, back = model.conv1[0].seen, model.conv4[0].seen
    images = torch.from_numpy(pictures(4, (3, 12, 16)))
    single = maps_of(run(model, images, "conv3")[0])
    monkeypatch.setattr(ablationcam, "CPU_BYTES", 3 * 6 * 3 * 4 * 4 + 5)  # three rows of the layer's output, not four
    with site_of(model, images, "conv3") as site:
        front.clear(), back.clear()
        first = ablationcam_method(()).compute(site, images[:2], targets_of)
        assert len(front) == 1 + 3
        front.clear(), back.clear()
        second = ablationcam_method(()).compute(site, images[2:], targets_of)
        assert front == [2]
        # The batch, one image tried, and for each image one row as it is and six channels, in equal parts.
        calls = math.ceil((1 + 6) / 3)
        assert back == [2, 2] + [3] * calls * 2
    assert distance(maps_of([first, second]), single) < TOLERANCE


@pytest.mark.parametrize("name", ["inplace_relu", "inplace_functional", "relu"])
def test_what_works_in_place_does_not_spoil_the_next_replay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablationcam, "CPU_BYTES", 4000)
    site = compare(next(net for net in NETS if net.name == name).model(), "first")
    assert 1 < site.state["rows"].current < 5


def test_channels_that_are_zero_are_not_replayed() -> None:
    model = make(ConvNet, 1108)
    with torch.no_grad():
        model.conv2.bias[[1, 4]] = -100.0
    images = torch.from_numpy(pictures(3, model.image, seed=1))
    made, site = run(model, images, model.layer)
    with torch.no_grad():
        active = (model.until(images).flatten(2) != 0).any(2).sum(1)
    assert made[0].maps["top1"].details["replayed"].tolist() == active.tolist()
    assert max(active) <= 6
    # Beside those: one row as it is for each image, and what tries the replay (the first image a second time).
    assert site.images["tail"] == int(active.sum()) + 3 + 2 * (3 + 1)
    assert distance(maps_of(made), oracle(model, model.layer, images, "first", top1, False)) < TOLERANCE


def test_a_layer_of_zeros_is_a_blank_map() -> None:
    model = make(ConvNet, 1108)
    with torch.no_grad():
        model.conv2.weight.zero_(), model.conv2.bias.fill_(-1.0)
    made, _ = run(model, torch.from_numpy(pictures(2, model.image)), model.layer)
    assert made[0].maps["top1"].details["replayed"].tolist() == [0, 0]
    assert not made[0].maps["top1"].values.any()


class Narrow(nn.Module):
    """Memory for so many rows and no more."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return x


@pytest.mark.parametrize("kind", [Functional, next(iter(REFUSED))])
def test_out_of_memory_halves_and_changes_nothing(kind: type[nn.Module]) -> None:
    model, free = built(kind), built(kind)
    images = torch.from_numpy(pictures(3, (3, 12, 16)))
    model.conv4 = nn.Sequential(Narrow(3), model.conv4)
    made, site = run(model, images, "conv3")
    expected, _ = run(free, images, "conv3")
    assert distance(maps_of(made), maps_of(expected)) < TOLERANCE
    # Seven rows were asked for; of the whole model no more than the four images that a batch may have.
    assert site.state["rows"].current == (3 if kind is Functional else 2)
    assert bool(site.notes) == (kind is not Functional)
    assert site.size.current == 4  # it is not the images of a batch that were too many


def test_out_of_memory_for_the_batch_halves_the_batch() -> None:
    model, free = built(Functional), built(Functional)
    images = torch.from_numpy(pictures(4, (3, 12, 16)))
    model.conv1 = nn.Sequential(Narrow(2), model.conv1)
    made, site = run(model, images, "conv3")
    assert site.size.current == 2
    assert distance(maps_of(made), maps_of(run(free, images, "conv3")[0])) < TOLERANCE
    assert torch.equal(made[0].scores.argmax(1), run(free, images, "conv3")[0][0].scores.argmax(1))


def test_one_row_that_does_not_fit_is_an_error() -> None:
    model = built(Functional)
    images = torch.from_numpy(pictures(2, (3, 12, 16)))
    narrow = Narrow(100)
    model.conv4 = nn.Sequential(narrow, model.conv4)
    with site_of(model, images, "conv3") as site:
        method = ablationcam_method(())
        method.compute(site, images, targets_of)
        replays, record = site.state["replays"], site.state["replays"].record(images)
        site.state["replays"] = Recorded(replays, record)
        narrow.most = 0
        with pytest.raises(DeviceError, match="does not fit into the memory of device 'cpu' for one image at a time"):
            method.compute(site, images, targets_of)
        assert site.notes == {}


class Recorded:
    """Replays of a batch that went through while there was memory."""

    def __init__(self, replays: Any, record: Any) -> None:
        self.replays, self.made, self.whole = replays, record, False

    def record(self, pixels: Tensor) -> Any:
        return self.made

    def __call__(self, *given: Any) -> Tensor:
        found: Tensor = self.replays(*given)
        return found


def test_progress_goes_from_nothing_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(ConvNet, 1108)
    monkeypatch.setattr(ablationcam, "CPU_BYTES", 1)  # one row at a time
    images = torch.from_numpy(pictures(2, model.image))
    told: list[float] = []
    with site_of(model, images, model.layer) as site:
        site.progress = told.append
        ablationcam_method(()).compute(site, images, targets_of)
    assert told == sorted(told)
    assert len(told) > 2 * 5
    assert 0 < told[0] < 0.2
    assert told[-1] == 1.0


def test_half_precision_is_summed_in_float32() -> None:
    model = make(ConvNet, 1108)
    images = torch.from_numpy(pictures(2, model.image, seed=1))
    expected = maps_of(run(model, images, model.layer)[0])
    made, site = run(copy.deepcopy(model).bfloat16(), images, model.layer)
    assert made[0].maps["top1"].values.dtype == made[0].scores.dtype == torch.float32
    assert site.notes == {}
    # bfloat16 has 8 bits: a drop is a difference of two scores that are each off by up to 0.4 %.
    assert distance(maps_of(made), expected) < 0.3


# -- layouts --------------------------------------------------------------------------------------------------------


def test_a_callable_that_moves_numbers_is_followed() -> None:
    model = make(TinyViT, 1645)
    images = torch.from_numpy(pictures(2, model.image, seed=1))
    named = maps_of(run(model, images, model.layer, reshape="tokens")[0])
    moved = maps_of(
        run(model, images, model.layer, reshape=lambda a: a[:, 1:].transpose(1, 2).reshape(len(a), -1, 4, 4))[0]
    )
    assert np.array_equal(named, moved)


@pytest.mark.parametrize("computes", [lambda a: a * 2, lambda a: a.relu() - a.mean(), lambda a: a.float() @ a.float()])
def test_a_callable_that_computes_is_refused(computes: Callable[[Tensor], Tensor]) -> None:
    output = torch.from_numpy(pictures(1, (3, 4, 4))) - 0.5
    with pytest.raises(MethodError, match="may only move the layer's numbers"):
        ablationcam._Plane.of(output, Layout("callable", (), function=computes))


def test_channels_last_in_memory_stays_so() -> None:
    model = make(ConvNet, 1108)
    images = torch.from_numpy(pictures(2, model.image, seed=1))
    expected = maps_of(run(model, images, model.layer)[0])
    seen: list[bool] = []

    def look(_m: nn.Module, args: tuple[Tensor]) -> None:
        seen.append(args[0].is_contiguous(memory_format=torch.channels_last))

    laid = copy.deepcopy(model).to(memory_format=torch.channels_last)
    laid.conv3.register_forward_pre_hook(look)
    found = maps_of(run(laid, images.contiguous(memory_format=torch.channels_last), laid.layer)[0])
    assert all(seen)
    assert distance(found, expected) < TOLERANCE


# -- the peer, and what stays ---------------------------------------------------------------------------------------


def test_grad_cam_agrees_where_it_is_right() -> None:
    """Where the layer's smallest value is exactly 0, the peer sets channels to 0; elsewhere to -1e7."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grad_cam = pytest.importorskip("pytorch_grad_cam")
        targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model = make(ConvNet, 1108)
    images = torch.from_numpy(pictures(3, model.image, seed=1))
    with torch.no_grad():
        a, scores = model.until(images), model(images)
    assert float(a.amin((1, 2, 3)).max()) == 0.0
    chosen = scores.argmax(1).tolist()
    peer = grad_cam.AblationCAM(copy.deepcopy(model), [], batch_size=3)
    layer = peer.model.get_submodule(model.layer)
    wanted = [targets.ClassifierOutputTarget(c) for c in chosen]
    weights = peer.get_cam_weights(images, layer, wanted, a.numpy(), None)
    theirs = np.einsum("nk,nkp->np", weights.astype(np.float64), a.flatten(2).double().numpy())
    made, _ = run(model, images, model.layer, name="ablationcam[relative]")
    assert distance(maps_of(made), theirs) < TOLERANCE * 10


@pytest.mark.parametrize("kind", [*list(REPLAYED)[:4], next(iter(REFUSED))], ids=lambda k: k.__name__)
def test_nothing_stays(kind: type[nn.Module]) -> None:
    model = untidy(seed_weights(kind(), 11).eval())
    images = torch.from_numpy(pictures(2, (3, 12, 16)))
    before, kept = fingerprint(model), images.clone()
    run(model, images, model.layer)
    assert changes(model, before) == []
    assert torch.equal(images, kept)


def test_scores_are_those_of_the_model() -> None:
    model = make(OneLogit, 2202)
    images = torch.from_numpy(pictures(2, model.image))
    made, _ = run(model, images, model.layer)
    with torch.no_grad():
        torch.testing.assert_close(made[0].scores, logits_of(model(images)))
    assert made[0].binary
