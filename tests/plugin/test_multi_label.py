"""Contracts over images with several labels, from a CSV file to verdicts, rows a label, report and bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pytest_saliency.cli import main

from .test_schemas import valid
from .texts import Write

NAMES = ("red", "green", "blue")
CORNERS = [(4, 4), (4, 11), (11, 4)]

HEAD = """\
saliency: 1
contract: several
models:
  clean:
    python: "toy:build"
    layer: features
    contrast:
      select: cooccurrence
      k: 1
      cases: {csv: held.csv, separator: "|", columns: {image: file, label: found}, classes: [red, green, blue]}
  again: {python: "toy:build", layer: features, name: again}
  cheat: {python: "toy:build_cheat", layer: features}
cases:
  csv: findings.csv
  columns: {image: file, label: found, cluster: patient, mask: mask}
  separator: "|"
  no_label: none
  classes: [red, green, blue]
  pairs: {red: green, green: blue, blue: red}
  threshold: 0.52
defaults: {model: clean}
"""
KINDS = """\
  - {id: sensitive, kind: class_sensitive, method: case}
  - {id: faithful, kind: faithful, method: gradcam, top_k: 0.06, min_advantage: 0.0}
  - {id: moved, kind: no_semantic_drift, before: clean, after: cheat, method: gradcam, max_iou_drop: 0.4}
  - id: kept
    kind: no_semantic_drift
    before: clean
    after: again
    method: gradcam
    max_iou_drop: 0.4
    max_accuracy_drop: 0.2
  - {id: shown, kind: not_vacuous, method: gradcam, max_share: 0.2}
  - {id: inside, kind: localized, method: gradcam, min_mass: 0.5}
  - {id: corner, kind: avoids, method: gradcam, max_mass: 0.3, region: {box: [0, 0, 0.1875, 0.1875]}}
  - {id: steady, kind: stable, method: gradcam, min_agreement: 0.5, perturbations: brightness, draws: 1, search: false}
  - {id: alike, kind: no_subgroup_gap, of: inside, max_gap: {mass_inside: 0.6}, min_group: 5}
  - {id: nulls, kind: beats_null_explainers, method: gradcam, nulls: [class_mean], top_k: 0.06, min_advantage: 0.0}
  - {id: mosaics, kind: planted_evidence, method: gradcam, min_share: 0.5}
"""
GROUPED = """\
  - id: grouped
    kind: not_vacuous
    method: gradcam
    max_share: 0.2
    cases:
      csv: findings.csv
      columns: {image: file, label: found, cluster: patient, group: sex}
      separator: "|"
      no_label: none
      classes: [red, green, blue]
      pairs: {red: green, green: blue}
"""


def picture(labels: list[str], draw: np.random.Generator, faint: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with a patch of its colour and a marker in the corner a label, and where the patches are.

    A colour that the image does not have is a faint dot, so that no map is empty.
    """
    image, mask = np.zeros((16, 16, 3)), np.zeros((16, 16), dtype=np.uint8)
    for name, (y, x) in zip(NAMES, [(12, 12), (12, 14), (14, 12)], strict=True):
        if faint or name not in labels:
            image[y : y + 2, x : x + 2, NAMES.index(name)] = 0.04
    for place, name in zip(draw.permutation(3), labels, strict=False):
        y, x = CORNERS[place]
        if not faint:
            image[y : y + 4, x : x + 4, NAMES.index(name)] = 0.7 + 0.2 * draw.random()
            image[:2, :2, NAMES.index(name)] = 0.3
        mask[y : y + 4, x : x + 4] = 255
    return np.round(image * 255).astype(np.uint8), mask


def findings(root: Path, patients: int = 30) -> dict[str, list[str]]:
    """Write two images a patient with the labels of each, and a held-out list; return the labels by file."""
    draw = np.random.Generator(np.random.PCG64(4))
    lists = [["red"], ["green"], ["blue"], ["red", "green"], ["green", "blue"], ["red", "green"], []]
    rows, found = [], {}
    (root / "images").mkdir()
    for k in range(2 * patients):
        # The last image has a label that nothing shows.
        labels, faint = (["red"], True) if k == 2 * patients - 1 else (lists[k % 7], False)
        image, mask = picture(labels, draw, faint)
        Image.fromarray(image).save(root / f"images/{k:03}.png")
        Image.fromarray(mask).save(root / f"images/{k:03}_mask.png")
        found[f"images/{k:03}.png"] = labels
        sex = "fm"[(k // 2) % 2]
        rows.append(f"images/{k:03}.png,{'|'.join(labels) or 'none'},p{k // 2},{sex},images/{k:03}_mask.png")
    (root / "findings.csv").write_text("file,found,patient,sex,mask\n" + "\n".join(rows) + "\n", encoding="utf-8")
    held = []
    for k, labels in enumerate([["red", "green"], ["green", "blue"], ["red", "green"]]):
        Image.fromarray(picture(labels, draw)[0]).save(root / f"images/held{k}.png")
        held.append(f"images/held{k}.png,{'|'.join(labels)}")
    (root / "held.csv").write_text("file,found\n" + "\n".join(held) + "\n", encoding="utf-8")
    return found


def test_every_kind_over_units(pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pytester.path)
    found = findings(pytester.path)
    write(KINDS, GROUPED, head=HEAD)
    options = ("--saliency-json=run.json", "--saliency-html=report.html", "--saliency-bundle=out")
    done = pytester.runpytest_inprocess(*options, "--saliency-bundle-maps")
    document = json.loads(Path("run.json").read_bytes())
    run = {"found": found, "done": done, "document": document} | {r["check"]: r for r in document["records"]}
    valid("run", document)
    _verdicts_and_units(run)
    _logits_not_softmax(run)
    _drift_and_recall(run)
    _rows_a_label(run)
    # The numbers alone, and with the stored maps, give the same record again.
    (bundle,) = (path for path in Path("out").iterdir() if path.is_dir())
    verified = CliRunner().invoke(main, ["verify", str(bundle), "--level", "2"])
    assert verified.exit_code == 3, verified.output  # whole, but not every check says PASS
    assert "WHOLE up to level 2" in verified.output


def _verdicts_and_units(run: dict[str, Any]) -> None:
    verdicts = {record["check"]: record["verdict"] for record in run["document"]["records"]}
    text = run["done"].stdout.str()
    assert verdicts == {
        **dict.fromkeys(("sensitive", "faithful", "kept", "shown", "inside", "corner", "steady", "alike"), "PASS"),
        **dict.fromkeys(("nulls", "grouped"), "PASS"),
        "moved": "FAIL",
        "mosaics": "ERROR",
    }, text
    assert "whose images have several labels: a cell of a mosaic must be evidence for one class" in text
    assert "Traceback" not in text
    units = sorted(f"{file}#{name}" for file, labels in run["found"].items() for name in labels)
    shown = run["shown"]
    assert shown["per_image"]["id"] == units
    assert shown["cases"]["units"] == {
        "images": sum(bool(labels) for labels in run["found"].values()),
        "pairs": {"red": "green", "green": "blue", "blue": "red"},
        "thresholds": dict.fromkeys(NAMES, 0.52),
    }
    assert shown["per_image"]["group"] == [unit.partition("#")[2] for unit in units]
    clusters = len(set(shown["per_image"]["cluster"]))
    assert clusters <= 30
    assert shown["decision"]["n"] == clusters, "units of one patient are one"

    # The unit that the model does not find: nothing says so but a class that no class is.
    everyone = run["sensitive"]["everyone"]
    assert [i for i, word in zip(everyone["id"], everyone["fate"], strict=True) if word != "kept"] == [
        "images/059.png#red"
    ]
    assert everyone["predicted"][everyone["id"].index("images/059.png#red")] == -1
    top = run["sensitive"]["per_image"]
    assert {NAMES[a]: NAMES[b] for a, b in zip(top["top1"], top["top2"], strict=True)} == {
        "red": "green", "green": "blue", "blue": "red"
    }  # fmt: skip
    assert run["sensitive"]["method"]["name"] == "case[cooccurrence:1]"


def _logits_not_softmax(run: dict[str, Any]) -> None:
    # One unit a patient at most, and drops in the label's own logit: 40 times the patch's share of the mean.
    faithful = run["faithful"]["per_image"]
    assert len(set(faithful["cluster"])) == len(faithful["cluster"])
    for i, (row, block) in enumerate(zip(faithful["drops[mean]"], faithful["block"], strict=True)):
        if block < 0:
            continue
        members = [k for k, one in enumerate(faithful["block"]) if one == block]
        name, image = faithful["id"][i].rpartition("#")[2], faithful["id"][i].rpartition("#")[0]
        pixels = np.asarray(Image.open(image), dtype=np.float64)[..., NAMES.index(name)] / 255
        logit = 40 * pixels.mean()
        # The region is 15 of the 16 pixels of the patch; the mean of the whole image takes their place.
        patch = pixels[2:].max()
        assert row[members.index(i)] == pytest.approx(40 * 15 / 256 * (patch - pixels.mean()), abs=0.05)
        assert row[members.index(i)] < logit


def _drift_and_recall(run: dict[str, Any]) -> None:
    kept, moved = run["kept"], run["moved"]
    accuracy = kept["decision"]["readouts"]["performance"]["before"]
    units = sum(len(labels) for labels in run["found"].values())
    assert accuracy["accuracy"] == pytest.approx((units - 1) / units)
    assert accuracy["macro_auc"] is None
    assert "absent labels are not looked at" in accuracy["note"]
    assert any("absent labels are not looked at" in note for note in kept["decision"]["notes"])
    assert kept["decision"]["measures"]["accuracy_drop"]["estimate"] == 0.0
    # After the fine-tuning the corner decides: pasted, it makes the model find a label that the image does not have.
    lent = [i for i, value in enumerate(moved["per_image"]["follows_region"]) if value is not None]
    assert lent
    assert {moved["per_image"]["follows_region"][i] for i in lent} == {1}
    assert {moved["per_image"]["follows_control"][i] for i in lent} == {0}
    for i in lent:
        name = moved["per_image"]["id"][i].rpartition("#")[2]
        receiver = moved["per_image"]["id"][moved["per_image"]["pasted_into"][i]].rpartition("#")[0]
        assert name not in run["found"][receiver]


def _rows_a_label(run: dict[str, Any]) -> None:
    for check in ("sensitive", "faithful", "kept", "shown", "inside", "corner", "steady", "alike"):
        groups = {row["group"] for row in run[check]["decision"]["readouts"]["groups"]}
        assert groups == set(NAMES), check
    rows = {row["group"]: row for row in run["inside"]["decision"]["readouts"]["groups"]}
    per_image = run["inside"]["per_image"]
    for name in NAMES:
        mine = [i for i, group in enumerate(per_image["group"]) if group == name]
        assert rows[name]["images"] == len(mine)
        assert rows[name]["n"] == len({per_image["cluster"][i] for i in mine})
    # Declared groups keep their rows, and labels stand behind them.
    grouped = run["grouped"]["decision"]["readouts"]["groups"]
    assert [row["group"] for row in grouped] == ["f", "m", "label green", "label red"]
    assert {row["images"] for row in grouped[:2]} != {row["images"] for row in grouped[2:]}
    page = Path("report.html").read_text(encoding="utf-8")
    told = "Cases are</dt><dd>labels that are present in 52 images, each held against another one: "
    for words in ("label green", "images/000.png#red", told, "blue against red (found above 0.52)"):
        assert words in page, words
    (line,) = (line for line in run["done"].stdout.lines if line.split()[:1] == ["blue"] and "IoU drop" in line)
    assert f"n = {run['moved']['decision']['readouts']['groups'][0]['n']} " in line
