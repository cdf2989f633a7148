"""The drift paper's protocol: contracts that say what the paper says, and one small run of all of it."""

from __future__ import annotations

import itertools
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from PIL import Image

from pytest_saliency.contracts.contract import expand, load_contract

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "papers" / "drift"
sys.path[:0] = [one for one in (str(EXAMPLE), str(EXAMPLE.parents[1] / "chest_xray")) if one not in sys.path]

from drift_paper import contracts, generator, networks  # noqa: E402

from .programs import loaded  # noqa: E402

NAMES = sorted(one.name for one in contracts.FOLDER.glob("*.saliency.yaml"))
PAIRS = ("densenet201", "resnet50v2", "inceptionv3")
MEASURES = ("iou_drop", "displacement", "correlation", "concentration_change")


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return loaded(EXAMPLE / "run.py", "drift_paper_run")


@pytest.fixture(scope="module")
def finished(run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, list[str]]:
    """The paper's contract alone on a small run, of two architectures: its folder, exit code, what was printed."""
    out = tmp_path_factory.mktemp("paper") / "run"
    data = write_textures(out.parent / "textures")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "say", said.append)
        patch.setattr(run.contracts, "PAPER", contracts.PAPER[:1])
        patch.setattr(run, "PAPER", TRAINED)
        patch.setattr(run.contracts, "text_of", without_the_third)
        code = run.main([*QUICK, "--data", str(data), "--out", str(out)])
    return out, code, said


TRAINED = networks.PAPER[:2]
WHOLE_TEXT = contracts.text_of


def without_the_third(name: str, narrow: bool) -> str:
    """Return the contract for ``TRAINED`` alone: every item of the third architecture would cost as much again."""
    read = yaml.safe_load(WHOLE_TEXT(name, narrow))
    names = [one.name for one in TRAINED]
    read["models"] = {key: model for key, model in read["models"].items() if model["args"]["architecture"] in names}
    for check in read["checks"]:
        for role, stage in (("before", "tl"), ("after", "ft")):
            check[role] = [f"{name}-{stage}" for name in names]
    return yaml.safe_dump(read, sort_keys=False)


QUICK = [
    *(
        "--held-out",
        "0.5",
        "--epochs",
        "2",
        "--source-epochs",
        "1",
        "--step",
        "1e-4",
        "--images",
        "20",
        "--head-epochs",
        "100",
    ),
    *("--batch", "16", "--device", "cpu"),
]


def write_textures(root: Path) -> Path:
    """Write five classes that any features tell apart, so that a short training keeps images to be compared."""
    line = torch.arange(48)
    rows, columns = line[:, None] // 4 % 2, line[None, :] // 4 % 2
    flat = torch.ones(48, 48)
    kinds = (0.1 * flat, 0.9 * flat, 0.7 * rows * flat, 0.7 * columns * flat, 0.7 * (rows ^ columns))
    random = torch.Generator().manual_seed(0)
    for label, kind in enumerate(kinds):
        (root / f"texture{label}").mkdir(parents=True)
        for row in range(24):
            noisy = kind + 0.05 * torch.rand(1, generator=random) + 0.1 * torch.rand(48, 48, generator=random)
            picture = Image.fromarray(noisy.clamp(0, 1).mul(255).to(torch.uint8).numpy())
            picture.save(root / f"texture{label}" / f"patient{label}{row:02d}_0.png")
    return root


@cache
def without_numbers(architecture: str, classes: int, size: str = networks.FULL) -> torch.nn.Module:
    """Return a network without numbers, of which only the modules' names are looked at."""
    with torch.device("meta"):
        return networks.build(architecture, classes, size)


def whole(folder: Path, name: str, narrow: bool) -> Path:
    """Write a contract into ``folder`` with every file that it names there, empty."""
    file = folder / name
    file.write_text(contracts.text_of(name, narrow))
    (folder / "held_out.csv").write_text("image,label\n")
    for model in yaml.safe_load(file.read_text())["models"].values():
        for weights in (model["weights"], str(Path(model["weights"]).with_name("epoch_01.safetensors"))):
            (folder / weights).parent.mkdir(parents=True, exist_ok=True)
            (folder / weights).write_bytes(b"")
    return file


def test_the_contract_asks_what_the_paper_asks(tmp_path: Path) -> None:
    items = expand(load_contract(whole(tmp_path, "drift.saliency.yaml", narrow=False)))
    asked = {(item.axes["pair"], item.axes["method"]) for item in items}
    assert asked == set(itertools.product(PAIRS, ("layercam", "gradcam++")))
    for item in items:
        assert item.kind == "no_semantic_drift"
        assert item.parameters["keep"] == "both_correct"
        for limit in ("max_iou_drop", "max_displacement", "min_correlation", "max_concentration_change"):
            assert item.parameters[limit] is not None
    assert len(generator.CLASSES) == 5


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_contract_can_be_used(name: str, narrow: bool, tmp_path: Path) -> None:
    read = load_contract(whole(tmp_path, name, narrow))
    assert expand(read)
    for model in read.models.values():
        args = dict(model.args or {})
        without_numbers(**args).get_submodule(model.layer)
        assert (args.get("size") == networks.NARROW) is narrow


def test_the_other_reading_of_the_layer_differs_in_the_layer_alone() -> None:
    one, two = (
        yaml.safe_load((contracts.FOLDER / f"{name}.saliency.yaml").read_text())
        for name in ("drift", "drift-last-grid")
    )
    assert one["checks"] == two["checks"]
    for name, model in one["models"].items():
        other = two["models"][name]
        assert model["layer"] != other["layer"]
        assert {**model, "layer": ""} == {**other, "layer": ""}


def test_both_layers_follow_each_other(tmp_path: Path) -> None:
    """What the contracts name is what the words ``penultimate`` and ``auto`` find in the narrow networks."""
    from pytest_saliency import Cases, Subject, explain

    named = {
        name: {
            model["args"]["architecture"]: model["layer"]
            for model in yaml.safe_load(contracts.text_of(f"{name}.saliency.yaml", narrow=True))["models"].values()
        }
        for name in ("drift", "drift-last-grid")
    }
    cases = Cases.from_arrays(torch.rand(2, 3, networks.SIDE, networks.SIDE), [0, 1])
    for architecture in PAIRS:
        torch.manual_seed(0)
        model = networks.build(architecture, 5, networks.NARROW).eval()
        for word, contract in (("penultimate", "drift"), ("auto", "drift-last-grid")):
            found = explain(Subject(model, layer=word), cases).maps("layercam", "top1").values
            given = explain(Subject(model, layer=named[contract][architecture]), cases).maps("layercam", "top1").values
            if (architecture, word) != ("densenet201", "auto"):  # `features` ends in the norm that the contract names
                assert torch.equal(found, given)
            assert found.shape == given.shape
            assert min(given.shape[1:]) > 3


def test_signs_overlap_between_classes() -> None:
    """A ``mixed`` chest is a ``clear`` one with the sign of ``focal`` and the sign of ``basal``: no sign is its own."""
    made = {
        name: generator.chests(torch.full((6,), label), 48, seed=4, signs=0.5)
        for label, name in enumerate(generator.CLASSES)
    }
    signs = {name: made[name] - made["clear"] for name in ("focal", "basal", "mixed", "patchy")}
    inside = (made["clear"] > 0) & (made["mixed"] < 1)
    assert torch.allclose(signs["mixed"][inside], (signs["focal"] + signs["basal"])[inside], atol=1e-6)
    for name in ("focal", "basal", "patchy"):
        assert float(signs[name].max()) > 0.08, name
    assert torch.equal(generator.chests(torch.tensor([1, 2]), 48, 9), generator.chests(torch.tensor([1, 2]), 48, 9))


def test_the_small_run_decides_every_item_and_prints_the_table(finished: tuple[Path, int, list[str]]) -> None:
    out, code, said = finished
    records = json.loads((out / "report.json").read_text())["records"]
    assert len(records) == 4
    assert {one["verdict"] for one in records} <= {"PASS", "FAIL", "INCONCLUSIVE"}
    assert code == (0 if {one["verdict"] for one in records} == {"PASS"} else 1)
    means: dict[tuple[str, str], float] = {}
    for one in records:
        assert set(MEASURES) <= set(one["per_image"])
        assert one["decision"]["readouts"]["performance"]["after"]["macro_auc"] is not None
        drops = one["per_image"]["iou_drop"]
        means[one["axes"]["pair"], one["axes"]["method"]] = sum(drops) / len(drops)
    text = "\n".join(said)
    assert "architecture by method" in text
    for (pair, _), drop in means.items():
        row = next(line for line in text.splitlines() if line.strip().startswith(f"{pair} "))
        assert f"{drop:.2f}" in row
    turned = {
        frozenset(two)
        for two in itertools.combinations(PAIRS[:2], 2)
        if (means[two[0], "layercam"] - means[two[1], "layercam"])
        * (means[two[0], "gradcam++"] - means[two[1], "gradcam++"])
        < 0
    }
    told = [line for line in text.splitlines() if "ranking reverses" in line]
    assert {frozenset(name for name in PAIRS if f" {name} " in line) for line in told} == turned
    assert "the stability ranking" in text


def test_kept_images_are_true_positives_of_both_stages(finished: tuple[Path, int, list[str]], run: ModuleType) -> None:
    out = finished[0]
    records = json.loads((out / "report.json").read_text())["records"]
    made = run.begin(run.parser().parse_args([*QUICK, "--data", str(out.parent / "textures"), "--out", str(out)]))
    for architecture in TRAINED:
        trainer = run.Run.trainer(made, architecture)
        data = made.data(architecture, made.split.held_out)
        right = torch.ones(len(data.labels), dtype=torch.bool)
        for stage in ("tl", "ft"):
            model = networks.build(architecture.name, 5, networks.NARROW)
            run.training.load_weights(model, out / "weights" / architecture.name / f"{stage}.safetensors")
            right &= run.training.scores(model, data, trainer).argmax(1) == data.labels
        kept = {one.path for one, both in zip(made.split.held_out, right.tolist(), strict=True) if both}
        for record in records:
            if record["axes"]["pair"] == architecture.name:
                assert set(record["per_image"]["id"]) == kept


def test_stage_one_moved_the_head_alone_and_stage_two_everything(
    finished: tuple[Path, int, list[str]], run: ModuleType
) -> None:
    from safetensors.torch import load_file

    weights = finished[0] / "weights"
    for architecture in TRAINED:
        folder = weights / architecture.name
        before, after = load_file(folder / "tl.safetensors"), load_file(folder / "ft.safetensors")
        assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("conv.weight"))
        assert len(list(folder.glob("epoch_*.safetensors"))) == 2
        assert (folder / "epoch_02.safetensors").read_bytes() == (folder / "ft.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--full"], "give a folder of weights with --start FOLDER"),
        (["--full", "--download", "--start", "here"], "both give first weights"),
        (["--download"], "no published weights of narrow networks"),
        (["--images", "3"], "--images 3 is below 10"),
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--data", "three"], "three has 3 classes, and the paper's task has 5"),
        (["--full", "--data", "five", "--start", "here"], "here has no weights of densenet201; expected densenet201"),
    ],
)
def test_bad_input_is_one_sentence(
    options: list[str],
    said: str,
    run: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count in (("three", 3), ("five", 5)):
        for label, row in itertools.product(range(count), range(10)):
            file = tmp_path / name / f"class{label}" / f"{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 10 * label + row).save(file)
    assert run.main([*options, "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("run: ")
    assert said in told
    assert len(told.strip().splitlines()) == 1
