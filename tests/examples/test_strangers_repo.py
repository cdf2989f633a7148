"""A repository not made for this project: training by Lightning, then contracts, then what newcomers get wrong.

One training and one run of pytest in a process of their own serve all tests. The page that walks through it shows the
very files and the very sentences.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_saliency.contracts.imports import resolve
from pytest_saliency.errors import SaliencyError

pytest.importorskip("pytorch_lightning")
pytest.importorskip("timm")

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "examples" / "strangers_repo"
PAGE = (ROOT / "docs" / "adding-to-your-repo.md").read_text(encoding="utf-8")
RUN = """
import sys
import pytest
from cxr.train import main
main("configs/base.yaml")
import make_wrong
sys.exit(pytest.main(sys.argv[1:]))
"""
LOSS_AS_HYPERPARAMETER = """
import torch
read = torch.load("checkpoints/last.ckpt", weights_only=True)
read["hyper_parameters"]["loss"] = torch.nn.CrossEntropyLoss()
torch.save(read, "checkpoints/loss.ckpt")
"""
CHECK = "  - {id: wrong, kind: class_sensitive, method: gradcam, top_k: 0.10}\n"
MODEL = "{timm: test_resnet, num_classes: 3, args: {output_stride: 8}, weights: ../checkpoints/last.ckpt}"
WRONG = {
    "hyperparameters": (MODEL, MODEL.replace("last.ckpt", "loss.ckpt")),
    "outputs": (MODEL, MODEL.replace("num_classes: 3", "num_classes: 5")),
    "file": (MODEL, MODEL.replace("last.ckpt", "epoch=2-step=40.ckpt")),
    "layer": (MODEL, MODEL[:-1] + ", layer: model.layer4}"),
    "module": (MODEL, '{python: "cxr.salience:build", weights: ../checkpoints/last.ckpt}'),
    "label": ("classes: [No Finding, Effusion, Nodule]", "classes: [Normal, Effusion, Nodule]"),
    "names": ("classes: [No Finding, Effusion, Nodule]", "classes: [No Finding, Effusion, Nodule, Mass]"),
    "patient": ("cluster: Patient ID", "cluster: PatientID"),
    "root": ("  root: ../data/images\n", ""),
    "split": ("split: val", "split: valid"),
    "preprocess": ("  preprocess: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}\n", ""),
    "order": ("classes: [No Finding, Effusion, Nodule]", "classes: [Effusion, No Finding, Nodule]"),
    "blind": ("method: gradcam", "method: eigencam"),
}
RUNS = ("preprocess", "order", "blind")
"""What is no error; ``blind`` is a method that ignores the class, for a verdict that must be FAIL."""


@dataclass(frozen=True)
class Ran:
    folder: Path
    output: str
    records: dict[str, dict[str, Any]]


def contract(name: str) -> str:
    return (KEPT / "contracts" / f"{name}.saliency.yaml").read_text(encoding="utf-8")


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("stranger") / "cxr"
    shutil.copytree(KEPT, folder, ignore=shutil.ignore_patterns("data", "checkpoints", "__pycache__", ".pytest_cache"))
    head, mark, _ = contract("release").partition("checks:\n")
    (folder / "wrong").mkdir()
    for name, (said, instead) in WRONG.items():
        text = head.replace("cxr-release", name).replace("defaults:", "  sample: {n: 36}\ndefaults:") + mark + CHECK
        assert said in text, name
        (folder / "wrong" / f"{name}.saliency.yaml").write_text(text.replace(said, instead), encoding="utf-8")
    (folder / "make_wrong.py").write_text(LOSS_AS_HYPERPARAMETER, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": f"src:{ROOT}", "OMP_NUM_THREADS": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    subprocess.run([sys.executable, "scripts/make_images.py", "data"], cwd=folder, env=env, check=True)
    words = ["-v", "-p", "no:cacheprovider", "--saliency-json", "run.json", "contracts", "wrong"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert (folder / "run.json").is_file(), done.stdout + done.stderr
    records = json.loads((folder / "run.json").read_text(encoding="utf-8"))["records"]
    return Ran(
        folder,
        plain(done.stdout.replace(f"{folder}{os.sep}", "").replace(str(folder), ".")),
        {record["node"]: record for record in records},
    )


def test_the_contract_gets_verdicts(ran: Ran) -> None:
    verdicts = {node: record["verdict"] for node, record in ran.records.items() if node.startswith("contracts/")}
    assert verdicts == {
        "contracts/release.saliency.yaml::class-sensitive": "PASS",
        "contracts/release.saliency.yaml::faithful": "PASS",
        "contracts/release.saliency.yaml::evidence-kept": "PASS",
        "contracts/by-function.saliency.yaml::class-sensitive": "PASS",
    }
    assert ran.records["wrong/blind.saliency.yaml::wrong"]["verdict"] == "FAIL"


def test_the_checkpoint_is_a_real_one_and_its_digest_is_in_the_record(ran: Ran) -> None:
    file = ran.folder / "checkpoints" / "last.ckpt"
    held = torch.load(file, weights_only=True)
    assert {"optimizer_states", "lr_schedulers", "callbacks", "hyper_parameters"} <= set(held)
    assert held["optimizer_states"][0]["state"]
    assert {key.partition(".")[0] for key in held["state_dict"]} == {"model", "loss"}
    subject = ran.records["contracts/release.saliency.yaml::class-sensitive"]["subjects"]["model"]
    assert subject["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "left out: loss.weight" in subject["source"]


def test_patients_are_the_clusters(ran: Ran) -> None:
    with (ran.folder / "data" / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    patients = {row["Image Index"]: row["Patient ID"] for row in rows}
    assert len(set(patients.values())) < len(rows)
    kept = ran.records["contracts/release.saliency.yaml::evidence-kept"]["per_image"]
    assert len(kept["id"]) > len(set(kept["cluster"]))
    assert {name: patients[name] for name in kept["id"]} == dict(zip(kept["id"], kept["cluster"], strict=True))


def test_a_function_gives_what_timm_gives(ran: Ran) -> None:
    without, through = (
        ran.records[f"contracts/{name}.saliency.yaml::class-sensitive"] for name in ("release", "by-function")
    )
    assert through["subjects"]["model"]["layer"] == "model." + without["subjects"]["model"]["layer"]
    assert through["per_image"]["id"] == without["per_image"]["id"]
    assert through["per_image"]["agreement"] == pytest.approx(without["per_image"]["agreement"], abs=1e-6)


@pytest.mark.parametrize("name", sorted(set(WRONG) - set(RUNS)))
def test_what_newcomers_get_wrong_is_one_sentence_which_the_page_shows(ran: Ran, name: str) -> None:
    record = ran.records[f"wrong/{name}.saliency.yaml::wrong"]
    assert record["verdict"] == "ERROR"
    section = PAGE.partition("## What goes wrong at first")[2]
    shown = [plain(block) for block in re.findall(r"```text\n(.*?)```", section, flags=re.DOTALL)]
    found = re.search(
        rf"_ wrong in wrong/{name}\.saliency\.yaml _+ wrong: (.*?) wrong/{name}\.saliency\.yaml:", ran.output
    )
    assert found, ran.output
    said = found[1]
    if name == "layer":  # the rest lists layers
        said = said.partition(" Layers that have one:")[0]
    assert said.replace("in wrong or", "in contracts or") in shown


def test_a_package_under_src_that_is_not_installed_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "src" / "cxr_of_nobody").mkdir(parents=True)
    with pytest.raises(SaliencyError) as caught:
        resolve("cxr_of_nobody.saliency:build", [tmp_path])
    assert f"it lies in {tmp_path / 'src'}, so install the project (pip install -e .)" in str(caught.value)


@pytest.mark.parametrize("name", ["preprocess", "order"])
def test_what_is_no_error_is_told_at_the_end(ran: Ran, name: str) -> None:
    end = [plain(line) for line in PAGE.partition("## What goes wrong at first")[2].split("```")]
    mark = {"preprocess": "as they are", "order": "gives the label of only"}[name]
    (shown,) = (line.removeprefix("text ") for line in end if line.startswith("text saliency:") and mark in line)
    said = ran.output.replace(f"(contract {name})", "(contract cxr-release)")
    assert re.sub(r"\d+ of \d+ cases", "N of M cases", shown) in re.sub(r"\d+ of \d+ cases", "N of M cases", said)


def test_the_page_shows_the_very_files() -> None:
    blocks = re.findall(r"```(?:yaml|python)\n(.*?)```", PAGE, flags=re.DOTALL)
    files = [
        (KEPT / "src" / "cxr" / "module.py").read_text(encoding="utf-8"),
        contract("release"),
        (KEPT / "src" / "cxr" / "saliency.py").read_text(encoding="utf-8"),
    ]
    assert blocks[:3] == files
    (line,) = (line for line in contract("by-function").splitlines(keepends=True) if line.startswith("  release:"))
    assert blocks[3] == "models:\n" + line
