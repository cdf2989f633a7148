"""Methods on pixels and attention through contracts: checks, names in records, the cache, and verification."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import captum.attr  # noqa: F401  # imported once: runs in this process drop whatever they import themselves
import pytest
from click.testing import CliRunner

from pytest_saliency.cli import main

from .texts import CONTRACT, Write

IG = "captum:IntegratedGradients[steps:4]"
SHAP = "captum:GradientShap[samples:4,noise:0,baseline:zero]"
OCCLUSION = "captum:Occlusion[window:4,stride:2]"
RISE = "rise[masks:100,cells:8,score:logit,centred]"
FULL = {
    IG: "captum:IntegratedGradients[steps:4,baseline:zero,grid:56]",
    SHAP: "captum:GradientShap[samples:4,noise:0,baseline:zero,grid:56]",
    OCCLUSION: "captum:Occlusion[window:4,stride:2,baseline:zero,grid:56]",
    "captum:DeepLift": "captum:DeepLift[baseline:zero,grid:56]",
    RISE: "rise[masks:100,cells:8,keep:0.5,score:logit,centred]",
}
VIT = """
import torch, toy
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        y = self.norm(x)
        return x + self.attention(y, y, y, need_weights=False)[0]

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 3)
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x):
        return self.head(self.blocks(self.patch(x).flatten(2).mT).mean(1))

def build():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return Small().eval()
"""


def check(name: str, kind: str, method: list[str], **keys: object) -> str:
    listed = json.dumps(method)
    lines = [f"  - id: {name}", f"    kind: {kind}", f"    method: {listed}"]
    return "\n".join([*lines, *(f"    {key}: {value}" for key, value in keys.items())]) + "\n"


def records(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((path / "out.json").read_text(encoding="utf-8"))["records"]
    return found


def test_every_method_works_in_every_check_and_is_recorded_in_full(pytester: pytest.Pytester, write: Write) -> None:
    """The toy model looks at a patch in the colour of each class: every one of them finds it."""
    head = CONTRACT.replace("  cheat:", '  twin: {python: "toy:build", layer: features}\n  cheat:')
    few = [OCCLUSION, RISE]
    write(
        check("sensitive", "class_sensitive", list(FULL)),
        check("faithful", "faithful", few, top_k=0.06, min_advantage=0.0),
        check("kept", "no_semantic_drift", [IG], before="clean", after="twin", max_iou_drop=0.1),
        check(
            "lost", "no_semantic_drift", [IG, RISE], before="clean", after="cheat", max_iou_drop=0.4, confirm="false"
        ),
        check("stable", "stable", [IG], min_agreement=0.3, draws=1, search="false"),
        check(
            "against",
            "faithful",
            ["gradcam"],
            top_k=0.06,
            min_advantage=0.0,
            against="[captum:InputXGradient]",
            max_disadvantage=0.5,
        ),
        head=head,
    )
    result = pytester.runpytest_inprocess("-q", "--saliency-json=out.json", "--saliency-images=none")
    found = {record["node"].partition("::")[2]: record for record in records(pytester.path)}
    verdicts = {name: record["verdict"] for name, record in found.items()}
    lost = {f"lost[{method}]" for method in (IG, RISE)}
    assert {name for name, verdict in verdicts.items() if verdict != "PASS"} == lost
    assert {verdicts[name] for name in lost} == {"FAIL"}
    result.assert_outcomes(passed=len(found) - 2, failed=2)
    for method, full in FULL.items():
        for kind in ("sensitive", "faithful") if method in few else ("sensitive",):
            record = found[f"{kind}[{method}]"]
            assert record["method"]["name"] == full
            assert record["criterion"]["method"] == method
        assert "self_agreement" in found[f"sensitive[{method}]"]["per_image"]
    details = found[f"sensitive[{IG}]"]["method"]["details"]
    assert abs(details["delta"]["max"]) < 1e-4
    stages = found[f"sensitive[{RISE}]"]["execution"]["work"]["model"]["stages"]
    assert stages[RISE]["images"] == {"capture": 60, "masks": 60 * 100}, "once, for both classes and all checks"
    assert stages[f"jitter: {RISE}"]["images"] == {"capture": 60, "masks": 60 * 100}


def test_rollout_is_a_negative_control(pytester: pytest.Pytester, write: Write) -> None:
    (pytester.path / "vit.py").write_text(VIT)
    head = CONTRACT.replace('{python: "toy:build", layer: features}', '{python: "vit:build", layer: patch}', 1)
    write(
        check("sensitive", "class_sensitive", ["rollout", "rollout[heads:max]", "captum:InputXGradient"], keep="all"),
        head=head,
    )
    pytester.runpytest_inprocess("-q", "--saliency-json=out.json", "--saliency-bundle=bundle", "--saliency-images=none")
    found = {record["method"]["name"]: record for record in records(pytester.path)}
    assert set(found) == {"rollout[heads:mean]", "rollout[heads:max]", "captum:InputXGradient[grid:56]"}
    for heads in ("mean", "max"):
        record = found[f"rollout[heads:{heads}]"]
        assert record["verdict"] == "FAIL"
        assert set(record["per_image"]["agreement"]) == {1.0}
    (bundle,) = (pytester.path / "bundle").iterdir()
    verified = CliRunner().invoke(main, ["verify", str(bundle), "--level", "1"])
    assert verified.output.startswith("WHOLE up to level 1, but not every check says PASS"), verified.output


def test_what_was_made_once_is_taken_from_the_cache(pytester: pytest.Pytester, write: Write) -> None:
    write(check("sensitive", "class_sensitive", [RISE]))
    said = []
    for _ in range(2):
        pytester.runpytest_inprocess("-q", "--saliency-json=out.json", "--saliency-cache=kept").assert_outcomes(
            passed=1
        )
        said.append(records(pytester.path))
    first, second = (
        [{key: record[key] for key in ("verdict", "per_image", "method")} for record in run] for run in said
    )
    assert first == second
    stages = said[1][0]["execution"]["work"]["model"]["stages"]
    assert set(stages) == {"canary"}
    assert {RISE, f"jitter: {RISE}"} <= set(said[0][0]["execution"]["work"]["model"]["stages"])


def test_what_cannot_be_done_is_a_sentence_in_the_item(pytester: pytest.Pytester, write: Write) -> None:
    write(check("sensitive", "class_sensitive", ["rollout", "captum:Occlusion"]))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "sensitive: rollout needs a vision transformer, but no attention was seen in model 'clean'*",
            "sensitive: captum:Occlusion[[]window:16,*cannot move a window of 16 pixels*16x16*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_contract_is_validated_without_captum_and_torch(pytester: pytest.Pytester, write: Write) -> None:
    path = write(check("sensitive", "class_sensitive", [IG, "rollout"]))
    code = (
        "import sys\n"
        "for name in ('torch', 'captum'): sys.modules[name] = None\n"
        "from pytest_saliency.cli import main\n"
        f"main(['validate', {str(path)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=pytester.path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    path.write_text(path.read_text().replace("steps:4", "step:4"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=pytester.path, check=False)
    assert done.returncode != 0
    assert "there is no variant 'step:4'" in done.stdout + done.stderr
