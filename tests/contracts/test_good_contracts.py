"""What good contracts mean, written out by hand."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path

import pytest

from pytest_saliency.checks.registry import KINDS
from pytest_saliency.contracts.contract import Contract, expand, load_contract, parse_contract
from pytest_saliency.contracts.loader import MAX_BYTES
from pytest_saliency.contracts.paths import missing_paths

GOOD = Path(__file__).parents[2] / "fixtures" / "contracts" / "good"
FILES = sorted(GOOD.glob("*.yaml"))

NAMES = {
    "chest-xray": [
        "class-sensitive[case]",
        "class-sensitive[layercam]",
        "evidence-kept[layercam]",
        "evidence-kept[gradcam++]",
        "faithful",
    ],
    "axes": [
        "three[case-b-0.1]",
        "three[case-b-1]",
        "three[case-a-0.1]",
        "three[case-a-1]",
        "three[gradcam++-b-0.1]",
        "three[gradcam++-b-1]",
        "three[gradcam++-a-0.1]",
        "three[gradcam++-a-1]",
        "one[a]",
        "none",
    ],
    "all-keys": ["on", "drift"],
    "multi-label": ["sensitive", "column-a-label", "arrays"],
    "label-masks": ["inside", "lists"],
    "model-sources": ["a"],
    "images": ["a", "b", "c"],
    "methods": [
        "on-pixels[captum:IntegratedGradients[steps:128,baseline:blur]]",
        "on-pixels[captum:GradientShap]",
        "on-pixels[captum:Occlusion[window:32,stride:16,baseline:mean]]",
        "on-pixels[captum:DeepLift[grid:28]]",
        "on-pixels[rise[masks:4000,cells:7,centred]]",
        "negative-control",
        "faithful",
    ],
}


def good(name: str) -> Contract:
    return load_contract(GOOD / f"{name}.saliency.yaml")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_items(name: str) -> None:
    assert [item.name for item in expand(good(name))] == NAMES[name]


def test_every_good_file_is_expected() -> None:
    assert sorted(file.name.removesuffix(".saliency.yaml") for file in FILES) == sorted(NAMES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_parameters_go_back_into_their_kind(file: Path) -> None:
    for item in expand(load_contract(file)):
        kind = KINDS[item.kind]
        assert kind.parameters(**item.parameters).model_dump() == item.parameters
        assert tuple(item.roles) == kind.roles


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_resolved_is_json_and_digest_is_of_the_bytes(file: Path) -> None:
    contract = load_contract(file)
    resolved = contract.resolved()
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    assert resolved["contract"] == contract.slug
    assert [row["name"] for row in resolved["items"]] == [item.name for item in expand(contract)]
    assert contract.digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_file_of_the_readme() -> None:
    contract = good("chest-xray")
    first, _, kept, _, faithful = expand(contract)
    assert (contract.slug, contract.requirement) == ("chest-xray", "URS-012")
    assert first.parameters == {
        "method": "case",
        "alpha": 0.05,
        "max_undefined": 0.05,
        "top_k": 0.05,
        "max_agreement": 0.5,
        "keep": "correct",
        "rule": "full",
        "grid": "input",
    }
    assert first.axes == {"method": "case"}
    assert first.roles == {"model": "ft"}
    assert first.line == 16
    assert first.lines["max_agreement"] == 20
    assert first.lines["alpha"] == 13
    assert (first.requirement, first.severity, first.on_inconclusive) == ("URS-012", "fail", "fail")
    assert first.cases.source == ("imagefolder", "data/val")
    assert first.cases.sample is not None
    assert (first.cases.sample.n, first.cases.sample.seed, first.cases.sample.per_class) == (300, 7, "balanced")
    assert kept.roles == {"before": "tl", "after": "ft"}
    assert kept.parameters["max_iou_drop"] == 0.4
    assert kept.parameters["min_correlation"] is None
    assert faithful.parameters["fill"] == ("blur", "mean")
    assert faithful.axes == {}
    tl, ft = contract.models["tl"], contract.models["ft"]
    assert (tl.source, tl.layer, tl.line) == (("torchvision", "densenet201"), "features.norm5", 6)
    assert (ft.source, ft.args, ft.line) == (("python", "chest.models:build"), {"classes": 5}, 7)
    assert tl.preprocess is not None
    assert (tl.preprocess.resize, tl.preprocess.center_crop) == (256, 224)
    assert contract.text.splitlines()[first.lines["max_agreement"] - 1].strip() == "max_agreement: 0.5"


def test_every_key() -> None:
    contract = good("all-keys")
    on, drift = expand(contract)
    assert (on.requirement, on.severity, on.on_inconclusive) == ("REQ: 1", "fail", "warn")
    assert on.known_failure is not None
    assert on.known_failure.expires == date(2027, 1, 31)
    assert (on.parameters["alpha"], on.parameters["max_undefined"]) == (0.01, 0.1)
    assert (drift.severity, drift.on_inconclusive, drift.parameters["alpha"]) == ("warn", "skip", 0.001)
    assert (drift.requirement, drift.known_failure) == ("REQ: 1", None)
    assert drift.parameters["min_correlation"] == -1.0
    assert drift.cases.source == ("python", "pkg.data:load")
    net, own, given = (contract.models[name] for name in ("Net.1", "own", "given"))
    assert net.preprocess is not None
    assert net.preprocess.resize == (32, 48)
    assert net.args == {"progress": False, "anything": None}
    assert (net.output, own.output) == ("logits", 1)
    assert net.contrast is not None
    assert net.contrast.cases is not None
    assert net.contrast.cases.classes == ("no", "yes")
    assert own.contrast is not None
    assert own.contrast.classes == {0: (1,), "no": ("yes",)}
    assert own.preprocess == given.preprocess
    assert own.preprocess is not None
    assert own.preprocess.resize == 16


def test_model_sources(tmp_path: Path) -> None:
    models = good("model-sources").models
    assert [model.source for model in models.values()] == [
        ("torchvision", "resnet50"),
        ("timm", "resnetv2_50.a1h_in1k"),
        ("timm", "resnetv2_50"),
        ("huggingface", "model"),
        ("exported", "net.pt2"),
    ]
    assert [model.shipped for model in models.values()] == ["DEFAULT", None, "a1h_in1k", None, None]
    assert models["named"].download is True
    assert (models["file"].weights, models["file"].state) == ("w.pt", "state_dict_ema")
    assert (models["file"].num_classes, models["file"].args) == (5, {"drop_rate": 0.1})
    assert (models["program"].input, models["program"].output) == ("image", "logits")
    assert {model.preprocess for model in models.values()} == {"weights"}, "also from the defaults"
    file = tmp_path / "model-sources.saliency.yaml"
    file.write_bytes((GOOD / "model-sources.saliency.yaml").read_bytes())
    missing = [problem.message.split(";")[0] for problem in missing_paths(load_contract(file))]
    assert missing == [  # weights that are a name are no file
        "'weights': the file 'w.pt' is not there",
        "'huggingface': the folder 'model' is not there",
        "'exported': the file 'net.pt2' is not there",
        "'imagefolder': the folder 'data/val' is not there",
    ]


def test_masks_of_labels() -> None:
    inside, lists = expand(good("label-masks"))
    assert inside.cases.columns is not None
    assert inside.cases.columns.masks == {"Effusion": "effusion_mask", "Mass": "mass_mask"}
    assert lists.cases.source == ("huggingface", "sets/chest")
    assert lists.cases.columns is not None
    assert lists.cases.columns.masks == {0: "effusion"}
    assert (lists.cases.no_label, lists.cases.pairs) == ("No Finding", {"Effusion": "Mass"})


def test_ids_do_not_depend_on_the_order_of_checks() -> None:
    text = (GOOD / "chest-xray.saliency.yaml").read_text(encoding="utf-8")
    head, _, tail = text.partition("checks:\n")
    blocks = ["  - id:" + block for block in tail.split("  - id:")[1:]]
    turned = parse_contract((head + "checks:\n" + "".join(reversed(blocks))).encode(), Path("x"))
    assert sorted(item.name for item in expand(turned)) == sorted(NAMES["chest-xray"])


def test_missing_paths_are_found_once_each_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "w.pt").mkdir()
    file = tmp_path / "all-keys.saliency.yaml"
    file.write_bytes((GOOD / "all-keys.saliency.yaml").read_bytes())
    found = [(p.line, p.column, p.message) for p in missing_paths(load_contract(file))]
    end = "; paths start at the contract's own folder"
    assert found == [
        (11, 14, f"'weights': the file 'w.pt' is not a file{end}"),
        (18, 54, f"'csv': the file 'held_out.csv' is not there{end}"),
        (26, 18, f"'npz': the file 'x.npz' is not there{end}"),
    ]
    (tmp_path / "w.pt").rmdir()
    for name in ("w.pt", "held_out.csv", "x.npz"):
        (tmp_path / name).touch()
    assert missing_paths(load_contract(file)) == ()


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    content = (GOOD / "chest-xray.saliency.yaml").read_bytes()
    marked = parse_contract(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"), tmp_path)
    assert [(i.name, i.line) for i in expand(marked)] == [(i.name, i.line) for i in expand(good("chest-xray"))]
    assert len(content) < MAX_BYTES
