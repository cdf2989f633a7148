"""The command line at the user's boundary: output, exit codes, and never a traceback."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pytest_saliency import __version__
from pytest_saliency.cli import main
from pytest_saliency.contracts.schema import render_schema
from pytest_saliency.layer_table import _fill_zero_weights

CORPUS = Path(__file__).parents[1] / "fixtures" / "contracts"
OK = """saliency: 1
contract: {}
models: {{m: {{fixture: net}}}}
cases: {{fixture: c}}
checks: [{{id: a, kind: class_sensitive, model: m}}]
"""


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def test_version() -> None:
    assert call("--version").stdout == f"pytest-saliency, version {__version__}\n"


def test_validate_says_how_many_items() -> None:
    result = call("validate", CORPUS / "good" / "axes.saliency.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("axes.saliency.yaml: ok, 10 items\n")


def test_validate_shows_all_problems_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "good.saliency.yaml").write_text(OK.format("x"))
    for name in ("wrong-type", "duplicate-id"):
        (tmp_path / f"{name}.saliency.yml").write_bytes((CORPUS / "bad" / f"{name}.yaml").read_bytes())
    result = call("validate", tmp_path)
    assert result.exit_code == 1
    assert result.stdout == f"{tmp_path / 'good.saliency.yaml'}: ok, 1 item\n"
    for name in ("wrong-type", "duplicate-id"):
        report = (CORPUS / "bad" / f"{name}.txt").read_text()
        assert f"{tmp_path / name}.saliency.yml\n{report}" in result.stderr
    assert result.stderr.endswith("Error: 2 of 3 contracts cannot be used.\n")


def test_validate_looks_for_files_unless_told_not_to() -> None:
    file = CORPUS / "good" / "chest-xray.saliency.yaml"
    result = call("validate", file)
    assert result.exit_code == 1
    assert "  6:59    'weights': the file 'weights/tl.safetensors' is not there" in result.stderr
    assert "  9:16    'imagefolder': the folder 'data/val' is not there" in result.stderr
    assert call("validate", "--text-only", file).exit_code == 0


def test_validate_refuses_one_name_for_two_contracts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.saliency.yaml").write_text(OK.format("same"))
    result = call("validate", tmp_path)
    assert result.exit_code == 1
    assert f"  2:11    contract 'same' is also declared by {tmp_path / 'a.saliency.yaml'}" in result.stderr


def test_validate_of_nothing_is_never_green(tmp_path: Path) -> None:
    assert call("validate").exit_code == 2
    assert call("validate", tmp_path / "no.yaml").exit_code == 2
    empty = call("validate", tmp_path)
    assert empty.exit_code == 1
    assert "no *.saliency.yaml or *.saliency.yml in folder" in empty.stderr


def test_validate_never_imports_the_users_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exploding_model.py").write_text("raise SystemExit('imported')\n")
    text = OK.format("x").replace("fixture: net", "python: 'exploding_model:build'")
    (tmp_path / "x.saliency.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert call("validate", ".").exit_code == 0
    assert "exploding_model" not in sys.modules


def test_schema(tmp_path: Path) -> None:
    assert call("schema").stdout == render_schema()
    target = tmp_path / "s.json"
    assert call("schema", "-o", target).exit_code == 0
    assert json.loads(target.read_text(encoding="utf-8"))["title"] == "pytest-saliency contract, format 1"
    missing = call("schema", "-o", tmp_path / "no" / "s.json")
    assert missing.exit_code == 1
    assert "No such file or directory" in missing.stderr


def test_init_writes_a_contract_that_is_valid_up_to_its_paths(tmp_path: Path) -> None:
    result = call("init", tmp_path / "repo")
    assert result.exit_code == 0
    assert "Next:" in result.stdout
    contracts = tmp_path / "repo" / "contracts"
    assert call("validate", "--text-only", contracts).stdout.endswith("ok, 4 items\n")
    for name in ("weights/before.safetensors", "weights/after.safetensors"):
        (tmp_path / "repo" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "repo" / name).touch()
    (tmp_path / "repo" / "data" / "val").mkdir(parents=True)
    assert call("validate", contracts).exit_code == 0
    assert (contracts / "contract-1.schema.json").read_text(encoding="utf-8") == render_schema()
    ast.parse((contracts / "conftest.py").read_text(encoding="utf-8"))
    workflow = yaml.safe_load((tmp_path / "repo/.github/workflows/saliency.yml").read_text(encoding="utf-8"))
    assert any("pytest contracts" in step.get("run", "") for step in workflow["jobs"]["contracts"]["steps"])


def test_init_overwrites_only_when_forced(tmp_path: Path) -> None:
    mine = tmp_path / "contracts" / "conftest.py"
    mine.parent.mkdir()
    mine.write_text("# mine\n")
    refused = call("init", tmp_path)
    assert refused.exit_code == 1
    assert f"nothing was written, as {mine} is there already" in refused.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "# mine\n"
    assert call("init", tmp_path, "--force").exit_code == 0
    assert mine.read_text() != "# mine\n"


TINY = """
import torch
from torch import nn
def build():
    features = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3)]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
def explode():
    raise ValueError("no such checkpoint\\nsecond line")
text = "not a module"
flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"tiny_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return name


def test_layers(tiny: str) -> None:
    path = list(sys.path)
    result = call("layers", f"{tiny}:build", "--input", "1x8x8")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{tiny}:build, input 1x8x8, 3 layers with a grid",
        "layer  type    output  grid",
        "0      Conv2d  4x6x6   6x6",
        "1      ReLU    4x6x6   6x6   <- penultimate",
        "2      Conv2d  8x4x4   4x4   <- auto",
    ]
    assert sys.path == path


def test_layers_shows_the_last_ones_and_the_chosen_ones(tiny: str) -> None:
    lines = call("layers", f"{tiny}:build", "--input", "1x8x8", "--last", "1").stdout.splitlines()
    assert lines[1] == "(1 earlier ones are not shown; --last 0 shows all)"
    assert [line.split()[0] for line in lines[3:]] == ["1", "2"]
    assert len(call("layers", f"{tiny}:build", "--input", "1x8x8", "--last", "0").stdout.splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["{}:explode"], 1, "{}:explode cannot be built: ValueError: no such checkpoint\n"),
        (["{}:nothing"], 1, "cannot be built: AttributeError"),
        (["no_such_package:x"], 1, "No module named 'no_such_package'"),
        (["{}:text"], 1, "{}:text gives a str, not a torch.nn.Module"),
        (["{}:flat", "--input", "1x8x8"], 1, "no layer with a spatial grid larger than 1x1"),
        (["{}:build", "--input", "3x8x8"], 1, "expected input"),
        (["{}:build", "--num-classes", "3"], 1, "--num-classes is for torchvision architectures"),
        (["timm:test_rsnet"], 1, "timm has no model 'test_rsnet'; did you mean 'test_resnet'?"),
        (["timm:a b"], 1, "timm:a b: 'timm' must be a name of letters, digits and '_'"),
        (["huggingface:gone"], 1, "gone is not there; give a folder as model.save_pretrained(FOLDER) leaves it"),
        (["exported:gone.pt2"], 1, "there is no file"),
        (["exported:gone.pt2", "--num-classes", "3"], 1, "--num-classes is for torchvision architectures and those of"),
        (["resnet19"], 1, "torchvision has no classification architecture 'resnet19'; did you mean 'resnet18'?"),
        (["resnet18", "--input", "224"], 2, "'224' is not a size such as 3x224x224"),
        (["resnet18", "--input", "3x0x9"], 2, "'3x0x9' has a zero in it"),
        (["resnet18", "--num-classes", "0"], 2, "--num-classes"),
    ],
)
def test_layers_that_cannot_be_shown(tiny: str, words: list[str], code: int, sentence: str) -> None:
    result = call("layers", *(word.format(tiny) for word in words))
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence.format(tiny) in result.stderr


def test_layers_of_a_torchvision_architecture() -> None:
    result = call("layers", "squeezenet1_1", "--num-classes", "3", "--input", "3x64x64", "--last", "4")
    assert (result.exit_code, result.stderr) == (0, "")
    marks = {line.split()[0]: line.partition("<- ")[2] for line in result.stdout.splitlines() if "<- " in line}
    assert marks == {"classifier.2": "auto", "classifier.0": "penultimate"}


def test_layers_of_a_timm_architecture() -> None:
    result = call("layers", "timm:test_vit", "--num-classes", "3", "--input", "3x160x160", "--last", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    marks = {line.split()[0]: line.partition("<- ")[2] for line in result.stdout.splitlines() if "<- " in line}
    assert marks == {"blocks.5.norm1": "auto", "blocks.4": "penultimate"}, "behind it only the class token is read"


def test_a_head_that_starts_as_zeros_is_filled_so_that_scores_depend_on_layers() -> None:
    import torch

    body, head = torch.nn.Linear(4, 2), torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(head.weight)
    kept = body.weight.detach().clone()
    state = torch.random.get_rng_state()
    _fill_zero_weights(torch.nn.Sequential(body, head))
    assert bool(head.weight.abs().min() > 0)
    assert torch.equal(body.weight, kept)
    assert torch.equal(torch.random.get_rng_state(), state)
