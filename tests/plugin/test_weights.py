"""Weights: what is read, what is refused and with which sentence."""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pytest_saliency.contracts.states import WeightsError, find_state
from pytest_saliency.contracts.weights import load_weights


class Whatever:
    """An object that only a pickle can hold."""


@pytest.fixture
def trained() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 3))


@pytest.fixture
def fresh() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 3))


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[key], right[key]) for key in left)


def prefixed(model: nn.Module, prefix: str) -> dict[str, Any]:
    return {prefix + key: value for key, value in model.state_dict().items()}


def test_safetensors(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    path = tmp_path / "w.safetensors"
    save_file(trained.state_dict(), path)
    assert not same(trained, fresh)
    loaded = load_weights(fresh, path, "ft")
    assert same(trained, fresh)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.adaptations == ()


@pytest.mark.parametrize(
    ("wrap", "adaptations"),
    [
        (lambda m: m.state_dict(), ()),
        (lambda m: {"epoch": 3, "state_dict": m.state_dict()}, ("under 'state_dict'",)),
        (lambda m: {"model": m.state_dict(), "optimizer": {"lr": 0.1}}, ("under 'model'",)),
        (lambda m: {"state_dict": prefixed(m, "module.")}, ("under 'state_dict'", "prefix 'module.' removed")),
        (lambda m: prefixed(m, "model."), ("prefix 'model.' removed",)),
        (lambda m: prefixed(m, "module.model."), ("prefix 'module.' removed", "prefix 'model.' removed")),
    ],
)
def test_checkpoints_as_training_loops_write_them(
    tmp_path: Path, trained: nn.Module, fresh: nn.Module, wrap: Any, adaptations: tuple[str, ...]
) -> None:
    torch.save(wrap(trained), tmp_path / "w.pt")
    assert load_weights(fresh, tmp_path / "w.pt", "ft").adaptations == adaptations
    assert same(trained, fresh)


def test_a_prefix_that_belongs_to_the_model_stays(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    wrapped = nn.Module()
    wrapped.model = fresh
    torch.save(prefixed(trained, "model."), tmp_path / "w.pt")
    assert load_weights(wrapped, tmp_path / "w.pt", "ft").adaptations == ()
    assert same(trained, fresh)


def test_a_whole_pickled_model_is_refused_unread(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    torch.save({"state_dict": trained.state_dict(), "extra": Whatever()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"'ft' are refused: .*w\.pt is a pickle .*Whatever.* could run any code"):
        load_weights(fresh, tmp_path / "w.pt", "ft")


def test_what_training_loops_keep_beside_the_weights_is_no_code(
    tmp_path: Path, trained: nn.Module, fresh: nn.Module
) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, data=Path("data")),
        "best": np.float64(0.9),
        "epoch": np.int64(3),
        "optimizer": torch.optim.AdamW(trained.parameters()).state_dict(),
    }
    torch.save({"state_dict": trained.state_dict(), **beside}, tmp_path / "w.pth.tar")
    assert load_weights(fresh, tmp_path / "w.pth.tar", "ft").adaptations == ("under 'state_dict'",)
    assert same(trained, fresh)


def test_an_average_beside_the_weights_has_to_be_chosen(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    average = {key: value * 2 for key, value in trained.state_dict().items()}
    torch.save({"state_dict": trained.state_dict(), "state_dict_ema": average}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"holds two sets .* Write 'state: state_dict' or 'state: state_dict_ema'"):
        load_weights(fresh, tmp_path / "w.pt", "ft")
    assert load_weights(fresh, tmp_path / "w.pt", "ft", state="state_dict").adaptations == ("under 'state_dict'",)
    assert same(trained, fresh)
    load_weights(fresh, tmp_path / "w.pt", "ft", state="state_dict_ema")
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in average.items())
    torch.save({"epoch": 3, "state_dict_ema": average}, tmp_path / "alone.pt")
    assert load_weights(fresh, tmp_path / "alone.pt", "ft").adaptations == ("under 'state_dict_ema'",)


def test_a_model_beside_a_loss_and_metrics(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    for prefix in ("model.", "net.", "backbone.", "a.name.of.my.own."):
        others = {"loss.weight": torch.ones(3), "train_acc.tp": torch.zeros(3)}
        torch.save({"state_dict": {**prefixed(trained, prefix), **others}}, tmp_path / "w.ckpt")
        found = load_weights(fresh, tmp_path / "w.ckpt", "ft").adaptations
        assert found == (
            "under 'state_dict'",
            f"prefix '{prefix}' removed",
            "left out: loss.weight, train_acc.tp",
        )
        assert same(trained, fresh)


def test_a_teacher_and_a_student_have_to_be_told_apart(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    teacher = {key: torch.zeros_like(value) for key, value in prefixed(trained, "teacher.").items()}
    torch.save({"state_dict": {**prefixed(trained, "student."), **teacher}}, tmp_path / "w.ckpt")
    with pytest.raises(WeightsError, match=r"2 times, under 'student' and 'teacher'.* Write 'state: student'"):
        load_weights(fresh, tmp_path / "w.ckpt", "ft")
    found = load_weights(fresh, tmp_path / "w.ckpt", "ft", state="student")
    assert found.adaptations == ("under 'state_dict'", "prefix 'student.' removed")
    assert same(trained, fresh)
    with pytest.raises(WeightsError, match=r"no entry 'pupil'.* begin with student, teacher"):
        load_weights(fresh, tmp_path / "w.ckpt", "ft", state="pupil")


def _named(value: float, prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": torch.full((1,), value) for key in ("conv.weight", "conv.bias")}


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({"model": _named(1.0), "best_model": _named(2.0)}, "two sets of weights of the same names, 'model' and 'best"),
        ({"net": _named(1.0), "teacher": _named(2.0, "module.")}, "'net' and 'teacher'"),
        ({**_named(1.0), **_named(2.0, "ema.")}, "2 times, under names without any prefix and 'ema'"),
        ({"state_dict": {**_named(1.0, "student."), **_named(2.0, "student.ema.")}}, "under 'student' and 'student.em"),
    ],
)
def test_a_second_set_of_weights_is_never_chosen_silently(held: Any, sentence: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(sentence)):
        find_state(held, _named(0.0).keys(), None, "weights")


def test_a_copy_of_the_model_inside_the_chosen_one_is_left_out() -> None:
    held = {"state_dict": {**_named(1.0, "student."), **_named(2.0, "student.ema.")}}
    for chosen, value in (("student", 1.0), ("student.ema", 2.0)):
        found = find_state(held, _named(0.0).keys(), chosen, "weights").tensors
        assert {key: float(tensor) for key, tensor in found.items()} == dict.fromkeys(_named(0.0), value)


def test_counters_that_older_files_lack(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    state = {key: value for key, value in trained.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    assert load_weights(fresh, tmp_path / "w.pt", "ft").adaptations == ("without num_batches_tracked",)
    assert same(trained, fresh)


def test_keys_that_a_package_has_renamed(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    torch.save({f"old{key}": value for key, value in trained.state_dict().items()}, tmp_path / "w.pt")
    adapt = ("old names", lambda state: {key.removeprefix("old"): value for key, value in state.items()})
    assert load_weights(fresh, tmp_path / "w.pt", "ft", adapt=adapt).adaptations == ("old names",)
    assert same(trained, fresh)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, fresh: nn.Module, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is not a checkpoint at all, but it is long enough to look at")
    with pytest.raises(WeightsError, match=r"model 'ft'.*w\."):
        load_weights(fresh, tmp_path / name, "ft")


def test_a_missing_file_is_named(tmp_path: Path, fresh: nn.Module) -> None:
    with pytest.raises(WeightsError, match=r"weights of model 'ft' are missing: there is no file .*gone\.pt\."):
        load_weights(fresh, tmp_path / "gone.pt", "ft")


def test_another_digest_than_declared_is_refused(tmp_path: Path, trained: nn.Module, fresh: nn.Module) -> None:
    path = tmp_path / "w.safetensors"
    save_file(trained.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=rf"not the declared ones: .* has sha256 {digest}, the contract says 0000"):
        load_weights(fresh, path, "ft", "0" * 64)
    assert not same(trained, fresh), "nothing is loaded when the digest is wrong"
    assert load_weights(fresh, path, "ft", digest).sha256 == digest


@pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "file,label\na,b\n"])
def test_text_is_not_taken_for_a_pickle(tmp_path: Path, fresh: nn.Module, text: str) -> None:
    (tmp_path / "w.ckpt").write_text(text)
    with pytest.raises(WeightsError) as caught:
        load_weights(fresh, tmp_path / "w.ckpt", "ft")
    assert "is neither safetensors nor a checkpoint" in str(caught.value)
    assert "a Git LFS pointer" in str(caught.value)


def test_names_that_fit_but_for_a_loss_or_a_module_around_say_so(
    tmp_path: Path, trained: nn.Module, fresh: nn.Module
) -> None:
    save_file({**trained.state_dict(), "criterion.weight": torch.ones(3)}, tmp_path / "loss.safetensors")
    with pytest.raises(WeightsError, match=r"1 unexpected \(criterion\.weight\)\. All that the model needs is there"):
        load_weights(fresh, tmp_path / "loss.safetensors", "ft")
    around = nn.Module()
    around.net = fresh
    save_file(trained.state_dict(), tmp_path / "inside.safetensors")
    with pytest.raises(WeightsError, match=r"They differ by 'net\.' only: .* let the contract build 'net' alone\."):
        load_weights(around, tmp_path / "inside.safetensors", "ft")


def test_another_architecture_is_told_in_one_sentence(tmp_path: Path, fresh: nn.Module) -> None:
    other = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Identity(), nn.Linear(2, 5), nn.Linear(5, 1))
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(fresh, tmp_path / "w.safetensors", "ft")
    text = str(caught.value)
    assert "belong to another architecture" in text
    assert "5 missing (1.bias, 1.num_batches_tracked, 1.running_mean, ...)" in text
    assert "2 unexpected (3.bias, 3.weight)" in text
    assert "2 of another shape (2.bias 5 instead of 3, 2.weight 5x2 instead of 3x2)" in text
    assert "\n" not in text
    assert all(torch.equal(before[key], value) for key, value in fresh.state_dict().items())


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}])
def test_a_checkpoint_without_a_state_says_what_it_holds(tmp_path: Path, fresh: nn.Module, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"does not hold a state dict.*; it holds (a list|a mapping|an empty)"):
        load_weights(fresh, tmp_path / "w.pt", "ft")
