"""The digits example: its data are what they claim to be, and its training is repeatable."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from digits import data, train
from digits.model import build
from PIL import Image
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def split() -> tuple[data.Digits, data.Digits]:
    return data.load()


def test_every_digit_is_in_one_half_of_the_split(split: tuple[data.Digits, data.Digits]) -> None:
    training, held_out = split
    source = load_digits()
    assert sorted([*training.rows, *held_out.rows]) == list(range(len(source.target)))
    assert np.bincount(held_out.labels).tolist() == [data.HELD_OUT_PER_CLASS] * 10
    for part in split:
        assert (part.labels == source.target[part.rows]).all()


def test_pictures_show_the_source_digit_and_leave_the_frame_black(split: tuple[data.Digits, data.Digits]) -> None:
    source, corners = load_digits(), range(data.FRAME, data.SIZE - data.FRAME - data.INNER + 1)
    places = set()
    for image, row in zip(split[1].images[::4], split[1].rows[::4], strict=True):
        inside = np.zeros((data.SIZE, data.SIZE), bool)
        inside[data.FRAME : -data.FRAME, data.FRAME : -data.FRAME] = True
        assert not image[~inside].any()
        likeness = {}
        for top, left in itertools.product(corners, corners):
            part = image[top : top + data.INNER, left : left + data.INNER].reshape(8, 2, 8, 2).mean((1, 3))
            likeness[top, left] = np.corrcoef(part.ravel(), source.images[row].ravel())[0, 1] if part.any() else 0
        place = max(likeness, key=lambda at: likeness[at])
        assert likeness[place] > 0.97
        places.add(place)
    assert len(places) > 40


def test_loading_twice_gives_the_same_pictures(split: tuple[data.Digits, data.Digits]) -> None:
    for first, second in zip(split, data.load(), strict=True):
        assert (first.images == second.images).all()
        assert (first.rows == second.rows).all()


def test_the_image_folder_holds_the_held_out_digits_and_nothing_else(
    split: tuple[data.Digits, data.Digits], tmp_path: Path
) -> None:
    stale = tmp_path / "3" / "digit-9999.png"
    stale.parent.mkdir()
    stale.write_bytes(b"left by an earlier run")
    held_out = split[1]
    data.write_imagefolder(held_out, tmp_path)
    assert len(list(tmp_path.rglob("*"))) == len(held_out.labels) + len(data.CLASSES)
    for image, label, row in zip(held_out.images, held_out.labels, held_out.rows, strict=True):
        with Image.open(tmp_path / str(label) / f"digit-{row:04d}.png") as picture:
            assert (np.asarray(picture) == image).all()


def test_the_pretext_never_shows_an_even_digit(split: tuple[data.Digits, data.Digits]) -> None:
    training = split[0]
    turned = train.pretext(training)
    assert (load_digits().target[turned.rows] % 2 == 1).all()
    assert sorted(set(turned.labels.tolist())) == list(range(20))
    images = dict(zip(training.rows.tolist(), training.images, strict=True))
    for image, label, row in list(zip(turned.images, turned.labels, turned.rows, strict=True))[::50]:
        assert (np.rot90(images[row], label % 4) == image).all()
        assert load_digits().target[row] == label // 4 * 2 + 1


def test_erasing_takes_one_square_inside_the_frame() -> None:
    pixels = torch.ones(50, 1, data.SIZE, data.SIZE)
    kept = train.erased(pixels, torch.Generator().manual_seed(3))
    assert (pixels == 1).all()
    holes = kept[:, 0] == 0
    assert holes.sum((1, 2)).tolist() == [train.ERASED**2] * 50
    for hole in holes:
        rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
        for line in (rows, columns):
            assert len(line) == train.ERASED
            assert int(line.min()) >= data.FRAME
            assert int(line.max()) < data.SIZE - data.FRAME
    assert len({tuple(hole.flatten().tolist()) for hole in holes}) > 20


def test_fine_tuning_is_repeatable_and_leaves_its_start_alone(
    split: tuple[data.Digits, data.Digits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "TUNE_EPOCHS", 1)
    few = split[0].only(np.arange(len(split[0].labels)) < 64)
    torch.manual_seed(0)
    start = build()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    one, two, other = (train.fine_tuned(start, few, seed) for seed in (5, 5, 6))
    for name, value in start.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not torch.equal(one.head.weight, before["head.weight"])
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_the_head_is_trained_on_a_frozen_backbone(
    split: tuple[data.Digits, data.Digits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "HEAD_EPOCHS", 1)
    few = split[0].only(np.arange(len(split[0].labels)) < 64)
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train.fit_head(model, few, torch.Generator().manual_seed(0))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("head."), name
