"""``stable``: known answers, undefined images, the search for the smallest counter-example, and its record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures.planted import MatchedFilters, Planted, planted_images
from pytest_saliency import (
    Cases,
    Explained,
    ExplanationAssertionError,
    Result,
    Subject,
    Verdict,
    assert_stable,
    explain,
    register_method,
)
from pytest_saliency.checks.numbers import decide_again
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.checks.stable_draws import Agreements, agreement, drawn
from pytest_saliency.checks.stable_gallery import SMALLEST
from pytest_saliency.checks.stable_search import TRIED, smallest
from pytest_saliency.engine.perturb import Perturbation
from pytest_saliency.errors import MethodError
from pytest_saliency.records.cache import Cache
from pytest_saliency.records.hashing import plain_json
from pytest_saliency.report.terminal import render_failure

COUNT = 36
GATE = 0.06


class Distracted(MatchedFilters):
    """Matched filters that look at the lower right corner once the image is brighter; the prediction stays."""

    def __init__(self) -> None:
        super().__init__()
        spot = torch.zeros(1, 1, 33, 33)
        spot[..., 28:, 28:] = 1.0
        self.register_buffer("spot", spot)
        with torch.no_grad():
            self.head.weight.copy_(300.0 * torch.cat([torch.eye(4), torch.eye(4)], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        matched = torch.relu(self.filters(x))
        bright = (x.flatten(1).median(1).values > GATE).to(x).reshape(-1, 1, 1, 1)
        elsewhere = self.spot * 40.0 * matched.mean((2, 3), keepdim=True)
        seen = self.features(torch.cat([matched * (1 - bright), elsewhere * bright], dim=1))
        return self.head(self.pool(seen).flatten(1))


def explained_by(model: torch.nn.Module, planted: Planted, **settings: Any) -> Explained:
    cases = Cases.from_arrays(planted.images, planted.labels)
    return explain(Subject(model, layer="features", name="net"), cases, device="cpu", **settings)


def run(one: Explained, **given: Any) -> Result:
    declared = KINDS["stable"]
    values = {"method": "gradcam", "min_agreement": 0.6, "top_fraction": 0.02, "draws": 2, "search": False, **given}
    return declared.run({"model": one}, declared.parameters(**values))


@pytest.fixture(scope="module")
def few() -> Planted:
    return planted_images(COUNT, seed=0)


@pytest.fixture(scope="module")
def steady(few: Planted) -> Explained:
    return explained_by(MatchedFilters(), few)


@pytest.fixture(scope="module")
def distracted(few: Planted) -> Result:
    """What is said of the network that bright images distract."""
    one = explained_by(Distracted(), few)
    assert one.correct.all()
    return run(one, min_agreement=0.88, perturbations=("noise", "brightness"), search=True)


# -- known answers ------------------------------------------------------------------------------------------------


def test_a_network_that_moves_with_its_image_passes(steady: Explained) -> None:
    result = assert_stable(
        steady,
        "gradcam",
        min_agreement=0.6,
        top_fraction=0.02,
        draws=2,
        perturbations=("brightness", "contrast", "noise", "jpeg", "shift"),
        search=False,
    )
    assert result.verdict is Verdict.PASS
    families: Any = result.decision.readouts["families"]
    assert families["shift"]["mean"] > 0.95, "its maps move by whole positions and are laid back"
    assert families["brightness"]["mean"] > 0.9
    kept = steady.passes["stable"], steady.costs()["stages"]["stable"]["images"]["changed"]
    assert kept == (math.ceil(COUNT * 10 / 32), COUNT * 10), "one pass in full batches"


def test_maps_that_stay_where_they_are_fail_when_things_move(steady: Explained) -> None:
    """The map of the image's centre never moves, so that it is wrong by the shift once it is laid back."""
    moved = run(steady, method="centre", perturbations=("shift",), strength=4.0, min_agreement=0.8)
    still = run(steady, method="centre", perturbations=("brightness",), min_agreement=0.8)
    assert (moved.verdict, still.verdict) == (Verdict.FAIL, Verdict.PASS)


def test_noise_as_an_explainer_fails(steady: Explained) -> None:
    with pytest.raises(ExplanationAssertionError, match="do not survive changes that keep the prediction"):
        assert_stable(
            steady, "random", min_agreement=0.3, top_fraction=0.05, draws=1, perturbations=("blur",), search=False
        )


def test_a_distracted_network_fails_with_brightness_as_its_counter_example(distracted: Result, few: Planted) -> None:
    assert distracted.verdict is Verdict.FAIL
    families: Any = distracted.decision.readouts["families"]
    assert families["noise"]["mean"] > 0.9 > 0.7 > families["brightness"]["mean"]
    examples = distracted.numbers.inputs["counter_examples"]
    assert [entry["place"] for entry in examples] == [1, 2, 3]
    ids = distracted.per_image["id"]
    for entry in examples:
        assert entry["family"] == "brightness"
        median = float(few.images[int(ids[entry["row"]].removeprefix("case-"))].median())
        # Sizes come in hundredths of 0.1; the smallest that lifts the median over the gate.
        assert entry["parameters"]["by"] == pytest.approx(math.floor((GATE - median) * 1000 + 1) / 1000)
        assert entry["agreement"] == 0.0
        assert ids[entry["row"]] == distracted.worst[entry["place"] - 1]["id"]


def test_the_failure_says_the_smallest_counter_example(distracted: Result) -> None:
    text = render_failure(plain_json(distracted.to_record()))
    first = distracted.numbers.inputs["counter_examples"][0]
    assert f"worst image 1 below 0.88 and keeps its prediction: brightness {first['parameters']['by']:+g}" in text
    assert f"search seed {first['seed']}" in text


def test_the_printed_seed_finds_the_same_again(distracted: Result, few: Planted) -> None:
    entry = distracted.numbers.inputs["counter_examples"][0]
    model = Distracted()
    image = few.images[int(distracted.per_image["id"][entry["row"]].removeprefix("case-"))]

    def broken(change: Perturbation) -> tuple[bool, float]:
        bright = float(change.apply(image).median()) > GATE
        return bright, 1.0 - bright

    again = smallest(
        broken, ("noise", "brightness"), strength=1.0, size=(32, 32), seed=int(entry["seed"], 16)
    )  # fmt: skip
    assert again is not None
    assert again.change.to_dict() == {"family": entry["family"], "parameters": entry["parameters"]}
    assert again.tried == entry["tried"]
    assert model.spot.sum() == 25


def test_the_same_run_gives_the_same_record(few: Planted, distracted: Result) -> None:
    order = np.random.default_rng(2).permutation(COUNT)
    cases = Cases.from_arrays(few.images[order], few.labels[order], ids=[f"case-{i:04d}" for i in order])
    shuffled = explain(Subject(Distracted(), layer="features", name="net"), cases, device="cpu", batch_size=5)
    again = run(shuffled, min_agreement=0.88, perturbations=("noise", "brightness"), search=True)
    assert again.per_image["id"] == distracted.per_image["id"]
    for name in ("agreement", "agreement[noise]", "agreement[brightness]"):
        np.testing.assert_allclose(again.per_image[name], distracted.per_image[name], atol=1e-6)
    assert again.numbers.inputs["counter_examples"] == distracted.numbers.inputs["counter_examples"]
    assert again.decision.seed == distracted.decision.seed


def test_the_record_is_decided_again_without_torch(distracted: Result) -> None:
    record = plain_json(distracted.to_record())
    assert plain_json(decide_again(record).to_dict()) == record["decision"]


def test_the_search_changes_nothing_that_is_decided(steady: Explained, few: Planted) -> None:
    with_search = run(steady, perturbations=("brightness",), search=True)
    without = run(steady, perturbations=("brightness",))
    assert with_search.per_image == without.per_image
    assert with_search.decision.measures == without.decision.measures
    assert with_search.decision.seed == without.decision.seed
    assert without.numbers.inputs["counter_examples"] is None
    assert {entry["place"] for entry in with_search.numbers.inputs["counter_examples"]} == {1, 2, 3}
    assert "no such change was found for worst images 1, 2, 3" in with_search.decision.notes


def test_counter_examples_come_first_among_the_pictures(distracted: Result, tmp_path: Path) -> None:
    assert distracted.gallery is not None
    rows = distracted.gallery.tiles(tmp_path)
    assert [row["why"] for row in rows[:4]] == [SMALLEST] * 3 + ["worst 1"]
    titles = [tile["title"] for tile in rows[0]["tiles"]]
    assert titles == ["image", "map", "map of the changed image, laid back", "difference", "changed image"]
    assert any("brightness" in line for line in rows[0]["caption"])
    path = distracted.gallery.sheet(tmp_path / "sheet.png")
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")


# -- undefined, degenerate ----------------------------------------------------------------------------------------


def blank_for_some(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
    """Blank where the image's brightest pixel lies in its left half: some images, whatever is changed a little."""
    left = images.flatten(2).amax(1).argmax(1) % images.shape[-1] < images.shape[-1] // 2
    return images.mean(1) * (~left).to(images).reshape(-1, 1, 1)


def blank_when_changed(subject: Subject, images: Tensor, targets: Tensor) -> Tensor:
    """Blank where the image is brighter than it was made."""
    return images.mean(1) * (images.flatten(1).median(1).values < 0.04).to(images).reshape(-1, 1, 1)


def test_images_without_a_map_are_undefined_and_block_a_pass(steady: Explained) -> None:
    register_method("blank_for_some", blank_for_some)
    result = run(
        steady, method="blank_for_some", perturbations=("noise",), strength=0.1, draws=1, max_share=0.9, search=True
    )
    lost = sum(status == "blank" for status in result.per_image["status"])
    assert 0 < lost < COUNT
    assert sum(value is None for value in result.per_image["agreement"]) == lost
    assert result.verdict is not Verdict.PASS
    assert result.decision.undefined_share == pytest.approx(lost / COUNT)
    assert result.worst[0]["values"]["agreement"] is None
    places = [entry["place"] for entry in result.numbers.inputs["counter_examples"]]
    assert min(places) > lost, "what has no map has no counter-example"


def test_a_map_that_is_lost_under_a_change_agrees_in_nothing(steady: Explained) -> None:
    register_method("blank_when_changed", blank_when_changed)
    result = run(steady, method="blank_when_changed", perturbations=("brightness",), draws=8)
    assert set(result.per_image["status"]) == {"ok"}
    assert None not in result.per_image["agreement"]
    assert min(result.per_image["agreement"]) < 0.7
    assert result.verdict is Verdict.FAIL


def test_changes_that_change_every_prediction_leave_nothing_to_compare() -> None:
    changed = np.asarray([[True, True], [False, True], [False, False]])
    values = np.asarray([[np.nan, np.nan], [0.5, np.nan], [0.2, 0.4]])
    found = Agreements(values, changed)
    np.testing.assert_allclose(found.mean([0, 1]), [np.nan, 0.5, 0.3])
    assert [found.lowest(row) for row in range(3)] == [None, 0, 0]


def test_a_fragile_prediction_is_counted_and_not_compared(few: Planted) -> None:
    class Fragile(MatchedFilters):
        """Says the next class where the image is brighter than it was made."""

        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            bright = (x.flatten(1).median(1).values > GATE).reshape(-1, 1)
            return torch.where(bright, scores.roll(1, 1), scores)

    fragile = explained_by(Fragile(), few)
    result = run(fragile, perturbations=("brightness",), draws=3)
    counts = np.asarray(result.per_image["changed[brightness]"])
    assert counts.sum() > 0
    np.testing.assert_array_equal(counts + np.asarray(result.per_image["compared"]), 3)
    none_left = [value is None for value in result.per_image["agreement"]]
    np.testing.assert_array_equal(none_left, counts == 3)
    assert result.decision.counts["changes that changed the prediction"] == counts.sum()
    assert f"changes that changed the prediction are not compared: brightness {counts.sum()}" in result.decision.notes
    families: Any = result.decision.readouts["families"]
    assert families["brightness"]["compared_share"] == pytest.approx(1 - counts.sum() / (3 * COUNT))


def few_left(shares: dict[str, int], agreement: float = 0.95, **given: Any) -> tuple[Verdict, str]:
    """Decide on 40 images whose maps agree by that with ``shares`` changes (of 4) of each family; the rest flip."""
    from pytest_saliency.checks.numbers import Numbers

    n = 40
    table: dict[str, Any] = {
        "id": [f"i{k:02d}" for k in range(n)],
        "label": [0] * n,
        "status": ["ok"] * n,
        "agreement": [agreement] * n,
        "compared": [sum(shares.values())] * n,
    }
    for family, count in shares.items():
        table |= {
            f"agreement[{family}]": [agreement if count else None] * n,
            f"compared[{family}]": [count] * n,
            f"changed[{family}]": [4 - count] * n,
        }
    everyone = {"id": table["id"], "label": table["label"], "fate": ["kept"] * n, "correct": [True] * n}
    numbers = Numbers.made(table, everyone, {"region": 100, "counter_examples": None, "warnings": []}, 1)
    declared = KINDS["stable"]
    values = {"method": "gradcam", "min_agreement": 0.6, "perturbations": tuple(shares), **given}
    made = declared.decide(declared.parameters(**values), numbers)
    return made.verdict, made.headline


def test_changes_that_nearly_all_flip_the_prediction_leave_nothing_to_pass_on() -> None:
    verdict, said = few_left({"brightness": 0, "contrast": 0, "noise": 0, "blur": 0, "jpeg": 1})
    assert verdict is Verdict.INCONCLUSIVE
    assert "only 0 % (brightness), 0 % (contrast), 0 % (noise), 0 % (blur), 25 % (jpeg) of the changes could" in said
    assert "50 % are needed" in said
    assert few_left({"brightness": 4, "jpeg": 4})[0] is Verdict.PASS
    assert few_left({"brightness": 4, "jpeg": 2})[0] is Verdict.PASS, "a half is enough"


def test_the_headline_tells_of_families_that_were_hardly_compared() -> None:
    verdict, said = few_left({"brightness": 4, "noise": 3, "jpeg": 2})
    assert verdict is Verdict.PASS
    assert "mean agreement under perturbation (compared: 75 % of noise, 50 % of jpeg) 0.95" in said
    assert "compared" not in few_left({"brightness": 4, "noise": 4})[1]
    assert "(compared: 0 % of jpeg)" in few_left({"brightness": 4, "jpeg": 0}, min_compared=0.0)[1]


def test_every_declared_kind_of_change_is_asked_for_itself() -> None:
    verdict, said = few_left({"brightness": 4, "noise": 4, "blur": 4, "jpeg": 1})
    assert verdict is Verdict.INCONCLUSIVE
    assert "only 25 % (jpeg) of the changes" in said
    assert few_left({"brightness": 4, "jpeg": 1}, min_compared=0.25)[0] is Verdict.PASS
    assert few_left({"brightness": 4, "jpeg": 3}, min_compared=0.8)[0] is Verdict.INCONCLUSIVE
    assert few_left({"brightness": 1, "jpeg": 1}, 0.2)[0] is Verdict.FAIL, "nothing stops a FAIL"


@pytest.mark.parametrize(("family", "strength"), [("shift", 0.3), ("jpeg", 0.009)])
def test_a_whole_number_is_never_rounded_to_no_change(family: str, strength: float) -> None:
    changes = [drawn(1, str(i), (family,), 1, strength, (32, 32))[0] for i in range(40)]
    assert not any(change.identity for change in changes)
    assert {max(map(abs, change.values)) for change in changes} == {1.0}


def test_changes_that_change_nothing_are_not_compared(steady: Explained) -> None:
    result = run(steady, perturbations=("brightness",), strength=1e-7, draws=1)
    assert set(result.per_image["compared"]) == {0}
    assert set(result.per_image["agreement"]) == {None}
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "only 0 % (brightness) of the changes could be compared" in result.headline


def test_one_image_is_refused_with_the_number_that_is_needed(few: Planted) -> None:
    from pytest_saliency.decide.decision import NotAttainable

    two = Planted(few.images[:2], few.labels[:2], few.corners[:2])
    with pytest.raises(NotAttainable, match="could not PASS with its 2 images"):
        run(explained_by(MatchedFilters(), two), perturbations=("brightness",), draws=1)


def test_maps_that_were_brought_in_cannot_be_made_again(few: Planted) -> None:
    one = explained_by(MatchedFilters(), few)
    one.add_maps("mine", one.maps("gradcam").values)
    with pytest.raises(MethodError, match="'mine' was brought in by add_maps"):
        run(one, method="mine")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"perturbations": ["blurr"]}, "perturbations.0"),
        ({"perturbations": []}, "perturbations"),
        ({"perturbations": ["blur", "blur"]}, "names the same entry twice"),
        ({"strength": 0.0}, "strength"),
        ({"draws": 0}, "draws"),
        ({"min_agreement": 0.0}, "min_agreement"),
    ],
)
def test_wrong_parameters_are_told(steady: Explained, given: dict[str, Any], said: str) -> None:
    from pytest_saliency.errors import CriterionError

    with pytest.raises(CriterionError, match=said):
        assert_stable(steady, "gradcam", **{"min_agreement": 0.5, **given})


# -- pieces -------------------------------------------------------------------------------------------------------


def test_changes_are_drawn_by_seed_and_id_alone() -> None:
    families = ("brightness", "noise", "shift", "flip")
    one = drawn(5, "a", families, 3, 1.0, (64, 64))
    assert one == drawn(5, "a", families, 3, 1.0, (64, 64))
    assert one[:3] == drawn(5, "a", families[:1], 3, 1.0, (64, 64)), "another family changes nothing"
    assert [change.family for change in one] == ["brightness"] * 3 + ["noise"] * 3 + ["shift"] * 3 + ["flip"]
    assert one != drawn(5, "b", families, 3, 1.0, (64, 64)) != drawn(6, "b", families, 3, 1.0, (64, 64))
    many = [drawn(1, str(i), ("brightness",), 1, 1.0, (64, 64))[0].values[0] for i in range(400)]
    assert 0.05 - 1e-6 <= min(map(abs, many)) <= max(map(abs, many)) <= 0.1
    assert 0.4 < np.mean([value < 0 for value in many]) < 0.6


def test_agreement_of_a_moved_map_is_that_of_what_both_show() -> None:
    """By hand: a 6x6 map with four positions, and the same moved two to the right, of which two leave the image."""
    own = torch.zeros(6, 6)
    own[2, 3:6] = torch.tensor([1.0, 0.9, 0.8])
    own[4, 0] = 0.7
    change = Perturbation.of("shift", x=2, y=0)
    moved = change.apply(own[None])[0]
    moved[4, :2] = 0.0  # the border is repeated; the network's own map of it would not be
    # 24 positions are known; of the own map (2, 3) and (4, 0) are among them.
    assert agreement(own, moved, change, 3 / 24, (6, 6)) == 1.0
    # The same map again, laid back, shows (2, 1), (2, 2) and (2, 3), of which one is the own map's.
    assert agreement(own, own, change, 3 / 24, (6, 6)) == pytest.approx(1 / 4)
    assert math.isnan(agreement(own, moved, Perturbation.of("shift", x=6, y=0), 0.1, (6, 6)))
    assert agreement(own, torch.zeros(6, 6), change, 0.1, (6, 6)) == 0.0


def test_the_search_asks_no_more_than_its_budget_and_takes_flaws_in_its_stride() -> None:
    asked: list[Perturbation] = []

    def broken(change: Perturbation) -> tuple[bool, float]:
        asked.append(change)
        return change.family == "noise" and change.seed % 3 == 1, 0.1

    found = smallest(broken, ("noise",), strength=1.0, size=(8, 8), seed=1, examples=60)
    assert found is not None
    assert found.change.seed == 1
    assert len(asked) == len(set(asked)) == found.tried <= TRIED
    assert smallest(lambda _: (False, 1.0), ("blur",), strength=1.0, size=(8, 8), seed=1) is None


def test_what_was_found_is_kept_in_the_database(tmp_path: Path) -> None:
    rare = Perturbation.of("brightness", by=0.037)

    def search(seed: int, examples: int, key: str = "one", change: Perturbation = rare) -> Perturbation | None:
        given: Any = {"strength": 1.0, "size": (8, 8), "database": tmp_path, "key": key}
        found = smallest(lambda one: (one == change, 0.2), ("brightness",), seed=seed, examples=examples, **given)
        return None if found is None else found.change

    assert search(0, 3) is None, "three tries are too few"
    assert any(search(seed, 300) == rare for seed in range(10))
    assert search(0, 3) == rare, "tried again, as it is in the database"
    assert search(0, 3, "other") is None
    # Another check's key is the same: it gets nothing that it does not declare.
    given: Any = {"size": (8, 8), "seed": 0, "database": tmp_path, "key": "one", "examples": 3}
    breaks = lambda one: (one == rare, 0.2)  # noqa: E731
    assert smallest(breaks, ("noise",), strength=1.0, **given) is None, "another family"
    assert smallest(breaks, ("brightness",), strength=0.3, **given) is None, "a smaller strength"
    again = smallest(breaks, ("brightness",), strength=1.0, **given)
    assert again is not None
    assert again.kept, "the seed does not find it"
    often = {**given, "examples": 60, "key": "often"}
    own = smallest(lambda one: (one.values[0] > 0, 0.2), ("brightness",), strength=1.0, **often)
    assert own is not None
    assert not own.kept
    assert search(0, 3, change=Perturbation.of("brightness", by=0.1)) is None, "it no longer breaks anything"
    assert search(0, 3) is None, "and is forgotten"
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.write_bytes(b"not ours")
    assert search(0, 3) is None


def test_a_pass_over_changed_images_is_kept_between_runs(few: Planted, tmp_path: Path) -> None:
    made: list[Any] = []
    warnings: list[str] = []
    for _ in range(2):
        one = explained_by(MatchedFilters(), few, cache=Cache(tmp_path, 10**9, warnings.append), batch_size=4)
        result = run(one, perturbations=("brightness", "shift"))
        made.append((result.per_image, one.passes.get("stable", 0)))
    assert made[0][0] == made[1][0]
    # What is found is believed after a sample of 32 was computed again.
    assert made[0][1] == COUNT * 4 // 4
    assert made[1][1] == 32 // 4


class Volumes(torch.nn.Module):
    """The mean of each of two channels of a volume."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Conv3d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(2).reshape(2, 2, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.features(x) - 0.3).mean((2, 3, 4)) * 9.0


def test_volumes_are_changed_slice_by_slice() -> None:
    volumes = torch.full((12, 2, 4, 10, 12), 0.1)
    for i, volume in enumerate(volumes):
        volume[i % 2, 1 + i % 3, 3 : 5 + i % 2, 4:7] = 0.9
    cases = Cases.from_arrays(volumes, [i % 2 for i in range(12)])
    one = explain(Subject(Volumes(), layer="features"), cases, device="cpu")
    families = ("brightness", "jpeg", "shift", "flip")
    result = run(one, perturbations=families, min_agreement=0.5, top_fraction=0.01, search=True)
    seen: Any = result.decision.readouts["families"]
    assert all(seen[family]["mean"] == pytest.approx(1.0, abs=0.05) for family in ("brightness", "shift", "flip"))


@pytest.mark.parametrize("preprocess", [{"resize": 40, "center_crop": 32, "channels": 1}, None])
def test_changes_are_made_behind_resize_and_crop(few: Planted, preprocess: dict[str, Any] | None) -> None:
    from pytest_saliency.engine.perturbed import explain_changed

    images: list[Tensor] = list(few.images[:8])
    if preprocess is not None:
        images = [torch.nn.functional.pad(image, (0, i, 0, 3)).expand(3, -1, -1) for i, image in enumerate(images)]
    cases = Cases.from_arrays(images, few.labels[:8])
    subject = Subject(MatchedFilters(), layer="features", preprocess=preprocess)
    one = explain(subject, cases, device="cpu", batch_size=3)
    change = Perturbation.of("shift", x=0, y=0)
    made = explain_changed(one, "gradcam", [(i, change) for i in (1, 1, 6)], "stable")
    torch.testing.assert_close(made.maps.values, one.maps("gradcam").values[[1, 1, 6]], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(made.predicted, one.predicted[[1, 1, 6]])
    assert len(set(made.maps.ids)) == 3
    brighter = Perturbation.of("brightness", by=0.05)
    moved = explain_changed(one, "gradcam", [(6, brighter)], "stable", few=True)
    by_hand = Cases.from_arrays(brighter.apply(one.pixels(6))[None], few.labels[6:7])
    alone = explain(Subject(MatchedFilters(), layer="features"), by_hand, device="cpu")
    torch.testing.assert_close(moved.maps.values, alone.maps("gradcam").values, rtol=0, atol=1e-6)


def test_an_image_that_cannot_be_explained_is_named_with_its_change(few: Planted) -> None:
    from pytest_saliency.engine.perturbed import explain_changed
    from pytest_saliency.errors import SubjectError

    class Overflowing(MatchedFilters):
        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            return scores + torch.where(x.amax((1, 2, 3)) > 0.95, torch.inf, 0.0).reshape(-1, 1)

    one = explained_by(Overflowing(), few)
    with pytest.raises(SubjectError, match=r"'case-0004 \(brightness \+0.1, change 2\)'"):
        explain_changed(
            one,
            "gradcam",
            [(3, Perturbation.of("brightness", by=0.01)), (4, Perturbation.of("brightness", by=0.1))],
            "stable",
        )
