"""Bundles of real runs: written by pytest, verified at every level, the same twice."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from fixtures.inside import import_everything
from pytest_saliency.cli import main
from pytest_saliency.evidence import level3
from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.layout import DIFFERS
from pytest_saliency.evidence.level2 import arrays_of
from pytest_saliency.evidence.read import read_bundle
from pytest_saliency.evidence.release import release
from pytest_saliency.evidence.told import lines_of
from pytest_saliency.evidence.verify import verify
from pytest_saliency.evidence.waivers import check_name
from pytest_saliency.records.arrays import pack_arrays
from pytest_saliency.report.markdown import render_markdown

from .bundles import copy_of, rehash, rewrite

Here = Callable[..., pytest.RunResult]

import_everything()  # before pytester notes what is imported, and drops the rest

CONTRACT = """\
saliency: 1
contract: toy
requirement: REQ-1
models:
  clean: {python: "toy:build", layer: features}
  cheat: {python: "toy:build_cheat", layer: features}
cases: {python: "toy:cases"}
checks:
  - {id: sensitive, kind: class_sensitive, model: clean, method: gradcam}
  - {id: faithful, kind: faithful, model: clean, method: gradcam, top_k: 0.06, min_advantage: 0.0}
  - {id: kept, kind: no_semantic_drift, before: clean, after: cheat, method: gradcam, max_iou_drop: 0.4}
"""


def run(root: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """Run pytest in ``root`` and return what it said, and the bundles that are there, the newest last."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--saliency-bundle", "evidence", *options],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    folder = root / "evidence"
    found = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    return done, sorted(found, key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture
def here(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Run pytest in this process, which spares its start; also where checks are run again (level 3)."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run_here(folder: Path, *words: str) -> pytest.RunResult:
        with monkeypatch.context() as patched:
            patched.chdir(folder)
            return pytester.runpytest_inprocess(f"--basetemp={pytester.path / 'base'}", *words)

    def instead(command: list[str], *, cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        done = run_here(cwd, *command[3:])
        return subprocess.CompletedProcess(command, int(done.ret), done.stdout.str(), done.stderr.str())

    monkeypatch.setattr(level3, "subprocess", SimpleNamespace(run=instead))
    return run_here


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    toy = Path(__file__).parents[1] / "plugin" / "toy.py"
    (folder / "toy.py").write_text(toy.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "toy.saliency.yaml").write_text(CONTRACT, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def bundles(root: Path) -> tuple[Path, Path]:
    """Two bundles of the same commit: the first with maps, the second without."""
    first, one = run(root, "--saliency-bundle-maps", "--saliency-tester", "Jane Roe")
    _, two = run(root, "--saliency-tester", "Jane Roe")
    assert len(one) == 1, first.stdout + first.stderr
    assert f"evidence bundle {verify(one[0], 0).id} written to" in first.stdout
    return one[0], two[-1]


def test_a_run_writes_a_bundle_that_is_whole_at_every_level(bundles: tuple[Path, Path], root: Path) -> None:
    report = verify(bundles[0], 3, root=root)
    assert report.findings == ()
    assert report.exit_code == 3
    assert report.reached == 3
    verdicts = {name.partition("::")[2]: verdict for name, verdict in report.verdicts.items()}
    assert verdicts == {"faithful": "PASS", "kept": "FAIL", "sensitive": "PASS"}
    assert any("follow from the stored maps" in line and "kept" in line for line in report.checked)
    assert any("3 checks were run again" in line for line in report.checked)
    assert any("faithful needs the model" in line for line in report.skipped)


def test_without_maps_level_2_says_that_there_are_none(bundles: tuple[Path, Path]) -> None:
    report = verify(bundles[1], 2)
    assert report.findings == ()
    assert report.reached == 1
    assert any("no maps" in line for line in report.skipped)
    assert not (bundles[1] / "maps").exists()
    assert not (bundles[1] / "pictures").exists()
    assert any("data:image/" in path.read_text(encoding="utf-8") for path in bundles[0].glob("report.html"))
    for path in (path for path in bundles[1].rglob("*") if path.is_file()):
        assert not [word for word in (b"data:image/", b"\x89PNG", b"\xff\xd8\xff") if word in path.read_bytes()], path


def test_two_runs_give_the_same_files_but_for_the_stated_ones(bundles: tuple[Path, Path], root: Path) -> None:
    _, found = run(root, "--saliency-tester", "Jane Roe")
    one, two = (
        {path.relative_to(each).as_posix(): path.read_bytes() for path in each.rglob("*") if path.is_file()}
        for each in (bundles[1], found[-1])
    )
    assert bundles[1] != found[-1]
    assert set(one) == set(two)
    assert {path for path in one if one[path] != two[path]} <= set(DIFFERS)


def test_a_bundle_in_the_repository_is_not_collected(bundles: tuple[Path, Path], root: Path, here: Here) -> None:
    assert str(here(root, "-q", "--collect-only").stdout).count("::") == 3


def test_changed_maps_with_everything_made_anew_are_found_at_level_2(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = copy_of(bundles[0], tmp_path / "copy")
    record = next(one for one in read_bundle(folder).document["records"] if one["check"] == "kept")
    path = folder / record["maps"]["path"]
    arrays = arrays_of(path.read_bytes())
    arrays["after"] = arrays["before"]
    content = pack_arrays(arrays)
    path.write_bytes(content)

    def named(document: dict[str, object]) -> None:
        import hashlib

        for one in document["records"]:  # type: ignore[attr-defined]
            if one["check"] == "kept":
                one["maps"] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    rewrite(folder, named)
    assert verify(folder, 1).whole
    found = verify(folder, 2).findings
    assert {(finding.level, finding.file) for finding in found} == {(2, "cases.jsonl")}
    assert all("does not follow from the maps" in finding.what for finding in found)


def test_changed_numbers_with_decisions_made_anew_are_found_at_levels_2_and_3(
    bundles: tuple[Path, Path], root: Path, tmp_path: Path, here: Here
) -> None:
    """The one forgery that level 1 cannot see: other numbers, and everything that follows from them."""
    from pytest_saliency.checks.numbers import Numbers, decide_again
    from pytest_saliency.checks.registry import KINDS
    from pytest_saliency.checks.worst import rows_of
    from pytest_saliency.report.families import families_of

    folder = copy_of(bundles[0], tmp_path / "copy")

    def forge(document: dict[str, list[dict[str, object]]]) -> None:
        one = next(each for each in document["records"] if each["check"] == "kept")
        table = one["per_image"]
        table["iou_drop"] = [0.1 + 0.001 * place for place in range(len(table["id"]))]  # type: ignore[index, call-overload]
        made = decide_again(one)
        one |= {"decision": made.to_dict(), "verdict": made.verdict.value, "headline": made.headline}
        kind, numbers = KINDS["no_semantic_drift"], Numbers.of(one)
        ranked = kind.ranked(kind.parameters(**one["criterion"]), numbers)  # type: ignore[arg-type]
        one["worst"] = rows_of(ranked, numbers, one["cases"]["class_names"])  # type: ignore[call-overload]
        document["families"] = families_of(document["records"])  # type: ignore[assignment]

    rewrite(folder, forge)
    assert verify(folder, 1).findings == ()
    assert verify(folder, 1).exit_code == 0
    assert {finding.level for finding in verify(folder, 2).findings} == {2}
    found = verify(folder, 3, root=root).findings
    assert {finding.level for finding in found} == {2, 3}
    assert any("run again it is FAIL" in finding.what for finding in found)


def test_another_model_in_the_repository_is_found_at_level_3(
    bundles: tuple[Path, Path], root: Path, tmp_path: Path, here: Here
) -> None:
    other = copy_of(root, tmp_path / "other")
    text = (other / "toy.py").read_text(encoding="utf-8")
    (other / "toy.py").write_text(text.replace("* 40.0", "* 41.0"), encoding="utf-8")
    report = verify(bundles[1], 3, root=other)
    assert (report.findings, report.unrepeated, report.reached) == ((), (), 1)
    assert any("state_sha256 of model" in line for line in report.unlike)
    assert report.exit_code == 5
    lines = lines_of(report)
    assert lines[0] == "WHOLE up to level 1, but not every check says PASS; NOT THE SAME at level 3"
    assert any(line.startswith("  NOT THE SAME: toy.saliency.yaml::") for line in lines)


def test_another_criterion_in_the_repository_is_not_tampering(
    bundles: tuple[Path, Path], root: Path, tmp_path: Path, here: Here
) -> None:
    other = copy_of(root, tmp_path / "other")
    text = (other / "toy.saliency.yaml").read_text(encoding="utf-8")
    (other / "toy.saliency.yaml").write_text(text.replace("max_iou_drop: 0.4", "max_iou_drop: 0.3"), encoding="utf-8")
    report = verify(bundles[1], 3, root=other)
    assert report.findings == ()
    assert [line.partition(": ")[0] for line in report.unlike] == ["toy.saliency.yaml::kept"]
    assert "declares another criterion" in report.unlike[0]
    assert report.exit_code == 5


def test_checks_that_do_not_run_again_are_not_repeated(
    bundles: tuple[Path, Path], root: Path, tmp_path: Path, here: Here
) -> None:
    other = copy_of(root, tmp_path / "other")
    (other / "toy.py").write_text("raise RuntimeError('no data here')\n", encoding="utf-8")
    report = verify(bundles[1], 3, root=other)
    assert (report.findings, report.unlike, report.exit_code) == ((), (), 5)
    assert any("no data here" in line for line in report.unrepeated)
    assert not any("run again on the same models" in line for line in report.checked)
    assert "; NOT REPEATED at level 3" in lines_of(report)[0]
    text = (root / "toy.saliency.yaml").read_text(encoding="utf-8")
    (other / "toy.py").write_text((root / "toy.py").read_text(encoding="utf-8"), encoding="utf-8")
    (other / "toy.saliency.yaml").write_text(text.replace("id: kept", "id: other"), encoding="utf-8")
    report = verify(bundles[1], 3, root=other)
    assert (report.findings, report.exit_code) == ((), 5)
    assert any("toy.saliency.yaml::kept" in line and "did not run again" in line for line in report.unrepeated)


def test_a_folder_without_the_contract_is_wrong_usage(
    bundles: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["--root", str(tmp_path)], []):
        monkeypatch.chdir(tmp_path)
        said = CliRunner().invoke(main, ["verify", str(bundles[1]), "--level", "3", *words])
        assert said.exit_code == 2
        assert f"{tmp_path} holds no toy.saliency.yaml; give --root the repository" in " ".join(said.output.split())
        assert "TAMPERED" not in said.output
    folder = copy_of(bundles[1], tmp_path / "copy")
    (folder / "junit.xml").write_bytes(b"")
    report = verify(folder, 3, root=tmp_path)
    assert report.exit_code == 4
    assert any("holds no toy.saliency.yaml" in line for line in report.skipped)


TESTS = """
import pytest, toy
from pytest_saliency import Subject, assert_class_sensitive, assert_no_semantic_drift

@pytest.fixture
def both(saliency):
    cases = toy.cases()
    clean, cheat = [saliency.explain(Subject(toy.build(one), layer="features"), cases) for one in (False, True)]
    assert_class_sensitive(clean, method="gradcam")
    return clean, cheat

def test_release(both):
    assert_class_sensitive(both[0], method="gradcam++")
    assert_no_semantic_drift(both[0], both[0], method="gradcam", max_iou_drop=0.4)
    assert_no_semantic_drift(*both, method="gradcam", max_iou_drop=0.4)
"""


def test_records_of_one_test_have_names_of_their_own_everywhere(root: Path, tmp_path: Path, here: Here) -> None:
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "toy.py").write_text((root / "toy.py").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_release.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    done = here(folder, "-q", "--saliency-bundle", "evidence", "--saliency-images", "all", "--saliency-bundle-maps")
    (bundle,) = (folder / "evidence").iterdir()
    node = "test_release.py::test_release"
    names = [node, f"{node}#2", f"{node}#3", f"{node}#4"]
    report = verify(bundle, 3, root=folder)
    assert report.findings == (), str(done.stdout)
    assert list(report.verdicts) == names
    assert [verdict for _, verdict in sorted(report.verdicts.items())] == ["PASS", "PASS", "PASS", "FAIL"]
    assert any("4 checks were run again" in line for line in report.checked), report
    assert report.document is not None
    assert [check_name(record) for record in report.document["records"]] == names
    assert [one["check"] for one in release(report.document)["unwaived"]] == [names[3]]
    assert len({picture for record in report.document["records"] for picture in record["pictures"]}) == 4
    assert f"not excused: {names[3]} (FAIL)" in "\n".join(lines_of(report))
    for path, quote in (("junit.xml", '"'), ("report.html", "<")):
        text = (bundle / path).read_text(encoding="utf-8")
        assert all(f"test_release{end}{quote}" in text for end in ("", "#2", "#3", "#4")), path
    page = html.unescape(render_markdown(report.document))
    assert all(f"| {name} |" in page for name in names), page


def test_maps_that_are_none_give_findings(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"PK\x03\x04", pack_arrays({"top1": np.zeros((2, 3))}))):
        folder = copy_of(bundles[0], tmp_path / f"copy-{number}")
        for path in (folder / "maps").iterdir():
            path.write_bytes(content)
        rehash(folder)
        assert verify(folder, 2).exit_code == 4


def test_a_pickle_in_maps_is_not_loaded(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    import io

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    held = io.BytesIO()
    np.savez(held, allow_pickle=True, top1=np.array([Trap()], dtype=object))
    folder = copy_of(bundles[0], tmp_path / "copy")
    for path in (folder / "maps").iterdir():
        path.write_bytes(held.getvalue())
    rehash(folder)
    assert verify(folder, 2).exit_code == 4
    assert not (tmp_path / "ran").exists()


def test_a_node_of_a_hostile_bundle_cannot_become_an_option(
    bundles: tuple[Path, Path], root: Path, tmp_path: Path
) -> None:
    folder = copy_of(bundles[1], tmp_path / "copy")
    for node in ("--basetemp=evil::x", "-p evil", "/etc/passwd::x"):
        results = json.loads((folder / "results.json").read_bytes())
        results["records"][0]["node"] = node
        (folder / "results.json").write_bytes(canonical(results))
        lines = (folder / "cases.jsonl").read_bytes().splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            if row["record"] == 0:
                row["node"] = node
        (folder / "cases.jsonl").write_bytes(b"".join(canonical(row) + b"\n" for row in rows))
        rehash(folder)
        found = [finding.what for finding in verify(folder, 3, root=root).findings if finding.level == 3]
        assert any("is no path below the repository" in what for what in found), found


def test_a_case_key_that_is_not_set_writes_no_bundle(bundles: tuple[Path, Path], root: Path, here: Here) -> None:
    before = sorted((root / "evidence").iterdir())
    words = ["-q", "--saliency-bundle", "evidence", "--saliency-case-key", "NOT_SET_HERE", "--saliency-images", "none"]
    done = here(root, *words)
    done.stdout.fnmatch_lines(["*NOT_SET_HERE, which is not set*"])
    assert sorted((root / "evidence").iterdir()) == before
    assert done.ret != 0
