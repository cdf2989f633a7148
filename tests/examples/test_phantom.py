"""The phantom: its masks are true, and nothing but the lesion depends on the class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fixtures.phantom import CLASSES, RADIUS, SIDE, labelled, phantom

COUNT = 200


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others() -> None:
    one, again, other = phantom(40, 3), phantom(40, 3), phantom(40, 4)
    assert torch.equal(one.images, again.images)
    assert torch.equal(one.masks, again.masks)
    assert not torch.equal(one.images, other.images)


def test_shape_range_and_classes() -> None:
    made = phantom(COUNT, 0)
    assert made.images.shape == (COUNT, 3, SIDE, SIDE)
    assert made.images.dtype == torch.float32
    assert float(made.images.min()) >= 0.0
    assert float(made.images.max()) <= 1.0
    assert made.labels.bincount().tolist() == [COUNT // len(CLASSES)] * len(CLASSES)
    with pytest.raises(ValueError, match="2 to 4 classes, not 5"):
        phantom(10, 0, classes=5)


def test_pictures_differ_from_healthy_ones_inside_the_mask_and_nowhere_else() -> None:
    made = phantom(COUNT, 1)
    differ = (made.images != made.healthy).any(1)
    assert not bool((differ & ~made.masks).any())
    share = (differ & made.masks).sum((1, 2)) / made.masks.sum((1, 2))
    assert float(share.min()) > 0.9  # the lesion fills its mask


def test_masks_are_discs_of_the_lesion_inside_the_picture() -> None:
    masks = phantom(COUNT, 2).masks
    area = masks.sum((1, 2)).numpy()
    assert np.all(np.abs(area - np.pi * RADIUS**2) < 12)  # nowhere cut off at an edge
    edge = torch.ones(SIDE, SIDE, dtype=torch.bool)
    edge[4:-4, 4:-4] = False
    assert not bool((masks & edge).any())


def test_anatomy_place_and_noise_do_not_depend_on_the_class() -> None:
    """The same seed with other labels: the same healthy pictures and masks, other lesions."""
    labels = torch.arange(60) % 4
    one, other = labelled(labels, 5), labelled((labels + 1) % 4, 5)
    assert torch.equal(one.healthy, other.healthy)
    assert torch.equal(one.masks, other.masks)
    assert bool((one.images != other.images).flatten(1).any(1).all())


def test_no_class_is_brighter_than_another_or_brighter_than_healthy_tissue() -> None:
    made = phantom(COUNT, 6)
    inside = made.masks[:, None].float()
    count = inside.sum((1, 2, 3))
    change = ((made.images - made.healthy)[:, :1] * inside).sum((1, 2, 3)) / count
    strength = ((made.images - made.healthy)[:, :1].abs() * inside).sum((1, 2, 3)) / count
    assert float(change.abs().max()) < 0.02  # clipping at black may leave a little
    assert float(strength.min()) > 0.04
    by_class = torch.stack([change[made.labels == label].mean() for label in range(len(CLASSES))])
    assert float(by_class.max() - by_class.min()) < 0.005


def test_cases_carry_masks_and_names() -> None:
    made = phantom(12, 0)
    cases = made.cases()
    assert cases.class_names == CLASSES
    assert cases.labels == tuple(made.labels.tolist())
    assert cases.masks is not None
    assert [bool((cases.mask(i) == made.masks[i]).all()) for i in range(12)] == [True] * 12
