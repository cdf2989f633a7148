"""The pages for quality assurance: every command exists, every link leads somewhere, and they say what is so."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fixtures.records import sample_document, sample_record, sample_records, with_gallery
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.cli import main
from pytest_saliency.contracts.contract import expand, parse_contract
from pytest_saliency.decide.worsening_measures import COMPARED, measure_names
from pytest_saliency.evidence import layout
from pytest_saliency.evidence.bundle import write_bundle
from pytest_saliency.evidence.release import release
from pytest_saliency.evidence.waiver_file import read_waivers
from pytest_saliency.evidence.waivers import STATES, assess
from pytest_saliency.records.hashing import to_json
from pytest_saliency.records.runfile import write_run
from pytest_saliency.records.tool import tool_version
from pytest_saliency.report.document import deviations
from pytest_saliency.report.summary import VERDICTS
from tests.shell_words import commands_in, problem_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
GOOD = ROOT / "fixtures" / "contracts" / "good" / "chest-xray.saliency.yaml"


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def calls(text: str) -> Iterator[list[str]]:
    """Yield the commands in blocks and in the middle of sentences and tables."""
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        yield from commands_in(block)
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        yield from commands_in(code)


def cli(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_exists(page: Path) -> None:
    found = list(calls(page.read_text(encoding="utf-8")))
    assert [problem for words in found if (problem := problem_of(words))] == []
    assert found or page.stem in ("README", "claims", "published-rules")


def test_every_option_that_is_named_exists() -> None:
    for page in PAGES:
        for option in re.findall(r"`(--saliency-[a-z-]+)", page.read_text(encoding="utf-8")):
            assert problem_of(["pytest", option]) is None, (page.name, option)


def test_every_link_leads_somewhere() -> None:
    for page in [*PAGES, ROOT / "examples" / "ci" / "README.md"]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target.partition("#")[0]).exists(), (page.name, target)
    index = text_of("README.md")
    assert {page.name for page in PAGES} - {"README.md"} == set(re.findall(r"\(([a-z-]+\.md)\)", index))


def test_the_pages_name_no_place_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(home|tmp|work|root|Users)/", page.read_text(encoding="utf-8")), page


def test_compliance_is_never_claimed() -> None:
    for page in PAGES:
        for sentence in re.split(r"(?<=[.!?])\s|\n", page.read_text(encoding="utf-8")):
            if re.search(r"\b(compl(y|ies|iant|iance|ied)|certif|conform)", sentence, flags=re.IGNORECASE):
                assert re.search(r"\b(not|no|nothing|never|whether)\b", sentence, flags=re.IGNORECASE) or (
                    "that a law, standard or guidance is complied with" in sentence
                    or "can be part of a file" in sentence
                ), sentence


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run and its bundle, made from a document with FAIL, ERROR and a waiver."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    write_run(tmp_path / "run.json", sample_document())
    return tmp_path


def bundle_of(folder: Path, verdict: str) -> Path:
    document = sample_document([sample_record("no_semantic_drift", verdict)])
    del document["records"][0]["source"]  # there is no contract beside it
    document["records"][0] |= {"source": None, "contract": None, "contract_sha256": None, "policy": {}}
    document["run"]["versions"]["pytest-saliency"] = tool_version()
    document["deviations"] = deviations(document)
    return write_bundle(folder / "evidence", document, root=folder).path


def test_the_bundle_id_is_what_the_page_says(folder: Path) -> None:
    bundle = bundle_of(folder, "PASS")
    digest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    assert "It is the SHA-256 of the file `manifest.json`" in text_of("verifying-a-bundle.md").replace("\n  ", " ")
    assert f"bundle id: {digest}" in cli("verify", bundle, "--level", 0).stdout
    assert cli("verify", bundle, "--level", 0, "--id", digest).exit_code == 0
    assert cli("verify", bundle, "--level", 0, "--id", "0" * 64).exit_code == 4


def test_the_exit_codes_are_those_of_the_page(folder: Path) -> None:
    said = dict(re.findall(r"^\| (\d) \| (.*) \|$", text_of("verifying-a-bundle.md"), flags=re.MULTILINE)[:5])
    assert set(said) == {"0", "2", "3", "4", "5"}
    passed = bundle_of(folder, "PASS")
    assert cli("verify", passed, "--level", 0).exit_code == 0
    shutil.rmtree(passed)
    failed = bundle_of(folder, "FAIL")
    assert cli("verify", failed, "--level", 0).exit_code == 3
    changed = (failed / "results.json").read_bytes().replace(b'"verdict":"FAIL"', b'"verdict":"PASS"')
    (failed / "results.json").write_bytes(changed)
    assert cli("verify", failed, "--level", 0).exit_code == 4
    assert cli("verify", folder, "--level", 0).exit_code == 4  # no bundle
    assert cli("verify").exit_code == 2


def test_the_page_quotes_what_is_printed(folder: Path) -> None:
    page = re.sub(r"\n {4,6}", " ", text_of("verifying-a-bundle.md"))
    bundle = bundle_of(folder, "FAIL")
    lines = cli("verify", bundle).stdout.splitlines()
    assert lines[0] == "WHOLE up to level 1, but not every check says PASS", lines
    (bundle / "results.json").write_bytes(
        (bundle / "results.json").read_bytes().replace(b'"verdict":"FAIL"', b'"verdict":"PASS"')
    )
    lines += cli("verify", bundle).stdout.splitlines()
    shutil.rmtree(bundle)
    bundle = bundle_of(folder, "FAIL")
    (bundle / "report.html").write_bytes((bundle / "report.html").read_bytes() + b"\n")
    lines += cli("verify", bundle).stdout.splitlines()
    shapes = {re.sub(r"[0-9a-f]{64}|\d+", "N", line) for line in lines}
    for start in (
        "WHOLE up to", "bundle id: ", "signatures: none", "not checked: level 2", "  FOUND level 0: results.json: was",
        "release decision: ", "  FOUND level 1: report.html: does not say",
    ):  # fmt: skip
        (quoted, *_) = (line for line in page.splitlines() if line.startswith(start))
        shape = re.sub(r"[0-9a-f]{64}|\d+", "N", quoted)
        if start == "release decision: ":  # one check here, several there
            shape = shape.replace("checks are", "check is")
        assert shape in shapes, quoted


def test_the_files_are_those_of_a_bundle(folder: Path) -> None:
    page = text_of("verifying-a-bundle.md").partition("## What lies in the folder")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([^`]+)`", page))
    plain = {
        value
        for key, value in vars(layout).items()
        if key in ("RUN", "RESULTS", "CASES", "WAIVERS", "JUNIT", "REPORT", "BOM")
    }
    assert plain | {layout.ATTESTATION, layout.MANIFEST} <= named
    assert {f"{name}/" for name in (layout.MAPS, layout.PICTURES, layout.SIGNATURES)} <= named
    bundle = bundle_of(folder, "FAIL")
    for path in bundle.rglob("*"):
        if path.is_file():
            assert path.name in named or path.parent != bundle, path


def test_the_fields_that_regulations_point_to_are_there(folder: Path) -> None:
    write_run(folder / "whole.json", sample_document())
    bundle = write_bundle(folder / "evidence", sample_document(), root=folder).path
    run = json.loads((bundle / "run.json").read_bytes())
    results = json.loads((bundle / "results.json").read_bytes())
    line = json.loads((bundle / "cases.jsonl").read_bytes().splitlines()[0])
    assert {"data", "locks", "waivers", "deviations", "executions", "models"} <= set(run)
    assert {"started", "finished", "tester"} <= set(run["run"])
    decided = next(record for record in results["records"] if record["decision"])
    assert {"verdict", "headline", "cases"} <= set(decided)
    assert {"kept", "dropped"} <= set(decided["cases"])
    assert {"measures", "within_tolerance"} <= set(decided["decision"])
    assert all("interval" in measure for measure in decided["decision"]["measures"].values())
    assert "label" in line["values"]
    page = text_of("regulation.md")
    for name in ("data", "locks", "waivers", "deviations", "executions", "models", "decision.within_tolerance"):
        assert name in page


def yaml_blocks(name: str) -> list[bytes]:
    return [block.encode() for block in re.findall(r"```yaml\n(.*?)```", text_of(name), flags=re.DOTALL)]


def test_the_contract_with_a_baseline_is_one_and_its_baseline_is_called_so() -> None:
    contract = parse_contract(yaml_blocks("baselines-and-waivers.md")[0], Path("release.saliency.yaml"))
    items = {item.name: item for item in expand(contract)}
    assert list(items) == ["faithful", "not-worse"]
    page = text_of("baselines-and-waivers.md")
    for kind in COMPARED:
        row = " ".join(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
        assert set(re.findall(r"`(\w+)`", row)) - {kind} == set(measure_names(kind))
        for word, worse in (("more", 1), ("less", -1)):
            rows = [
                line for line in page.splitlines() if line.startswith(f"| `{kind}` |") and line.endswith(f"{word} |")
            ]
            named = {name for line in rows for name in re.findall(r"`(\w+)`", line)} - {kind}
            assert named == {measure.name for measure in COMPARED[kind] if measure.worse == worse}


def test_the_waiver_of_the_page_excuses_a_failure() -> None:
    waivers = read_waivers(yaml_blocks("baselines-and-waivers.md")[1], "saliency-waivers.yaml")
    assert waivers.entries[0].problems == ()
    record = sample_record("no_semantic_drift", "FAIL", criterion={"max_displacement": None, "max_drifted_share": None})
    record["subjects"]["after"]["weights_sha256"] = waivers.entries[0].model
    for day, state in (
        (datetime(2026, 12, 31, 23, tzinfo=UTC), "applies"),
        (datetime(2027, 1, 1, tzinfo=UTC), "expired"),
    ):
        (made,) = assess(waivers, [record], day)
        assert made["state"] == state, made["why"]


def test_the_words_of_the_report_are_explained() -> None:
    words = text_of("reading-the-report.md").partition("## Words in the report")[2]
    for word in (
        "low_margin", "magnitude only", "hodges_lehmann", "mean_bca", "iou_drop_range", "`reference`", "Holm",
        "case[logits:3]", "IoU", "state_sha256", "displacement", "maps too much alike", "own repeat",
    ):  # fmt: skip
        assert word in words, word


def test_states_and_verdicts_are_all_explained() -> None:
    page = text_of("baselines-and-waivers.md")
    rows = " ".join(re.findall(r"^\| ([a-z, ]+) \|", page, flags=re.MULTILINE))
    for state in STATES:
        assert state in rows
    report = text_of("reading-the-report.md")
    for verdict in VERDICTS:
        assert f"| {verdict.replace('_', ' ')} |" in report


@pytest.mark.parametrize("verdict", ["ERROR", "NOT_RUN", "FAIL", "INCONCLUSIVE"])
def test_which_verdicts_block_a_release(verdict: str) -> None:
    record = sample_record("no_semantic_drift", verdict)
    waiver = {"id": "W", "check": "x", "nodes": [record["node"]], "state": "applies"}
    assert release(sample_document([record]))["decision"] == "no release"
    decision = release(sample_document([record], waivers=[waiver]))["decision"]
    row = next(
        line
        for line in text_of("reading-the-report.md").splitlines()
        if line.startswith(f"| {verdict.replace('_', ' ')}")
    )
    assert row.endswith("yes, always |") is (decision == "no release")
    assert row.endswith("yes, unless a waiver applies |") is (decision == "release with waivers")


def test_the_commands_on_records_run(folder: Path) -> None:
    assert cli("report", "run.json", "-o", "report.html").exit_code == 0
    assert cli("summary", "run.json").exit_code == 0
    for place, record in enumerate(sample_records()[:2]):
        write_run(folder / f"{('first', 'second')[place]}.json", sample_document([record], id=f"{place}" * 32))
    assert cli("merge", "first.json", "second.json", "-o", "merged.json", "--html", "merged.html").exit_code == 0
    (folder / "saliency-waivers.yaml").write_text("format: 1\nwaivers: []\n")
    assert cli("waivers", "check").exit_code == 0
    assert cli("waivers", "check", "saliency-waivers.yaml", "--run", "run.json").exit_code == 0
    (folder / "contracts").mkdir()
    shutil.copy(GOOD, folder / "contracts")
    assert cli("lock", "contracts").exit_code == 0
    assert cli("lock", "--check", "contracts").exit_code == 0
    assert cli("baseline", "status").exit_code in (0, 1)


def test_a_report_without_images_has_none(folder: Path) -> None:
    record = with_gallery(sample_record("no_semantic_drift", "FAIL"), folder)
    (folder / "g.json").write_text(to_json(sample_document([record])))
    assert cli("report", "g.json", "-o", "with.html").exit_code == 0
    assert cli("report", "g.json", "-o", "none.html", "--images", "none").exit_code == 0
    assert "data:image/" in (folder / "with.html").read_text(encoding="utf-8")
    assert "data:image/" not in (folder / "none.html").read_text(encoding="utf-8")


def test_signing_as_the_page_says(folder: Path) -> None:
    pytest.importorskip("securesystemslib")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    blocks = re.findall(r"```sh\n(.*?)```", text_of("signing.md"), flags=re.DOTALL)
    for line in blocks[0].splitlines():
        if line.startswith("openssl "):
            subprocess.run([openssl, *line.split()[1:]], cwd=folder, check=True, capture_output=True)
    bundle = bundle_of(folder, "FAIL")
    sign, verify = commands_in(blocks[2])
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    unsigned = cli(*[bundle if word.startswith("evidence/") else word for word in verify[1:]])
    assert unsigned.exit_code == 4
    done = cli(*[bundle if word.startswith("evidence/") else word for word in sign[1:]])
    assert done.exit_code == 0, done.output
    told = cli(*[bundle if word.startswith("evidence/") else word for word in verify[1:]])
    assert told.exit_code == 3, told.output
    assert "Q. Manager" in told.output
    assert "approved for release" in told.output
    assert {path: path.read_bytes() for path in before} == before


def test_signing_with_a_password_as_the_page_says(folder: Path) -> None:
    pytest.importorskip("securesystemslib")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    blocks = re.findall(r"```sh\n(.*?)```", text_of("signing.md"), flags=re.DOTALL)
    (make,) = (line for line in blocks[1].splitlines() if "-aes-256-cbc" in line)
    subprocess.run([openssl, *make.split()[1:], "-pass", "pass:two words"], cwd=folder, check=True, capture_output=True)
    bundle = bundle_of(folder, "PASS")
    (sign,) = (words for words in commands_in(blocks[3]) if words[0] == "pytest-saliency")
    words = [str(bundle) if word.startswith("evidence/") else word for word in sign[1:]]
    done = CliRunner().invoke(main, words, env={"KEY_PASSWORD": "two words"})
    assert done.exit_code == 0, done.output
    wrong = CliRunner().invoke(main, words, env={"KEY_PASSWORD": "other words"})
    assert (wrong.exit_code, "the password is wrong" in wrong.output) == (1, True), wrong.output


CHECKS_HEAD = """saliency: 1
contract: every-kind
models:
{models}
cases: {{imagefolder: data/val}}
checks:
{checks}
"""


def test_the_page_of_kinds_has_one_section_a_kind_and_its_examples_are_contracts() -> None:
    text = text_of("checks.md")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, flags=re.DOTALL | re.MULTILINE))
    assert set(sections) == set(KINDS)
    blocks = [re.findall(r"```yaml\n(.*?)```", section, flags=re.DOTALL) for section in sections.values()]
    assert all(len(found) == 1 for found in blocks)
    names = ["before", "after", *(f"null-{i:02d}" for i in range(1, 20)), "seed-1", "seed-2", "seed-3"]
    models = "\n".join(f"  {name}: {{python: 'shop.models:{name.replace('-', '_')}'}}" for name in names)
    checks = "".join(found[0] for found in blocks)
    contract = parse_contract(CHECKS_HEAD.format(models=models, checks=checks).encode(), Path("docs.saliency.yaml"))
    assert {item.kind for item in expand(contract)} == set(KINDS)
    for kind, found in zip(sections, blocks, strict=True):
        assert f"kind: {kind}," in found[0], kind
    assert text.count("*Cannot see*") == len(KINDS)


def test_every_kind_says_what_it_cannot_see_to_the_auditor_too() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", text_of("claims.md"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(KINDS)
