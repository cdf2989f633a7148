"""``invariant_execution``: what does not depend on execution PASSes, and what does is named, with the way it was."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fixtures.planted import MatchedFilters, planted_images
from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Result,
    SaliencyError,
    Subject,
    Verdict,
    assert_invariant_execution,
    explain,
)
from pytest_saliency.checks.invariant_execution import BROKEN, difference
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.records.hashing import plain_json
from pytest_saliency.report.terminal import render_failure

COUNT = 24


def explained_by(model: nn.Module, layer: Any = "features", **settings: Any) -> Explained:
    planted = planted_images(COUNT, seed=0)
    cases = Cases.from_arrays(planted.images, planted.labels)
    return explain(Subject(model, layer=layer, name="net"), cases, device="cpu", **settings)


def run(one: Explained, *variants: str, **given: Any) -> Result:
    declared = KINDS["invariant_execution"]
    values = {"method": "gradcam", "max_difference": 1e-4, "max_share": 0.2, "variants": variants, **given}
    return declared.run({"model": one}, declared.parameters(**values))


class Leaning(MatchedFilters):
    """Adds to each image's maps a little of what the batch holds on average: too little for its scores to tell."""

    def __init__(self, weight: float = 3e-4) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        matched = self.filters(x)
        seen = self.features(torch.cat([matched, matched], dim=1))
        seen = seen + self.weight * seen.mean(0, keepdim=True)
        return self.head(self.pool(self.features(seen)).flatten(1))


@pytest.fixture(scope="module")
def sound() -> Explained:
    model = MatchedFilters()
    return explained_by(model, model.features)


def test_a_sound_network_passes_in_every_way(sound: Explained) -> None:
    result = assert_invariant_execution(
        sound,
        "gradcam",
        max_difference=1e-4,
        max_share=0.2,
        variants=("batch_one", "shuffled", "threads", "float64"),
    )
    assert result.verdict is Verdict.PASS
    variants: Any = result.decision.readouts["variants"]
    assert 0.0 < variants["float64"]["largest"] < 1e-5, "it was computed in another precision"
    assert sound.passes["variant batch_one"] >= COUNT, "image by image"
    assert sound.subject.model.filters.weight.dtype == torch.float32
    assert [value for one in variants.values() for value in (one["different"], one["flipped"])] == [0] * 8


def test_half_precision_is_told_apart_from_rounding(sound: Explained) -> None:
    with pytest.raises(ExplanationAssertionError, match=r"depend on how they are computed \(bf16\)") as caught:
        assert_invariant_execution(
            sound, "gradcam", max_difference=1e-4, max_share=0.2, variants=("shuffled", "bf16")
        )  # fmt: skip
    result = caught.value.result
    assert result.decision.readouts["variants"]["shuffled"]["different"] == 0  # type: ignore[index]
    text = str(caught.value)
    assert "bf16 changes the map of" in text
    largest = max(result.per_image["difference[bf16]"])
    worst = result.per_image["id"][result.per_image["difference[bf16]"].index(largest)]
    assert result.worst[0]["id"] == worst, "the image is named"
    assert worst in text
    wide = run(sound, "bf16", max_difference=0.05)
    assert wide.verdict is Verdict.PASS


def test_a_layer_that_looks_at_the_whole_batch_is_caught() -> None:
    one = explained_by(Leaning())
    result = run(one, "batch_one", "shuffled", max_difference=1e-5)
    assert result.verdict is Verdict.FAIL
    assert "(batch_one" in result.headline
    text = render_failure(plain_json(result.to_record()))
    assert f"batch_one changes the map of {COUNT} of {COUNT} images" in text


def test_statistics_of_the_batch_are_refused_in_a_sentence() -> None:
    class InTraining(MatchedFilters):
        def forward(self, x: Tensor) -> Tensor:
            matched = F.batch_norm(self.filters(x), None, None, training=True)
            return self.head(self.pool(self.features(torch.cat([matched, matched], dim=1))).flatten(1))

    with pytest.raises(SaliencyError, match="scores one image differently from call to call or from batch to batch"):
        run(explained_by(InTraining()), "batch_one")


def test_a_norm_left_in_training_mode_is_put_into_evaluation() -> None:
    """The engine evaluates every model, so that a forgotten ``eval()`` cannot show in the maps."""

    class Normed(MatchedFilters):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            matched = self.norm(self.filters(x))
            return self.head(self.pool(self.features(torch.cat([matched, matched], dim=1))).flatten(1))

    model = Normed().train()
    assert run(explained_by(model), "batch_one", "shuffled").verdict is Verdict.PASS
    assert model.training
    assert model.norm.running_mean is not None
    assert not model.norm.running_mean.any()


def test_predictions_that_change_count_even_where_maps_are_close(
    sound: Explained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_saliency.engine import variants

    def flipped(asked: Any) -> variants.Otherwise:
        made = asked.again(batch_size=1)
        return variants.Otherwise(made.maps, made.scores, (made.predicted + 1) % 4)

    monkeypatch.setattr(variants, "VARIANTS", {**variants.VARIANTS, "shuffled": flipped})
    result = run(sound, "shuffled")
    assert result.verdict is Verdict.FAIL
    assert result.decision.counts["predictions changed by shuffled"] == COUNT
    assert max(result.per_image["difference[shuffled]"]) < 1e-5


def test_another_order_gives_each_image_its_own_map_back(sound: Explained) -> None:
    from pytest_saliency.engine.variants import computed_otherwise

    rows = [5, 2, 19, 7]
    made = computed_otherwise(sound, "gradcam", rows, "shuffled", 3)
    assert made.maps is not None
    torch.testing.assert_close(made.maps, sound.maps("gradcam").values[rows], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(made.predicted, sound.predicted[rows])


# -- what is compiled, and what is not here -----------------------------------------------------------------------


def test_a_compiled_model_is_held_to_its_scores(sound: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_a_tenth(model: nn.Module, **_: Any) -> Any:
        return lambda x: 1.1 * model(x)

    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    assert run(sound, "compiled").verdict is Verdict.PASS
    monkeypatch.setattr(torch, "compile", off_by_a_tenth)
    result = run(sound, "compiled")
    assert result.verdict is Verdict.FAIL
    np.testing.assert_allclose(result.per_image["difference[compiled]"], 0.1, rtol=1e-5)
    assert "compiled changes the scores of" in " ".join(result.decision.notes)


def test_what_cannot_be_computed_here_blocks_a_pass_in_a_sentence(
    sound: Explained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    result = run(sound, "batch_one", "cpu", "compiled")
    assert result.verdict is Verdict.INCONCLUSIVE, "not all that was declared was seen"
    for said in (
        "the declared variant cpu was not computed: the run computes on the CPU, and there is no CUDA device",
        "the declared variant compiled was not computed: torch.compile needs a C++ compiler",
    ):
        assert said in result.headline
    assert "difference[cpu]" not in result.per_image
    with pytest.raises(SaliencyError, match="none of the declared variants can be computed here"):
        run(sound, "cpu", "compiled")


@pytest.mark.parametrize("works", [True, False])
def test_a_model_that_does_not_compile_fails_where_others_do(
    sound: Explained, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    def compile(given: Any, **_: Any) -> Any:
        def call(x: Tensor) -> Tensor:
            if works and not isinstance(given, nn.Module):
                return x
            raise RuntimeError("cannot lower this")

        return call

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(shutil, "which", lambda *_: "/usr/bin/c++")
    result = run(sound, "batch_one", "compiled")
    if not works:
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "compiled was not computed: torch.compile does not work here (cannot lower this)" in result.headline
        return
    assert result.verdict is Verdict.FAIL
    assert set(result.per_image["difference[compiled]"]) == {BROKEN}
    assert not any(result.per_image["flipped[compiled]"])
    said = "compiled: torch.compile did not compile the model (cannot lower this), so that every image counts"
    assert said in " ".join(result.decision.notes)
    record = plain_json(result.to_record())
    assert plain_json(decide_again(record).to_dict()) == record["decision"]


@pytest.mark.parametrize("batch_size", [32, 1])
def test_a_run_image_by_image_is_compared_with_batches(batch_size: int) -> None:
    """What leans on its batch is caught whether the run itself looks at many images at a time or at one."""
    one = explained_by(Leaning(3e-3), batch_size=batch_size)
    assert run(one, "batch_one", max_difference=1e-5).verdict is Verdict.FAIL
    if batch_size == 1:
        assert run(one, "shuffled", max_difference=1e-5).verdict is Verdict.FAIL


def test_what_the_run_does_itself_is_no_variant() -> None:
    half = explained_by(MatchedFilters(), precision="bf16")
    result = run(half, "batch_one", "bf16", max_difference=0.5)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the declared variant bf16 was not computed: the run computes in bf16 itself" in result.headline
    double = explained_by(MatchedFilters().double())
    assert "float64 was not computed: the run computes in float64 itself" in run(double, "shuffled", "float64").headline


def test_memory_for_one_image_leaves_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_saliency.engine import variants

    one = explained_by(MatchedFilters(), batch_size=1)
    plain = explain

    def halved(*given: Any, **options: Any) -> Explained:
        made = plain(*given, **options)
        made.size.current = 1
        return made

    monkeypatch.setattr(variants, "explain", halved)
    assert "batch_one was not computed: memory holds one image at a time" in run(one, "threads", "batch_one").headline


def test_a_model_that_cannot_be_copied_is_left_out_of_float64() -> None:
    class Alone(MatchedFilters):
        def __deepcopy__(self, memo: object) -> MatchedFilters:
            raise TypeError("there is one of me")

    result = run(explained_by(Alone()), "batch_one", "float64")
    said = "the declared variant float64 was not computed: the model cannot be copied (there is one of me)"
    assert any(said in note for note in result.decision.notes)


# -- numbers ------------------------------------------------------------------------------------------------------


def test_the_difference_by_hand() -> None:
    own = torch.tensor([[[1.0, -4.0]], [[0.0, 0.0]], [[0.0, 0.0]], [[torch.nan, 1.0]], [[1.0, 2.0]], [[-1.0, 0.0]]])
    other = torch.tensor([[[1.0, -3.0]], [[0.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]], [[1.0, torch.inf]], [[1.0, 0.0]]])
    np.testing.assert_array_equal(difference(own, other), [0.25, 0.0, BROKEN, np.nan, BROKEN, 2.0])
    np.testing.assert_array_equal(difference(own[:2], torch.zeros(2, 3, 3)), [BROKEN, BROKEN])


def test_the_record_is_decided_again_without_torch(sound: Explained) -> None:
    record = plain_json(run(sound, "batch_one", "bf16", "cpu").to_record())
    assert plain_json(decide_again(record).to_dict()) == record["decision"]


def test_maps_that_were_brought_in_cannot_be_computed_otherwise() -> None:
    one = explained_by(MatchedFilters())
    one.add_maps("mine", one.maps("gradcam").values)
    with pytest.raises(SaliencyError, match="cannot be computed in another way"):
        run(one, "batch_one", method="mine")


def test_own_map_not_finite_is_undefined() -> None:
    from pytest_saliency import register_method

    def holes(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        made = images.mean(1)
        made[targets == 0] = torch.nan
        return made

    register_method("holes", holes)
    result = run(explained_by(MatchedFilters()), "batch_one", method="holes")
    undefined = [value is None for value in result.per_image["difference[batch_one]"]]
    assert undefined == [label == 0 for label in result.per_image["class"]]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "their own map shows nothing" in result.headline


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_maps_that_show_nothing_leave_nothing_to_compare(share: float) -> None:
    """Blank in every way: not a difference of 0, but nothing that could differ."""
    one = explained_by(MatchedFilters())
    blank = int(share * COUNT)

    def nothing(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        dark = images.flatten(1).mean(1) <= torch.sort(means).values[blank - 1]
        return images.mean(1) * (~dark).to(images).reshape(-1, 1, 1)

    from pytest_saliency import register_method

    means = torch.stack([one.pixels(i) for i in range(COUNT)]).flatten(1).mean(1)
    register_method(f"nothing{blank}", nothing)
    result = run(one, "batch_one", "shuffled", method=f"nothing{blank}")
    assert list(result.per_image["status"]).count("blank") == blank
    assert list(result.per_image["difference[batch_one]"]).count(None) == blank
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.decision.undefined_share == share


def test_a_blank_map_that_is_not_blank_otherwise_is_a_difference(
    sound: Explained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_saliency.engine import variants

    def shown(asked: Any) -> variants.Otherwise:
        made = asked.again(batch_size=1)
        return variants.Otherwise(torch.ones_like(made.maps) * torch.rand(made.maps.shape), made.scores, made.predicted)

    def blank(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros_like(images[:, 0])

    from pytest_saliency import register_method

    register_method("always_blank", blank)
    monkeypatch.setattr(variants, "VARIANTS", {**variants.VARIANTS, "shuffled": shown})
    assert run(sound, "batch_one", "shuffled", method="always_blank").verdict is Verdict.FAIL


@pytest.mark.parametrize("both", [False, True])
def test_a_declared_variant_cannot_be_taken_out_of_a_record(sound: Explained, both: bool) -> None:
    from pytest_saliency.errors import CriterionError

    record = plain_json(run(sound, "batch_one", "bf16", max_difference=1e-5).to_record())
    assert record["verdict"] == "FAIL"
    if both:
        record["inputs"]["skipped"]["bf16"] = "there is none"
    else:
        del record["per_image"]["difference[bf16]"], record["per_image"]["flipped[bf16]"]
    with pytest.raises(CriterionError, match="the declared variant 'bf16' has"):
        decide_again(record)
    record["inputs"]["skipped"]["bf16"] = "there is none"
    record["per_image"].pop("difference[bf16]", None)
    assert decide_again(record).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"variants": ["gpu"]}, "variants.0"),
        ({"variants": []}, "variants"),
        ({"variants": ["bf16", "bf16"]}, "names the same entry twice"),
        ({"max_difference": -0.1}, "max_difference"),
        ({"max_share": 0.0}, "max_share"),
    ],
)
def test_wrong_parameters_are_told(sound: Explained, given: dict[str, Any], said: str) -> None:
    with pytest.raises(SaliencyError, match=said):
        assert_invariant_execution(sound, "gradcam", **{"max_difference": 0.1, "max_share": 0.5, **given})
