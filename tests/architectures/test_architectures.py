"""Every architecture of the table: its layer, every method on it, and a patch at a known place."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch

from .exports import FILE, exported
from .measuring import GRADIENT, METHODS, PERTURBING, VARIANTS, Measured, measure
from .page import LEVEL, NOT_TRIED, PAGE, expected, first_row, page, second_row
from .planted import by_chance, places
from .registry import ARCHITECTURES, Architecture, key

QUICK = ("SqueezeNet 1.1 (torchvision)",)
ONE_LOGIT = {"case": {"degenerate"}, "case[elementwise]": {"degenerate"}}


def _needs(architecture: Architecture) -> None:
    if architecture.source != "torchvision":
        pytest.importorskip(architecture.source)


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=key)
def row(request: pytest.FixtureRequest) -> Iterator[tuple[Architecture, Measured]]:
    """Measure one architecture once for all tests of it, on one thread."""
    architecture: Architecture = request.param
    _needs(architecture)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield architecture, measure(architecture)
    torch.set_num_threads(before)


def test_auto_takes_the_layer_that_the_design_asks_for(row: tuple[Architecture, Measured]) -> None:
    architecture, made = row
    assert (made.auto, made.grid, made.layout) == (architecture.layer, architecture.grid, architecture.layout)


def test_every_method_gives_finite_maps_of_the_layers_grid(row: tuple[Architecture, Measured]) -> None:
    architecture, made = row
    assert set(made.statuses) == set(METHODS)
    for method in METHODS:
        assert made.finite[method], method
        assert made.shapes[method] == architecture.grid, method
        allowed = {"ok", "blank"} if method.partition("[")[0] in architecture.blank else {"ok"}
        if architecture.head == "logit":
            allowed = ONE_LOGIT.get(method, allowed)
        assert made.statuses[method] <= allowed, method


def test_cam_is_gradcam_times_the_cells_or_refuses(row: tuple[Architecture, Measured]) -> None:
    architecture, made = row
    if architecture.cam:
        assert (made.cam, made.cam_is_gradcam) == ("", True)
    else:
        assert made.cam.startswith("cam has a meaning only where global average pooling and one linear layer follow")


def test_the_patch_is_found(row: tuple[Architecture, Measured]) -> None:
    architecture, made = row
    chance = 1 / len(places(architecture.places))
    assert architecture.finds
    for method in architecture.finds:
        assert by_chance(made.hits[method], made.images, chance) < LEVEL, (method, made.hits[method], made.images)


def test_other_layers_by_name(row: tuple[Architecture, Measured]) -> None:
    architecture, made = row
    assert made.alternatives == {layer: (grid, {"ok"}) for layer, grid in architecture.alternatives}


def test_a_wrapper_changes_nothing(row: tuple[Architecture, Measured]) -> None:
    assert row[1].wrapped


def test_the_page_has_this_row(row: tuple[Architecture, Measured]) -> None:
    architecture, made = row
    known = json.loads(FILE.read_text(encoding="utf-8"))
    assert (
        first_row(architecture, made, known.get(key(architecture), NOT_TRIED))
        in PAGE.read_text(encoding="utf-8").splitlines()
    )


def test_the_page_is_what_is_generated() -> None:
    """With rows as they are expected, which the tests above hold every measurement to."""
    rows = expected()
    assert PAGE.read_text(encoding="utf-8") == page(rows)
    assert all(second_row(one) in page(rows) for one in ARCHITECTURES if one.note)
    assert set(METHODS) == {*GRADIENT, *VARIANTS, "eigencam", *PERTURBING}


@pytest.mark.parametrize("architecture", [one for one in ARCHITECTURES if key(one) in QUICK], ids=key)
def test_an_export_goes_as_the_page_says(architecture: Architecture) -> None:
    assert exported(architecture) == json.loads(FILE.read_text(encoding="utf-8"))[key(architecture)]


def test_a_fixed_map_hits_one_place_by_chance() -> None:
    """The bound is right for whatever does not look: every place is hit by a fixed peak equally often."""
    assert by_chance(0, 12, 1 / 9) == pytest.approx(1.0)
    assert by_chance(6, 12, 1 / 9) == pytest.approx(0.00092, abs=5e-5)
    assert by_chance(5, 12, 1 / 9) > LEVEL
