"""What a run's document says beyond its records: what did not run, and what makes it less than what was declared."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.evidence.release import release

from .texts import DRIFT, SENSITIVE, Write


def ran(pytester: pytest.Pytester, *args: str) -> dict[str, Any]:
    pytester.runpytest_inprocess("--saliency-json=run.json", *args)
    found: dict[str, Any] = json.loads((pytester.path / "run.json").read_text(encoding="utf-8"))
    return found


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {record["node"].partition("::")[2]: record["verdict"] for record in document["records"]}


def test_a_check_that_was_not_selected_is_not_run(pytester: pytest.Pytester, write: Write) -> None:
    write(SENSITIVE, DRIFT)
    document = ran(pytester, "-k", "sensitive")
    assert verdicts(document) == {"sensitive": "PASS", "kept": "NOT_RUN"}
    missing = next(record for record in document["records"] if record["verdict"] == "NOT_RUN")
    assert missing["requirement"] == "REQ-1"
    assert missing["source"]["line"] > 1
    assert any("1 check did not run: toy.saliency.yaml::kept" in sentence for sentence in document["deviations"])


def test_a_run_stopped_at_its_first_failure_tells_what_it_did_not_reach(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(DRIFT, SENSITIVE)
    assert verdicts(ran(pytester, "-x")) == {"kept": "FAIL", "sensitive": "NOT_RUN"}


def test_a_contract_that_cannot_be_read_is_no_release(pytester: pytest.Pytester, write: Write) -> None:
    """Every record says PASS, and nothing else shows that there is another contract."""
    write(SENSITIVE)
    pytester.makefile(".saliency.yaml", broken="saliency: 1\nchecks: 3\n")
    document = ran(pytester, "--continue-on-collection-errors")
    assert verdicts(document) == {"sensitive": "PASS"}
    assert document["run"]["uncollected"] == ["broken.saliency.yaml"]
    made = release(document)
    assert made["decision"] == "no release"
    assert made["why"] == "The run could not collect broken.saliency.yaml: what it holds did not run."
    assert made["why"] in document["deviations"]


def test_a_run_that_another_test_stopped_is_no_release(pytester: pytest.Pytester, write: Write) -> None:
    """One contract passes, then a test of something else fails, and the second contract is never reached."""
    write(SENSITIVE).rename(pytester.path / "a.saliency.yaml")
    write(DRIFT).rename(pytester.path / "c.saliency.yaml")
    pytester.makepyfile(test_b="def test_something_else():\n    assert False\n")
    document = ran(pytester, "-x", "a.saliency.yaml", "test_b.py", "c.saliency.yaml")
    assert verdicts(document) == {"sensitive": "PASS"}
    made = release(document)
    assert made["decision"] == "no release"
    assert made["why"] == "The run stopped early (stopping after 1 failures): what it had not reached yet is not in it."


@pytest.mark.parametrize("status", [0, 1])
def test_a_run_that_pytest_exit_ended_is_no_release(pytester: pytest.Pytester, write: Write, status: int) -> None:
    """Whoever calls pytest.exit gives it an exit status, which may be that of a run where all is well."""
    write(SENSITIVE).rename(pytester.path / "a.saliency.yaml")
    write(DRIFT).rename(pytester.path / "c.saliency.yaml")
    pytester.makepyfile(test_b=f"import pytest\n\ndef test_disk():\n    pytest.exit('full', returncode={status})\n")
    document = ran(pytester, "a.saliency.yaml", "test_b.py", "c.saliency.yaml")
    assert (verdicts(document), document["run"]["exit_status"]) == ({"sensitive": "PASS"}, status)
    made = release(document)
    assert made["decision"] == "no release"
    assert made["why"] == "The run was ended by pytest.exit: what it had not reached yet is not in it."


def test_who_ran_it_and_from_which_commit(pytester: pytest.Pytester, write: Write) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=pytester.path, check=True, capture_output=True)

    write(SENSITIVE)
    git("init", "-q")
    (pytester.path / ".gitignore").write_text("*\n")
    git("add", "-f", ".gitignore", "toy.py")
    git("commit", "-q", "-m", "x")
    document = ran(pytester, "--saliency-tester", "Jane Roe")
    assert document["run"]["tester"] == {"name": "Jane Roe", "source": "declared"}
    assert document["run"]["git"]["dirty"] is False
    (unlocked,) = document["deviations"]
    assert unlocked.startswith("Nothing shows what was planned")
    with Path("toy.py").open("a") as file:
        file.write("# changed\n")
    sentence = ran(pytester, "--saliency-tester", "Jane Roe")["deviations"][0]
    assert sentence.endswith(": toy.py.")


def test_the_command_names_no_folder_of_this_machine(pytester: pytest.Pytester, write: Write) -> None:
    path = write(SENSITIVE)
    document = ran(pytester, str(path))
    assert document["run"]["command"] == "pytest --saliency-json=run.json toy.saliency.yaml"
    assert str(pytester.path) not in json.dumps({**document, "records": []})
