"""Maps must follow the weights: known answers, the cascade, and the user's model as it was."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import (
    Cases,
    Explained,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_model_dependent,
    explain,
)
from pytest_saliency.checks import randomised
from pytest_saliency.checks.model_dependent import compared_rows
from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide.randomised import telling
from pytest_saliency.engine.cascade import from_the_top, stages_of
from pytest_saliency.engine.reinitialise import reinitialised_copy
from pytest_saliency.engine.runner import Runner
from pytest_saliency.evidence.level2 import SCORED

from .textured import Bank, textured_images

KIND = KINDS["model_dependent"]
SMALL: dict[str, Any] = {"max_excess": 0.2, "top_fraction": 0.05, "images": 30, "stages": 0}


@pytest.fixture(scope="module")
def sound() -> Explained:
    images, labels = textured_images(40)
    return explain(Subject(Bank(), layer="features", name="sound"), Cases.from_arrays(images, labels), device="cpu")


@pytest.fixture(scope="module")
def edges(sound: Explained) -> Result:
    return run(sound, method="edges", **SMALL)


def run(explained: Explained, **options: Any) -> Result:
    return KIND.run({"model": explained}, KIND.parameters.from_keywords(KIND.assertion, options))


def test_a_sound_method_passes_and_the_model_is_as_it_was(sound: Explained) -> None:
    model = sound.subject.model
    before = copy.deepcopy(model.state_dict())
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    state = torch.random.get_rng_state()
    made = assert_model_dependent(sound, "gradcam", **{**SMALL, "max_excess": 0.25, "stages": 2})
    assert made.verdict is Verdict.PASS
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert hooks == [len(module._forward_pre_hooks) for module in model.modules()]
    assert torch.equal(state, torch.random.get_rng_state())
    cascade = made.numbers.inputs["cascade"]
    assert [(one["modules"], one["down_to"], one["seeds"]) for one in cascade] == [(1, "head", 3), (2, "filters", 20)]
    assert cascade[0]["mean"] > cascade[1]["mean"], "the filters still know where the patterns are"
    compared = sum(value is not None for value in made.per_image["similarity"])
    assert compared == 30
    assert made.execution["planned_images"] == 30 * 23
    # Finding the layer and measuring the scores of two images comes on top, once a model.
    assert 30 * 23 <= made.execution["scored_images"] <= 32 * 23


def test_what_ignores_the_weights_fails(edges: Result) -> None:
    assert edges.verdict is Verdict.FAIL
    assert edges.decision.readouts["similarity"] == pytest.approx(1.0)
    assert "hardly depend" in edges.headline


def test_one_map_for_all_images_proves_nothing(sound: Explained) -> None:
    """The centre is the same for every model and every image: its excess is nothing, and it must not pass by that."""
    made = run(sound, method="centre", **SMALL)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert made.decision.undefined_share == 1.0
    assert "like those of other images" in made.headline


def test_an_unchanged_map_must_be_beyond_the_limit_to_be_told() -> None:
    similarity, floor = np.asarray([1.0, 1.0, 0.4, np.nan]), np.asarray([0.2, 0.3, 0.9, 0.1])
    likeness = np.asarray([0.2, 0.85, 0.1, 0.1])
    np.testing.assert_allclose(telling(similarity, floor, likeness, 0.2), [0.8, np.nan, -0.5, np.nan])


def test_similarity_and_floor_by_hand(sound: Explained) -> None:
    made = run(sound, method="layercam", **SMALL)
    chosen = compared_rows(made.per_image)
    rows = [sound.cases.ids.index(made.per_image["id"][i]) for i in chosen]
    maps = sound.maps("layercam").values
    order = ["head", "filters"]
    at = [0, 11, 29]
    found = np.zeros((20, len(at)))
    for draw in range(20):
        seed = randomised.seed_from("model_dependent", f"{made.numbers.seed:x}", str(len(order)), str(draw))
        model: Any = reinitialised_copy(sound.subject.model, seed).double()
        for place, k in enumerate(at):
            image, label = sound.cases.image(rows[k])[None].double(), int(sound.predicted[rows[k]])
            with torch.no_grad():
                seen = model.features(model.filters(image))[0]
                weights = model.head.weight[label].clamp(min=0.0) / seen[0].numel()
                other = torch.einsum("c,chw->hw", weights, seen)
            found[draw, place] = _iou(maps[rows[k]].double(), other)
    np.testing.assert_allclose([made.per_image["similarity"][chosen[k]] for k in at], found.mean(axis=0), atol=2e-3)
    steps = [1 + index * 29 // 10 for index in range(10)]
    for k in at:
        others = [(k + step) % 30 for step in steps]
        expected = np.mean([_iou(maps[rows[k]].double(), maps[rows[j]].double()) for j in others])
        assert made.per_image["likeness"][chosen[k]] == pytest.approx(expected, abs=2e-3)
        same = [i for i, name in enumerate(made.per_image["set"]) if name == made.per_image["set"][chosen[k]]]
        partners = [sound.cases.ids.index(made.per_image["id"][i]) for i in same if i != chosen[k]]
        assert partners
        within = np.mean([_iou(maps[rows[k]].double(), maps[j].double()) for j in partners])
        assert made.per_image["floor"][chosen[k]] == pytest.approx(within, abs=2e-3)


def _iou(one: Tensor, other: Tensor) -> float:
    a, b = (_region(map_) for map_ in (one, other))
    if a is None or b is None:
        return 0.0
    return float(torch.minimum(a, b).sum() / torch.maximum(a, b).sum())


def _region(raw: Tensor) -> Tensor | None:
    positive = raw.clamp(min=0.0)
    if not bool((positive > 0).any()):
        return None
    grid = torch.nn.functional.interpolate(positive[None, None], size=(32, 32), mode="bilinear")[0, 0].flatten()
    grid = grid / positive.max()
    k = min(round(0.05 * grid.numel()), int((grid > 1e-6).sum()))
    edge = grid.sort(descending=True).values[k - 1]
    weight = (grid > edge + 1e-6).double()
    tied = ((grid - edge).abs() <= 1e-6).double()
    return weight + tied * (k - weight.sum()) / tied.sum()


class Deep(nn.Module):
    """Registered from the top down, so that the order of registration is not that of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.norm = nn.BatchNorm2d(8, affine=False)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.relu(self.norm(self.second(torch.relu(self.first(x)))))
        logits: Tensor = self.head(seen.mean((2, 3)))
        return logits


def test_the_cascade_goes_down_in_the_order_of_the_calls() -> None:
    runner = Runner(Subject(Deep()), torch.device("cpu"))
    order = from_the_top(runner, torch.rand(1, 1, 8, 8), "model_dependent")
    assert order == ["head", "norm", "second", "first", "unused"]
    assert stages_of(order, 2) == [["head"], ["head", "norm"]]
    assert stages_of(order, 0) == []
    assert stages_of(["only"], 4) == []
    long = [str(i) for i in range(40)]
    assert [len(part) for part in stages_of(long, 4)] == [1, 10, 20, 30]


def test_only_the_modules_asked_for_are_drawn_anew() -> None:
    torch.manual_seed(0)
    model = Deep()
    made = reinitialised_copy(model, 3, ["head", "second"])
    for name, parameter in made.named_parameters():
        changed = not torch.equal(parameter, dict(model.named_parameters())[name])
        assert changed is (name.partition(".")[0] in ("head", "second")), name
    whole = reinitialised_copy(model, 3)
    assert all(not torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))


class Fixed(nn.Module):
    """No parameters at all."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.AvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.features(x)[:, 0]
        return torch.stack([seen[:, :4].sum((1, 2)), seen[:, 4:].sum((1, 2))], dim=1)


class Uncopied(Bank):
    def __deepcopy__(self, memo: object) -> Any:
        raise RuntimeError("holds a lock")


def test_what_cannot_be_decided_is_told_in_a_sentence(sound: Explained) -> None:
    images, labels = textured_images(12)
    cases = Cases.from_arrays(images, labels % 2)
    fixed = explain(Subject(Fixed(), layer="features"), cases, device="cpu")
    with pytest.raises(SaliencyError, match="has no parameters"):
        run(fixed, method="gradcam", keep="all", **SMALL)
    locked = explain(Subject(Uncopied(), layer="features"), Cases.from_arrays(images, labels), device="cpu")
    with pytest.raises(SaliencyError, match=r"model_dependent needs a copy .* holds a lock"):
        run(locked, method="gradcam", **SMALL)
    sound.add_maps("brought", top1=sound.maps("gradcam").values)
    with pytest.raises(SaliencyError, match="register a function"):
        run(sound, method="brought", **SMALL)
    with pytest.raises(SaliencyError, match="seeds"):
        run(sound, method="gradcam", seeds=19, **SMALL)
    two = explain(Subject(Bank(), layer="features"), Cases.from_arrays(images[:2], labels[:2]), device="cpu")
    with pytest.raises(SaliencyError, match="could not PASS"):
        run(two, method="gradcam", keep="all", **SMALL)


def test_blank_maps_are_undefined_and_never_nan(sound: Explained) -> None:
    images, labels = textured_images(8)
    model = Bank()
    with torch.no_grad():
        model.filters.bias.fill_(-10.0)  # no filter answers: nothing is on any map
        model.head.weight.mul_(-1.0)
    found = explain(Subject(model, layer="features"), Cases.from_arrays(images, labels), device="cpu")
    made = run(found, method="gradcam", keep="all", **SMALL)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert made.decision.undefined_share == 1.0


class Gated(Bank):
    """Its scores pass a gate that is open when trained, and shut for about half of the seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(1, 1)
        with torch.no_grad():
            self.gate.weight.fill_(1e-9)
            self.gate.bias.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x) * torch.relu(self.gate(torch.zeros(1, 1)))
        return logits


def test_a_randomised_model_that_nothing_reaches_shows_nothing() -> None:
    images, labels = textured_images(12)
    found = explain(Subject(Gated(), layer="features"), Cases.from_arrays(images, labels), device="cpu")
    made = run(found, method="gradcam", keep="all", **SMALL)
    unusable = made.per_image["unusable_draws"]
    assert 0.1 < np.mean(unusable) < 0.9
    assert any("nothing in common with the trained model's" in note for note in made.decision.notes)
    assert None not in made.per_image["similarity"]


def test_decided_again_from_its_numbers(edges: Result) -> None:
    numbers = Numbers.of(edges.to_record())
    assert KIND.decide(KIND.parameters(**edges.parameters), numbers).to_dict() == edges.decision.to_dict()
    assert edges.maps is not None
    again = SCORED["model_dependent"](edges.to_record(), edges.maps())
    assert set(again) == {"floor", "likeness"}
    for name, values in again.items():
        said = [np.nan if value is None else value for value in edges.per_image[name]]
        np.testing.assert_allclose(values, said, atol=1e-7)
    more = KIND.parameters.from_keywords("x", {**edges.parameters, "stages": 7})
    less = KIND.parameters.from_keywords("x", {**edges.parameters, "stages": 0})
    assert more.criterion == less.criterion, "what is only read draws no other models"


class Buffered(Bank):
    """``Bank`` with its filters as a buffer, which no initialisation reaches."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            kept = getattr(self.filters, name).detach().clone()
            delattr(self.filters, name)
            self.filters.register_buffer(name, kept)


def test_a_model_whose_learned_numbers_stay_is_refused() -> None:
    images, labels = textured_images(12)
    found = explain(Subject(Buffered(), layer="features"), Cases.from_arrays(images, labels), device="cpu")
    with pytest.raises(SaliencyError, match="numbers are in buffers"):
        run(found, method="gradcam", keep="all", **SMALL)
