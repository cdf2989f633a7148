"""Every code block of the pages and the README: Python runs, contracts are contracts, commands do what they say.

Three pages have tests of their own that run their blocks: the tutorial (``test_docs_tutorial``), the page on a
repository of one's own (``examples/test_strangers_repo``) and signing (``test_docs``).
"""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from fixtures.records import sample_document, sample_record, sample_records
from pytest_saliency.cli import main
from pytest_saliency.contracts.contract import expand, parse_contract
from pytest_saliency.evidence.waiver_file import read_waivers
from pytest_saliency.records.runfile import write_run
from tests.doc_blocks import Block, blocks_of
from tests.shell_words import commands_in
from tests.test_docs import bundle_of

ROOT = Path(__file__).parents[1]
PAGES = {page.name: page for page in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"] if page.parent != ROOT}
PAGES["README of the repository"] = ROOT / "README.md"
ELSEWHERE = {"tutorial.md", "adding-to-your-repo.md"}
SHOWN_ONLY = {"text", "output", "ini", "powershell"}
"""Languages of blocks that nobody runs here: what is printed, a file of settings, and the one line for Windows."""


def found(language: str) -> list[Any]:
    return [
        pytest.param(name, block, id=f"{name}:{block.line}")
        for name, page in PAGES.items()
        if name not in ELSEWHERE
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.language == language
    ]


def test_every_block_is_of_a_language_that_is_looked_at() -> None:
    for name, page in PAGES.items():
        text = page.read_text(encoding="utf-8")
        for block in blocks_of(text):
            assert block.language in SHOWN_ONLY | {"python", "yaml", "sh"}, (name, block.line)
        assert len(re.findall(r"^ *```\w", text, flags=re.MULTILINE)) == len(list(blocks_of(text))), name


# --- contracts ------------------------------------------------------------------------------------------------------

SOURCE = {"python": "shop.models:build"}
MODEL_KEYS = ("model", "before", "after")


def completed(value: Any) -> dict[str, Any]:
    """Return a piece of a contract with the least that makes it a whole one: models that it names, and their images."""
    piece: dict[str, Any] = {"checks": value} if isinstance(value, list) else dict(value)
    whole: dict[str, Any] = {"saliency": 1, "contract": "page", "cases": {"imagefolder": "data/val"}, **piece}
    whole.setdefault("checks", [{"id": "some-map", "kind": "not_vacuous", "method": "gradcam", "max_share": 0.05}])
    models = {"net": SOURCE} | dict.fromkeys(named(whole["checks"]), SOURCE) | whole.get("models", {})
    return whole | {
        "models": models,
        "defaults": {"model": next(iter(piece.get("models", models)))} | whole.get("defaults", {}),
    }


def named(checks: list[dict[str, Any]]) -> Iterator[str]:
    for check in checks:
        for key in (*MODEL_KEYS, "models", "nulls"):
            value = check.get(key, [])
            yield from [value] if isinstance(value, str) else value


@pytest.mark.parametrize(("name", "block"), found("yaml"))
def test_yaml_is_a_contract_or_a_piece_of_one(name: str, block: Block) -> None:
    value = yaml.safe_load(block.text)
    if isinstance(value, dict) and "waivers" in value:
        assert read_waivers(block.text.encode(), "saliency-waivers.yaml").entries[0].problems == ()
        return
    whole = isinstance(value, dict) and "saliency" in value
    if not whole:
        value = completed(value)
        if any("of" in check for check in value["checks"]):
            value["checks"] += [
                {"id": "class-sensitive", "kind": "class_sensitive", "method": "case"},
                {"id": "faithful", "kind": "faithful", "method": "case", "top_k": 0.1, "min_advantage": 0.0},
            ]
    text = block.text if whole else yaml.safe_dump(value, sort_keys=False)
    assert expand(parse_contract(text.encode(), Path("page.saliency.yaml")))


# --- Python ---------------------------------------------------------------------------------------------------------


def models_page(folder: Path) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    toy = importlib.import_module("tests.plugin.toy")
    return {"model": toy.build(), "images": torch.rand(4, 3, 16, 16)}


def perturbations_page(folder: Path) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    return {"IMAGE": torch.full((1, 3, 224, 224), 0.5), "predict": lambda image: int(image.mean() > -1.0)}


GIVEN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "models.md": models_page,
    "perturbations.md": perturbations_page,
}
"""What the text round a block takes for granted, by page: the reader's model, images and functions."""


@pytest.mark.parametrize(("name", "block"), found("python"))
def test_python_runs(name: str, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = GIVEN.get(name, lambda folder: {})(tmp_path)
    space: dict[str, Any] = {"__name__": "page", **given}
    exec(compile(block.text, f"{name}:{block.line}", "exec"), space)
    tests = [value for key, value in space.items() if key.startswith("test_")]
    assert tests or set(space) - set(given) - {"__name__", "__builtins__"}
    for test in tests:
        if name == "README of the repository":
            the_readme(test, tmp_path, space)
        else:
            test()


def the_readme(test: Callable[..., object], folder: Path, space: dict[str, Any]) -> None:
    """Run the test of the README with toy models on a few images, and see that each assertion comes to a verdict."""
    from PIL import Image

    from pytest_saliency import ExplanationAssertionError, explain

    toy = importlib.import_module("tests.plugin.toy")
    images, labels = toy.arrays(24)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "data" / "val" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.transpose(1, 2, 0) * 255).astype("uint8")).save(path)
    before, after = toy.build(), toy.build()
    for model, scale in ((before, 1.0), (after, 0.9)):
        model.mask.data = model.mask.data[:1, :1]  # for images of any size
        model.head.weight.data *= scale
    decided = []

    def told(name: str, assertion: Callable[..., object], *subjects: object, **limits: object) -> None:
        with contextlib.suppress(ExplanationAssertionError):  # so few images show little
            assertion(*subjects, **limits)
        decided.append(name)

    names = [name for name in space if name.startswith("assert_")]
    space |= {name: partial(told, name, space[name]) for name in names}
    test(SimpleNamespace(explain=explain), before, after)
    assert decided == names


# --- commands -------------------------------------------------------------------------------------------------------

NOT_RUN = {
    "pytest": "needs a model and images; tests/plugin runs every option, test_docs_tutorial a whole run",
    "pytest-saliency init --from": "needs a model; tests/test_cli_init.py",
    "pytest-saliency bisect": "needs a model; tests/test_cli_bisect.py",
    "pytest-saliency calibrate": "needs clean runs of that contract; tests/test_cli_plan.py",
    "pytest-saliency plan": "needs a pilot of that contract; tests/test_cli_plan.py",
    "pytest-saliency sign": "needs a key; test_docs.test_signing_as_the_page_says",
    "pytest-saliency verify --key": "needs a key; test_docs.test_signing_as_the_page_says",
    "pytest-saliency lock shortcut.saliency.yaml": "a file of examples/shortcut; tests/examples/test_shortcut.py",
}
"""Commands that are not run here, with the reason and the test that runs them. All others are."""


def why_not(words: list[str]) -> str | None:
    for start, reason in NOT_RUN.items():
        first, *others = shlex.split(start)
        if words[0] == first and all(other in words for other in others):
            return reason
    return None


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands of the pages read: runs, shards, a bundle, waivers, a contract."""
    folder = tmp_path_factory.mktemp("page")
    write_run(folder / "run.json", sample_document([sample_record("no_semantic_drift", "PASS")]))
    records = sample_records()
    for place, names in enumerate((("first", "run-1"), ("second", "run-2"), ("third", "run-3"))):
        document = sample_document([records[place]], id=f"{place}" * 32)
        for name in names:
            write_run(folder / f"{name}.json", document)
    (folder / "saliency-waivers.yaml").write_text("format: 1\nwaivers: []\n")
    good = ROOT / "fixtures" / "contracts" / "good" / "chest-xray.saliency.yaml"
    (folder / "contracts").mkdir()
    shutil.copy(good, folder / "contracts")
    shutil.copytree(bundle_of(folder, "PASS"), folder / "bundle")
    return folder


@pytest.mark.parametrize(("name", "block"), found("sh"))
def test_commands_run(name: str, block: Block, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.delenv("CI", raising=False)
    for words in commands_in(block.text):
        if why_not(words) is not None:
            continue
        bundle = ["bundle" if re.search(r"\d{8}T\d{6}Z-\w{8}$", word) else word for word in words[1:]]
        result = CliRunner().invoke(main, bundle)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        if words[1] == "verify":  # another bundle than the page's, with other verdicts and another id
            assert result.exit_code in ((4,) if "--id" in words else (0, 3)), result.output
        else:
            assert result.exit_code == 0, (words, result.output)


def test_the_reasons_are_needed_and_their_tests_exist() -> None:
    commands = [words for param in found("sh") for words in commands_in(param.values[1].text)]
    for start, reason in NOT_RUN.items():
        first, *others = shlex.split(start)
        assert any(words[0] == first and all(other in words for other in others) for words in commands), start
        for path in re.findall(r"tests/[\w/]+\.py", reason):
            assert (ROOT / path).exists(), path
    for name in GIVEN:
        assert any(param.values[0] == name for param in found("python")), name
