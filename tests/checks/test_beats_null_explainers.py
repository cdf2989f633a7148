"""A method must beat what is to be had for nothing: known answers, each drop derived another way, degenerate input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures.records import sample_record
from pytest_saliency import (
    Cases,
    Explained,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_beats_null_explainers,
    explain,
)
from pytest_saliency.checks.numbers import Numbers
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.decide.null_explainers import decide
from pytest_saliency.engine.methods.controls import mean_of_others
from pytest_saliency.report.measured import detectable_text, measured_text

from .textured import Bank, textured_images

KIND = KINDS["beats_null_explainers"]
FEW: dict[str, Any] = {"top_k": 0.05, "min_advantage": 0.05, "nulls": ("centre", "edges"), "fill": "mean"}


@pytest.fixture(scope="module")
def sound() -> Explained:
    images, labels = textured_images(60)
    return explain(Subject(Bank(), layer="features", name="sound"), Cases.from_arrays(images, labels), device="cpu")


def run(explained: Explained, **options: Any) -> Result:
    return KIND.run({"model": explained}, KIND.parameters.from_keywords(KIND.assertion, options))


def test_a_sound_method_beats_every_control(sound: Explained) -> None:
    made = assert_beats_null_explainers(sound, "gradcam", top_k=0.05, min_advantage=0.05)
    assert made.verdict is Verdict.PASS
    assert len(made.measures) == len(made.decision.legs) == 10
    planned = made.execution["planned_images"]
    assert planned == made.execution["scored_images"] == made.decision.n * 2 * 6
    assert made.decision.n == int(sound.correct.sum()) < len(sound.cases)


def test_controls_and_broken_maps_do_not(sound: Explained) -> None:
    maps = sound.maps("gradcam").values
    others = torch.from_numpy(np.roll(np.arange(len(maps)), 1))  # of another class, as classes alternate
    sound.add_maps("copied-edges", top1=sound.maps("edges").values)
    sound.add_maps("another", top1=maps[others])
    sound.add_maps("transposed", top1=maps.transpose(1, 2).contiguous())
    sound.add_maps("flipped", top1=-maps)
    assert run(sound, method="class_mean", **{**FEW, "nulls": ("mean_map",)}).verdict is Verdict.FAIL
    assert run(sound, method="centre", **{**FEW, "nulls": ("edges",)}).verdict is Verdict.FAIL
    made = run(sound, method="copied-edges", **FEW)
    assert made.verdict is Verdict.FAIL
    assert made.measures["advantage[edges,mean]"].estimate == pytest.approx(0.0, abs=1e-6)
    assert "knows nothing of the image does as well" in made.headline
    for name in ("another", "transposed", "flipped"):
        assert run(sound, method=name, **FEW).verdict is not Verdict.PASS, name


def test_every_drop_is_the_models_own_answer_without_the_region(sound: Explained) -> None:
    """The same in NumPy and float64: the strongest positions, the mean colour in their place, log-odds by hand."""
    made = run(sound, method="layercam", **{**FEW, "nulls": ("centre",)})
    weight = sound.subject.model.get_parameter("filters.weight").detach().double()
    model = Bank().double()
    assert torch.equal(model.filters.weight, weight)
    ids = made.per_image["id"]
    for name, column in (("layercam", "drop[mean]"), ("centre", "drop_of_centre[mean]")):
        for at in (0, 7, 30):
            i = sound.cases.ids.index(ids[at])
            image = sound.cases.image(i).double()
            changed = _without(image, sound.maps(name).values[i])
            with torch.no_grad():
                before, after = (_odds(model(one[None])[0], int(sound.predicted[i])) for one in (image, changed))
            assert made.per_image[column][at] == pytest.approx(before - after, abs=2e-4), (name, ids[at])


def _without(image: Tensor, raw: Tensor) -> Tensor:
    positive = raw.double().clamp(min=0.0)
    grid = torch.nn.functional.interpolate(positive[None, None], size=image.shape[1:], mode="bilinear")[0, 0]
    k = round(0.05 * grid.numel())
    values = grid.flatten() / grid.max()
    ordered = values.sort(descending=True).values
    k = min(k, int((values > 1e-6).sum()))
    edge = ordered[k - 1]
    weight = (values > edge + 1e-6).double()
    tied = ((values - edge).abs() <= 1e-6).double()
    weight += tied * (k - weight.sum()) / tied.sum()
    mask = weight.reshape(grid.shape)
    mean = image.mean((1, 2), keepdim=True)
    return image * (1.0 - mask) + mean * mask


def _odds(logits: Tensor, label: int) -> float:
    others = torch.cat([logits[:label], logits[label + 1 :]])
    return float(logits[label] - torch.logsumexp(others, 0))


def test_a_control_that_shows_nothing_names_a_random_region(sound: Explained) -> None:
    images, labels = textured_images(24)
    images[0] = 0.5  # no edge anywhere
    found = explain(Subject(Bank(), layer="features"), Cases.from_arrays(images, labels), device="cpu")
    made = run(found, method="random", keep="all", **FEW)
    assert made.numbers.inputs["guesses"] == {"centre": 0, "edges": 1}
    assert None not in made.per_image["drop_of_edges[mean]"]
    assert any("edges 1" in note for note in made.decision.notes)


def test_blank_maps_pass_nothing_and_give_no_nan(sound: Explained) -> None:
    sound.add_maps("blank", top1=torch.zeros(len(sound.cases), 8, 8))
    made = run(sound, method="blank", **FEW)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert made.decision.undefined_share == 1.0
    assert "undefined" in made.headline
    assert "nan" not in made.headline


def test_what_cannot_be_decided_is_told_in_a_sentence(sound: Explained) -> None:
    images, labels = textured_images(4)
    few = explain(Subject(Bank(), layer="features"), Cases.from_arrays(images, labels), device="cpu")
    with pytest.raises(SaliencyError, match="needs 5"):
        run(few, method="gradcam", keep="all", **FEW)
    with pytest.raises(SaliencyError, match="the method under test itself"):
        run(sound, method="edges", **FEW)
    with pytest.raises(SaliencyError, match="same entry twice"):
        run(sound, method="gradcam", **{**FEW, "nulls": ("edges", "edges")})


def test_decided_again_from_its_numbers(sound: Explained) -> None:
    made = run(sound, method="gradcam", **FEW)
    numbers = Numbers.of(made.to_record())
    again = KIND.decide(KIND.parameters(**made.parameters), numbers)
    assert again.to_dict() == made.decision.to_dict()


def test_patients_are_the_units() -> None:
    draw = np.random.Generator(np.random.PCG64(1))
    own = {"blur": draw.normal(1.0, 0.5, 40)}
    nulls = {"centre": {"blur": draw.normal(0.0, 0.5, 40)}}
    names = [f"p{i // 2}" for i in range(40)]
    made = decide(own, nulls, min_advantage=0.1, clusters=names, seed=3)
    pairs = (own["blur"] - nulls["centre"]["blur"]).reshape(20, 2).mean(axis=1)
    alone = decide({"blur": pairs}, {"centre": {"blur": np.zeros(20)}}, min_advantage=0.1, seed=3)
    assert made.n == 20
    assert made.measures["advantage[centre,blur]"].interval == alone.measures["advantage[centre,blur]"].interval


def test_one_control_that_is_as_good_is_enough_to_fail() -> None:
    draw = np.random.Generator(np.random.PCG64(2))
    own = {"blur": draw.normal(1.0, 0.3, 60)}
    nulls = {f"null{i}": {"blur": draw.normal(0.0, 0.3, 60)} for i in range(4)}
    assert decide(own, nulls, min_advantage=0.3, seed=1).verdict is Verdict.PASS
    nulls["equal"] = {"blur": own["blur"] + draw.normal(0.0, 0.1, 60)}
    made = decide(own, nulls, min_advantage=0.3, seed=1)
    assert made.verdict is Verdict.FAIL
    assert "equal" in made.headline
    assert {name for name, one in made.measures.items() if one.verdict is Verdict.FAIL} == {"advantage[equal,blur]"}


def test_equal_drops_everywhere_give_a_verdict() -> None:
    same = {"blur": np.full(30, 0.4)}
    assert decide(same, {"centre": same}, min_advantage=0.1, seed=0).verdict is Verdict.FAIL
    nothing = {"blur": np.zeros(30)}
    assert decide(same, {"centre": nothing}, min_advantage=0.1, seed=0).verdict is Verdict.PASS
    assert decide(same, {"centre": nothing}, min_advantage=0.4, seed=0).verdict is Verdict.INCONCLUSIVE


def test_a_mean_knows_nothing_of_the_image_itself() -> None:
    """Twelve classes of one image each: the class's mean map is that of no other image, and so it guesses."""
    maps = torch.rand(6, 3, 3)
    maps /= maps.flatten(1).amax(1).reshape(-1, 1, 1)
    alone = mean_of_others(maps, torch.arange(6), None)
    assert not alone.any()
    classes = torch.tensor([0, 0, 0, 1, 1, 2])
    made = mean_of_others(maps, classes, None)
    torch.testing.assert_close(made[0], (maps[1] + maps[2]) / 2)
    torch.testing.assert_close(made[4], maps[3])
    assert not made[5].any()
    by_patient = mean_of_others(maps, classes, ["a", "a", "b", "c", "c", "d"])
    torch.testing.assert_close(by_patient[0], maps[2])
    torch.testing.assert_close(by_patient[2], (maps[0] + maps[1]) / 2)
    assert not by_patient[3].any()
    torch.testing.assert_close(mean_of_others(maps, None, ["a", "a", "b", "c", "c", "d"])[5], maps[:5].mean(0))


def test_an_image_alone_in_its_class_is_not_held_against_its_own_map(sound: Explained) -> None:
    images, labels = textured_images(60)
    first = int(np.flatnonzero(sound.predicted == 0)[0])
    rows = [first, *np.flatnonzero(sound.predicted != 0).tolist()]
    found = explain(Subject(Bank(), layer="features"), Cases.from_arrays(images[rows], labels[rows]), device="cpu")
    made = run(found, method="gradcam", keep="all", **{**FEW, "nulls": ("class_mean",)})
    assert made.per_image["class"].count(0) == 1
    assert made.numbers.inputs["guesses"] == {"class_mean": 1}


def test_a_passing_line_tells_the_two_that_are_least_sure() -> None:
    record = sample_record("beats_null_explainers", "PASS")
    measures = record["decision"]["measures"]
    assert len(measures) == 4
    text = measured_text(record)
    assert all(f"over {null} with {fill}" in text for null in ("centre", "edges") for fill in ("blur", "mean"))
    many = {f"{name[:-1]},{k}]": {**one, "p_pass": 0.001 * k} for k in range(3) for name, one in measures.items()}
    power = {name: 0.1 * place for place, name in enumerate(many)}
    record["decision"] = {**record["decision"], "measures": many, "smallest_detectable": power}
    text = measured_text(record)
    assert text.count("bound") == 2
    assert "and 10 more in the report" in text
    assert detectable_text(record).endswith(" 1.00, and 10 more in the report")
