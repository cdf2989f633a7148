"""Every method name, variant and combination, for every target and under jitter, and through every check."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.planted import MatchedFilters, planted_images
from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.engine.batches import jittered
from pytest_saliency.engine.methods.names import CONTROLS
from pytest_saliency.errors import MethodError

from .nets import PooledLinear, make, pictures
from .oracles import ranked
from .test_method_names import NAMES

N, INDEX = 9, 1
SHARED = ("random", "mean_map", "class_mean")  # what they show of an image depends on the target word or other images
CONTRASTS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("logits:3", None),
    ("soft:3", {"select": "soft", "k": 5}),
    ("similar_weights:2", {"select": "similar_weights", "k": 2}),
    ("explicit", {"select": "explicit", "classes": {c: [(c + 1) % 8, (c + 3) % 8] for c in range(8)}}),
)


def full_name(name: str, contrast: str) -> str:
    base, bracket, variants = name.partition("[")
    if base == "case":
        return f"case[{contrast}{',' + variants if bracket else ']'}"
    return f"{name}[gradcam]" if name in ("mean_map", "class_mean", "random_model") else name


@cache
def images() -> np.ndarray:
    """Pictures whose top class is the same under jitter, and not the same for all."""
    return pictures(N, PooledLinear.image, seed=28)


def explained(pixels: np.ndarray, contrast: dict[str, Any] | None = None, classes: int = 6) -> Explained:
    model = make(lambda: PooledLinear(classes), 2005)
    labels = [i % model.classes for i in range(N)]
    subject = Subject(model, layer=model.layer, contrast=contrast)
    return explain(subject, Cases.from_arrays(pixels, labels), device="cpu", batch_size=4)


@cache
def plain() -> Explained:
    return explained(images())


@cache
def dimmed() -> Explained:
    """The same images with the jitter done beforehand."""
    return explained(jittered(torch.from_numpy(images())).numpy())


def near(one: np.ndarray, two: np.ndarray) -> bool:
    return bool(np.abs(one - two).max() <= 1e-5 * max(1e-6, float(np.abs(two).max())))


@pytest.mark.parametrize("name", NAMES)
def test_a_target_word_is_the_class_that_it_stands_for(name: str) -> None:
    """The maps for a word are, image by image, those for the index of its class."""
    found = plain()
    order = ranked(found.logits.numpy())
    classes = {
        "top1": order[:, 0],
        "top2": order[:, 1],
        "label": np.arange(N) % 6,
        INDEX: np.full(N, INDEX),
    }
    by_index = {c: found.maps(name, c) for c in range(6)} if name not in SHARED else {}
    for word, expected in classes.items():
        maps = found.maps(name, word)
        assert maps.values.shape == (N, 6, 8)
        assert maps.values.dtype == torch.float32
        assert maps.target == str(word)
        assert maps.classes.tolist() == expected.tolist()
        assert maps.ids == found.cases.ids
        assert len(maps.status) == N
        assert maps.version >= 1
        assert all(len(values) == N for values in maps.details.values())
        assert found.maps(name, word) is maps
        for i in range(N if by_index else 0):
            assert near(maps.values[i].numpy(), by_index[int(expected[i])].values[i].numpy())


@pytest.mark.parametrize("name", NAMES)
def test_the_repeat_is_the_same_method_on_the_changed_images(name: str) -> None:
    """Explained with the jitter, for the class each image had before: as the jittered images by themselves."""
    again = plain().maps_jittered(name)
    assert again is not None
    assert plain().jitter_kept_prediction.all()
    assert again.classes.tolist() == plain().predicted.tolist()
    assert plain().maps_jittered(name) is again
    alone = dimmed().maps(name, "top1")
    assert alone.classes.tolist() == plain().predicted.tolist()
    if name == "random":
        assert not near(again.values.numpy(), plain().maps(name, "top1").values.numpy())
    else:
        assert near(again.values.numpy(), alone.values.numpy())
    assert again.method == alone.method


@pytest.mark.parametrize(("label", "contrast"), CONTRASTS, ids=[label for label, _ in CONTRASTS])
def test_full_names_say_contrast_and_variants(label: str, contrast: dict[str, Any] | None) -> None:
    found = explained(images(), contrast, classes=8)
    for name in NAMES:
        if name.startswith("case"):
            expected = full_name(name, label)
            assert found.maps(name).method == expected
            assert found.maps(name, "top2").method == expected
            again = found.maps_jittered(name)
            assert again is not None
            assert again.method == expected
        else:
            assert full_name(name, label) in (name, f"{name}[gradcam]")


@pytest.mark.parametrize("target", ["top3", "-1", "1.0", "top1 ", "", "٣"])
def test_a_target_that_is_none_is_a_sentence(target: str) -> None:
    with pytest.raises(MethodError, match="is not known; use top1, top2, label or a class index"):
        plain().maps("gradcam", target)


@pytest.mark.parametrize(
    "name", ["gradcam", "eigencam", "scorecam[channels:2]", "ablationcam", "edges", "random_model"]
)
def test_a_class_that_the_model_has_not_is_a_sentence(name: str) -> None:
    from pytest_saliency.errors import SubjectError

    with pytest.raises(SubjectError, match=r"target class 6 is not one of the 6 classes \(0 .. 5\)"):
        plain().maps(name, 6)


# -- through the checks ---------------------------------------------------------------------------------------------

PLANTED = 40
SETTINGS: dict[str, dict[str, Any]] = {
    "class_sensitive": {},
    "faithful": {"top_k": 0.04, "min_advantage": 0.0, "fill": ("mean",)},
    "no_semantic_drift": {"max_iou_drop": 0.5},
}


@cache
def subjects() -> dict[str, Explained]:
    torch.set_num_threads(1)
    made = planted_images(PLANTED, seed=0)
    cases = Cases.from_arrays(made.images, made.labels)
    contrast = {"select": "soft", "k": 1}
    one, two = MatchedFilters(), MatchedFilters(jitter=0.01, seed=1)
    return {
        role: explain(Subject(model, layer="features", name=role, contrast=contrast), cases, device="cpu")
        for role, model in (("before", one), ("after", two))
    }


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("name", NAMES)
def test_a_record_names_the_method_in_full_with_what_it_recorded(kind: str, name: str) -> None:
    found = subjects()
    roles = found if kind == "no_semantic_drift" else {"model": found["before"]}
    parameters = KINDS[kind].parameters.from_keywords(KINDS[kind].assertion, {"method": name, **SETTINGS[kind]})
    result = KINDS[kind].run(roles, parameters)
    record = result.to_record()
    assert record["method"]["name"] == full_name(name, "soft:1")
    assert record["criterion"]["method"] == name
    maps = found["before"].maps(name, "top1")
    expected = {
        key: {"mean": float(v.mean()), "min": float(v.min()), "max": float(v.max())}
        for key, values in maps.details.items()
        if values.ndim == 1
        for v in (values[found["before"].correct],)
    }
    told = record["method"].get("details", {})
    assert set(told) == set(expected)
    if kind == "class_sensitive":  # which looks at the correct images, as above
        for key, numbers in expected.items():
            assert told[key] == pytest.approx(numbers)
    if name.startswith("scorecam[") and "channels" in name:
        assert 0 < told["energy_kept"]["min"] <= told["energy_kept"]["mean"] <= told["energy_kept"]["max"] <= 1
        assert ("details_after" in record["method"]) == (kind == "no_semantic_drift")


def test_few_channels_keep_less_energy_than_many() -> None:
    found = subjects()["before"]
    shares = [found.maps(f"scorecam[channels:{n}]").details["energy_kept"].mean() for n in (1, 2, 8, 4096)]
    assert shares[0] < shares[1] <= shares[2] == shares[3] == 1.0
    assert np.array_equal(found.maps("scorecam[channels:8]").values, found.maps("scorecam[channels:4096]").values)


# -- controls -------------------------------------------------------------------------------------------------------


@cache
def decoyed() -> Explained:
    """Planted images with a fence somewhere above: it has the strongest edges, and the filters hardly see it."""
    made = planted_images(PLANTED, seed=3)
    for i, image in enumerate(made.images):
        column = 16 * (i * 7 % PLANTED) // PLANTED
        for post in range(column, column + 16, 4):
            image[0, 1:7, post : post + 2] = 1.0
    cases = Cases.from_arrays(made.images, made.labels)
    return explain(Subject(MatchedFilters(), layer="features"), cases, device="cpu")


def swap_verdict(method: str) -> str:
    kind = KINDS["faithful"]
    given = {"method": method, "top_k": 0.04, "min_advantage": 0.0}
    return kind.run({"model": decoyed()}, kind.parameters.from_keywords(kind.assertion, given)).verdict


def test_the_swap_test_passes_what_finds_the_evidence() -> None:
    assert decoyed().correct.all()
    assert swap_verdict("gradcam") == "PASS"


@pytest.mark.parametrize("control", CONTROLS)
def test_no_control_passes_the_swap_test(control: str) -> None:
    """None of them knows where the evidence of an image is."""
    assert swap_verdict(control) != "PASS"


# -- channel activity -----------------------------------------------------------------------------------------------


def test_channel_activity_counts_by_hand_and_another_threshold_is_one_more_pass() -> None:
    found = explained(images())
    model: Any = found.subject.model
    with torch.no_grad():
        layer = model.until(torch.from_numpy(images())).double().mean((2, 3)).numpy()
    default = found.channel_activity()
    assert default.channels == layer.shape[1]
    assert default.counts.tolist() == (layer > 0.001).sum(1).tolist()
    threshold = float(np.median(layer))
    assert not np.isclose(np.abs(layer - threshold), 0, atol=1e-6).sum() > 1
    higher = found.channel_activity(threshold + 1e-4)
    assert found.passes["activity"] == 3, "nine images in batches of four, once"
    assert higher.counts.tolist() == (layer > threshold + 1e-4).sum(1).tolist()
    assert 0 < higher.counts.sum() < default.counts.sum()
    assert found.channel_activity().counts.tolist() == default.counts.tolist()
    assert found.passes["activity"] == 3
