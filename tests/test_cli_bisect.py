"""``pytest-saliency bisect`` names the block that was changed, on networks in which it is known."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import Tensor, nn

from pytest_saliency.cli import main
from pytest_saliency.engine.blocks import between, blocks_of, states_of, swapped
from pytest_saliency.errors import SubjectError

NETS = '''
import numpy as np
import torch
from torch import nn
from pytest_saliency import Cases

SIDE = 12

class Look(nn.Module):
    """Lets through what its mask leaves."""

    def __init__(self):
        super().__init__()
        self.mask = nn.Parameter(torch.ones(SIDE, SIDE), False)

    def forward(self, x):
        return x * self.mask

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = Look(), Look(), Look()
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(3) * 40.0)

    def forward(self, x):
        return self.head(self.three(self.two(self.one(x))).mean((2, 3)))

class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.three = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.three(x).mean((2, 3))

def build():
    return Net()

def build_other():
    torch.manual_seed(0)
    return Other()

def cases(n=30):
    draw = np.random.Generator(np.random.PCG64(5))
    images, labels = np.zeros((n, 3, SIDE, SIDE), dtype=np.float32), np.arange(n) % 3
    for image, label in zip(images, labels):
        y, x = draw.integers(4, 8, 2)
        image[label, y : y + 4, x : x + 4] = 0.8
        image[label, :2, :2] = 0.4
    return Cases.from_arrays(images, labels)
'''


def write(folder: Path, changed: str, module: str, after: str = "build") -> Path:
    """Write a repository whose second model looks at the corner only, from block ``changed`` on."""
    (folder / f"{module}.py").write_text(NETS)
    names: dict[str, object] = {}
    exec(NETS, names)
    net: nn.Module = names["Net"]()  # type: ignore[operator]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for name in ("one", "two", "three"):
        state[f"{name}.mask"] *= 1.01
    corner = torch.zeros(12, 12)
    corner[:2, :2] = 1.0
    state[f"{changed}.mask"] = corner
    save_file(state, folder / "after.safetensors")
    path = folder / "net.saliency.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        saliency: 1
        contract: net
        models:
          tl: {{python: "{module}:build", layer: three}}
          ft: {{python: "{module}:{after}", layer: three{", weights: after.safetensors" if after == "build" else ""}}}
        cases: {{python: "{module}:cases"}}
        checks:
          - id: evidence-kept
            kind: no_semantic_drift
            before: tl
            after: ft
            method: [gradcam, layercam]
            max_iou_drop: 0.4
          - id: sensitive
            kind: class_sensitive
            model: tl
            method: gradcam
        """)
    )
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bisect", *map(str, arguments)])


@pytest.mark.parametrize("changed", ["one", "three"])
def test_the_changed_block_is_named(tmp_path: Path, changed: str) -> None:
    path = write(tmp_path, changed, f"nets_{changed}")
    found = run(path, "evidence-kept[layercam]", "--steps", 4, "--device", "cpu", "--images", 12, "--json")
    assert found.exit_code == 0, found.output
    made = json.loads(found.output)
    assert made["moved_by"]["block"] == changed
    assert made["moved_by"]["clear"] is True
    by_name = {one["name"]: one for one in made["blocks"]}
    assert set(by_name) == {"one", "two", "three"}, "the head did not change"
    assert by_name[changed]["alone"] > 0.5 > 0.05 > by_name[changed]["without"]
    assert made["images"] == 12
    assert [step["share"] for step in made["interpolation"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    drops = [step["means"]["iou_drop"] for step in made["interpolation"]]
    assert drops[0] == 0.0
    assert drops[-1] > 0.5
    assert 0.0 < made["moved_at_share"] <= 1.0


def test_the_text_says_block_and_share(tmp_path: Path) -> None:
    path = write(tmp_path, "two", "nets_two")
    found = run(path, "evidence-kept[gradcam]", "--steps", 2, "--device", "cpu")
    assert found.exit_code == 0, found.output
    assert "the block that moved the evidence: two (100 % of the change" in found.output
    assert "the limit is passed at" in found.output
    assert "30 of 30 images kept" in found.output


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            "evidence-kept",
            "evidence-kept has 2 items; name one of them: evidence-kept[gradcam], evidence-kept[lay",
        ),
        ("nothing", "declares no drift check 'nothing'"),
        ("sensitive", "sensitive is of kind class_sensitive, which compares no two models"),
    ],
)
def test_an_item_that_is_not_there_is_told(tmp_path: Path, item: str, words: str) -> None:
    found = run(write(tmp_path, "two", "nets_unused"), item)
    assert found.exit_code == 1
    assert words in found.output


def test_other_architectures_are_told(tmp_path: Path) -> None:
    found = run(write(tmp_path, "two", "nets_other", after="build_other"), "evidence-kept[gradcam]", "--device", "cpu")
    assert found.exit_code == 1
    assert "the two models are of different architecture (Net and Other; " in found.output


def resnet() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(num_classes=4)


def test_blocks_of_a_residual_network_are_its_stages() -> None:
    torch.manual_seed(1)
    before, after = resnet(), resnet()
    one, two = states_of(before, after)
    blocks = blocks_of(before, one, two)
    assert [block.name for block in blocks] == ["conv1+bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert sorted(key for block in blocks for key in block.keys) == sorted(one), "every tensor is in one block"
    mixed = swapped(one, two, [blocks[2]])
    assert all(torch.equal(mixed[key], (two if key.startswith("layer2.") else one)[key]) for key in one)


def test_a_backbone_in_a_wrapper_is_taken_apart() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.last = resnet(), nn.Linear(4, 2)

    torch.manual_seed(1)
    one, two = states_of(Wrapped(), Wrapped())
    names = [block.name for block in blocks_of(Wrapped(), one, two)]
    assert "backbone.layer3" in names
    assert names[-1] == "last"


def test_weights_in_between_and_equal_models() -> None:
    torch.manual_seed(2)
    one, two = states_of(nn.BatchNorm2d(3), _other_norm())
    half = between(one, two, 0.5)
    np.testing.assert_allclose(half["weight"], (one["weight"] + two["weight"]) / 2, rtol=1e-6)
    assert half["num_batches_tracked"] == two["num_batches_tracked"]
    with pytest.raises(SubjectError, match="have the same weights"):
        states_of(nn.BatchNorm2d(3), nn.BatchNorm2d(3))


def _other_norm() -> nn.Module:
    made = nn.BatchNorm2d(3)
    with torch.no_grad():
        made.weight.copy_(Tensor([1.0, 2.0, 3.0]))
        made.num_batches_tracked.fill_(7)
    return made
