"""The page of methods: every name is there, with its variants and defaults, and costs what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject, explain
from pytest_saliency.contracts.contract import parse_contract
from pytest_saliency.engine.methods.names import DEFAULTS, METHOD_NAMES, VARIANTS, parse_method

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of each row of the table in a section; the bar inside of a cell is written with a backslash."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_method_is_in_the_table() -> None:
    assert sorted(name for row in rows("All of them") for name in named(row[0])) == sorted(METHOD_NAMES)


def test_every_variant_and_default_is_in_the_table() -> None:
    found = {name: row for row in rows("Variants") for name in named(row[0])}
    assert sorted(found) == sorted(VARIANTS)
    for base, (_, variants, default) in found.items():
        said = {word.partition(":")[0] for word in named(variants)}
        assert said == {form.partition(":")[0] for form in VARIANTS[base]}, base
        if base in DEFAULTS:
            assert named(default) == [",".join(DEFAULTS[base])], base
        else:
            assert not named(default)


def test_methods_without_a_class_are_those_of_the_table() -> None:
    classless = {name for row in rows("All of them") for name in named(row[0]) if row[3] == "no"}
    assert classless == {"eigencam", "rollout"}


def test_the_example_is_a_contract() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    head = "saliency: 1\ncontract: page\nmodels: {after: {fixture: net}}\ncases: {fixture: images}\n"
    assert parse_contract((head + block).encode(), Path("page.saliency.yaml"))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.fc(self.act(self.conv(x)).mean((2, 3)))
        return made


@pytest.mark.parametrize(
    "base",
    [
        "rise",
        *(f"captum:{name}" for name in ("IntegratedGradients", "GradientShap", "Occlusion", "DeepLift", "Saliency")),
    ],
)
def test_a_method_costs_what_the_page_says(base: str) -> None:
    """Two images of 24 x 24: four windows of Occlusion; two classes each. DeepLift looks at one image beforehand."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Small()
    images = torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(2)).numpy()
    found = explain(
        Subject(model, layer="act"), Cases.from_arrays(images, [0, 1]), device="cpu", targets=("top1", "top2")
    )
    found.maps(base)
    spent = sum(found.costs()["stages"][base]["images"].values())
    (told,) = (row[2] for row in rows("All of them") if base in named(row[0]))
    settings = {word.partition(":")[0]: word.partition(":")[2] for word in DEFAULTS[base]}
    counted = {
        "windows": 4,
        "a class": 2 * 2,
        **{key: int(value) for key, value in settings.items() if value.isdigit()},
    }
    plus = [int(n) for n in re.findall(r"^(\d+)", told)] + [
        amount for word, amount in counted.items() if re.search(rf"\+ (?:2 )?`?{word}\b", told)
    ]
    method = parse_method(base)
    assert method is not None
    assert spent == 2 * sum(plus) + (base == "captum:DeepLift"), (told, plus)
    shown = re.search(r"\((\d+)\)", told)
    if shown:
        assert int(shown[1]) == sum(plus)


def test_the_windows_of_an_ordinary_image_are_counted_right() -> None:
    (told,) = (row[2] for row in rows("All of them") if "captum:Occlusion" in named(row[0]))
    assert f"({2 + (1 + (224 - 16) // 8) ** 2} at 224 x 224)" in told
