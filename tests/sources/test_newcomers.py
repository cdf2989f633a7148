"""What people have in their folders and try first: whole models, Trainer folders, other things in checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_saliency.contracts.model_sources.huggingface import _below
from pytest_saliency.contracts.weights import WeightsError, load_weights


def said(model: nn.Module, path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(model, path, "m")
    return str(caught.value)


def test_of_a_whole_model_the_sentence_says_how_to_take_its_state(tmp_path: Path) -> None:
    model, path = nn.Linear(2, 3), tmp_path / "model.pth"
    torch.save(model, path)
    assert "torch.load(FILE, weights_only=False).state_dict(), 'weights.pt')" in said(model, path)
    torch.save(torch.load(path, weights_only=False).state_dict(), tmp_path / "weights.pt")
    load_weights(nn.Linear(2, 3), tmp_path / "weights.pt", "m")


def test_of_a_checkpoint_with_objects_it_says_which_entry_to_take(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    mixed = OrderedDict(state_dict=model.state_dict(), loss=nn.CrossEntropyLoss())
    for number, held in enumerate((dict(mixed), mixed)):
        path = tmp_path / f"{number}.ckpt"
        torch.save(held, path)
        assert "torch.load(FILE, weights_only=False)['state_dict'], 'weights.pt')" in said(model, path)


def test_of_another_architecture_beside_a_loss_the_rest_is_named_without_the_prefix(tmp_path: Path) -> None:
    state = {"model.weight": torch.zeros(4, 2), "model.extra": torch.zeros(1), "loss.weight": torch.ones(3)}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    sentence = said(nn.Linear(2, 3), tmp_path / "last.ckpt")
    assert "1 missing (bias); 1 unexpected (extra); 1 of another shape (weight 4x2 instead of 3x2)" in sentence


def test_a_missing_file_names_three_of_its_kind_beside_it(tmp_path: Path) -> None:
    for step in range(5):
        (tmp_path / f"step={step}.ckpt").touch()
    (tmp_path / "notes.txt").touch()
    sentence = said(nn.Linear(2, 3), tmp_path / "step=9.ckpt")
    assert "its folder holds step=0.ckpt, step=1.ckpt, step=2.ckpt and 2 more." in sentence
    assert "its folder" not in said(nn.Linear(2, 3), tmp_path / "elsewhere" / "step=9.ckpt")


def test_the_folder_of_a_trainer_names_its_checkpoints(tmp_path: Path) -> None:
    assert _below(tmp_path) == ""
    (tmp_path / "checkpoint-60").mkdir()
    (tmp_path / "checkpoint-60" / "config.json").touch()
    assert _below(tmp_path) == ", but in it checkpoint-60 has one"
