"""A mask a label, from a CSV file to verdicts, hint, pictures and bundle; and the words of checks on labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pytest_saliency.cli import main

from .test_schemas import valid
from .texts import Write

NAMES = ("red", "green", "blue")
PATCHES = {"red": (3, 3), "green": (3, 10), "blue": (10, 3)}  # of 4 x 4 pixels, far from each other
LISTS = [["red", "green"], ["green", "blue"], ["red", "blue"], ["red", "green", "blue"]]

FINDINGS = 'csv: findings.csv, separator: "|", classes: [red, green, blue], pairs: {red: green, green: blue, blue: red}'
HEAD = """\
saliency: 1
contract: masks
models:
  clean: {python: "toy:build", layer: features}
cases: {FINDINGS, threshold: 0.52, columns: {masks: {red: red_mask, green: green_mask, blue: blue_mask}}}
defaults: {model: clean}
"""
CHECKS = """\
  - {id: sensitive, kind: class_sensitive, method: gradcam}
  - {id: own, kind: localized, method: gradcam, min_mass: 0.8, min_hits: 0.8}
  - {id: gap, kind: no_subgroup_gap, of: own, max_gap: {mass_inside: 0.4}, min_group: 5}
  - id: turned
    kind: localized
    method: gradcam
    min_mass: 0.8
    cases: &other {FINDINGS, threshold: 0.52, columns: {masks: {red: next_red, green: next_green, blue: next_blue}}}
  - {id: others, kind: avoids, method: gradcam, region: masks, max_mass: 0.25, cases: *other}
  - id: shared
    kind: localized
    method: gradcam
    min_mass: 0.8
    cases: {FINDINGS, threshold: 0.52, columns: {mask: whole}}
  - id: some
    kind: localized
    method: gradcam
    min_mass: 0.8
    cases: {FINDINGS, columns: {masks: {red: red_mask}}}
"""


def square(name: str) -> np.ndarray:
    mask = np.zeros((16, 16), dtype=bool)
    y, x = PATCHES[name]
    mask[y : y + 4, x : x + 4] = True
    return mask


def findings(root: Path, n: int = 24) -> None:
    """Write images with a patch a label; masks of each label, of the next label in the image, and of all together."""
    draw = np.random.Generator(np.random.PCG64(9))
    (root / "i").mkdir()
    kinds = [f"{name}_mask" for name in NAMES] + [f"next_{name}" for name in NAMES]
    lines = [",".join(["image", "label", "whole", *kinds])]
    for k in range(n):
        labels, pixels = LISTS[k % 4], np.zeros((16, 16, 3))
        for name in labels:
            pixels[square(name), NAMES.index(name)] = 0.6 + 0.3 * draw.random()
        for name in set(NAMES) - set(labels):
            pixels[14, 14, NAMES.index(name)] = 0.04  # so that no map is empty
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(root / f"i/{k:02}.png")
        masks = {"whole": np.any([square(name) for name in labels], axis=0)}
        for place, name in enumerate(labels):
            masks[f"{name}_mask"] = square(name)
            masks[f"next_{name}"] = square(labels[(place + 1) % len(labels)])
        for kind, mask in masks.items():
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"i/{k:02}_{kind}.png")
        cells = [f"i/{k:02}_{kind}.png" if kind in masks else "" for kind in ("whole", *kinds)]
        lines.append(",".join([f"i/{k:02}.png", "|".join(labels), *cells]))
    (root / "findings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_mask_a_label(pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pytester.path)
    findings(pytester.path)
    write(CHECKS.replace("FINDINGS", FINDINGS), head=HEAD.replace("FINDINGS", FINDINGS))
    options = ("--saliency-json=run.json", "--saliency-html=report.html", "--saliency-bundle=out")
    done = pytester.runpytest_inprocess(*options, "--saliency-bundle-maps", "--saliency-images=all", "-v")
    document = json.loads(Path("run.json").read_bytes())
    valid("run", document)
    run = {record["check"]: record for record in document["records"]}
    text, page = done.stdout.str(), Path("report.html").read_text(encoding="utf-8")
    assert {name: record["verdict"] for name, record in run.items()} == {
        "sensitive": "PASS", "own": "PASS", "gap": "PASS", "turned": "FAIL", "others": "PASS", "shared": "PASS",
        "some": "ERROR",
    }, text  # fmt: skip
    assert "localized needs masks, but the label 'green' of findings.csv has none" in text
    # All of a label's channel lies in its own patch, none in that of another label.
    for check, mass in (("own", 1.0), ("turned", 0.0), ("others", 0.0), ("shared", 1.0)):
        assert run[check]["per_image"]["mass_inside"] == pytest.approx([mass] * 54, abs=1e-6)
        assert run[check]["cases"]["units"].get("masks") == (None if check == "shared" else "label")
    shares = {16 / 256 * len(labels) for labels in LISTS}
    assert set(run["own"]["per_image"]["region_share"]) == {16 / 256}
    assert set(run["shared"]["per_image"]["region_share"]) == shares
    assert run["own"]["cases"]["digest"] != run["shared"]["cases"]["digest"]
    # Told once, of the cases with one mask an image.
    assert len(re.findall(r"have one mask an image, and some images", text)) == 1
    assert "each label has masks of its own" in page
    _words(run, text, page)
    _outlines(run)
    (bundle,) = (path for path in Path("out").iterdir() if path.is_dir())
    verified = CliRunner().invoke(main, ["verify", str(bundle), "--level", "2"])
    assert verified.exit_code == 3, verified.output  # whole, but not every check says PASS
    assert "WHOLE up to level 2" in verified.output
    assert "others: avoids needs the model and the images (level 3)" in verified.output


def _words(run: dict[str, dict[str, object]], text: str, page: str) -> None:
    """Nobody is told of a top-1 or top-2 class of images whose labels do not exclude each other."""
    told = json.dumps([run["sensitive"][key] for key in ("decision", "gallery", "notes")])
    for shown in (told, text, page):
        assert "top-1" not in shown
        assert "top-2" not in shown
        assert "most likely classes" not in shown
    assert "the maps tell the label from its counterpart" in told
    assert "median agreement of the maps for the label and its counterpart" in text
    for words in ("Do the maps for a label and its counterpart differ?", "counterpart map", "counterpart blue"):
        assert words in page, words


def _outlines(run: dict[str, dict[str, object]]) -> None:
    """The line in a picture runs around the patch of its own label: there, and nowhere near another patch."""
    rows = run["own"]["gallery"]
    assert isinstance(rows, list)
    seen = set()
    for row in rows:
        name = row["id"].rpartition("#")[2]
        (tile,) = (one for one in row["tiles"] if one["title"] == "image")
        pixels = np.asarray(Image.open(tile["path"]).convert("RGB"), dtype=float)
        white = np.argwhere((pixels > 250).all(2)) * 16 / np.asarray(pixels.shape[:2])
        assert len(white)
        y, x = PATCHES[name]
        assert np.all(np.abs(white - [y + 2, x + 2]) <= 2.6), row["id"]
        seen.add(name)
    assert seen == set(NAMES)
