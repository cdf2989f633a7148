"""``plan`` and ``calibrate`` at the user's boundary: text, JSON, exit codes, sentences; numbers against formulas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fixtures.records import sample_document, sample_record
from pytest_saliency.cli import main
from pytest_saliency.decide import rates
from pytest_saliency.errors import SaliencyError
from pytest_saliency.planning.calibrate import _askable, _proposal, prediction_bound, rounded_up, runs_needed
from pytest_saliency.records.runfile import write_run

CONTRACT = """\
saliency: 1
contract: chest
models: {tl: {fixture: tl}, ft: {fixture: ft}}
cases: {fixture: images}
checks:
  - {id: class-sensitive, kind: class_sensitive, model: ft, method: [case], top_k: 0.05, max_agreement: 0.5}
  - {id: evidence-kept, kind: no_semantic_drift, before: tl, after: ft, method: [layercam],
     max_iou_drop: 0.4, max_displacement: 0.15, max_accuracy_drop: 0.15, max_drifted_share: 0.5}
"""
FAITHFUL = "  - {id: faithful, kind: faithful, model: ft, method: [gradcam], top_k: 0.1, min_advantage: 0.6}\n"


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def contract(folder: Path, text: str = CONTRACT) -> Path:
    path = folder / "chest.saliency.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(folder: Path, name: str, *, n: int = 60, draw: int = 0, verdict: str = "PASS", faithful: bool = False) -> Path:
    records = [
        sample_record("class_sensitive", "PASS", n=n, draw=draw),
        sample_record("no_semantic_drift", verdict, n=n, draw=draw),
    ]
    records += [sample_record("faithful", "PASS", n=n, draw=draw)] if faithful else []
    for record in records:
        for subject in record["subjects"].values():
            subject["state_sha256"] = f"{draw:064x}"
    path = folder / name
    write_run(path, sample_document(records, id=f"{draw:032x}"))
    return path


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("pilot"), "pilot.json", faithful=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five clean runs, each of a model of its own."""
    folder = tmp_path_factory.mktemp("clean")
    return [run(folder, f"{k}.json", n=90, draw=k) for k in range(5)]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, pilot: Path) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("plan")
    text = (
        CONTRACT.replace(" max_displacement: 0.15, max_accuracy_drop: 0.15,", "")
        + FAITHFUL
        + CONTRACT[CONTRACT.index("  - {id: class") : CONTRACT.index("  - {id: evid")].replace(
            "id: class-sensitive", "id: unknown"
        )
    )
    made = call("plan", contract(folder, text), "--pilot", pilot, "--json", "--draws", 40)
    assert made.exit_code == 1  # one check is not in the pilot
    return {one["check"]: one for one in json.loads(made.output)["checks"]}


def test_every_check_of_the_contract_is_planned_or_told(planned: dict[str, dict[str, Any]]) -> None:
    assert {name: one["state"] for name, one in planned.items()} == {
        "class-sensitive[case]": "planned",
        "evidence-kept[layercam]": "planned",
        "faithful[gradcam]": "planned",
        "unknown[case]": "missing",
    }
    assert "pilot.json has no result of it" in planned["unknown[case]"]["why"]


def test_least_is_what_perfect_images_need(planned: dict[str, dict[str, Any]]) -> None:
    # Five images below one half show that fewer than half of all are not, at 5 %: 0.5 ** 5 = 0.031.
    assert planned["class-sensitive[case]"]["least"] == rates.smallest_n_below(0.5, 0.05) == 5
    assert planned["evidence-kept[layercam]"]["least"] >= 5


def test_n_has_the_power_asked_for_and_counts_what_keep_leaves_out(planned: dict[str, dict[str, Any]]) -> None:
    for one in planned.values():
        if one["state"] == "planned":
            assert one["n"] >= one["least"]
            assert one["cases"] >= one["n"]
            assert one["power"] is None or one["power"] >= 0.8
    kept = planned["evidence-kept[layercam]"]
    assert kept["cases"] / kept["n"] == pytest.approx(kept["pilot_cases"] / kept["pilot"], rel=0.1)


def test_the_number_of_images_found_does_pass_that_often(planned: dict[str, dict[str, Any]]) -> None:
    """Fresh samples of the same generator, not of the pilot: four in five of them pass, roughly."""
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.decide.effort import bare
    from pytest_saliency.planning.resample import Pilot

    one = planned["evidence-kept[layercam]"]
    record = sample_record("no_semantic_drift", "PASS", n=600, draw=77)
    pilot, kind = Pilot.of(Numbers.of(record)), KINDS["no_semantic_drift"]
    parameters = kind.parameters(**{**record["criterion"], "max_displacement": None, "max_accuracy_drop": None})

    def passes(n: int, number: int) -> bool:
        try:
            return kind.decide(parameters, pilot.drawn(n, 5, number)).verdict == "PASS"
        except SaliencyError:  # too few images of this draw were kept
            return False

    with bare():
        passed = np.mean([passes(one["n"], number) for number in range(40)])
        fewer = np.mean([passes(max(8, one["n"] // 2), number) for number in range(40)])
    assert passed >= 0.6
    assert fewer < passed


def test_a_limit_beyond_what_was_measured_needs_no_number_and_another_measurement_is_no_pilot(
    tmp_path: Path, pilot: Path
) -> None:
    text = CONTRACT.replace("max_iou_drop: 0.4", "max_iou_drop: 0.05").replace("top_k: 0.05", "top_k: 0.2")
    made = call("plan", contract(tmp_path, text + FAITHFUL), "--pilot", pilot, "--draws", 40)
    assert made.exit_code == 1
    assert "evidence-kept[layercam]: the limit lies beyond what the pilot measured (mean IoU drop" in made.output
    assert "no number of images will do" in made.output
    assert "faithful[gradcam]: n = " in made.output
    assert "pilot.json measured it otherwise (top_k)" in made.output


def test_a_broken_contract_or_pilot_is_a_sentence(tmp_path: Path, pilot: Path) -> None:
    good = contract(tmp_path)
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    made = call("plan", good, "--pilot", tmp_path / "bad.json")
    assert made.exit_code == 1
    assert made.stderr.startswith("Error: ")
    (tmp_path / "bad.saliency.yaml").write_text("saliency: 1\nchecks: []\n", encoding="utf-8")
    made = call("plan", tmp_path / "bad.saliency.yaml", "--pilot", pilot)
    assert (made.exit_code, "'checks' is empty" in made.stderr) == (1, True)
    damaged = json.loads(pilot.read_text(encoding="utf-8"))
    for record in damaged["records"]:
        record["per_image"].pop("id")
    (tmp_path / "damaged.json").write_text(json.dumps(damaged), encoding="utf-8")
    made = call("plan", good, "--pilot", tmp_path / "damaged.json")
    assert (made.exit_code, "does not hold what a decision takes" in made.output) == (1, True)


def test_both_commands_work_without_torch(tmp_path: Path, clean: list[Path]) -> None:
    code = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
from pytest_saliency.cli import main
main()
"""
    words = ["calibrate", str(contract(tmp_path)), *map(str, clean[:3])]
    made = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")


def test_calibrate_proposes_what_further_runs_keep(tmp_path: Path, clean: list[Path]) -> None:
    path = contract(tmp_path)
    made = call("calibrate", path, *clean)
    assert made.exit_code == 0, made.output
    assert "# 5 clean runs; each limit is kept by a further one with a chance of 95 %" in made.output
    assert "19 runs would need no such assumption" in made.output
    assert made.output.count("with these limits 5 of the 5 runs pass") == 2
    import yaml

    limits = {row["id"]: row for row in yaml.safe_load(made.output)["checks"]}
    assert set(limits["evidence-kept"]) == {
        "id", "kind", "max_iou_drop", "max_displacement", "max_accuracy_drop", "max_drifted_share"
    }  # fmt: skip
    # At the proposed limits a further clean run passes.
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.registry import KINDS

    record = sample_record("no_semantic_drift", "PASS", n=90, draw=9)
    kind = KINDS["no_semantic_drift"]
    proposed = {key: value for key, value in limits["evidence-kept"].items() if key.startswith("max")}
    parameters = kind.parameters(**{**record["criterion"], **proposed})
    assert kind.decide(parameters, Numbers.of(record)).verdict == "PASS"


def test_calibrate_says_which_run_its_limits_would_not_pass_and_why(tmp_path: Path, clean: list[Path]) -> None:
    changed = json.loads(clean[2].read_text(encoding="utf-8"))
    (record,) = [one for one in changed["records"] if one["kind"] == "class_sensitive"]
    for name, value in (("agreement", None), ("self_agreement", None), ("status_top1", "blank")):
        record["per_image"][name][:10] = [value] * 10
    (tmp_path / "third.json").write_text(json.dumps(changed), encoding="utf-8")
    made = call("calibrate", contract(tmp_path), *clean[:2], tmp_path / "third.json")
    assert made.exit_code == 0, made.output
    lines = [line.strip() for line in made.output.splitlines()]
    place = lines.index("# with these limits 2 of the 3 runs pass")
    assert lines[place + 1].startswith("# run 3 is INCONCLUSIVE: not demonstrated: ")
    assert "undefined" in lines[place + 1]


def test_calibrate_proposes_nothing_where_all_bounds_are_zero(tmp_path: Path, clean: list[Path]) -> None:
    """A limit of a millionth would be one that only further runs with the bound 0 keep."""
    paths = []
    for place, path in enumerate(clean[:3]):
        changed = json.loads(path.read_text(encoding="utf-8"))
        (record,) = [one for one in changed["records"] if one["kind"] == "class_sensitive"]
        measure = record["decision"]["measures"]["agreement"]
        measure |= {"estimate": 0.0, "interval": {**measure["interval"], "low": 0.0, "high": 0.0}}
        record["per_image"]["agreement"] = [0.0] * len(record["per_image"]["agreement"])
        paths.append(tmp_path / f"zero-{place}.json")
        paths[-1].write_text(json.dumps(changed), encoding="utf-8")
    made = call("calibrate", contract(tmp_path), *paths)
    assert made.exit_code == 1, made.output
    assert "# max_agreement: all runs have the bound 0, which does not tell how far" in made.output
    assert "keep the declared 0.5, or choose a limit by hand" in made.output
    assert "    max_iou_drop: 0." in made.output


@pytest.mark.parametrize(
    ("kind", "key", "side", "bounds", "fits"),
    [
        ("no_semantic_drift", "max_iou_drop", "<=", (0.75, 0.80, 0.91), False),
        ("no_semantic_drift", "max_iou_drop", "<=", (0.20, 0.21, 0.22), True),
        ("no_semantic_drift", "min_correlation", ">=", (-0.5, 0.1, 0.8), False),
        ("no_semantic_drift", "min_correlation", ">=", (0.60, 0.61, 0.62), True),
        ("faithful", "min_advantage", ">", (-5.0, 0.1, 9.0), True),
    ],
)
def test_calibrate_proposes_no_limit_that_a_contract_cannot_hold(
    kind: str, key: str, side: str, bounds: tuple[float, ...], fits: bool
) -> None:
    """Three runs that differ much once gave a contract with max_iou_drop 1.2, which cannot be read."""
    made = _askable(kind, _proposal(key, None, side, 0.4, bounds, bounds, 0.95))
    assert (made.limit is not None) == fits
    assert ("which no contract can ask" in (made.problem or "")) != fits


def test_calibrate_says_what_it_cannot_use(tmp_path: Path, clean: list[Path]) -> None:
    path, (one, two) = contract(tmp_path), clean[1:3]
    made = call("calibrate", path, one, two)
    assert made.exit_code == 1
    assert "2 of the runs can be used, 3 are needed at least" in made.output
    again = json.loads(two.read_text(encoding="utf-8"))
    again["run"]["id"] = "f" * 32
    (tmp_path / "again.json").write_text(json.dumps(again), encoding="utf-8")
    made = call("calibrate", path, one, two, tmp_path / "again.json")
    assert made.exit_code == 1
    assert "2 of the runs can be used, 3 are needed at least; 1 run is of a model that another one" in made.output
    made = call("calibrate", path, one, one)
    assert (made.exit_code, "is the same run as" in made.stderr) == (1, True)


def test_prediction_bounds_are_those_of_textbooks() -> None:
    from scipy import stats

    values = np.array([0.21, 0.25, 0.24, 0.28, 0.22])
    low, high = stats.t.interval(0.90, 4, loc=values.mean(), scale=values.std(ddof=1) * np.sqrt(1.2))
    assert prediction_bound(values, 0.95)[0] == pytest.approx(high)
    assert low < values.mean()
    assert [runs_needed(level) for level in (0.75, 0.9, 0.95, 0.99)] == [3, 9, 19, 99]
    many = np.linspace(0.1, 0.3, 19)
    assert prediction_bound(many, 0.95)[0] == many.max()
    # The largest of 19 is exceeded by a twentieth in one of twenty: counted over all orders.
    rng = np.random.default_rng(3)
    draws = rng.exponential(size=(20_000, 20))
    assert np.mean(draws[:, 19] > draws[:, :19].max(axis=1)) == pytest.approx(0.05, abs=0.005)
    # With four normal runs Student's bound is kept by 95 % of further ones.
    normal = rng.normal(size=(4000, 5))
    kept = [row[4] <= prediction_bound(row[:4], 0.95)[0] for row in normal]
    assert np.mean(kept) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("value", "limit"), [(0.2731, 0.28), (0.28, 0.29), (0.0273, 0.028), (-0.834, -0.83), (0.0, 1e-7), (3.21, 3.3)]
)
def test_limits_are_rounded_outwards(value: float, limit: float) -> None:
    made = rounded_up(value, np.array([value]))
    assert made > value
    assert made == pytest.approx(limit, abs=1e-6)
