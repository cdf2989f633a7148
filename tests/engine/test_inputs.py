"""Images, labels, preprocessing and devices: what is accepted, and the sentence for what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.engine.preprocess import Preprocess
from pytest_saliency.errors import CasesError, DeviceError, MethodError, SaliencyError

from .helpers import TOLERANCE, raw, run, six
from .nets import ConvNet, Counting, make, pictures
from .oracles import capture, distance, maps, ranked


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * image.transpose(1, 2, 0)).round().astype(np.uint8)).save(path)
    return path


def rounded(n: int, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures that survive eight bits."""
    return np.round(pictures(n, shape, seed=1) * 255).astype(np.float32) / 255


def folder(root: Path, images: np.ndarray, classes: int = 5) -> Path:
    for i, image in enumerate(images):
        save(root / f"class{i % classes}" / f"{i:03d}.png", image)
    return root


def test_files_arrays_and_bytes_are_the_same_images(tmp_path: Path) -> None:
    model = make(ConvNet, 1108)
    images = rounded(6, model.image)
    labels = [0, 1, 2, 3, 4, 0]
    paths = [save(tmp_path / f"{i}.png", x) for i, x in enumerate(images)]
    arrays = Cases.from_arrays(images, labels)
    tensors = Cases.from_arrays(torch.from_numpy(images), torch.tensor(labels))
    integers = Cases.from_arrays((images * 255).round().astype(np.uint8), labels)
    files = Cases.from_files(paths, labels)
    dataset = Cases.from_dataset([(torch.from_numpy(x), y) for x, y in zip(images, labels, strict=True)])
    expected = raw(run(model, cases=arrays), "case")
    for cases in (tensors, integers, files, dataset):
        assert len(cases) == 6
        assert list(cases.labels) == labels
        np.testing.assert_allclose(cases.image(3).numpy(), images[3], atol=1e-7)
        assert distance(raw(run(model, cases=cases), "case"), expected) < TOLERANCE


def test_imagefolder_labels_follow_the_folders(tmp_path: Path) -> None:
    cases = Cases.from_imagefolder(folder(tmp_path, rounded(6, (3, 12, 16))))
    assert list(cases.labels) == [0, 0, 1, 2, 3, 4]
    assert cases.ids[0].endswith("000.png")
    named = [f"class{c}" for c in (4, 3, 2, 1, 0)]
    turned = Cases.from_imagefolder(tmp_path, classes=named)
    assert dict(zip(turned.ids, turned.labels, strict=True)) == {
        i: 4 - y for i, y in zip(cases.ids, cases.labels, strict=True)
    }


def test_resize_crop_and_normalise_by_hand() -> None:
    """A crop needs no interpolation, so what the model saw can be cut out by hand."""
    model = make(ConvNet, 1108)
    large = pictures(3, (3, 20, 22), seed=4)
    cut = large[:, :, 4:16, 3:19]
    declared = {"center_crop": [12, 16], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    explained = run(model, large, preprocess=declared)
    got = capture(model, ((cut - 0.5) / 0.25).astype(np.float32))
    assert explained.input_size == (12, 16)
    np.testing.assert_array_equal(explained.pixels(1).numpy(), cut[1])
    assert distance(raw(explained, "case"), maps(got, "case", ranked(got.scores)[:, 0])) < TOLERANCE


def test_resize_makes_different_sizes_one() -> None:
    model = make(ConvNet, 1108)
    images = [pictures(1, shape, seed=4)[0] for shape in ((3, 12, 16), (3, 24, 32), (3, 30, 20))]
    explained = run(model, cases=Cases.from_arrays(images, [0, 1, 2]), preprocess={"resize": [12, 16]})
    assert raw(explained, "gradcam").shape == (3, 6, 8)
    assert tuple(explained.pixels(2).shape) == (3, 12, 16)
    np.testing.assert_allclose(explained.pixels(0).numpy(), images[0], atol=1e-6)
    assert float(explained.pixels(1).min()) >= 0
    assert float(explained.pixels(1).max()) <= 1


def test_resize_halves_without_aliasing() -> None:
    """One pixel in two columns is bright: an antialiased half-size image is grey, not black or white."""
    model = make(ConvNet, 1108)
    stripes = np.zeros((1, 3, 24, 32), np.float32)
    stripes[..., ::2] = 1
    seen = run(model, stripes, preprocess={"resize": [12, 16]}).pixels(0).numpy()
    assert np.abs(seen[:, :, 2:-2] - 0.5).max() < 0.13


def test_resize_by_one_number_keeps_the_shape_of_the_image() -> None:
    model = make(ConvNet, 1108)
    images = pictures(2, (3, 24, 32), seed=4)
    assert run(model, images, preprocess={"resize": 12}).input_size == (12, 16)


@pytest.mark.parametrize(("size", "crop"), [(224, 224), (40, 33), (31, 20), (64, 64)])
@pytest.mark.parametrize("shape", [(190, 190), (71, 71), (57, 93), (101, 40), (64, 300)])
def test_resize_and_crop_are_torchvisions(size: int, crop: int, shape: tuple[int, int]) -> None:
    from torchvision.transforms.v2.functional import center_crop, resize

    image = torch.from_numpy(pictures(1, (3, *shape))[0])
    expected = center_crop(resize(image, [size], antialias=True), [crop, crop]).clamp(0, 1)
    found = Preprocess.of({"resize": size, "center_crop": crop}).geometry(image, "case")
    assert torch.equal(found, expected)


def test_grey_images_become_three_channels() -> None:
    model = make(ConvNet, 1108)
    grey = pictures(3, (1, 12, 16), seed=4)
    explained = run(model, grey, preprocess={"channels": 3})
    got = capture(model, np.repeat(grey, 3, axis=1))
    assert distance(raw(explained, "gradcam"), maps(got, "gradcam", ranked(got.scores)[:, 0])) < TOLERANCE


@pytest.mark.parametrize(
    "preprocess",
    [
        {"resise": 12},
        {"resize": 0},
        {"mean": [0.5, 0.5, 0.5], "std": [0.0, 1.0, 1.0]},
        {"mean": [0.5, 0.5], "std": [1.0, 1.0]},
        {"channels": 2},
        {"resize": "large"},
    ],
)
def test_a_preprocess_that_makes_no_sense_is_a_sentence(preprocess: dict[str, Any]) -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(SaliencyError):
        run(model, six(model), preprocess=preprocess).maps("gradcam")


def test_different_sizes_without_a_resize_name_the_image() -> None:
    model = make(ConvNet, 1108)
    images = [*pictures(4, (3, 12, 16)), pictures(1, (3, 14, 16))[0]]
    cases = Cases.from_arrays(images, [0] * 5, ids=["a", "b", "c", "d", "odd-one"])
    for batch_size in (1, 4, 8):
        with pytest.raises(CasesError) as caught:
            run(model, cases=cases, batch_size=batch_size).maps("gradcam")
        assert "odd-one" in str(caught.value)
        assert "resize" in str(caught.value)


@pytest.mark.parametrize("label", [5, 17, -1])
def test_labels_beyond_the_classes_name_the_image(label: int) -> None:
    model = make(ConvNet, 1108)

    def attempt() -> None:
        cases = Cases.from_arrays(six(model), [0, 1, 2, label, 4, 0], ids=list("abcdef"))
        run(model, cases=cases).maps("gradcam", "label")

    with pytest.raises(CasesError) as caught:
        attempt()
    assert str(label) in str(caught.value)
    assert "'d'" in str(caught.value) or "index 3" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nbroken", b"not an image at all"])
def test_one_corrupt_file_among_many_is_named(tmp_path: Path, content: bytes) -> None:
    model = make(ConvNet, 1108)
    folder(tmp_path, rounded(8, model.image))
    bad = tmp_path / "class2" / "broken.png"
    bad.write_bytes(content)
    with pytest.raises(CasesError) as caught:
        run(model, cases=Cases.from_imagefolder(tmp_path)).maps("gradcam")
    assert "broken.png" in str(caught.value)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    model = make(ConvNet, 1108)
    folder(tmp_path, rounded(8, model.image))
    whole = tmp_path / "class2" / "002.png"
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(CasesError) as caught:
        run(model, cases=Cases.from_imagefolder(tmp_path)).maps("gradcam")
    assert "002.png" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    model = make(ConvNet, 1108)
    there = save(tmp_path / "0.png", rounded(1, model.image)[0])
    with pytest.raises(CasesError) as caught:
        run(model, cases=Cases.from_files([there, tmp_path / "gone.png"], [0, 1])).maps("gradcam")
    assert "gone.png" in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "settings"),
    [
        (pictures(2, (3, 8, 8)) * 255, [0, 1], {}),
        (pictures(2, (3, 8, 8)) - 0.5, [0, 1], {}),
        (np.full((2, 3, 8, 8), np.nan, np.float32), [0, 1], {}),
        (pictures(2, (3, 8, 8)), [0], {}),
        (pictures(2, (3, 8, 8)), [0, 0.5], {}),
        (pictures(2, (3, 8, 8)), ["cat", "dog"], {}),
        (pictures(2, (3, 8, 8)), [0, 1], {"ids": ["same", "same"]}),
        (pictures(2, (3, 8, 8)), [0, 1], {"ids": ["one"]}),
        (pictures(2, (3, 8, 8)), [0, 1], {"groups": ["a", "b", "c"]}),
        (np.zeros((0, 3, 8, 8), np.float32), [], {}),
        (np.zeros((8, 8), np.float32), [0] * 8, {}),
    ],
)
def test_cases_that_make_no_sense_are_cases_errors(images: Any, labels: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(CasesError):
        Cases.from_arrays(images, labels, **settings)


@pytest.mark.parametrize("target", [99, -1, 5])
def test_a_class_that_is_not_there_is_a_sentence(target: int) -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(SaliencyError) as caught:
        run(model, six(model)).maps("gradcam", target)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize("target", ["top3", "best", ""])
def test_a_target_that_is_not_one_is_a_sentence(target: str) -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(SaliencyError) as caught:
        run(model, six(model)).maps("gradcam", target)
    assert "top1" in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "gpu", ""])
def test_a_device_that_is_not_there_is_a_device_error(device: str) -> None:
    model = make(ConvNet, 1108)
    with pytest.raises(DeviceError):
        explain(Subject(model, layer="act2"), Cases.from_arrays(six(model), [0] * 6), device=device).maps("gradcam")


def test_cuda_without_cuda_is_a_device_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    model = make(ConvNet, 1108)
    with pytest.raises(DeviceError, match="cuda"):
        explain(Subject(model), Cases.from_arrays(six(model), [0] * 6), device="cuda").maps("gradcam")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares the CPU with a CUDA device")
def test_cuda_agrees_with_the_cpu_oracle() -> None:
    model = make(ConvNet, 1108)
    got = capture(model, six(model))
    cases = Cases.from_arrays(six(model), [0] * 6)
    explained = explain(Subject(model, layer="act2"), cases, device="cuda", batch_size=4)
    for method in ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case"):
        expected = maps(got, method, ranked(got.scores)[:, 0])
        assert distance(raw(explained, method), expected) < TOLERANCE
    assert next(model.parameters()).device.type == "cpu"


def test_the_device_is_what_was_asked_for() -> None:
    model = make(ConvNet, 1108)
    assert run(model, six(model)).device == "cpu"


def test_sample_and_subset_keep_ids_and_order() -> None:
    cases = Cases.from_arrays(pictures(30, (3, 8, 8)), [i % 3 for i in range(30)], ids=[f"p{i:02d}" for i in range(30)])
    part = cases.sample(9, seed=4)
    assert sorted(part.ids) == list(part.ids)
    assert sorted(part.labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert part.ids == cases.sample(9, seed=4).ids
    assert part.ids != cases.sample(9, seed=5).ids
    with pytest.raises(CasesError):
        cases.sample(31, seed=4)


def test_the_digest_sees_every_byte_and_the_order() -> None:
    images = pictures(4, (3, 8, 8))
    labels = [0, 1, 2, 3]
    base = Cases.from_arrays(images, labels)
    assert base.digest == Cases.from_arrays(images.copy(), list(labels)).digest
    touched = images.copy()
    touched[2, 1, 3, 3] = np.nextafter(touched[2, 1, 3, 3], 2)
    others = [
        Cases.from_arrays(touched, labels),
        Cases.from_arrays(images, [0, 1, 2, 2]),
        Cases.from_arrays(images, labels, ids=["w", "x", "y", "z"]),
        base.subset([1, 0, 2, 3]),
    ]
    assert len({base.digest, *(o.digest for o in others)}) == 5
    assert len({base.unordered_digest, *(o.unordered_digest for o in others)}) == 4
    assert base.unordered_digest == others[-1].unordered_digest, "seeds must not depend on the order of the cases"


def added(n: int = 6) -> tuple[Any, np.ndarray]:
    model = make(Counting, 1108)
    explained = run(model, pictures(n, model.image, seed=1))
    return explained, np.random.default_rng(0).normal(size=(n, 5, 7)).astype(np.float32)


def test_added_maps_come_back_as_they_were() -> None:
    explained, values = added()
    explained.add_maps("shap", top1=values, top2=values[::-1].copy(), again=values + 0.01, label=2 * values)
    found = explained.maps("shap")
    assert np.array_equal(found.values.numpy(), values)
    assert np.array_equal(explained.maps("shap", "top2").values.numpy(), values[::-1])
    assert np.array_equal(explained.maps("shap", "label").values.numpy(), 2 * values)
    assert np.array_equal(explained.maps_jittered("shap").values.numpy(), values + np.float32(0.01))
    assert found.method == "shap"
    assert found.ids == explained.cases.ids
    assert set(found.status) == {"ok"}
    assert np.array_equal(found.classes, explained.predicted)


def test_added_maps_have_a_status_too() -> None:
    explained, values = added()
    values[1] = np.nan
    values[2] = -1 - np.abs(values[2])
    values[3] = 0.5
    values[4, 0, 0] = np.inf
    explained.add_maps("own", top1=torch.from_numpy(values))
    assert list(explained.maps("own").status) == ["ok", "nonfinite", "blank", "flat", "nonfinite", "ok"]


def test_added_maps_without_a_target_say_which_is_missing() -> None:
    explained, values = added()
    explained.add_maps("own", top1=values)
    with pytest.raises(MethodError) as caught:
        explained.maps("own", "top2")
    assert "top2" in str(caught.value)
    assert explained.maps_jittered("own") is None


@pytest.mark.parametrize("shape", [(5, 5, 7), (7, 5, 7), (6,), (6, 7), (6, 2, 3, 5, 7)])
def test_added_maps_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    explained, _ = added()
    with pytest.raises(MethodError):
        explained.add_maps("own", top1=np.ones(shape, np.float32))


def test_added_maps_of_two_grids_are_refused() -> None:
    explained, values = added()
    with pytest.raises(MethodError):
        explained.add_maps("own", top1=values, top2=values[:, :4])


@pytest.mark.parametrize("name", ["gradcam", "case", "random", "own"])
def test_added_maps_do_not_replace_others(name: str) -> None:
    explained, values = added()
    explained.add_maps("own", top1=values)
    explained.add_maps("own", top1=values.copy())  # the same again is no conflict
    with pytest.raises(MethodError, match=name):
        explained.add_maps(name, top1=values + 1)


def test_added_maps_are_not_aliased() -> None:
    explained, values = added()
    kept = values.copy()
    explained.add_maps("own", top1=values)
    values[:] = 0
    assert np.array_equal(explained.maps("own").values.numpy(), kept)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_needs_an_image(batch_size: int) -> None:
    model = make(ConvNet, 1108)
    with pytest.raises((SaliencyError, ValueError)):
        run(model, six(model), batch_size=batch_size).maps("gradcam")


class Folder:
    """A map-style dataset with the attributes of torchvision's."""

    def __init__(self, image: Image.Image, shift: int | None) -> None:
        self.image = image
        self.targets = [1, 2, 3]
        self.target_transform = None if shift is None else (lambda label: label + shift)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        label = self.targets[index]
        return self.image, label if self.target_transform is None else self.target_transform(label)


def test_labels_of_a_dataset_are_what_it_yields() -> None:
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    assert Cases.from_dataset(Folder(image, None)).labels == (1, 2, 3)
    assert Cases.from_dataset(Folder(image, -1)).labels == (0, 1, 2)


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "LA", "1"])
def test_pil_images_of_a_dataset_are_read_as_files_are(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray((pictures(1, (3, 8, 8))[0].transpose(1, 2, 0) * 255).astype(np.uint8)).convert(mode)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    with Image.open(path) as opened:
        opened.load()
        from_dataset = Cases.from_dataset(Folder(opened, None)).image(0)
    assert torch.equal(from_dataset, Cases.from_files([path], [0]).image(0))
