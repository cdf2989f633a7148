"""DICOM files, written by pydicom, become the pixels that the standard's formulas give; bad ones get a sentence.

The formulas are written out again here value by value in plain Python, from DICOM PS3.3 C.11.1 and C.11.2.1.2.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pytest_saliency import Cases
from pytest_saliency.engine.images import FileImage, image_file
from pytest_saliency.engine.reading import FileReading
from pytest_saliency.errors import CasesError
from tests.engine.reading_files import pixels, said

pydicom = pytest.importorskip("pydicom")

EXPLICIT, JPEG, LOSSLESS, JPEG_LS, RLE = (f"1.2.840.10008.1.2{end}" for end in (".1", ".4.50", ".4.70", ".4.80", ".5"))


def dicom(path: Path, pixels: np.ndarray, bits: int = 12, syntax: str = EXPLICIT, **tags: Any) -> Path:
    """Write a file of one or several grey or coloured frames; ``tags`` are set, or left out where they are None."""
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    made.SamplesPerPixel, made.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        made.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        made.NumberOfFrames = len(pixels)
    made.Rows, made.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    made.BitsAllocated, made.BitsStored, made.HighBit = 8 * pixels.dtype.itemsize, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for key, value in tags.items():
        if value is None:
            delattr(made, key)
        else:
            setattr(made, key, value)
    made.save_as(path, enforce_file_format=True)
    return path


def linear(x: float, c: float, w: float) -> float:
    """C.11.2.1.2.1, with output from 0 to 1."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 1.0
    return (x - (c - 0.5)) / (w - 1) + 0.5


def exact(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.2."""
    if x <= c - w / 2:
        return 0.0
    if x > c + w / 2:
        return 1.0
    return (x - c) / w + 0.5


def sigmoid(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.1."""
    return 1 / (1 + math.exp(min(-4 * (x - c) / w, 700)))


FORMULAS: dict[str, Callable[[float, float, float], float]] = {
    "LINEAR": linear,
    "LINEAR_EXACT": exact,
    "SIGMOID": sigmoid,
}


def by_hand(values: np.ndarray, formula: Callable[[float], float]) -> np.ndarray:
    grey = np.array([formula(float(x)) for x in values.ravel()]).reshape(values.shape)
    return np.stack([grey] * 3)


def ramp(kind: str = "u2", low: int = 0, high: int = 4095) -> np.ndarray:
    return np.linspace(low, high, 60).round().astype(kind).reshape(6, 10)


# -- grey --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [None, *FORMULAS])
@pytest.mark.parametrize(("centre", "width"), [(40.0, 400.0), (100.5, 1.0), (2000.0, 4096.0), (-300.0, 33.3)])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_window_of_the_file(
    tmp_path: Path, function: str | None, centre: float, width: float, photometric: str
) -> None:
    """Rescaled to Hounsfield units first; the first of two windows counts."""
    stored = ramp()
    tags = {"WindowCenter": [centre, 0], "WindowWidth": [width, 10], "RescaleSlope": 2, "RescaleIntercept": -1024}
    if function is not None:
        tags["VOILUTFunction"] = function
    path = dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation=photometric, **tags)
    expected = by_hand(stored * 2.0 - 1024, lambda x: FORMULAS[function or "LINEAR"](x, centre, width))
    if photometric == "MONOCHROME1":
        expected = 1 - expected
    np.testing.assert_allclose(pixels(path), expected, atol=1e-6)
    assert expected.min() < 0.2
    assert expected.max() > 0.8


@pytest.mark.parametrize("function", ["linear", "linear_exact", "sigmoid"])
def test_window_of_the_contract_takes_the_place_of_the_files(tmp_path: Path, function: str) -> None:
    stored = ramp()
    path = dicom(tmp_path / "a.dcm", stored, WindowCenter=1, WindowWidth=2, VOILUTFunction="SIGMOID")
    found = pixels(path, window=(1000.0, 500.0), function=function)
    np.testing.assert_allclose(found, by_hand(stored, lambda x: FORMULAS[function.upper()](x, 1000, 500)), atol=1e-6)


def test_pydicom_agrees(tmp_path: Path) -> None:
    """A peer: pydicom's own window, brought from its range of values to [0, 1]."""
    stored = ramp("i2", -2048, 2047)
    for function in FORMULAS:
        path = dicom(tmp_path / "a.dcm", stored, WindowCenter=-7, WindowWidth=900, VOILUTFunction=function)
        data = pydicom.dcmread(path)
        theirs = pydicom.pixels.apply_windowing(data.pixel_array, data)
        np.testing.assert_allclose(pixels(path)[0], (theirs + 2048) / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "bits", "low", "high"),
    [("u1", 8, 0, 255), ("u2", 12, 0, 4095), ("u2", 16, 0, 65535), ("i2", 12, -2048, 2047), ("i2", 16, -32768, 32767)],
)
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, -1000), (-2, 7)])
def test_full_range(tmp_path: Path, kind: str, bits: int, low: int, high: int, slope: float, intercept: float) -> None:
    """Black is the least rescaled value that the bits can hold, so that a falling slope turns the picture round."""
    stored = ramp(kind, low, high)
    path = dicom(tmp_path / "a.dcm", stored, bits, RescaleSlope=slope, RescaleIntercept=intercept)
    rising = by_hand(stored, lambda x: (x - low) / (high - low))
    np.testing.assert_allclose(pixels(path, window="full"), rising if slope > 0 else 1 - rising, atol=1e-6)


@pytest.mark.parametrize("kind", ["u2", "i2"])
def test_bits_above_those_stored_are_no_pixels(tmp_path: Path, kind: str) -> None:
    """Old files keep overlays there; of signed values the sign is the highest bit that is stored."""
    low, high = (0, 4095) if kind == "u2" else (-2048, 2047)
    stored = ramp(kind, low, high)
    dirty = ((stored.astype(np.int64) & 0xFFF) | 0x5000).astype("u2").view(kind)
    clean = pixels(dicom(tmp_path / "a.dcm", stored), window="full")
    np.testing.assert_array_equal(pixels(dicom(tmp_path / "b.dcm", dirty), window="full"), clean)


def table(first: int, values: list[int], bits: int) -> Any:
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = values
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return pydicom.Sequence([item])


def test_tables_of_the_file(tmp_path: Path) -> None:
    """Values below a table take its first entry, above it its last; a VOI LUT counts before a window."""
    stored = ramp(high=20)
    voi = [0, 100, 300, 700, 1023]
    tags = {"WindowCenter": 1, "WindowWidth": 2}
    path = dicom(tmp_path / "a.dcm", stored, VOILUTSequence=table(5, voi, 10), **tags)
    looked_up = by_hand(stored, lambda x: voi[min(max(int(x) - 5, 0), 4)] / 1023)
    np.testing.assert_allclose(pixels(path), looked_up, atol=1e-6)
    modality = [10 * k * k for k in range(21)]
    path = dicom(tmp_path / "a.dcm", stored, ModalityLUTSequence=table(0, modality, 12), **tags)
    found = pixels(path, window=(2000.0, 3000.0))
    np.testing.assert_allclose(found, by_hand(stored, lambda x: linear(modality[int(x)], 2000, 3000)), atol=1e-6)
    found = pixels(path, window="full")
    np.testing.assert_allclose(found, by_hand(stored, lambda x: modality[int(x)] / 4095), atol=1e-6)


def test_a_table_for_values_below_zero_whose_first_value_is_written_without_sign(tmp_path: Path) -> None:
    """C.11.2.1.1: after a rescale that gives negative values it is signed, also where the stored ones are not."""
    stored, entries = ramp(high=20), list(range(0, 1000, 50))
    held = table(65526, entries, 10)  # -10 as 16 bits
    path = dicom(tmp_path / "a.dcm", stored, VOILUTSequence=held, RescaleSlope=1, RescaleIntercept=-10)
    np.testing.assert_allclose(pixels(path), by_hand(stored, lambda x: entries[min(int(x), 19)] / 1023), atol=1e-6)


def test_a_table_with_more_bits_than_it_says(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", ramp(high=3), VOILUTSequence=table(0, [0, 100, 200, 300], 8))
    assert "gives pixels from 0 to 1.17647 where 0 is black and 1 is white" in said(path)


# -- colour ------------------------------------------------------------------------------------------------------------


def coloured() -> np.ndarray:
    return np.random.Generator(np.random.PCG64(5)).integers(0, 256, (6, 10, 3), dtype=np.uint8)


def test_rgb(tmp_path: Path) -> None:
    expected = coloured().transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pixels(dicom(tmp_path / "a.dcm", coloured(), 8)), expected, atol=1e-7)
    planes = dicom(tmp_path / "b.dcm", coloured(), 8, PlanarConfiguration=1)
    data = pydicom.dcmread(planes)
    data.PixelData = coloured().transpose(2, 0, 1).tobytes()
    data.save_as(planes)
    np.testing.assert_allclose(pixels(planes), expected, atol=1e-7)


def test_luminance_and_chrominance_become_rgb(tmp_path: Path) -> None:
    """C.7.6.3.1.2: the inverse of Y = 0.299 R + 0.587 G + 0.114 B and its two differences, around 128."""
    stored = coloured()
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    wanted = (stored.astype(float) - [0, 128, 128]) @ np.linalg.inv(matrix).T
    found = pixels(dicom(tmp_path / "a.dcm", stored, 8, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(found * 255, np.clip(wanted, 0, 255).transpose(2, 0, 1), atol=1.0)


def test_palette(tmp_path: Path) -> None:
    colours = np.random.Generator(np.random.PCG64(6)).integers(0, 65536, (3, 30), dtype=np.uint16)
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, values in zip(("Red", "Green", "Blue"), colours, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [30, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = values.tobytes()
    stored = ramp("u1", 0, 29)
    found = pixels(dicom(tmp_path / "a.dcm", stored, 8, **tags))
    np.testing.assert_allclose(found, colours[:, stored] / 65535, atol=1e-6)


# -- volumes, compression, names ---------------------------------------------------------------------------------------


def test_frames_are_a_volume_where_that_is_declared(tmp_path: Path) -> None:
    frames = np.stack([ramp(high=1000 * k) for k in (1, 2, 3)])
    path = dicom(tmp_path / "a.dcm", frames)
    assert "has 3 frames; declare 'volume: true'" in said(path, window="full")
    found = pixels(path, window="full", volume=True)
    assert found.shape == (1, 3, 6, 10)
    np.testing.assert_allclose(found[0], frames / 4095, atol=1e-6)
    assert image_file(path, FileReading(volume=True)).size("case") == (3, 6, 10)
    assert "holds one frame" in said(dicom(tmp_path / "b.dcm", ramp()), volume=True)


def test_every_frame_has_its_own_window_in_enhanced_files(tmp_path: Path) -> None:
    frames = np.stack([ramp()] * 2)
    groups = []
    for slope, centre in ((1, 1000), (2, 3000)):
        item, rescale, window = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = slope, -50
        window.WindowCenter, window.WindowWidth = centre, 800
        item.PixelValueTransformationSequence = pydicom.Sequence([rescale])
        item.FrameVOILUTSequence = pydicom.Sequence([window])
        groups.append(item)
    path = dicom(tmp_path / "a.dcm", frames, PerFrameFunctionalGroupsSequence=pydicom.Sequence(groups))
    found = pixels(path, volume=True)[0]
    for made, slope, centre in zip(found, (1, 2), (1000, 3000), strict=True):
        expected = by_hand(ramp() * slope - 50.0, lambda x, c=centre: linear(x, c, 800))[0]
        np.testing.assert_allclose(made, expected, atol=1e-6)


def test_compressed_files(tmp_path: Path) -> None:
    """Run lengths lose nothing; of JPEG the picture must be what Pillow makes of the very same bytes."""
    plain = dicom(tmp_path / "a.dcm", ramp(), WindowCenter=2000, WindowWidth=4000)
    data = pydicom.dcmread(plain)
    data.compress(pydicom.uid.UID(RLE))
    data.save_as(tmp_path / "rle.dcm")
    np.testing.assert_array_equal(pixels(tmp_path / "rle.dcm"), pixels(plain))
    grey = Image.fromarray(ramp("u1", 0, 255)).resize((32, 16))
    held = io.BytesIO()
    grey.save(held, "JPEG")
    path = dicom(tmp_path / "j.dcm", np.zeros((16, 32), np.uint8), 8)
    data = pydicom.dcmread(path)
    data.PixelData = pydicom.encaps.encapsulate([held.getvalue()])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(JPEG)
    data.save_as(path)
    np.testing.assert_allclose(pixels(path, window="full")[0], np.asarray(Image.open(held)) / 255, atol=1e-6)


@pytest.mark.parametrize(("syntax", "package"), [(LOSSLESS, "pylibjpeg-libjpeg"), (JPEG_LS, "pyjpegls")])
def test_a_compression_without_decoder_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, package: str
) -> None:
    from pydicom.pixels import get_decoder

    path = dicom(tmp_path / "a.dcm", ramp("u1", 0, 200), 8)
    data = pydicom.dcmread(path)
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 not decoded"])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    data.save_as(path)
    monkeypatch.setattr(get_decoder(pydicom.uid.UID(syntax)), "_available", {})
    text = said(path, window="full")
    assert "no decoder is installed; pip install" in text
    assert package in text


def test_a_file_is_known_by_its_mark_where_its_name_says_nothing(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", ramp(), WindowCenter=2000, WindowWidth=4000)
    for name in ("IM-0001", "1.2.840.113"):
        other = tmp_path / name
        other.write_bytes(path.read_bytes())
        np.testing.assert_array_equal(pixels(other), pixels(path))
        assert image_file(other).size("case") == (6, 10)


def test_the_digest_is_that_of_the_bytes_and_of_what_was_declared(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", ramp(), WindowCenter=2000, WindowWidth=4000)
    assert FileImage(path).digest("case") == hashlib.sha256(path.read_bytes()).hexdigest()
    readings = [FileReading(), FileReading(window="full"), FileReading(window=(1.0, 2.0)), FileReading(volume=True)]
    assert len({FileImage(path, one).digest("case") for one in readings}) == 4, "maps kept between runs stay apart"


def test_patients_leave_no_trace_but_a_digest(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", ramp(), PatientID="Jane Roe 1970")
    found = FileImage(path).entry("case", "PatientID")
    assert found is not None
    assert len(found) == 16
    assert int(found, 16) >= 0
    other = dicom(tmp_path / "b.dcm", ramp(high=7), PatientID="Jane Roe 1970 ")
    assert FileImage(other).entry("case", "PatientID") == found
    assert FileImage(dicom(tmp_path / "c.dcm", ramp(), PatientID="John")).entry("case", "PatientID") != found
    assert FileImage(dicom(tmp_path / "d.dcm", ramp())).entry("case", "PatientID") is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = dicom(tmp_path / "e.dcm", ramp(), StudyInstanceUID="1.2.Jane")
    assert FileImage(odd).entry("case", "StudyInstanceUID") is not None  # pydicom's warning would show it
    cases = Cases.from_files([path], [0], read_as=FileReading(window="full"))
    assert "Jane" not in repr((cases, cases.ids, cases.case_digests, cases.clusters))


# -- sentences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({}, "says no window; declare dicom: {window: full}"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "has a window of width 0"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "VOI LUT function 'cubic', which is not"),
        ({"PhotometricInterpretation": "CMYK"}, "photometric interpretation 'CMYK' with 1 samples"),
        ({"PixelData": None}, "is DICOM without an image"),
        ({"HighBit": 15}, "keeps 12 bits below bit 15"),
        ({"Rows": 60}, "has pixel data that cannot be read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "has a palette that cannot be read"),
        ({"VOILUTSequence": "short"}, "lookup table of 2 entries that declares 9"),
    ],
)
def test_files_that_cannot_be_shown(tmp_path: Path, tags: dict[str, Any], sentence: str) -> None:
    if "VOILUTSequence" in tags:
        item = table(0, [1, 2], 8)[0]
        item.LUTDescriptor = [9, 0, 8]
        tags = {"VOILUTSequence": pydicom.Sequence([item])}
    assert sentence in said(dicom(tmp_path / "a.dcm", ramp(), **tags))


def test_files_that_are_none(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", ramp(), WindowCenter=2000, WindowWidth=4000)
    content = path.read_bytes()
    for length in range(0, len(content) - 1, 7):
        path.write_bytes(content[:length])
        said(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300))
    assert "is not a DICOM file" in said(path)
    named = tmp_path / "a.png"
    named.write_bytes(content)
    assert "but DICOM; give it the ending .dcm" in said(named)
    assert "for which 'white' has no meaning" in said(dicom(path, ramp()), white=4095.0)
    with pytest.raises(CasesError, match="there is no file"):
        image_file(tmp_path / "gone.dcm").load("x")


def test_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = dicom(tmp_path / "a.dcm", ramp())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(Exception, match=r"pip install 'pytest-saliency\[dicom\]'"):
        image_file(path).load("x")
