"""The self test: all known answers come out, and it notices a tool that is broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from pytest_saliency.cli import main
from pytest_saliency.decide import means, rates, swap
from pytest_saliency.engine.explained import Explained
from pytest_saliency.evidence import release as release_room
from pytest_saliency.evidence import verify as verify_room
from pytest_saliency.evidence.schemas import schema
from pytest_saliency.evidence.selftest import coverage, linear, planted, run, tampering, verdicts, waiving
from pytest_saliency.evidence.selftest.item import Item, Part, items_of

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def outcome() -> run.Outcome:
    torch.set_num_threads(1)
    return run.run_selftest(tester="Ann Lee")


def wrong(items: Iterable[Item]) -> list[str]:
    return [item.name for item in items if not item.ok]


def test_every_known_answer_comes_out_and_is_told_with_what_was_expected(
    outcome: run.Outcome,
) -> None:
    assert wrong(outcome.items) == []
    assert outcome.ok
    assert {item.group for item in outcome.items} == {"maps", "verdicts", "coverage", "waivers", "bundle"}
    assert all(item.expected and item.got for item in outcome.items)
    assert len({(item.group, item.name) for item in outcome.items}) == len(outcome.items)


def test_its_document_is_a_run_that_says_what_came_out(outcome: run.Outcome) -> None:
    document = json.loads(json.dumps(outcome.document))
    assert list(Draft202012Validator(schema("run")).iter_errors(document)) == []
    assert document["run"]["tester"] == {"name": "Ann Lee", "source": "declared"}
    assert [item["ok"] for item in document["run"]["selftest"]] == [True] * len(outcome.items)
    decided = {record["check"]: record["verdict"] for record in document["records"]}
    assert {check for check, verdict in decided.items() if verdict != "PASS"} == set(run.MEANT)
    assert any("Meant not to PASS: planted-shortcut" in said for said in document["deviations"])


def test_two_runs_of_it_measure_the_same(outcome: run.Outcome) -> None:
    again = verdicts.Verdicts()
    assert wrong(items_of(Part("verdicts", again.items))) == []
    kept = ("check", "verdict", "decision", "per_image", "everyone", "seed", "cases")
    first = {record["check"]: {key: record[key] for key in kept} for record in outcome.document["records"]}
    assert {record["check"]: {key: record[key] for key in kept} for record in again.records} == first


def test_the_planted_images_are_what_they_are_said_to_be() -> None:
    shown = planted.images(24, seed=3)
    shapes = planted.patterns()
    assert len({shape.tobytes() for shape in shapes}) == planted.CLASSES
    for pixels, label, (top, left) in zip(shown.pixels[:, 0], shown.labels, shown.corners, strict=True):
        spot = pixels[top : top + planted.PATCH, left : left + planted.PATCH]
        assert ((spot > 0.5) == (shapes[label] > 0)).all()
        assert pixels[1:4, 1 + 4 * label : 4 + 4 * label].min() == 1.0
        assert pixels[:, : planted.SIDE // 2].max() > 0.5 > planted.NOISE
    assert (shown.pixels >= 0).all()
    assert (shown.pixels <= 1).all()


def _other_map(patch: pytest.MonkeyPatch) -> None:
    found = Explained.maps

    def maps(self: Explained, method: str, target: str = "top1") -> Any:
        return found(self, "gradcam" if method == "layercam" else method, target)

    patch.setattr(Explained, "maps", maps)


def _other_target(patch: pytest.MonkeyPatch) -> None:
    found = Explained.maps
    patch.setattr(Explained, "maps", lambda self, method, target="top1": found(self, method, "top1"))


@pytest.mark.parametrize(
    ("break_it", "missed"),
    [(_other_map, ["layercam"]), (_other_target, ["gradcam", "hirescam", "layercam", "gradcam++", "case"])],
)
def test_a_wrong_map_is_noticed(break_it: Break, missed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    break_it(monkeypatch)
    assert [name.split()[0] for name in wrong(items_of(Part("maps", linear.items)))] == missed


def test_a_map_of_nan_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "closed_form", lambda *_: torch.full((linear.SIDE**2,), torch.nan).numpy())
    assert len(wrong(items_of(Part("maps", linear.items)))) == len(linear.METHODS)


def test_an_engine_that_looks_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted.Planted.__init__
    monkeypatch.setattr(planted.Planted, "__init__", lambda self, shortcut=False, nudge=0.0: found(self, False, nudge))
    missed = wrong(items_of(Part("verdicts", verdicts.Verdicts().items)))
    assert any(name.startswith("planted-shortcut") for name in missed)


BOUNDS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "Clopper-Pearson upper": (rates, "upper_bound", lambda count, n, alpha: count / n),
    "Clopper-Pearson lower": (rates, "lower_bound", lambda count, n, alpha: min(1.0, (count + 1) / n)),
    "upper bound where 0 of 20": (rates, "upper_bound", lambda count, n, alpha: 1.0),
    "lower bound where 20 of 20": (rates, "lower_bound", lambda count, n, alpha: 0.0),
    "betting lower bound": (means, "lower_bound", lambda values, low, high, alpha: values.mean()),
    "betting upper bound": (means, "upper_bound", lambda values, low, high, alpha: values.mean() + 0.01),
    "betting bounds of 400": (means, "upper_bound", lambda values, low, high, alpha: high),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_that_covers_too_seldom_or_says_nothing_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    room, function, broken = BOUNDS[name]
    monkeypatch.setattr(room, function, broken)
    monkeypatch.setattr(coverage, "SWAPS", 20)
    if room is rates:
        monkeypatch.setattr(coverage, "REPEATS", 20)
    assert any(missed.startswith(name) for missed in wrong(items_of(Part("coverage", coverage.items))))


def test_a_permutation_test_that_rejects_too_often_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = swap.Reference.p_greater
    monkeypatch.setattr(swap.Reference, "p_greater", lambda self, delta=0.0: found(self, delta) / 2)
    monkeypatch.setattr(coverage, "REPEATS", 20)
    missed = wrong(items_of(Part("coverage", coverage.items)))
    assert [name[:9] for name in missed] == ["swap test", "swap test"]


def test_a_waiver_that_excuses_although_it_is_expired_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = waiving.assess

    def lenient(*given: Any) -> list[dict[str, Any]]:
        return [{**one, "state": "applies" if one["state"] == "expired" else one["state"]} for one in found(*given)]

    monkeypatch.setattr(waiving, "assess", lenient)
    assert wrong(items_of(Part("waivers", waiving.items))) == ["waiver 'expired'"]


def test_a_release_over_an_unmet_check_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiving, "release", lambda document: {**release_room.release(document), "decision": "release"})
    assert len(wrong(items_of(Part("waivers", waiving.items)))) == len(waiving.EXPECTED)


def test_a_verify_that_finds_nothing_is_noticed(outcome: run.Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = verify_room.Report(id=None, level=1, findings=())
    monkeypatch.setattr(verify_room, "verify", lambda *_, **__: blind)
    items = items_of(Part("bundle", lambda: tampering.items(outcome.document)))
    assert len(items) > 20
    assert [item.name for item in items if item.ok] == ["untouched, verified with levels 0 and 1"]


def test_a_verify_that_skips_the_numbers_is_noticed(outcome: run.Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verify_room.verify
    monkeypatch.setattr(verify_room, "verify", lambda path, level=1, **more: found(path, 0, **more))
    missed = wrong(items_of(Part("bundle", lambda: tampering.items(outcome.document))))
    assert missed == ["FAIL made PASS, all hashes made again", "a limit loosened, all hashes made again"]


def test_a_verify_that_suspects_everything_is_noticed(outcome: run.Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_saliency.evidence.findings import Finding

    nervous = verify_room.Report(id=None, level=1, findings=(Finding(0, "run.json", "looks odd"),))
    monkeypatch.setattr(verify_room, "verify", lambda *_, **__: nervous)
    missed = wrong(items_of(Part("bundle", lambda: tampering.items(outcome.document))))
    assert missed == ["untouched, verified with levels 0 and 1"]


def test_whatever_is_raised_counts_as_wrong() -> None:
    def breaks() -> Iterable[Item]:
        yield Item("g", "first", "a", "a", True)
        raise RuntimeError("out of luck\nand more")

    items = items_of(Part("g", breaks))
    assert [item.ok for item in items] == [True, False]
    assert items[1].got == "raised RuntimeError: out of luck and more"
    assert [item.ok for item in items_of(Part("g", list))] == [False]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, outcome: run.Outcome) -> run.Outcome:
    def again(tell: Callable[[str, list[Item]], None] | None = None, tester: str | None = None) -> run.Outcome:
        assert tell is not None
        for group in ("maps", "bundle"):
            tell(group, [item for item in outcome.items if item.group == group])
        return outcome

    monkeypatch.setattr(run, "run_selftest", again)
    return outcome


def test_the_command_prints_a_table_and_writes_a_bundle_that_verifies(tmp_path: Path, quick: run.Outcome) -> None:
    done = CliRunner().invoke(main, ["selftest", "-v", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "  ok     case of 12 images for their two highest classes\n         expected the closed form" in done.output
    assert f"{len(quick.items)} known answers in {quick.seconds:.1f} s: all ok" in done.output
    folders = sorted((tmp_path / "out").iterdir())
    assert [path.suffix for path in folders] == ["", ".json"]
    report = verify_room.verify(folders[0], 1)
    assert report.findings == ()
    assert report.exit_code == 3, "the planted shortcut is recorded as the FAIL that it is"
    assert report.document is not None
    assert report.document["run"]["selftest"] == json.loads(folders[1].read_text())["run"]["selftest"]
    again = CliRunner().invoke(main, ["selftest", "-o", str(tmp_path / "out")])
    assert again.exit_code == 1
    assert "is there already and is not changed" in again.output


def test_the_command_prints_one_line_for_a_part_that_is_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    items = (Item("maps", "case", "one", "one", True, 0.25), Item("maps", "gradcam", "two", "two", True, 0.25))

    def good(tell: Callable[[str, list[Item]], None], tester: str | None) -> run.Outcome:
        tell("maps", list(items))
        return run.Outcome(items, {}, 1.0)

    monkeypatch.setattr(run, "run_selftest", good)
    told = ["maps: 2 of 2 ok, 0.5 s", "2 known answers in 1.0 s: all ok"]
    assert CliRunner().invoke(main, ["selftest"]).stdout.splitlines() == told
    every = CliRunner().invoke(main, ["selftest", "--verbose"]).stdout.splitlines()
    assert every[1:3] == ["  ok     case", "         expected one; got one"]


def test_the_command_fails_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch, outcome: run.Outcome) -> None:
    bad = Item("maps", "case", "one", "another", False)

    def broken(tell: Callable[[str, list[Item]], None], tester: str | None) -> run.Outcome:
        tell("maps", [outcome.items[0], bad])
        return run.Outcome((outcome.items[0], bad), outcome.document, 1.0)

    monkeypatch.setattr(run, "run_selftest", broken)
    done = CliRunner().invoke(main, ["selftest"])
    assert done.exit_code == 1
    told = "  WRONG  case\n         expected one; got another\n2 known answers in 1.0 s: 1 WRONG\n"
    assert done.output.startswith("maps: 1 of 2 ok, ")
    assert done.output.endswith(told)
    assert "logits" not in done.output
