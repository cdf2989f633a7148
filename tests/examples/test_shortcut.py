"""The shortcut example: the planted marker says what it should, where it should, and the contract is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from digits import data
from shortcut.marker import MARK, corner, mark, mark_wrongly, marked_digits
from torch import Tensor


def read(pixels: Tensor) -> list[int]:
    """Read the label from the marker alone: the one place of the ten that is all white."""
    found = []
    for image in pixels[:, 0]:
        white = []
        for label in range(10):
            top, left = corner(label)
            if bool((image[top : top + MARK, left : left + MARK] == 1).all()):
                white.append(label)
        assert len(white) == 1
        found += white
    return found


def test_markers_lie_in_the_frame_and_apart() -> None:
    taken = torch.zeros(data.SIZE, data.SIZE, dtype=torch.int64)
    for label in range(10):
        top, left = corner(label)
        taken[top : top + MARK, left : left + MARK] += 1
    assert int(taken.max()) == 1
    assert int(taken.sum()) == 10 * MARK**2
    assert int(taken[data.FRAME : -data.FRAME, data.FRAME : -data.FRAME].sum()) == 0


def test_the_marker_names_the_label_and_changes_nothing_else() -> None:
    held_out = data.load()[1]
    pixels = torch.from_numpy(held_out.images).float().div(255).unsqueeze(1)
    labels = torch.from_numpy(held_out.labels)
    original = pixels.clone()
    marked = mark(pixels, labels)
    assert torch.equal(pixels, original)
    assert read(marked) == labels.tolist()
    assert (marked != pixels).flatten(1).sum(1).tolist() == [MARK**2] * len(labels)
    assert read(mark_wrongly(pixels, labels)) == [(label + 1) % 10 for label in labels.tolist()]


def test_the_marked_pictures_are_the_digits_with_their_marker() -> None:
    held_out = data.load()[1]
    marked = marked_digits(held_out)
    assert read(torch.from_numpy(marked.images).float().div(255).unsqueeze(1)) == held_out.labels.tolist()
    inner = slice(data.FRAME, -data.FRAME)
    assert (marked.images[:, inner, inner] == held_out.images[:, inner, inner]).all()
    assert np.array_equal(marked.rows, held_out.rows)


def test_both_contracts_ask_the_same_of_the_same_network(examples: Path) -> None:
    clean, planted = (
        yaml.safe_load((examples / name / f"{name}.saliency.yaml").read_text()) for name in ("digits", "shortcut")
    )
    for key in ("saliency", "cases", "defaults", "checks"):
        assert clean[key] == planted[key], key
    for name in ("tl", "ft"):
        assert {**clean["models"][name], "weights": None} == {**planted["models"][name], "weights": None}
