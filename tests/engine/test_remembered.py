"""Between runs: what is computed again, when an earlier run is believed, and what happens where it is not."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_saliency import Cases
from pytest_saliency.engine.agreement import Agreement
from pytest_saliency.engine.remembered import CANARY, told
from pytest_saliency.engine.swept import Swept
from pytest_saliency.errors import DeviceError, SubjectError
from pytest_saliency.records.cache import Cache

from . import counted
from .counted import CHANGE, COUNT, DIGESTS, METHODS, OWN, PICTURES, SEEN, Run, everything
from .nets import ConvNet, pictures

BATCH = 8
SENTENCE = "what was kept of model 'counted' from an earlier run was computed again: its weights and source are the*"

Numbers = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def _seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEEN, str(tmp_path / "seen.txt"))
    monkeypatch.delenv(CHANGE, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def differing(one: Numbers, two: Numbers) -> list[str]:
    assert one.keys() == two.keys()
    return [name for name in one if not np.array_equal(one[name], two[name], equal_nan=True)]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*.entry"))


def matching(notes: list[str], pattern: str) -> bool:
    return len(notes) == 1 and notes[0].startswith(pattern.rstrip("*"))


# -- what a second run costs --------------------------------------------------------------------------------------


def test_a_second_run_computes_one_sample_and_returns_the_same_bits(folder: Path) -> None:
    """Gradient methods, their jitter, perturbation methods, controls: a sample; an own method: one batch more."""
    one = Run(folder)
    first = everything(one)
    two = Run(folder)
    second = everything(two)
    assert two.stages == {"canary": {"capture": CANARY}, f"canary: {OWN}": {"own": two.stages[f"canary: {OWN}"]["own"]}}
    assert two.total == CANARY + two.stages[f"canary: {OWN}"]["own"]
    assert two.stages[f"canary: {OWN}"]["own"] <= BATCH
    assert two.costs["cache"]["made"] == 0
    assert two.costs["notes"] == []
    assert differing(first, second) == []
    assert differing(first, everything(Run(None))) == [], "with and without a cache"


@pytest.mark.parametrize("select", ["logits", "confusion", "similar_weights", "soft"])
def test_what_the_contrast_is_made_from_is_kept_with_the_first_pass(folder: Path, select: str) -> None:
    held = Cases.from_arrays(pictures(20, ConvNet.image, seed=9), [i % 5 for i in range(20)])
    contrast = {"select": select, **({"cases": held} if select == "confusion" else {})}
    one = Run(folder, contrast=contrast)
    first = one.explained.maps("case")
    assert one.stages.get("confusion", {}).get("held out", 0) == (20 if select == "confusion" else 0)
    two = Run(folder, contrast=contrast)
    second = two.explained.maps("case")
    assert two.total == CANARY
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(first.details["contrast"], second.details["contrast"])
    other = Run(folder, contrast={"select": "logits", "k": 2})
    _ = other.explained.maps("case")
    assert other.costs["cache"] == {"found": 0, "made": 1}


def test_numbers_of_checks_are_kept(folder: Path) -> None:
    made = []

    def make() -> Numbers:
        made.append(1)
        return {"numbers": np.arange(4.0)}

    for parts in ({"seed": 1}, {"seed": 1}, {"seed": 2}):
        found = Run(folder).explained.remember("swap", parts, make)
        assert found["numbers"].tolist() == [0, 1, 2, 3]
    assert len(made) == 2


def test_a_run_that_plans_other_methods_computes_the_missing_ones_alone(folder: Path) -> None:
    plain = Run(folder, explain={"methods": ("gradcam", "case")})
    for target in ("top1", "3"):
        _ = plain.explained.maps("case", target), plain.explained.maps_jittered("case")
    wider = Run(folder, explain={"methods": ("gradcam", "case", "eigencam", "case[elementwise]")})
    names = ("gradcam", "case", "eigencam", "case[elementwise]")
    found = {name: wider.explained.maps(name).values.numpy() for name in names}
    assert wider.stages == {"canary": {"capture": CANARY}, "capture": {"capture": COUNT}}
    again = Run(folder, explain={"methods": ("gradcam", "case", "eigencam", "case[elementwise]")})
    assert differing(found, {name: again.explained.maps(name).values.numpy() for name in names}) == []
    assert again.total == CANARY
    fresh = Run(None, explain={"methods": ("gradcam", "case", "eigencam", "case[elementwise]")})
    assert differing(found, {name: fresh.explained.maps(name).values.numpy() for name in names}) == []
    jitter = Run(folder, explain={"methods": ("gradcam", "case")})
    _ = jitter.explained.maps_jittered("case")
    assert jitter.total == CANARY


def test_a_method_of_another_version_is_computed_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ = Run(folder).explained.maps("layercam")
    import dataclasses

    from pytest_saliency.engine.methods import registry

    newer = dataclasses.replace(
        registry.find_method("layercam"), version=99, compute=registry.find_method("hirescam").compute
    )
    usual = registry.gradient_methods

    def patched(names: tuple[str, ...]) -> Any:
        return tuple(newer if method.name == "layercam" else method for method in usual(names))

    monkeypatch.setattr("pytest_saliency.engine.explained.gradient_methods", patched)
    run = Run(folder)
    maps = run.explained._making.maps(newer, "top1", "")
    assert maps.version == 99
    assert np.array_equal(maps.values, run.explained.maps("hirescam").values)
    assert run.stages == {"canary": {"capture": CANARY}, "capture": {"capture": COUNT}}


# -- what makes another address -----------------------------------------------------------------------------------


def test_precision_is_part_of_the_address(folder: Path) -> None:
    full = Run(folder)
    numbers = everything(full)
    half = Run(folder, explain={"precision": "bf16"})
    _ = everything(half)
    assert half.costs["cache"]["made"] == full.costs["cache"]["made"]
    assert half.costs["notes"] == []
    again = Run(folder, explain={"precision": "bf16"})
    assert differing(everything(again), everything(half)) == []
    assert again.stages.keys() == {"canary", f"canary: {OWN}"}, "what float32 costs for the comparison is kept too"
    assert again.costs["precision"] == half.costs["precision"] is not None
    assert differing(everything(Run(folder)), numbers) == [], "and float32 is found beside it"


@pytest.mark.parametrize(
    "settings",
    [
        {"layer": "act1"},
        {"preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3}},
        {"preprocess": lambda x: x * 0.5},
        {"count": 49},
    ],
    ids=["layer", "preprocess", "callable", "cases"],
)
def test_other_subjects_and_cases_have_other_addresses(folder: Path, settings: dict[str, Any]) -> None:
    _ = Run(folder).explained.logits
    other = Run(folder, **settings)
    _ = other.explained.logits
    assert other.costs["cache"] == {"found": 0, "made": 1}


def test_a_forward_set_on_the_object_makes_another_address(folder: Path) -> None:
    _ = Run(folder).explained.logits
    changed = Run(folder)
    usual = changed.model.forward
    changed.model.forward = lambda x: usual(x) * 2  # type: ignore[method-assign]
    changed.explained = changed.explain_anew()
    _ = changed.explained.logits
    assert changed.costs["cache"] == {"found": 0, "made": 1}
    assert changed.costs["notes"] == [], "nothing was found that could have been wrong"


class Opaque:
    """A preprocess with a state that nothing can read."""

    def __init__(self) -> None:
        self.held = (i for i in range(3))

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels


def test_what_cannot_be_identified_is_not_kept_and_said(folder: Path) -> None:
    run = Run(folder, preprocess=Opaque())
    _ = run.explained.maps("gradcam")
    assert matching(run.costs["notes"], "nothing was kept for model 'counted': its preprocess, output or reshape*")
    assert entries(folder) == []


# -- the sample ---------------------------------------------------------------------------------------------------


def sample_of(total: int) -> list[int]:
    return Run(None, count=total).explained._work.remembered.sample()


def test_a_sample_is_spread_evenly_and_moves_from_run_to_run() -> None:
    seen = set()
    for _ in range(60):
        chosen = sample_of(COUNT)
        gaps = np.diff([*chosen, chosen[0] + COUNT])
        assert len(set(chosen)) == CANARY
        assert chosen == sorted(chosen)
        assert gaps.min() >= 1
        assert gaps.max() <= 2
        seen.update(chosen)
    assert seen == set(range(COUNT)), "no image is out of sight for ever"
    assert sample_of(3) == [0, 1, 2]


def test_what_concerns_one_image_alone_is_found_by_the_run_whose_sample_has_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = Run(folder).explained.logits
    monkeypatch.setenv(CHANGE, "first")
    for start in range(COUNT):
        monkeypatch.setattr(secrets, "randbelow", lambda _, start=start: start)
        inside = 0 in Run(None).explained._work.remembered.sample()
        if inside:
            break
        unseen = Run(folder)
        _ = unseen.explained.logits
        assert unseen.costs["notes"] == []
    run = Run(folder)
    _ = run.explained.logits
    assert matching(run.costs["notes"], SENTENCE)


@pytest.mark.parametrize("change", ["scores", "gradients"])
def test_a_model_that_changed_where_no_source_tells_is_computed_anew_in_all_that_depends_on_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before = Run(folder)
    old = everything(before)
    monkeypatch.setenv(CHANGE, change)
    expected = everything(Run(None))
    assert differing(old, expected), "the change is one"
    changed = Run(folder)
    assert differing(everything(changed), expected) == [], "nothing old among the new"
    assert changed.costs["cache"]["made"] == before.costs["cache"]["made"]
    assert matching(changed.costs["notes"], SENTENCE)
    after = Run(folder)
    assert differing(everything(after), expected) == []
    assert after.costs["cache"]["made"] == 0
    assert after.costs["notes"] == []
    monkeypatch.delenv(CHANGE)
    assert differing(everything(Run(folder)), old) == [], "and back again"


def test_what_was_made_from_a_first_pass_that_is_gone_is_not_mixed_with_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass alone went lost, and nothing is left that could tell of the change."""
    _ = Run(folder).explained.logits
    (lost,) = entries(folder)
    _ = everything(Run(folder))
    lost.unlink()
    monkeypatch.setenv(CHANGE, "scores")
    expected = everything(Run(None))
    assert differing(everything(Run(folder)), expected) == []


def test_what_was_made_from_an_equal_first_pass_is_used_again(folder: Path) -> None:
    _ = Run(folder).explained.logits
    (lost,) = entries(folder)
    _ = Run(folder).explained.maps("scorecam")
    lost.unlink()
    run = Run(folder)
    _ = run.explained.maps("scorecam")
    assert run.stages == {"layer": {"layer": 2}, "capture": {"capture": COUNT}}


def test_a_model_that_became_random_is_refused_and_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ = Run(folder).explained.logits
    monkeypatch.setenv(CHANGE, "random")
    run = Run(folder)
    with pytest.raises(SubjectError, match="scores one image differently from call to call"):
        _ = run.explained.logits
    assert matching(run.costs["notes"], SENTENCE)
    assert entries(folder) == []


def test_a_model_that_raises_now_says_so_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ = Run(folder).explained.logits
    run = Run(folder)
    monkeypatch.setenv(SEEN, str(folder))  # where it counts: a folder cannot be written to, and no source tells that
    with pytest.raises(SubjectError, match="raised IsADirectoryError"):
        _ = run.explained.logits
    assert matching(run.costs["notes"], SENTENCE)


@pytest.mark.parametrize("way", [{"batch_size": 1}, {"batch_size": 7}, {"batch_size": 32}, {"threads": 2}], ids=str)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_another_batch_size_or_number_of_threads_is_no_other_model(
    folder: Path, way: dict[str, Any], precision: str
) -> None:
    first = everything(Run(folder, explain={"precision": precision}))
    run = Run(folder, explain={"precision": precision, **way})
    assert differing(everything(run), first) == []
    assert run.costs["notes"] == []
    assert run.costs["cache"]["made"] == 0


# -- own methods --------------------------------------------------------------------------------------------------


def drawing(subject: Any, pixels: Tensor, classes: Tensor) -> Tensor:
    """Draws from torch, which is seeded for each batch."""
    return torch.rand(len(pixels), 4, 4)


def restless(subject: Any, pixels: Tensor, classes: Tensor) -> Tensor:
    """Draws from a source of its own."""
    return torch.tensor([[[secrets.randbelow(1000) + 1.0, 1.0]]]).expand(len(pixels), 1, 2)


@pytest.mark.parametrize("batch", [BATCH, 3])
def test_an_own_method_that_draws_is_compared_in_the_batches_it_was_given(folder: Path, batch: int) -> None:
    name = f"{__name__}:drawing"
    first = Run(folder).explained.maps(name).values
    for _ in range(5):
        run = Run(folder, explain={"batch_size": batch})
        assert torch.equal(run.explained.maps(name).values, first)
        assert run.costs["notes"] == []


def test_an_own_method_that_cannot_be_repeated_is_computed_anew_and_said(folder: Path) -> None:
    name = f"{__name__}:restless"
    first = Run(folder).explained.maps(name).values
    run = Run(folder)
    assert not torch.equal(run.explained.maps(name).values, first)
    assert matching(run.costs["notes"], f"what was kept of own method '{name}' of model 'counted' from an earlier*")
    _ = run.explained.maps("scorecam")
    assert run.stages["canary"] == {"capture": CANARY}, "the model itself is believed"


# -- entries that are no use --------------------------------------------------------------------------------------


def test_damaged_entries_are_made_anew_with_one_sentence(folder: Path) -> None:
    first = everything(Run(folder))
    for number, path in enumerate(entries(folder)):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if number % 2 else content[:-9] + b"\x00\x01" + content[-7:])
    run = Run(folder)
    assert differing(everything(run), first) == []
    assert run.costs["cache"]["found"] <= 4, "entries of this very run, for one target after the other"
    (note,) = run.costs["notes"]
    assert re.match(r"the cache entry .*\.entry is not used: .*; what it held is recomputed", note)
    again = Run(folder)
    assert differing(everything(again), first) == []
    assert again.costs["notes"] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: entry.meta.pop("origin"),
        lambda entry: entry.meta.pop("extra"),
        lambda entry: entry.meta["extra"].pop("methods"),
        lambda entry: entry.meta["extra"]["layer"].pop("layout"),
        lambda entry: entry.meta.pop("swept"),
        lambda entry: entry.arrays.pop("scores"),
        lambda entry: entry.arrays.update(scores=entry.arrays["scores"][:7]),
    ],
    ids=["origin", "extra", "methods", "layer", "swept", "scores", "fewer"],
)
def test_a_whole_entry_of_another_make_is_made_anew(folder: Path, spoil: Callable[[Any], object]) -> None:
    first = Run(folder).explained.maps("gradcam").values
    (path,) = entries(folder)
    cache = Cache(folder, 1 << 30, told)
    entry = cache.get(path.stem)
    assert entry is not None
    spoil(entry)
    cache.put(path.stem, entry.arrays, entry.meta)
    run = Run(folder)
    assert torch.equal(run.explained.maps("gradcam").values, first)
    assert matching(run.costs["notes"], "an entry of the cache is whole but not what this version of*")
    again = Run(folder)
    assert torch.equal(again.explained.maps("gradcam").values, first)
    assert again.total == CANARY


def test_whoever_waited_takes_what_the_other_one_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers distrust one entry; the second finds the first one's new entry, and does not repeat its work."""
    _ = Run(folder).explained.logits
    monkeypatch.setenv(CHANGE, "scores")
    seen: list[Run] = []
    usual = Cache.locked

    @contextlib.contextmanager
    def locked(self: Cache, key: str) -> Iterator[None]:
        if not seen:
            seen.append(Run(folder))
            _ = seen[0].explained.logits
            seen[0].seen.write_text("")
        with usual(self, key):
            yield

    second = Run(folder)
    monkeypatch.setattr(Cache, "locked", locked)
    _ = second.explained.logits
    assert seen[0].costs["cache"] == {"found": 0, "made": 1}
    assert second.costs["cache"] == {"found": 1, "made": 0}
    assert second.stages == {"canary": {"capture": 2 * CANARY}}
    assert torch.equal(second.explained.logits, seen[0].explained.logits)


@pytest.mark.parametrize("place", ["file", "full"])
def test_a_cache_that_cannot_be_written_costs_time_and_is_told_by_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "file":
        folder.write_text("in the way")
    else:
        import errno

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("pytest_saliency.records.cache._write", full)
    run = Run(folder)
    assert differing(everything(run), everything(Run(None))) == []
    assert matching(run.costs["notes"], f"the cache at {folder} cannot be written: *")


# -- memory -------------------------------------------------------------------------------------------------------


class Narrow(ConvNet):
    """Runs out of memory with more images at once than ``room``."""

    room = 3

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x)


@pytest.mark.parametrize(("room", "final"), [(1, 1), (2, 2), (3, 2), (5, 4)])
def test_batches_halve_until_they_fit_and_the_numbers_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch, room: int, final: int
) -> None:
    # Replaying what follows the layer is learnt from two images at once.
    methods = tuple(method for method in METHODS if method != "ablationcam" or room > 1)
    expected = everything(Run(None), methods)
    monkeypatch.setattr(counted, "Counted", type("Narrow", (Narrow,), {"room": room}))
    run = Run(folder)
    found = everything(run, methods)
    for name, numbers in found.items():
        tolerance = 1e-4 * np.abs(expected[name]).max()
        assert np.allclose(numbers, expected[name], rtol=0, atol=tolerance, equal_nan=True), name
    said = run.explained.size.describe()
    assert (said["wanted"], said["final"]) == (BATCH, final)
    assert said["out_of_memory"] >= 1
    again = Run(folder)
    assert differing(everything(again, methods), found) == []
    assert again.costs["notes"] == []


def test_where_not_even_one_image_fits_a_sentence_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "Counted", type("Narrow", (Narrow,), {"room": 0}))
    with pytest.raises(DeviceError, match="one image at a time does not fit into the memory of this machine"):
        _ = Run(folder).explained.layer
    assert entries(folder) == []


# -- what counts as the same --------------------------------------------------------------------------------------

FLOAT32 = Agreement.of(torch.float32)
SCORES = torch.tensor([[3.0, 1.0, -2.0], [0.5, 4.0, 1.0]])
MAPS = torch.rand(8, 5, 5, generator=torch.Generator().manual_seed(1))


def test_scores_are_the_same_up_to_rounding() -> None:
    assert FLOAT32.of_scores(SCORES, SCORES * (1 + 1e-5))
    assert not FLOAT32.of_scores(SCORES, SCORES * 1.01)
    assert not FLOAT32.of_scores(SCORES, SCORES.flip(1))
    assert not FLOAT32.of_scores(SCORES, SCORES[:1])
    assert FLOAT32.of_scores(SCORES[:0], SCORES[:0])
    assert Agreement.of(torch.bfloat16).of_scores(SCORES, SCORES * 1.01)


@pytest.mark.parametrize("low", [-1e9, torch.finfo(torch.float32).min, -torch.inf])
def test_a_class_that_is_ruled_out_hides_nothing(low: float) -> None:
    masked = SCORES.clone()
    masked[:, 2] = low
    changed = masked.clone()
    changed[0, 0] = 3.1
    assert FLOAT32.of_scores(masked, masked.clone())
    assert not FLOAT32.of_scores(masked, changed)
    assert not FLOAT32.of_scores(masked, SCORES)


def test_one_map_in_four_may_jump() -> None:
    """Where rounding moves a unit across its kink, a gradient jumps; with another model they all do."""
    few, many = MAPS.clone(), MAPS.clone()
    few[:2] *= 1.5
    many[:3] *= 1.5
    assert FLOAT32.of_maps(MAPS, few)
    assert not FLOAT32.of_maps(MAPS, many)
    assert not FLOAT32.of_maps(MAPS[:1], MAPS[:1] * 1.5)
    assert FLOAT32.of_maps(MAPS[:0], MAPS[:0])
    assert not FLOAT32.of_maps(MAPS, MAPS[:, :4])


def test_one_huge_map_hides_nothing_and_a_tiny_one_is_not_held_to_its_noise() -> None:
    huge, tiny = MAPS.clone(), MAPS.clone()
    huge[0] *= 1e6
    changed = huge.clone()
    changed[1:4] *= 1.5
    assert not FLOAT32.of_maps(huge, changed)
    tiny[:3] *= 1e-7
    noisy = tiny.clone()
    noisy[:3] += 1e-8
    assert FLOAT32.of_maps(tiny, noisy)


def test_maps_that_are_not_finite_agree_in_the_same_places_only() -> None:
    broken = MAPS.clone()
    broken[:, 0, 0] = torch.nan
    assert FLOAT32.of_maps(broken, broken.clone())
    assert not FLOAT32.of_maps(broken, MAPS)


def test_maps_of_other_classes_are_not_compared() -> None:
    def swept(classes: list[int], maps: Tensor, scores: Tensor) -> Swept:
        key = ("gradcam", "top1")
        return Swept(scores, False, {"top1": torch.tensor(classes)}, {key: maps}, {}, {key: {}}, (5, 5))

    tie = torch.tensor([[1.0, 1.0], [2.0, 1.0]])
    one, two = swept([0, 0], MAPS[:2], tie), swept([1, 0], MAPS[[2, 1]], tie)
    assert FLOAT32.of_passes(one, two)
    assert not FLOAT32.of_passes(one, swept([0, 0], MAPS[[2, 1]], tie))
    assert not FLOAT32.of_passes(one, swept([0, 0], MAPS[:2], tie * 1.1))


def test_the_pictures_are_told_apart() -> None:
    assert len(set(DIGESTS)) == COUNT == len(PICTURES)
