"""Images with several labels: units, what is predicted of them, maps and scores, contrast by co-occurrence.

The network is linear in what it is shown, so that scores and maps are known in closed form: channel c of an image holds
the evidence for label c, a patch at a place of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine import spread
from pytest_saliency.engine.contrast import Contrast, cooccurrence_table, sigmoid_sets
from pytest_saliency.engine.multi_label import by_image, cooccurrences
from pytest_saliency.errors import CasesError, MethodError, SaliencyError
from pytest_saliency.measure.scores import log_odds, softmax_probability

SIDE, LABELS = 12, 5
NAMES = ("edema", "effusion", "mass", "nodule", "pneumonia")
PAIRS = {"effusion": "mass", "mass": "effusion", "nodule": "mass"}
WEIGHT, BIAS = 60.0, -3.0
CORNERS = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]


class Net(nn.Module):
    """Five channels -> one map a label at ``features`` -> logit c is 60 times the mean of channel c, less 3."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(LABELS, LABELS, 1, bias=False)
        self.head = nn.Linear(LABELS, LABELS)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(LABELS).reshape(LABELS, LABELS, 1, 1))
            self.head.weight.copy_(torch.eye(LABELS) * WEIGHT)
            self.head.bias.fill_(BIAS)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels).mean((2, 3)))  # type: ignore[no-any-return]


class Deep(nn.Module):
    """A network whose tail is not linear, so that gradients differ between images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.features = nn.Conv2d(LABELS, 7, 3, padding=1)
        self.more = nn.Conv2d(7, 9, 3, padding=1)
        self.head = nn.Linear(9, LABELS)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(torch.tanh(self.more(self.features(pixels).relu())).mean((2, 3)))  # type: ignore[no-any-return]


SETS = np.array(
    [
        [0, 1, 1, 0, 0],
        [0, 1, 0, 0, 1],
        [0, 0, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 1],
        [0, 0, 0, 1, 0],
    ]
)
UNITS = [(0, 1), (0, 2), (1, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3), (6, 3)]


def images(sets: np.ndarray = SETS, seed: int = 3) -> np.ndarray:
    """Return images whose channel c has a patch where the label is present; of image 1 the effusion is faint."""
    draw = np.random.Generator(np.random.PCG64(seed))
    made = 0.02 * draw.random((len(sets), LABELS, SIDE, SIDE))
    for i, u in np.argwhere(sets):
        y, x = CORNERS[(i + u) % 5]
        made[i, u, y : y + 4, x : x + 4] = 0.9
    if sets is SETS:
        made[1, 1] *= 0.1
    return made.astype(np.float32)


def made(**extra: Any) -> Cases:
    given: dict[str, Any] = {"class_names": NAMES, "pairs": PAIRS, "ids": [f"p{i}" for i in range(len(SETS))]}
    return Cases.from_arrays(images(), SETS, **given | extra)


def subject(net: nn.Module | None = None, **extra: Any) -> Subject:
    return Subject(net or Net(), layer="features", name="net", **extra)


def logits(pixels: np.ndarray) -> np.ndarray:
    return WEIGHT * pixels.astype(np.float64).mean((2, 3)) + BIAS


# -- units ----------------------------------------------------------------------------------------------------------


def test_a_unit_is_a_present_label_with_a_counterpart() -> None:
    cases = made()
    assert cases.ids == tuple(f"p{i}#{NAMES[u]}" for i, u in UNITS)
    assert cases.labels == tuple(u for _, u in UNITS)
    assert cases.others == tuple({1: 2, 2: 1, 3: 2}[u] for _, u in UNITS)
    assert cases.groups == tuple(NAMES[u] for _, u in UNITS)
    assert cases.clusters == tuple(f"p{i}" for i, _ in UNITS)
    assert cases.present == tuple(tuple(np.flatnonzero(SETS[i])) for i, _ in UNITS)
    assert all(torch.equal(cases.image(k), torch.tensor(images()[i])) for k, (i, _) in enumerate(UNITS))


def test_patients_and_groups_are_kept_and_indices_serve_as_names() -> None:
    cases = made(class_names=None, pairs={1: 2}, clusters=list("aabbccd"), groups=["f", "m", "f", "m", "f", "m", "f"])
    assert cases.ids == ("p0#1", "p1#1", "p3#1")
    assert cases.clusters == ("a", "a", "b")
    assert cases.groups == ("f", "m", "m")


def test_clusters_that_are_only_the_images_are_told_from_patients() -> None:
    assert by_image(made())
    assert not by_image(made(clusters=list("aabbccd")))
    assert not by_image(Cases.from_arrays(images(), [0, 1, 2, 3, 4, 0, 1]))


def test_masks_go_with_the_image() -> None:
    masks = np.zeros((len(SETS), SIDE, SIDE), dtype=bool)
    masks[2, 3, 4] = True
    cases = made(masks=masks)
    assert [int(cases.mask(k).sum()) for k in range(len(cases))] == [int(i == 2) for i, _ in UNITS]


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"pairs": None}, r"their two highest scores mean nothing.*pairs: \{Effusion: Infiltration"),
        (
            {"pairs": {"effusio": "mass"}},
            "names the label 'effusio', which is not one of its labels; did you mean 'eff",
        ),
        ({"pairs": {"mass": "mass"}}, "holds the label 'mass' against itself"),
        ({"pairs": {"mass": "nodule", 2: 1}}, "names the label 'mass' twice"),
        ({"pairs": {5: 1}}, "names the label '5'.*the labels are edema, effusion"),
        ({"threshold": 1.0}, "the threshold of label 'edema' of arrays is 1.0; give a probability between 0 and 1"),
        ({"threshold": {"masss": 0.2}}, "'threshold' of arrays names the label 'masss'.*did you mean 'mass'"),
        ({"class_names": NAMES[:4]}, "have 5 columns, but there are 4 class names"),
        ({"labels": SETS * 2}, "'effusion' of image 'p0' is 2; write 1 where it is present"),
        ({"labels": SETS[:, :1], "class_names": None}, "for at least two labels"),
        ({"labels": SETS[:3]}, "7 ids but 3 rows of labels"),
        ({"labels": -SETS}, r"'effusion' of image 'p0' is -1, uncertain \(13 cells are\).*absent, present or skip"),
        ({"labels": np.where(SETS, 1.0, np.nan)}, r"'edema' of image 'p0' is blank \(22 cells are\)"),
        ({"labels": SETS * [1, 1, 0, 1, 1]}, "'mass', which is present in none of its 7 images"),
        ({"labels": SETS.astype(str).astype(object) + "x"}, "holds other things than numbers"),
        ({"labels": [[0, 1], [1]]}, "rows of different length"),
        ({"labels": [0, 1, 2, 3, 4, 0, 1]}, "belong to labels"),
    ],
)
def test_bad_input_is_one_sentence(extra: dict[str, Any], sentence: str) -> None:
    labels = extra.pop("labels", SETS)
    given: dict[str, Any] = {"class_names": NAMES, "pairs": PAIRS, "ids": [f"p{i}" for i in range(7)]}
    with pytest.raises(CasesError, match=sentence) as caught:
        Cases.from_arrays(images(), labels, **given | extra)
    assert "\n" not in str(caught.value)


def test_uncertain_and_blank_cells_count_as_they_are_said_to() -> None:
    cells = SETS.astype(float)
    cells[0, 1], cells[2, 3], cells[3, 2], cells[6, 2] = -1, -1, np.nan, np.nan

    def ids(**words: Any) -> set[str]:
        given: dict[str, Any] = {"class_names": NAMES, "pairs": PAIRS, "ids": [f"p{i}" for i in range(7)]}
        return set(Cases.from_arrays(images(), cells, **given, **words).ids)

    absent = {"p0#mass", "p1#effusion", "p2#mass", "p3#effusion", "p3#nodule", "p6#nodule"}
    assert ids(uncertain="absent", blank="absent") == absent
    assert ids(uncertain="present", blank="absent") == absent | {"p0#effusion", "p2#nodule"}
    # Skipped is a unit whose label or counterpart is not known: p0#mass is held against the uncertain effusion.
    assert ids(uncertain="skip", blank="absent") == absent - {"p0#mass"}
    assert ids(uncertain="absent", blank="skip") == absent - {"p3#effusion", "p3#nodule", "p6#nodule"}


def test_the_digest_tells_units_apart() -> None:
    digests = {
        made().digest,
        made(pairs={**PAIRS, "nodule": "effusion"}).digest,
        made(threshold=0.4).digest,
        made(clusters=list("abcdefg")).digest,
    }
    assert len(digests) == 4
    assert made().unordered_digest == made().subset([3, 1, 0, 2, 4, 5, 6, 7, 8]).unordered_digest


def test_a_sample_draws_images_with_all_their_units() -> None:
    cases = made()
    whole = Counter(cases.clusters or ())
    seen = set()
    for seed in range(20):
        for way in ("balanced", "natural"):
            drawn = cases.sample(2, seed, way)  # type: ignore[arg-type]
            assert len(set(drawn.clusters or ())) == 2
            assert Counter(drawn.clusters or ()) == {one: whole[one] for one in drawn.clusters or ()}
            seen.add(drawn.ids)
    assert len(seen) > 3
    assert cases.sample(5, 0).ids == cases.ids
    with pytest.raises(CasesError, match="asks for 6 cases, but arrays has 5"):
        cases.sample(6, 0)
    # Three labels in turn, and the only images with a nodule have other labels too.
    for seed in range(10):
        assert set(cases.sample(3, seed).labels) == {1, 2, 3}


# -- what the model says --------------------------------------------------------------------------------------------


def test_a_label_is_predicted_by_its_own_sigmoid() -> None:
    cases, pixels = made(), images()
    seen = explain(subject(), cases)
    own = np.array([logits(pixels)[i, u] for i, u in UNITS])
    assert (own > 0).sum() == 8  # the faint effusion of image 1 is not found
    assert seen.predicted.tolist() == [u if z > 0 else -1 for (_, u), z in zip(UNITS, own, strict=True)]
    assert seen.correct.tolist() == (own > 0).tolist()
    assert seen.judged.tolist() == [u for _, u in UNITS]


def test_thresholds_are_probabilities_of_single_labels() -> None:
    faint = 1 / (1 + math.exp(-logits(images())[1, 1]))
    for threshold, found in ((faint * 0.99, True), (faint * 1.01, False)):
        seen = explain(subject(), made(threshold={"effusion": threshold}))
        assert bool(seen.correct[2]) is found
    strict = explain(subject(), made(threshold={"mass": 1 - 1e-9})).correct
    assert strict.tolist() == [u != 2 and (i, u) != (1, 1) for i, u in UNITS]


def test_top1_is_the_label_and_top2_its_counterpart() -> None:
    cases, pixels = made(), images().astype(np.float64)
    seen = explain(subject(), cases)
    for word, classes in (("top1", cases.labels), ("label", cases.labels), ("top2", cases.others)):
        maps = seen.maps("gradcam", word)
        assert maps.classes.tolist() == list(classes or ())
        for k, (i, _) in enumerate(UNITS):
            # d logit_c / d A_c is 60 / P everywhere; Grad-CAM weights a channel by its mean over positions.
            known = WEIGHT / SIDE**2 * pixels[i, maps.classes[k]]
            np.testing.assert_allclose(maps.values[k].double().numpy(), known, rtol=1e-5, atol=1e-7)
    strongest = [int(one.flatten().argmax()) for one in seen.maps("gradcam", "top1").values]
    for k, (i, u) in enumerate(UNITS):
        y, x = CORNERS[(i + u) % 5]
        assert y <= strongest[k] // SIDE < y + 4
        assert x <= strongest[k] % SIDE < x + 4


def test_the_log_odds_of_a_label_are_its_logit() -> None:
    scores = torch.tensor(logits(images()))
    classes = torch.tensor([1, 2, 3, 0, 1, 2, 3])
    own = scores.gather(1, classes[:, None])[:, 0]
    assert torch.equal(log_odds(scores, classes, False, sigmoid=True), own)
    known = [1 / (1 + math.exp(-z)) for z in own.tolist()]
    np.testing.assert_allclose(softmax_probability(scores, classes, False, sigmoid=True), known, rtol=1e-12)
    assert not torch.allclose(log_odds(scores, classes, False), own, atol=0.1)
    broken = scores.clone()
    broken[0, 4] = torch.nan
    assert log_odds(broken, classes, False, sigmoid=True).isnan().tolist() == [True] + [False] * 6


def test_another_image_is_never_another_unit_of_the_same() -> None:
    from pytest_saliency.checks.class_sensitive import _others

    cases = made(clusters=list("aabcdef"))
    rows = np.arange(len(cases))
    others = _others(explain(subject(), cases), rows)
    assert (cases.clusters or ())[:3] == ("a", "a", "a")
    assert others.tolist() == [8, 8, 8, 2, 2, 4, 4, 4, 7]


def test_methods_that_weigh_by_probability_take_each_labels_own() -> None:
    """Score-CAM of the reference code: a channel weighs as the probability of the label when only it is shown."""
    cases = made(pairs={"effusion": "mass"}).subset([0])
    maps = explain(subject(), cases).maps("scorecam[reference-code]", "top1").values[0].double().numpy()
    pixels = images()[0].astype(np.float64)
    weights = []
    for channel in range(LABELS):
        mask = pixels[channel]
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        z = WEIGHT * (pixels[1] * mask).mean() + BIAS
        weights.append(1 / (1 + math.exp(-z)))
    known = np.einsum("c,cyx->yx", weights, pixels)
    known, maps = known / known.max(), maps / maps.max()
    np.testing.assert_allclose(maps, known, atol=1e-4)


def test_a_label_beyond_the_model_is_one_sentence() -> None:
    small = nn.Sequential(nn.Conv2d(LABELS, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    for pairs, word in (({1: 2}, "p0#1' has label 2"), ({2: 1}, "p0#2' has label 2")):
        with pytest.raises(CasesError, match=word):
            _ = explain(Subject(small, name="small"), made(class_names=None, pairs=pairs)).logits


# -- one forward pass an image --------------------------------------------------------------------------------------


class Ending(nn.Module):
    """The network with something behind its logits."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.net, self.last = Net(), last
        self.features = self.net.features

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.net(pixels))  # type: ignore[no-any-return]


def test_probabilities_are_no_logits() -> None:
    """The faint effusion of image 1 is not found; a sigmoid of its probability would be above one half all the same."""
    plain = explain(subject(), made(), device="cpu").correct
    assert not plain.all()
    again = torch.sigmoid(explain(subject(Ending(nn.Sigmoid())), made(), device="cpu").logits)
    assert bool((again > 0.5).all())
    with pytest.raises(SaliencyError, match="lie between 0 and 1, so that they seem to be probabilities"):
        _ = explain(subject(Ending(nn.Sigmoid())), made(), device="cpu").correct


def test_probabilities_of_one_logit_are_no_logits() -> None:
    """Ten images of two classes that one logit tells apart; behind a sigmoid all of them would be of class 1."""
    draw = np.random.Generator(np.random.PCG64(8))
    made_of = np.arange(10) % 2
    pixels = (0.3 * made_of[:, None, None, None] + 0.1 * draw.random((10, LABELS, SIDE, SIDE))).astype(np.float32)
    cases, head = Cases.from_arrays(pixels, made_of), nn.Linear(LABELS, 1)
    with torch.no_grad():
        head.weight.fill_(0.1)
    right = explain(subject(Ending(head)), cases, device="cpu")
    with torch.no_grad():
        head.bias.fill_(-0.5 * float(right.logits[:, 1].min() + right.logits[:, 1].max()) + float(head.bias))
    right = explain(subject(Ending(head)), cases, device="cpu")
    assert right.correct.all()
    with pytest.raises(SaliencyError, match="which would count every image as of class 1"):
        _ = explain(subject(Ending(nn.Sequential(head, nn.Sigmoid()))), cases, device="cpu").predicted


def test_one_logit_has_no_labels_that_go_together() -> None:
    two = Cases.from_arrays(images()[:4], SETS[:4, 1:3], pairs={0: 1})
    with pytest.raises(SaliencyError, match="has one logit, whose two classes exclude each other"):
        _ = explain(subject(Ending(nn.Linear(LABELS, 1))), two, device="cpu").predicted


def test_more_outputs_than_labels_are_no_guess() -> None:
    """Of a model with five outputs, which are those of two named labels? The first two need not be."""
    two = Cases.from_arrays(images()[:4], SETS[:4, 1:3], class_names=NAMES[1:3], pairs={"effusion": "mass"})
    with pytest.raises(CasesError, match="names 2 labels, but model 'net' has 5 outputs"):
        _ = explain(subject(), two, device="cpu").logits


@pytest.mark.parametrize("batch", [2, 4, 100])
def test_rows_of_one_image_share_a_pass_and_change_no_number(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = made()
    methods = ("gradcam", "case", "layercam")
    shared = explain(subject(Deep()), cases, methods=methods, batch_size=batch)
    # The same rows as single-label cases, each with an image of its own.
    alone = Cases.from_arrays([cases.image(k) for k in range(len(cases))], list(cases.labels), ids=cases.ids)
    other = explain(subject(Deep()), alone, methods=methods, batch_size=batch)
    np.testing.assert_allclose(shared.logits, other.logits, rtol=1e-5, atol=1e-6)
    for method in methods:
        one, two = shared.maps(method, "label").values, other.maps(method, "label").values
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    for k, counterpart in enumerate(cases.others or ()):
        one, two = shared.maps("gradcam", "top2").values[k], other.maps("gradcam", counterpart).values[k]
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    counted = shared.costs()["stages"]["capture"]["images"]["capture"]
    assert counted == {2: 7, 4: 6, 100: 5}[batch]  # 2, 1, 2, 3 and 1 units of five images, in batches of units
    monkeypatch.setattr(spread, "WORTH", 0)
    plain = explain(subject(Deep()), cases, methods=methods, batch_size=batch)
    np.testing.assert_allclose(plain.maps("case", "top1").values, shared.maps("case", "top1").values, atol=1e-6)
    assert plain.costs()["stages"]["capture"]["images"]["capture"] == len(cases)


# -- contrast -------------------------------------------------------------------------------------------------------


def held(sets: np.ndarray, seed: int = 8, **extra: Any) -> Cases:
    return Cases.from_arrays(images(sets, seed), sets, **{"class_names": NAMES, "pairs": {}} | extra)


def test_labels_present_together_are_counted_once_an_image() -> None:
    counts = np.zeros((LABELS, LABELS), dtype=int)
    for row in SETS:
        for u in range(LABELS):
            for v in range(LABELS):
                counts[u, v] += row[u] * row[v]
    assert (cooccurrences(held(SETS), LABELS) == counts).all()
    # As units, where an image has several rows, and one without a declared pair has none.
    reachable = SETS[[i for i in range(7) if SETS[i, [1, 2, 3]].any()]]
    assert (cooccurrences(made(), LABELS) == reachable.T @ reachable).all()


def test_contrast_labels_are_those_most_often_present_together() -> None:
    # Effusion is with mass twice, and once each with nodule and pneumonia: a third of the nodules, half of the other.
    lists = [(1, 2), (1, 2), (1, 3), (1, 4), (4,), (3,), (3,)]
    sets = np.array([[int(u in present) for u in range(LABELS)] for present in lists])
    counts = torch.tensor(cooccurrences(held(sets), LABELS))
    table = cooccurrence_table(counts, 2)
    assert table[1].tolist() == [0, 0, 1, 0, 1]
    assert cooccurrence_table(counts, 3)[1].tolist() == [0, 0, 1, 1, 1]
    assert table[2].tolist() == [1, 1, 0, 0, 0]  # effusion, then nothing: the lower index
    assert table[0].tolist() == [0, 0, 0, 0, 0]  # edema is in no image


def test_the_contrast_of_maps_and_what_a_record_says_of_it() -> None:
    contrast = {"select": "cooccurrence", "k": 1, "cases": held(SETS)}
    seen = explain(subject(contrast=contrast), made())
    maps = seen.maps("case", "top1")
    assert maps.method == "case[cooccurrence:1]"
    # In SETS: effusion with mass twice (edema, nodule, pneumonia once); mass with effusion and nodule twice each, of
    # which 2 of 3 and 2 of 3 are with mass: effusion by index; nodule with mass twice.
    chosen = {1: 2, 2: 1, 3: 2}
    assert maps.details["contrast"].argmax(1).tolist() == [chosen[u] for _, u in UNITS]
    assert maps.details["contrast"].sum(1).tolist() == [1] * len(UNITS)
    said = seen.identity()["contrast"]
    assert said["select"] == "cooccurrence"
    assert len(said["counts_sha256"]) == 64
    other = Contrast.of({"select": "cooccurrence", "cases": held(SETS[:-1])}).describe()
    assert other["counts_sha256"] != said["counts_sha256"]


@pytest.mark.parametrize(
    ("contrast", "sentence"),
    [
        ({"select": "cooccurrence"}, "has no 'cases' to count them on.*select: logits"),
        ({"select": "cooccurrence", "cases": held(SETS[:2])}, "no image with the label 'nodule'"),
        ({"select": "cooccurrence", "cases": held(SETS, class_names=NAMES[::-1])}, "list the same 'classes'"),
        ({"select": "cooccurrence", "cases": held(SETS, seed=3)}, "also under test"),
        ({"select": "confusion", "cases": held(SETS)}, "several labels each; use select: cooccurrence"),
        ({"select": "soft", "cases": held(SETS)}, "several labels each; use select: cooccurrence"),
        (
            {"select": "cooccurrence", "cases": Cases.from_arrays(images(seed=4), [0, 1, 2, 3, 4, 0, 1])},
            "have one label an image",
        ),
    ],
)
def test_contrasts_that_do_not_fit(contrast: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SaliencyError, match=sentence):
        explain(subject(contrast=contrast), made()).maps("case")


def test_soft_contrast_weighs_by_single_sigmoids() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0]], dtype=torch.float64)
    p = [1 / (1 + math.exp(-z)) for z in (2.0, 1.0, -1.0)]
    known = [p[0] / (p[0] + p[1]), p[1] / (p[0] + p[1]), 0, 0, 0]
    np.testing.assert_allclose(sigmoid_sets(scores, torch.tensor([2]), 2)[0], known, rtol=1e-12)
    np.testing.assert_allclose(
        sigmoid_sets(scores, torch.tensor([0]), 3)[0, [1, 3]], np.array([p[1], p[2]]) / (p[1] + 0.5 + p[2]), rtol=1e-12
    )
    maps = explain(subject(contrast={"select": "soft", "k": 2}), made()).maps("case", "top1")
    assert maps.method == "case[soft:2]"
    z = logits(images())
    rest = sorted((c for c in range(LABELS) if c != 1), key=lambda c: -z[0, c])[:2]
    shares = np.array([1 / (1 + math.exp(-z[0, c])) for c in rest])
    np.testing.assert_allclose(maps.details["contrast"][0, rest], shares / shares.sum(), rtol=1e-5)


def test_held_out_sets_cannot_be_explained() -> None:
    with pytest.raises(CasesError, match="declare which label each is held against"):
        explain(subject(), held(SETS))
    with pytest.raises(CasesError, match="no image of arrays has any label"):
        held(SETS * 0)
    with pytest.raises(MethodError, match="'logits' has no use for 'cases'"):
        Contrast.of({"select": "logits", "cases": held(SETS)})
