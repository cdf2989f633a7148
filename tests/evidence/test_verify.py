"""Level 1: whoever changes what a bundle says, and makes all hashes anew, is found by what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.records import hostile_document, sample_document
from pytest_saliency.cli import main
from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.evidence.canonical import canonical
from pytest_saliency.evidence.verify import verify

from .bundles import CONTRACT, FILE, Change, bundle_of, copy_of, document_of, rehash, repository, rewrite
from .waiving import file_of, waiver

VERDICTS = {"sensitive": "PASS", "faithful": "FAIL", "kept": "PASS"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("bundle"), VERDICTS).path


@pytest.fixture
def changed(bundle: Path, tmp_path: Path) -> Path:
    return copy_of(bundle, tmp_path / "copy")


def found_by_level(folder: Path) -> list[tuple[int, str, str]]:
    return [(finding.level, finding.file, finding.what) for finding in verify(folder, 1).findings]


def record(document: dict[str, Any], check: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in document["records"] if one["check"] == check)
    return found


def test_an_untouched_bundle_is_whole_up_to_level_1(bundle: Path) -> None:
    report = verify(bundle, 1)
    assert report.findings == ()
    assert report.exit_code == 3
    assert report.verdicts == {f"{FILE}::{check}": verdict for check, verdict in VERDICTS.items()}
    assert any("3 decisions" in line and "to the last bit" in line for line in report.checked)
    assert any("byte by byte" in line for line in report.checked)


def test_a_bundle_of_every_kind_and_verdict_has_no_finding_but_the_contract_it_lacks(tmp_path: Path) -> None:
    report = verify(write_bundle(tmp_path, sample_document(), root=tmp_path).path, 1)
    assert {finding.file for finding in report.findings} <= {"contract/", "run.json"}
    assert not [finding for finding in report.findings if "decision" in finding.what]


def _verdict(document: dict[str, Any]) -> None:
    one = record(document, "faithful")
    one["verdict"] = one["decision"]["verdict"] = "PASS"
    one["headline"] = one["decision"]["headline"] = "removing its own region costs an image more"


def _number(document: dict[str, Any]) -> None:
    column = record(document, "kept")["per_image"]["iou_drop"]
    column[7] = column[7] + 1e-9


def _limit(document: dict[str, Any]) -> None:
    record(document, "kept")["criterion"]["max_iou_drop"] = 0.9


def _limit_everywhere(document: dict[str, Any]) -> None:
    from pytest_saliency.checks.numbers import decide_again, seed_again

    one = record(document, "kept")
    one["criterion"]["max_iou_drop"] = 0.9
    one["seed"] = f"{seed_again(one):016x}"
    one["decision"] = decide_again(one).to_dict()
    one["headline"] = one["decision"]["headline"]


def _bound(document: dict[str, Any]) -> None:
    record(document, "kept")["decision"]["measures"]["iou_drop"]["interval"]["high"] -= 1e-15


def _n(document: dict[str, Any]) -> None:
    record(document, "kept")["cases"]["n"] += 40


def _dropped(document: dict[str, Any]) -> None:
    record(document, "sensitive")["cases"]["dropped"] = {}
    record(document, "sensitive")["cases"]["n"] = record(document, "sensitive")["cases"]["kept"]


def _fate(document: dict[str, Any]) -> None:
    table = record(document, "kept")["everyone"]
    table["fate"][table["fate"].index("kept")] = "not correct in both"


def _label(document: dict[str, Any]) -> None:
    record(document, "kept")["per_image"]["label"][0] += 1


def _twice(document: dict[str, Any]) -> None:
    table = record(document, "kept")["everyone"]
    table["id"][1] = table["id"][0]


def _seed(document: dict[str, Any]) -> None:
    one = record(document, "faithful")
    one["seed"] = one["decision"]["seed"] = "0" * 16


def _requirement(document: dict[str, Any]) -> None:
    record(document, "kept")["requirement"] = "REQ-2"


def _severity(document: dict[str, Any]) -> None:
    record(document, "faithful")["policy"]["severity"] = "warn"


def _excused(document: dict[str, Any]) -> None:
    record(document, "faithful")["policy"]["known_failure"] = {"reason": "x", "expires": "2099-01-01", "expired": False}


def _subject(document: dict[str, Any]) -> None:
    record(document, "kept")["subjects"]["after"]["name"] = "tl"


def _layer(document: dict[str, Any]) -> None:
    record(document, "kept")["subjects"]["after"]["layer"] = "layer1"


def _waiver(document: dict[str, Any]) -> None:
    document["waivers"] = [
        {
            "id": "W-1",
            "check": "chest/faithful",
            "nodes": [],
            "state": "applies",
            "why": "fine",
            "reason": "fine",
            "risk": "none",
            "requested_by": "A",
            "approved_by": "B",
            "created": "2026-01-01T00:00:00Z",
            "expires": "2099-01-01T00:00:00Z",
        }
    ]


def _silent(document: dict[str, Any]) -> None:
    document["run"]["git"]["dirty"] = True


def _unlocked(document: dict[str, Any]) -> None:
    document["locks"] = [
        {
            "contract": "chest",
            "file": FILE,
            "state": "unchanged",
            "why": "fine",
            "changes": [],
            "at": "2026",
            "commit": None,
        }
    ]


def _not_run(document: dict[str, Any]) -> None:
    one = record(document, "faithful")
    one |= {"verdict": "NOT_RUN", "decision": None}


def _other_check(document: dict[str, Any]) -> None:
    record(document, "kept")["node"] = f"{FILE}::unheard-of"


@pytest.mark.parametrize(
    ("change", "file", "said"),
    [
        (_verdict, "results.json", "the decision does not follow from the numbers: headline is"),
        (_number, "results.json", "the decision does not follow from the numbers"),
        (_limit, "results.json", "criterion.max_iou_drop is 0.9 and must be 0.4"),
        (_limit_everywhere, "results.json", "criterion.max_iou_drop is 0.9 and must be 0.4, as contract/chest"),
        (_bound, "results.json", "measures.iou_drop.interval.high"),
        (_n, "results.json", "says n 100, and cases.jsonl has 60"),
        (_dropped, "results.json", "says dropped"),
        (_fate, "cases.jsonl", "not those that were kept"),
        (_label, "cases.jsonl", "two labels"),
        (_twice, "cases.jsonl", "an id is there twice"),
        (_seed, "results.json", "and criterion, cases and id give"),
        (_requirement, "results.json", "requirement is 'REQ-2' and must be 'REQ-1'"),
        (_severity, "results.json", "policy.severity is 'warn' and must be 'fail'"),
        (_excused, "results.json", "policy.known_failure"),
        (_subject, "results.json", "name of after is 'tl'"),
        (_layer, "results.json", "layer of after is 'layer1'"),
        (_waiver, "run.json", "there is no waivers.yaml"),
        (_silent, "run.json", "does not tell this deviation: The work tree had uncommitted changes"),
        (_unlocked, "run.json", "says of the lock of contract chest: state 'unchanged', not 'unlocked'"),
        (_not_run, "cases.jsonl", "has numbers of images and no decision"),
        (_other_check, "results.json", "declares no check 'unheard-of'"),
    ],
)
def test_a_changed_statement_with_everything_made_anew_is_found_at_level_1(
    changed: Path, change: Change, file: str, said: str
) -> None:
    rewrite(changed, change)
    report = verify(changed, 1)
    assert report.exit_code == 4
    assert {finding.level for finding in report.findings} == {1}
    assert [one for one in report.findings if one.file == file and said in one.what], report.findings


def edit(folder: Path, name: str, change: Change) -> None:
    """Change one JSON file alone, and make the manifest anew."""
    value = json.loads((folder / name).read_bytes())
    change(value)
    (folder / name).write_bytes(canonical(value))
    rehash(folder)


def test_another_models_hash_in_one_file_is_found(bundle: Path, tmp_path: Path) -> None:
    def results(value: dict[str, Any]) -> None:
        for one in value["records"]:
            for subject in one["subjects"].values():
                subject["weights_sha256"] = "0" * 64

    def run(value: dict[str, Any]) -> None:
        value["models"][0]["weights_sha256"] = "0" * 64

    def attestation(value: dict[str, Any]) -> None:
        value["subject"][0]["digest"]["sha256"] = "0" * 64

    for name, change, blamed in (
        ("results.json", results, "run.json"),
        ("run.json", run, "run.json"),
        ("attestation.intoto.json", attestation, "attestation.intoto.json"),
    ):
        folder = copy_of(bundle, tmp_path / name)
        edit(folder, name, change)
        assert verify(folder, 0).whole
        found = found_by_level(folder)
        assert [row for row in found if row[1] == blamed and "models" in row[2]], (name, found)


def test_another_models_hash_in_all_files_is_found_where_the_contract_names_it(tmp_path: Path) -> None:
    root = repository(tmp_path / "repository")
    sha = record(document_of(root), "faithful")["subjects"]["model"]["weights_sha256"]
    pinned = f'ft: {{torchvision: resnet18, num_classes: 3, weights: ft.pt, sha256: "{sha}"'
    text = CONTRACT.replace('ft: {python: "zoo:ft"', pinned)
    repository(root, text)
    folder = write_bundle(tmp_path / "e", document_of(root), root=root).path
    before = found_by_level(folder)

    def other(value: dict[str, Any]) -> None:
        for one in value["records"]:
            for subject in one["subjects"].values():
                if subject["weights_sha256"] == sha:
                    subject["weights_sha256"] = "0" * 64

    rewrite(folder, other)
    assert not before
    assert any("weights_sha256 of model" in row[2] for row in found_by_level(folder))


def test_an_edited_contract_is_found(bundle: Path, tmp_path: Path) -> None:
    folder = copy_of(bundle, tmp_path / "text")
    path = folder / "contract/chest.yaml"
    path.write_bytes(path.read_bytes().replace(b"max_iou_drop: 0.4", b"max_iou_drop: 0.9"))
    rehash(folder)
    assert verify(folder, 0).whole
    found = found_by_level(folder)
    assert [row for row in found if row[1] == path.relative_to(folder).as_posix() and "contract of no record" in row[2]]
    assert [row for row in found if row[1].startswith("contract/chest.resolved") and "max_iou_drop" in row[2]]

    folder = copy_of(bundle, tmp_path / "resolved")

    def loosen(value: dict[str, Any]) -> None:
        value["items"][2]["parameters"]["max_iou_drop"] = 0.9

    edit(folder, "contract/chest.resolved.json", loosen)
    found = found_by_level(folder)
    assert [row for row in found if row[1] == "contract/chest.resolved.json" and "is 0.9 and must be 0.4" in row[2]]

    folder = copy_of(bundle, tmp_path / "gone")
    for path in (folder / "contract").iterdir():
        path.unlink()
    (folder / "contract").rmdir()
    rehash(folder)
    assert [row for row in found_by_level(folder) if row[1] == "contract/" and "is not there" in row[2]]


@pytest.mark.parametrize("name", ["junit.xml", "report.html", "attestation.intoto.json"])
def test_an_edited_rendering_is_found(changed: Path, name: str) -> None:
    path = changed / name
    content = path.read_bytes()
    edited = content.replace(b"FAIL", b"PASS")
    path.write_bytes(edited if edited != content else content.replace(b"failedTests", b"passedTests"))
    assert path.read_bytes() != content
    rehash(changed)
    assert verify(changed, 0).whole
    assert [row for row in found_by_level(changed) if row[:2] == (1, name)]


@pytest.mark.parametrize("name", ["junit.xml", "model.cdx.json", "contract/chest.resolved.json"])
def test_a_file_that_is_missing_from_a_new_manifest_is_found(changed: Path, name: str) -> None:
    (changed / name).unlink()
    rehash(changed)
    assert name in {finding.file for finding in verify(changed, 1).findings}


def test_another_release_compares_what_it_can_and_says_so(changed: Path) -> None:
    def older(document: dict[str, Any]) -> None:
        document["run"]["versions"]["pytest-saliency"] = "0.0.1"

    rewrite(changed, older)
    report = verify(changed, 1)
    assert report.findings == ()
    assert any("written by pytest-saliency 0.0.1" in line for line in report.skipped)


def test_other_versions_of_scipy_may_differ_in_the_last_digits_only(changed: Path) -> None:
    def scipy(document: dict[str, Any]) -> None:
        one = record(document, "kept")
        one["execution"]["versions"]["scipy"] = "1.0.0"
        one["decision"]["measures"]["iou_drop"]["estimate"] *= 1.0 + 4e-16

    rewrite(changed, scipy)
    report = verify(changed, 1)
    assert report.findings == ()
    assert any("last digits" in line for line in report.told)

    def more(document: dict[str, Any]) -> None:
        record(document, "kept")["decision"]["measures"]["iou_drop"]["estimate"] += 1e-3

    rewrite(changed, more)
    assert any("does not follow" in row[2] for row in found_by_level(changed))


@pytest.mark.parametrize("other", [3, [1, "x"], {"a": {"b": [None]}}])
@pytest.mark.parametrize(
    "key",
    ["decision", "cases", "everyone", "criterion", "subjects", "policy", "source", "kind", "worst", "maps"],
)
def test_records_that_are_none_give_findings_and_no_traceback(changed: Path, key: str, other: Any) -> None:
    results = json.loads((changed / "results.json").read_bytes())
    if key == "everyone":
        results["records"][0]["tables"]["everyone"] = other
    else:
        results["records"][0][key] = other
    (changed / "results.json").write_bytes(canonical(results))
    rehash(changed)
    result = CliRunner().invoke(main, ["verify", str(changed)])
    assert result.exit_code == 4, result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"{}"),
        ("run.json", b'{"run":{},"executions":[],"format":2}'),
        ("run.json", b'{"run":{},"run":{}}'),
        ("results.json", b'{"format":2,"records":[{}]}'),
        ("results.json", b'{"format":2,"records":3}'),
        ("results.json", b"[" * 10_000),
        ("results.json", b'{"format":NaN,"records":[]}'),
        ("cases.jsonl", b""),
        ("cases.jsonl", b"{}\n"),
        ("cases.jsonl", b'{"record":0,"node":"x","table":"per_image","row":0,"values":{}}\n'),
        ("cases.jsonl", b"\xff\n"),
        ("cases.jsonl", b'{"record":'),
        ("contract/chest.yaml", b"\xff\xfe"),
        ("contract/chest.yaml", b"&a [*a]"),
        ("contract/chest.yaml", b""),
        ("contract/chest.resolved.json", b"[]"),
        ("attestation.intoto.json", b"null"),
        ("report.html", b"\x00"),
    ],
)
def test_files_that_are_none_give_findings_and_no_traceback(changed: Path, name: str, content: bytes) -> None:
    (changed / name).write_bytes(content)
    rehash(changed)
    result = CliRunner().invoke(main, ["verify", str(changed)])
    assert result.exit_code == 4, result.output
    assert isinstance(result.exception, SystemExit)


def test_hostile_texts_reach_the_terminal_as_text(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "e", hostile_document(), root=tmp_path)
    result = CliRunner().invoke(main, ["verify", str(written.path)])
    assert isinstance(result.exception, SystemExit)
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


def test_the_command_says_what_matters_first_and_exits_accordingly(bundle: Path, changed: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    result = run(main, ["verify", str(bundle)])
    lines = result.output.splitlines()
    assert result.exit_code == 3
    assert lines[0] == "WHOLE up to level 1, but not every check says PASS"
    identifier = verify(bundle, 0).id
    assert lines[1] == f"bundle id: {identifier}"
    assert "A. Tester" in result.output
    assert "release decision: no release" in result.output
    assert "not checked: level 2" in result.output
    passing = bundle_of(tmp_path / "passing").path
    assert run(main, ["verify", str(passing)]).exit_code == 0
    assert run(main, ["verify", str(passing), "--id", str(identifier)]).exit_code == 4
    assert run(main, ["verify", str(bundle), "--id", str(identifier)]).exit_code == 3
    assert run(main, ["verify", str(bundle), "--id", "abc"]).exit_code == 2
    assert run(main, ["verify", str(bundle), "--level", "7"]).exit_code == 2
    (changed / "junit.xml").write_bytes(b"")
    result = run(main, ["verify", str(changed), "--level", "0"])
    assert result.exit_code == 4
    assert result.output.startswith("TAMPERED WITH: 1 finding")
    assert "FOUND level 0: junit.xml" in result.output
    assert run(main, ["verify", str(tmp_path / "nothing")]).exit_code == 4


BLOCKED = """
import socket, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "securesystemslib", "cryptography"):
            raise ImportError(f"{name} is not here")
        return None

sys.meta_path.insert(0, Refused())

def refuse(event, args):
    if event.startswith("socket."):
        raise RuntimeError("no network here")

sys.addaudithook(refuse)
from pytest_saliency.cli import main
main(["verify", sys.argv[1], "--level", "1"], prog_name="pytest-saliency")
"""


def test_levels_0_and_1_need_neither_torch_nor_a_network(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BLOCKED), str(bundle)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("WHOLE up to level 1")
    assert "to the last bit" in done.stdout


def test_a_bundle_with_keyed_ids_is_whole_up_to_level_1(tmp_path: Path) -> None:
    written = bundle_of(tmp_path, VERDICTS, case_key=b"a secret that no file may hold")
    report = verify(written.path, 1)
    assert report.findings == ()
    assert report.exit_code == 3


def test_the_junit_file_counts_what_the_records_say(tmp_path: Path) -> None:
    import xml.etree.ElementTree as Tree

    document = sample_document()
    written = write_bundle(tmp_path, document, root=tmp_path)
    suite = Tree.fromstring((written.path / "junit.xml").read_bytes())[0]
    verdicts = [one["verdict"] for one in document["records"]]
    counted = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counted == {
        "tests": len(verdicts),
        "failures": verdicts.count("FAIL") + verdicts.count("INCONCLUSIVE"),
        "errors": verdicts.count("ERROR"),
        "skipped": verdicts.count("NOT_RUN"),
    }
    cases = {f"{case.attrib['classname']}::{case.attrib['name']}": case for case in suite.iter("testcase")}
    for one in document["records"]:
        said = {row.attrib["name"]: row.attrib["value"] for row in cases[one["node"]].iter("property")}
        assert said["saliency.verdict"] == one["verdict"]
        assert (cases[one["node"]].find("failure") is not None) == (one["verdict"] in ("FAIL", "INCONCLUSIVE"))


def test_waivers_are_judged_again_and_an_edited_one_is_found(tmp_path: Path) -> None:
    from datetime import datetime

    from pytest_saliency.evidence.waivers import assess, load_waivers

    root = repository(tmp_path / "repository")
    document = document_of(root, {"sensitive": "PASS", "faithful": "PASS", "kept": "FAIL"})
    model = record(document, "kept")["subjects"]["after"]["weights_sha256"]
    path = tmp_path / "waivers.yaml"
    path.write_bytes(
        file_of(
            waiver(
                check="chest/kept",
                model=f'"{model}"',
                bound="{iou_drop: 1.0}",
                created="2026-01-01T00:00:00Z",
                expires="2026-12-31T00:00:00Z",
            )
        )
    )
    ended = datetime.fromisoformat(document["run"]["finished"])
    document["waivers"] = assess(load_waivers(path), document["records"], ended)
    assert document["waivers"][0]["state"] == "applies"
    folder = write_bundle(tmp_path / "e", document, root=root, waivers=path).path
    result = CliRunner().invoke(main, ["verify", str(folder)])
    assert result.exit_code == 3, result.output  # a waiver changes no verdict
    assert "release decision: release with waivers" in result.output
    assert "waived: chest/kept (FAIL) by pilot-site, approved by Bo Chen" in result.output

    text = (folder / "waivers.yaml").read_bytes()
    for old, new, said in (
        (b"expires: 2026-12-31", b"expires: 2026-02-01", "state is 'applies' and must be 'expired'"),
        (b"Bo Chen", b"Di Ray", "approved_by is 'Bo Chen' and must be 'Di Ray'"),
        (b"iou_drop: 1.0", b"iou_drop: 0.1", "state is 'applies' and must be 'lapsed'"),
        (model.encode(), b"0" * 64, "state is 'applies' and must be 'other model'"),
    ):
        assert old in text
        (folder / "waivers.yaml").write_bytes(text.replace(old, new))
        rewrite(folder, lambda document: None)
        assert verify(folder, 0).whole
        assert [row for row in found_by_level(folder) if row[1] == "run.json" and said in row[2]], said
