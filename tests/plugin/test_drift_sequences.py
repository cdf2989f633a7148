"""Checkpoints between two models, and null checkpoints, as a contract declares them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from pytest_saliency.cli import main

from .texts import Write
from .toy import Toy

HEAD = """\
saliency: 1
contract: toy
models:
  tl: {python: "toy:build", layer: features}
  ft: {python: "toy:build", layer: features, weights: weights/last.safetensors}
cases: {python: "toy:cases"}
"""


def state(cheat: bool, wobble: float = 0.0) -> dict[str, torch.Tensor]:
    """Return the toy's weights; ``wobble`` scales one colour, which moves every map a little."""
    made = {name: value.clone() for name, value in Toy(cheat).state_dict().items()}
    made["head.weight"][0, 1] += wobble
    return made


def save(folder: Path, **weights: dict[str, torch.Tensor]) -> None:
    (folder / "weights").mkdir(exist_ok=True)
    for name, one in weights.items():
        save_file(one, folder / "weights" / f"{name}.safetensors")


def records(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "run.json").read_text())["records"]
    return found


def test_the_epoch_at_which_a_shortcut_was_planted_is_named(pytester: pytest.Pytester, write: Write) -> None:
    write(
        """
  - id: evidence-kept
    kind: no_semantic_drift
    before: tl
    after: ft
    method: gradcam
    max_iou_drop: 0.4
    checkpoints: weights/epoch_*.safetensors
""",
        head=HEAD,
    )
    epochs = {f"epoch_{k}": state(k >= 10) for k in (8, 9, 10, 11)}
    save(pytester.path, last=state(True, 0.5), **epochs)
    result = pytester.runpytest(
        "--saliency-json", "run.json", "--saliency-bundle", "b", "--saliency-bundle-maps", "--saliency-html", "r.html"
    )
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "the evidence moved at epoch_10" in text
    assert "accuracy was 100.0 % before it, 100.0 % there" in text
    assert "shortcut confirmed: 100 % follow the pasted region, control 0 %" in text
    (record,) = records(pytester.path)
    path = record["decision"]["readouts"]["trajectory"]  # type: ignore[index]
    assert [point["name"] for point in path["points"]] == ["epoch_8", "epoch_9", "epoch_10", "epoch_11", "ft"]
    assert [point["means"]["iou_drop"] < 0.01 for point in path["points"]] == [True, True, False, False, False]
    assert path["largest_step"]["to"] == "epoch_10"
    assert set(record["subjects"]) == {"before", "after", *(f"checkpoints.{k}" for k in range(1, 5))}  # type: ignore[call-overload]
    assert gallery_titles(record)[-2:] == [
        f"{record['gallery'][-1]['tiles'][-2]['title'].partition(' with ')[0]} with the region",  # type: ignore[index]
        f"{record['gallery'][-1]['tiles'][-1]['title'].partition(' with ')[0]} with a control region",  # type: ignore[index]
    ]
    page = (pytester.path / "r.html").read_text(encoding="utf-8")
    assert "region pasted into another class" in page
    assert "Does the prediction follow the newly used region? Shortcut confirmed" in page
    verifies(pytester.path / "b")


def gallery_titles(record: dict[str, object]) -> list[str]:
    rows: list[dict[str, object]] = record["gallery"]  # type: ignore[assignment]
    return [tile["title"] for tile in rows[-1]["tiles"]]  # type: ignore[attr-defined]


def verifies(folder: Path) -> None:
    (bundle,) = (path for path in folder.iterdir() if path.is_dir())
    verified = CliRunner().invoke(main, ["verify", str(bundle), "--level", "2"])
    assert verified.exit_code == 3, verified.output  # whole, and not every check says PASS
    assert "WHOLE up to level" in verified.output


def test_a_pattern_that_names_nothing_says_where_it_looked(pytester: pytest.Pytester, write: Write) -> None:
    write(
        """
  - id: evidence-kept
    kind: no_semantic_drift
    before: tl
    after: ft
    method: gradcam
    max_iou_drop: 0.4
    checkpoints: weights/step_*.safetensors
""",
        head=HEAD,
    )
    save(pytester.path, last=state(False))
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no file matches 'weights/step_[*].safetensors' in *", "*toy.saliency.yaml:15*"])


PAIRS = """
  - id: evidence-kept
    kind: no_semantic_drift
    before: [red-tl, blue-tl]
    after: [red-ft, blue-ft]
    method: [gradcam, layercam]
    max_iou_drop: 0.4
    confirm: false
"""

TWO = """\
saliency: 1
contract: toy
models:
  red-tl: {python: "toy:build", layer: features}
  red-ft: {python: "toy:build", layer: features, weights: weights/last.safetensors}
  blue-tl: {python: "toy:build", layer: features}
  blue-ft: {python: "toy:build_cheat", layer: features}
cases: {python: "toy:cases"}
"""


def test_pairs_make_an_axis_and_a_table(pytester: pytest.Pytester, write: Write) -> None:
    write(PAIRS, head=TWO)
    save(pytester.path, last=state(False, 0.5))
    result = pytester.runpytest(
        "-v", "--saliency-json", "run.json", "--saliency-html", "r.html", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=2, failed=2)
    made = {str(record["node"]).rpartition("::")[2]: record for record in records(pytester.path)}
    assert list(made) == [f"evidence-kept[{p}-{m}]" for p in ("blue", "red") for m in ("gradcam", "layercam")]
    assert made["evidence-kept[red-gradcam]"]["axes"] == {"pair": "red", "method": "gradcam"}
    assert made["evidence-kept[blue-gradcam]"]["subjects"]["after"]["name"] == "blue-ft"  # type: ignore[index]
    result.stdout.fnmatch_lines(
        ["*toy/evidence-kept: architecture by method", "*mean IoU drop   gradcam   layercam", "*blue *0.80 *0.80"]
    )
    page = (pytester.path / "r.html").read_text(encoding="utf-8")
    assert "toy/evidence-kept: 2 pairs of models, 2 methods" in page


def test_null_checkpoints_are_named_in_the_contract(pytester: pytest.Pytester, write: Write) -> None:
    """``reference: null`` is the word, not the absence of one; 19 nulls are enough for one limit."""
    models = "".join(
        f'  seed-{k}: {{python: "toy:build", layer: features, weights: weights/seed_{k}.safetensors}}\n'
        for k in range(19)
    )
    head = HEAD.replace("cases:", models + "cases:")
    check = """
  - id: enough
    kind: no_semantic_drift
    before: tl
    after: ft
    method: gradcam
    max_iou_drop: 0.4
    confirm: false
    reference: null
    nulls: [{nulls}]
"""
    write(check.format(nulls=", ".join(f"seed-{k}" for k in range(19))), head=head)
    save(pytester.path, last=state(True), **{f"seed_{k}": state(False, 0.01 * (k + 1)) for k in range(19)})
    result = pytester.runpytest(
        "--saliency-json", "run.json", "--saliency-bundle", "b", "--saliency-bundle-maps", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(failed=1)
    verifies(pytester.path / "b")
    (enough,) = records(pytester.path)
    assert enough["verdict"] == "FAIL"
    assert enough["decision"]["readouts"]["nulls"]["iou_drop"]["nulls"] == 19  # type: ignore[index]
