"""Changes of an image: what they do to pixels, against NumPy, SciPy and Pillow, and how maps are laid back."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pytest_saliency.engine.perturb import DEFAULT, FAMILIES, PHOTOMETRIC, Perturbation, Turns, sized
from pytest_saliency.errors import CriterionError

STRONG = [
    Perturbation.of("brightness", by=0.2),
    Perturbation.of("contrast", by=-0.5),
    Perturbation.of("noise", sd=0.1, seed=3),
    Perturbation.of("blur", sd=1.5),
    Perturbation.of("jpeg", loss=60),
    Perturbation.of("shift", x=-3, y=2),
    Perturbation.of("rotation", degrees=20.0),
    Perturbation.of("flip"),
]


def picture(channels: int = 3, height: int = 20, width: int = 28, seed: int = 0) -> Tensor:
    draw = np.random.default_rng(seed)
    values = gaussian_filter(draw.random((channels, height, width)), (0, 2, 2))
    low, high = values.min(), values.max()
    return torch.from_numpy(((values - low) / (high - low)).astype(np.float32))


@pytest.mark.parametrize("change", STRONG, ids=lambda change: change.family)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_image_stays_an_image_and_is_left_alone(change: Perturbation, channels: int) -> None:
    image = picture(channels)
    before = image.clone()
    made = change.apply(image)
    assert torch.equal(image, before)
    assert made.shape == image.shape
    assert made.dtype == image.dtype
    assert 0.0 <= float(made.min()) <= float(made.max()) <= 1.0
    assert float((made - image).abs().max()) > 0.01
    array = change.apply(image.numpy())
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, made.numpy())


@pytest.mark.parametrize("change", STRONG, ids=lambda change: change.family)
def test_an_image_is_changed_in_a_batch_as_on_its_own(change: Perturbation) -> None:
    batch = torch.stack([picture(seed=seed) for seed in range(3)])
    together = change.apply(batch)
    for one, image in zip(together, batch, strict=True):
        torch.testing.assert_close(one, change.apply(image), rtol=0, atol=1e-6)
    volume = torch.stack(list(batch), dim=1)  # (C, D, H, W)
    in_slices = change.apply(volume[None])[0]
    assert in_slices.shape == volume.shape
    if change.family in ("shift", "rotation", "flip", "jpeg"):
        torch.testing.assert_close(in_slices[:, 1], change.apply(batch[1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_changes_at_strength_or_level_0(family: str) -> None:
    image = picture()
    for level, strength in ((0.0, 1.0), (1.0, 0.0), (0.3, 0.0)):
        made = sized(family, level, Turns(True, True, 1.0, 5), strength=strength, size=(20, 28))
        assert made.identity
        assert torch.equal(made.apply(image), image)


@pytest.mark.parametrize("family", DEFAULT)
def test_more_is_more(family: str) -> None:
    image = picture(height=64, width=64)
    distances = [
        float((sized(family, level, Turns(seed=1), strength=1.0, size=(64, 64)).apply(image) - image).abs().mean())
        for level in (0.3, 1.0)
    ]
    stronger = sized(family, 1.0, Turns(seed=1), strength=2.0, size=(64, 64)).apply(image)
    distances.append(float((stronger - image).abs().mean()))
    assert distances == sorted(distances)
    assert distances[2] > distances[1] > 0.0


def test_photometric_changes_are_what_their_names_say() -> None:
    image = picture()
    array = image.numpy().astype(np.float64)
    brighter = Perturbation.of("brightness", by=0.125).apply(image).numpy()
    np.testing.assert_allclose(brighter, np.clip(array + 0.125, 0, 1), atol=1e-6)
    flat = 0.25 + 0.5 * array
    stretched = Perturbation.of("contrast", by=0.2).apply(torch.from_numpy(flat)).numpy()
    np.testing.assert_allclose(stretched.mean(), flat.mean(), atol=1e-9)
    np.testing.assert_allclose(stretched.std(), 1.2 * flat.std(), rtol=1e-9)
    blurred = Perturbation.of("blur", sd=1.3).apply(image).numpy()
    # SciPy cuts at int(truncate * sd + 0.5) positions; 2.7 * 1.3 + 0.5 gives the 4 that lie within three deviations.
    expected = gaussian_filter(array, (0, 1.3, 1.3), mode="mirror", radius=(0, 4, 4))
    np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_noise_is_gaussian_and_follows_its_seed() -> None:
    grey = torch.full((1, 200, 200), 0.5)
    made = Perturbation.of("noise", sd=0.05, seed=11).apply(grey)
    noise = (made - grey).numpy().ravel()
    assert abs(noise.mean()) < 4 * 0.05 / 200
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert np.mean(np.abs(noise) < 0.05) == pytest.approx(0.6827, abs=0.01)
    assert torch.equal(made, Perturbation.of("noise", sd=0.05, seed=11).apply(grey))
    assert not torch.equal(made, Perturbation.of("noise", sd=0.05, seed=12).apply(grey))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillow_s(channels: int) -> None:
    image = picture(channels)
    levels = np.rint(image.numpy() * 255).astype(np.uint8)
    held = io.BytesIO()
    Image.fromarray(levels[0] if channels == 1 else levels.transpose(1, 2, 0)).save(held, "JPEG", quality=35)
    read = np.asarray(Image.open(held), dtype=np.float64) / 255
    expected = read[None] if channels == 1 else read.transpose(2, 0, 1)
    np.testing.assert_allclose(Perturbation.of("jpeg", loss=65).apply(image).numpy(), expected, atol=1e-6)


def test_things_move_where_they_are_said_to() -> None:
    image = torch.zeros(1, 9, 9)
    image[0, 4, 6] = 1.0

    def place(change: Perturbation) -> tuple[int, int]:
        return divmod(int(change.apply(image).argmax()), 9)

    assert place(Perturbation.of("shift", x=1, y=-2)) == (2, 7)
    assert place(Perturbation.of("flip")) == (4, 2)
    assert place(Perturbation.of("rotation", degrees=90.0)) == (2, 4), "anticlockwise: from the right to the top"
    square = picture(height=16, width=16)
    torch.testing.assert_close(
        Perturbation.of("rotation", degrees=90.0).apply(square), torch.rot90(square, 1, (1, 2)), rtol=0, atol=1e-5
    )


def test_the_border_is_repeated() -> None:
    image = picture()
    made = Perturbation.of("shift", x=3, y=0).apply(image)
    for column in range(3):
        torch.testing.assert_close(made[:, :, column], image[:, :, 0])


@pytest.mark.parametrize(
    ("change", "far"),
    [
        (Perturbation.of("shift", x=3, y=-2), 0.0),
        (Perturbation.of("shift", x=0, y=5), 0.0),
        (Perturbation.of("flip"), 0.0),
        (Perturbation.of("rotation", degrees=7.0), 0.06),
        (Perturbation.of("brightness", by=0.1), 0.0),
    ],
)
def test_laying_back_undoes_what_moved(change: Perturbation, far: float) -> None:
    map_ = picture(1)
    moved = change.apply(map_) if change.geometric else map_
    back, known = change.lay_back(moved)
    assert back.shape == map_.shape
    assert float((back - map_)[0][known[0] if known.dim() == 3 else known].abs().max()) <= far
    lost = int((~known).sum())
    if change.family == "shift":
        x, y = (abs(int(value)) for value in change.values)
        assert lost == 20 * 28 - (20 - y) * (28 - x)
    elif change.family == "rotation":
        assert 0 < lost < 0.3 * 20 * 28
    else:
        assert lost == 0


def test_what_left_the_image_is_not_known() -> None:
    back, known = Perturbation.of("shift", x=2, y=0).lay_back(torch.arange(5.0).reshape(1, 1, 5))
    assert known.tolist() == [[True, True, True, False, False]]
    assert back[0, 0, :3].tolist() == [2.0, 3.0, 4.0]
    _, none = Perturbation.of("shift", x=7, y=0).lay_back(torch.zeros(1, 4, 5))
    assert not none.any()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Perturbation("blurr", (1.0,)), "no perturbation 'blurr'"),
        (lambda: Perturbation.of("blurr", sd=1.0), "no perturbation 'blurr'"),
        (lambda: Perturbation.of("blur", by=1.0), "given were by"),
        (lambda: Perturbation("blur"), "has sd; 0 were given"),
        (lambda: Perturbation.of("shift", x=1.5, y=0), "x must be a whole number"),
        (lambda: Perturbation.of("jpeg", loss=100), "loss must be from 0 to 99"),
        (lambda: Perturbation.of("brightness", by=float("nan")), "by must be from -1 to 1"),
        (lambda: Perturbation.of("flip").apply(torch.zeros(4, 4)), "needs an image"),
        (lambda: Perturbation.of("flip").apply(torch.zeros(1, 4, 4, dtype=torch.uint8)), "needs an image"),
        (lambda: Perturbation.of("flip").apply(torch.full((1, 4, 4), 2.0)), r"pixels in \[0, 1\]"),
        (lambda: Perturbation.of("flip").apply(torch.full((1, 4, 4), torch.nan)), r"pixels in \[0, 1\]"),
        (lambda: sized("blur", 1.0, Turns(), strength=6.0, size=None), "strength=6.0 must be from 0"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(make: object, said: str) -> None:
    with pytest.raises(CriterionError, match=said):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("change", STRONG, ids=lambda change: change.family)
def test_what_is_printed_can_be_pasted_back(change: Perturbation) -> None:
    assert eval(repr(change), {"Perturbation": Perturbation}) == change
    assert change.family in str(change)
    assert hash(change) == hash(eval(repr(change), {"Perturbation": Perturbation}))


def test_lengths_follow_the_size_of_the_image() -> None:
    far = {side: sized("shift", 1.0, Turns(), strength=1.0, size=(side, 2 * side)).values[0] for side in (8, 112, 448)}
    assert far == {8: 1.0, 112: 5.0, 448: 18.0}, "4 % of the shorter side, at least one pixel"
    assert sized("blur", 1.0, Turns(), strength=1.0, size=(448, 448)).values == (2.24,)
    assert set(PHOTOMETRIC) | {"shift", "rotation"} == set(DEFAULT)
