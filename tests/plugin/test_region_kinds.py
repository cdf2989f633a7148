"""Contracts with masks, regions, channels and empty maps, from YAML to verdict, report, bundle and its verification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pytest_saliency.cli import main

from . import toy
from .test_schemas import valid
from .texts import CONTRACT, Write

MASKED = CONTRACT.replace("toy:cases", "toy:masked_cases")
KINDS = """\
  - {id: inside, kind: localized, method: gradcam, min_mass: 0.5, min_hits: 0.8}
  - {id: inside-cheat, kind: localized, model: cheat, method: gradcam, min_mass: 0.5, min_hits: 0.8}
  - {id: border, kind: avoids, method: gradcam, max_mass: 0.3, region: {border: 0.0625}, max_share: 0.3}
  - {id: border-cheat, kind: avoids, model: cheat, method: gradcam, max_mass: 0.3, region: {border: 0.0625}}
  - {id: corner-cheat, kind: avoids, model: cheat, method: gradcam, max_mass: 0.3, region: {box: [0, 0, 0.25, 0.25]}}
  - {id: mask-cheat, kind: avoids, model: cheat, method: gradcam, max_mass: 0.3, region: masks}
  - {id: channels, kind: channel_activity, max_active_share: 0.8, min_active_share: 0.5}
  - {id: channels-cheat, kind: channel_activity, model: cheat, min_active_share: 0.5}
  - {id: shown, kind: not_vacuous, method: gradcam, max_share: 0.1}
"""
VERDICTS = {
    "inside": "PASS",
    "inside-cheat": "FAIL",
    "border": "PASS",
    "border-cheat": "FAIL",
    "corner-cheat": "FAIL",
    "mask-cheat": "PASS",
    "channels": "PASS",
    "channels-cheat": "FAIL",
    "shown": "PASS",
}


def records(path: str = "run.json") -> dict[str, Any]:
    return {record["check"]: record for record in json.loads(Path(path).read_bytes())["records"]}


def test_every_kind_from_yaml_to_a_bundle_that_verifies(
    pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pytester.path)
    write(KINDS, head=MASKED)
    options = ("--saliency-json=run.json", "--saliency-html=report.html", "--saliency-bundle=out")
    done = pytester.runpytest_inprocess(*options, "--saliency-bundle-maps", "--saliency-images=all")
    done.assert_outcomes(passed=5, failed=4)
    assert "Traceback" not in done.stdout.str()
    found = records()
    assert {check: record["verdict"] for check, record in found.items()} == VERDICTS
    done.stdout.fnmatch_lines(
        ["*inside-cheat: too little of the evidence lies inside the masks: *", "*channels-cheat: too few*"]
    )
    assert done.stdout.str().count("toy.saliency.yaml:11: inside-cheat: ") == 1, "the line that declares the limit"

    # By construction: 4 x 4 pixels of the patch against 2 x 2 dim ones in the corner, of which the cheat sees all.
    assert np.mean(found["inside"]["per_image"]["mass_inside"]) == pytest.approx(0.92, abs=0.02)
    assert set(found["inside"]["per_image"]["hit"]) == {1.0}
    assert found["inside"]["decision"]["readouts"]["chance"] == pytest.approx(16 / 256)
    assert set(found["inside-cheat"]["per_image"]["mass_inside"]) == {0.0}
    assert set(found["corner-cheat"]["per_image"]["mass_inside"]) == {1.0}
    assert set(found["channels"]["per_image"]["active_channels"]) == {2.0}
    assert set(found["channels-cheat"]["per_image"]["active_channels"]) == {1.0}
    assert "method" not in (found["channels"]["axes"] or {})

    document = json.loads(Path("run.json").read_bytes())
    valid("run", document)
    page = Path("report.html").read_text(encoding="utf-8")
    for words in ("mass inside the mask", "in the region to avoid", "channels that an image sets off", "outlined"):
        assert words in page, words
    (bundle,) = (path for path in Path("out").iterdir() if path.is_dir())
    verified = CliRunner().invoke(main, ["verify", str(bundle), "--level", "2"])
    assert verified.exit_code == 3, verified.output  # whole, but not every check says PASS
    assert "WHOLE up to level 2" in verified.output
    told = " ".join(verified.output.split())
    assert "the numbers of toy.saliency.yaml::channels: channel_activity needs the model and the images" in told
    follow = told[: told.index("follow from the stored maps")].rpartition("per-image numbers of")[2]
    assert {name for name in VERDICTS if f"::{name} " in f"{follow},".replace(",", " ")} == {
        "border", "border-cheat", "corner-cheat", "shown"
    }, told  # fmt: skip


def image_folder(root: Path) -> None:
    pixels, labels = toy.arrays()
    for i, (image, label, mask) in enumerate(zip(pixels, labels, toy.inside(), strict=True)):
        for folder, drawn in (("images", image.transpose(1, 2, 0) * 255), ("masks", mask * 255)):
            path = root / folder / ("red", "green", "blue")[label] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.astype(np.uint8)).save(path)


FOLDERS = CONTRACT.replace(
    'cases: {python: "toy:cases"}', "cases: {imagefolder: images, masks: masks, classes: [red, green, blue]}"
)
INSIDE = "  - {id: inside, kind: localized, method: gradcam, min_mass: 0.5}\n"


def numbers_of(record: dict[str, Any]) -> dict[int, float]:
    table = record["per_image"]
    named = (int(Path(case).stem.removeprefix("case-")) for case in table["id"])
    return dict(zip(named, table["mass_inside"], strict=True))


def test_masks_of_folders_tables_and_npz_files_give_the_same_numbers(pytester: pytest.Pytester, write: Write) -> None:
    image_folder(pytester.path)
    write(INSIDE, head=FOLDERS)
    pixels, labels = toy.arrays()
    stored = np.floor(pixels * 255).astype(np.uint8)
    np.savez(pytester.path / "cases.npz", images=stored, labels=labels, masks=toy.inside().astype(np.uint8))
    npz = CONTRACT.replace('cases: {python: "toy:cases"}', "cases: {npz: cases.npz, sample: {n: 30}}")
    write(
        INSIDE.replace("id: inside", "id: stored"),
        head=npz.replace("contract: toy", "contract: npz"),
        name="npz.saliency.yaml",
    )
    rows = [f"{path}/{i:02d}" for i, path in zip(range(60), ("red", "green", "blue") * 20, strict=True)]
    lines = [f"images/{row}.png,{row.partition('/')[0]},masks/{row}.png" for row in rows]
    (pytester.path / "cases.csv").write_text("\n".join(["image,label,lesion", *lines]))
    csv = "cases: {csv: cases.csv, columns: {mask: lesion}, classes: [red, green, blue]}"
    csv = CONTRACT.replace('cases: {python: "toy:cases"}', csv).replace("contract: toy", "contract: csv")
    write(INSIDE.replace("id: inside", "id: listed"), head=csv, name="csv.saliency.yaml")
    pytester.runpytest_inprocess(f"--saliency-json={pytester.path / 'run.json'}").assert_outcomes(passed=3)
    found = records(str(pytester.path / "run.json"))
    folders, stored, listed = (numbers_of(found[check]) for check in ("inside", "stored", "listed"))
    assert len(stored) == 30
    assert stored == {i: pytest.approx(folders[i], abs=1e-6) for i in stored}
    assert listed == folders


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (INSIDE.replace("min_mass: 0.5", "keep: all"), "check 'inside' declares no limit, so nothing could fail"),
        (INSIDE.replace("min_mass", "max_mass"), "unknown key 'max_mass' in check 'inside'; did you mean 'min_mass'?"),
        ("  - {id: a, kind: avoids, method: gradcam, max_mass: 0.1}\n", "'region' is missing in check 'a'"),
        (
            "  - {id: a, kind: avoids, method: gradcam, max_mass: 0.1, region: {border: 0.6}}\n",
            "'region' must be masks, {border: 0.1} or {box: ",
        ),
        (
            "  - {id: a, kind: avoids, method: gradcam, max_mass: 0.1, region: {box: [0.5, 0, 0.2, 1]}}\n",
            "'region' has a box without area",
        ),
        ("  - {id: a, kind: channel_activity}\n", "check 'a' declares no limit"),
        (
            "  - {id: a, kind: channel_activity, method: gradcam, max_active_share: 0.5}\n",
            "unknown key 'method' in check 'a'",
        ),
        ("  - {id: a, kind: not_vacuous, method: gradcam, max_share: 0}\n", "'max_share' must be greater than 0"),
    ],
)
def test_what_is_wrong_in_the_text_is_told_at_its_line(write: Write, text: str, sentence: str) -> None:
    path = write(text, head=MASKED)
    done = CliRunner().invoke(main, ["validate", str(path)])
    assert done.exit_code != 0
    said = " ".join(done.output.split())
    assert sentence in said
    assert " 10:" in said
    assert "activations" not in said


FOLDER = "{imagefolder: images, classes: [red, green, blue], masks: MASKS}"
SPOILT = {
    "none": ('{python: "toy:cases"}', "localized needs masks, but the cases of python toy:cases have none. Give one"),
    "nowhere": (FOLDER, "folder of masks *nowhere does not exist"),
    "images/red": (FOLDER, "has no mask in *images/red (nor have 59 more images)"),
    "large": (FOLDER, "the mask of image 'blue/02.png' is 17x16, but the image is 16x16"),
    "broken": (FOLDER, "the mask of image 'blue/02.png' cannot be read (*not an image of"),
    "few": ("{npz: few.npz}", "has 60 ids but 59 masks"),
    "grey": ("{npz: grey.npz}", "not binary: it holds 0.5"),
}


def test_masks_that_do_not_fit_get_one_sentence_with_the_line(pytester: pytest.Pytester, write: Write) -> None:
    image_folder(pytester.path)
    for folder, spoil in (("large", None), ("broken", b"no image")):
        for path in (pytester.path / "masks").rglob("*.png"):
            copy = pytester.path / folder / path.relative_to(pytester.path / "masks")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(spoil) if spoil else Image.new("L", (16, 17)).save(copy)
    pixels, labels = toy.arrays()
    np.savez(pytester.path / "few.npz", images=pixels, labels=labels, masks=toy.inside()[:59])
    np.savez(pytester.path / "grey.npz", images=pixels, labels=labels, masks=toy.inside() * 0.5)
    checks = [
        INSIDE.replace("id: inside", f"id: {way.replace('/', '-')}, cases: {cases.replace('MASKS', way)}")
        for way, (cases, _) in SPOILT.items()
    ]
    write(*checks)
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=len(SPOILT))
    for line, (way, (_, sentence)) in enumerate(SPOILT.items(), start=10):
        done.stdout.fnmatch_lines_random([f"{way.replace('/', '-')}: *{sentence}*"])
        done.stdout.fnmatch_lines_random([f"toy.saliency.yaml:{line}*"])
    done.stdout.no_fnmatch_line("*Traceback*")


def test_masks_belong_to_an_image_folder_that_is_looked_for(pytester: pytest.Pytester, write: Write) -> None:
    path = write(INSIDE, head=CONTRACT.replace('{python: "toy:cases"}', '{python: "toy:cases", masks: there}'))
    said = " ".join(CliRunner().invoke(main, ["validate", str(path)]).output.split())
    assert "has 'masks', which belongs to imagefolder only" in said
    (pytester.path / "images").mkdir()
    path = write(INSIDE, head=CONTRACT.replace('{python: "toy:cases"}', "{imagefolder: images, masks: there}"))
    said = " ".join(CliRunner().invoke(main, ["validate", str(path)]).output.split())
    assert "'masks': the folder 'there' is not there" in said
