"""The examples for continuous integration: they parse, name what exists, and their shell lines run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import pytest_saliency
from tests.plugin.texts import CONTRACT, DRIFT, SENSITIVE
from tests.shell_words import commands_in, problem_of, pytest_options

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
ACTION = CI / "github-action" / "action.yml"
WORKFLOW = CI / "github-workflow.yml"
GITLAB = CI / "gitlab-ci.yml"
SHARDS = CI / "github-shards.yml"
GITLAB_SHARDS = CI / "gitlab-shards.yml"


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def github_steps(path: Path) -> list[dict[str, Any]]:
    document = load(path)
    if "runs" in document:
        return list(document["runs"]["steps"])
    return [step for job in document["jobs"].values() for step in job["steps"]]


def texts() -> list[tuple[str, str]]:
    found = [
        (path.name, step["run"]) for path in (ACTION, WORKFLOW, SHARDS) for step in github_steps(path) if "run" in step
    ]
    for path in (GITLAB, GITLAB_SHARDS):
        for name, job in load(path).items():
            for key in ("before_script", "script", "after_script"):
                found += [(f"gitlab {name}", line) for line in job.get(key, ())]
    return found


def test_every_command_and_option_exists() -> None:
    calls = [(where, words) for where, text in texts() for words in commands_in(text)]
    assert [problem for _, words in calls if (problem := problem_of(words))] == []
    used = {words[1] for _, words in calls if words[0] == "pytest-saliency"}
    assert used == {"merge", "summary", "verify"}
    assert sum(words[0] == "pytest" for _, words in calls) == 4


def test_the_finder_of_unknown_options_finds_them() -> None:
    assert "--saliency-json" in pytest_options()
    for line, said in (
        ("pytest x --saliency-jsn=1 -q", "pytest has no --saliency-jsn=1"),
        ("pytest-saliency mrge a", "no command 'mrge'"),
        ("pytest-saliency merge a --otput b", "knows no --otput"),
    ):
        (words,) = commands_in(line)
        assert said in (problem_of(words) or "")
    assert list(commands_in("x=1\nA=2 && pytest-saliency merge a -o b > c | cat")) == [
        ["pytest-saliency", "merge", "a", "-o", "b"]
    ]


def test_what_others_may_write_reaches_the_shell_as_variables_only() -> None:
    for path in (ACTION, WORKFLOW, SHARDS):
        for step in github_steps(path):
            assert "${{" not in step.get("run", ""), step


def test_the_action_is_whole() -> None:
    action = load(ACTION)
    assert action["runs"]["using"] == "composite"
    text = ACTION.read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.(\w+)", text)) == set(action["inputs"])
    for step in action["runs"]["steps"]:
        assert "uses" in step or step["shell"] == "bash"  # a composite action has no default shell
        for name in re.findall(r"\$\{?([A-Z]+)\b", step.get("run", "")):
            assert name in step["env"]
    (keep,) = (step for step in action["runs"]["steps"] if "upload-artifact" in step.get("uses", ""))
    assert keep["if"] == "always()"


@pytest.mark.parametrize("workflow", [WORKFLOW, SHARDS], ids=lambda path: path.stem)
def test_the_workflow_uses_the_action_as_it_is(workflow: Path) -> None:
    jobs = load(workflow)["jobs"]
    (used,) = (step for step in jobs["check"]["steps"] if step.get("uses", "").startswith("./"))
    assert set(used["with"]) <= set(load(ACTION)["inputs"])
    assert used["uses"] == "./.github/actions/saliency"
    assert "`.github/actions/saliency/action.yml`" in (CI / "README.md").read_text(encoding="utf-8")
    assert jobs["merge"]["needs"] == "check"
    (fetched,) = (s for s in jobs["merge"]["steps"] if "download-artifact" in s.get("uses", ""))
    (kept,) = (s for s in github_steps(ACTION) if "upload-artifact" in s.get("uses", ""))
    assert kept["with"]["name"].startswith(fetched["with"]["pattern"].rstrip("*"))


def test_gitlab_keeps_what_it_names() -> None:
    for name, job in [*load(GITLAB).items(), *load(GITLAB_SHARDS).items()]:
        if "artifacts" not in job:
            continue
        assert job["artifacts"]["when"] == "always"
        script = " ".join(job["script"])
        reports = job["artifacts"].get("reports", {}).values()
        for path in (*job["artifacts"]["paths"], *(path.partition("*")[0] for path in reports)):
            assert path in script, (name, path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two contracts of a toy model, one of which fails."""
    plugin = ROOT / "tests" / "plugin"
    (tmp_path / "toy.py").write_text((plugin / "toy.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "contracts").mkdir()
    for name, check in (("good", SENSITIVE), ("bad", DRIFT)):
        head = CONTRACT.replace("contract: toy", f"contract: {name}")
        (tmp_path / "contracts" / f"{name}.saliency.yaml").write_text(f"{head}checks:\n{check}", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def shell(text: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does (bash, ends at the first error), with this environment's commands on the path."""
    base = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "PYTEST_"))}
    path = os.pathsep.join((str(Path(sys.executable).parent), base["PATH"]))
    source = str(Path(pytest_saliency.__file__).parents[1])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", text],
        cwd=folder,
        env={**base, "PATH": path, "PYTHONPATH": source, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_workflow_runs(repository: Path) -> None:
    (find,) = (step for step in load(WORKFLOW)["jobs"]["list"]["steps"] if step.get("id") == "find")
    output = repository / "output"
    assert shell(find["run"], repository, GITHUB_OUTPUT=str(output)).returncode == 0
    name, _, value = output.read_text().strip().partition("=")
    contracts = json.loads(value)
    assert (name, contracts) == ("contracts", ["contracts/bad.saliency.yaml", "contracts/good.saliency.yaml"])

    (check,) = (step for step in github_steps(ACTION) if step.get("name") == "Check")
    summary = repository / "summary.md"
    codes = []
    for place, contract in enumerate(contracts):
        variables = {
            "PATHS": contract,
            "ARGS": "-q -p no:cacheprovider",
            "IMAGES": "none",
            "TESTER": "someone, $(touch hacked)",
            "CACHE": ["true", "false"][place],
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_WORKSPACE": str(repository),
        }
        done = shell(check["run"], repository, **variables)
        codes.append(done.returncode)
        made = {path.name for path in (repository / "saliency-out").iterdir()}
        assert made == {"run.json", "report.html", "bundle", "junit.xml"}, done.stdout + done.stderr
        assert ("::error file=contracts/bad.saliency.yaml,line=" in done.stdout) is (contract == contracts[0])
        shard = repository / "shards" / f"saliency-{place}"
        shard.parent.mkdir(exist_ok=True)
        (repository / "saliency-out").rename(shard)
    assert codes == [1, 0]
    assert not (repository / "hacked").exists()
    assert (repository / ".saliency-cache").is_dir()
    assert summary.read_text(encoding="utf-8").count("Explanation check") == 2

    (merge,) = (step for step in load(WORKFLOW)["jobs"]["merge"]["steps"] if step.get("name") == "Merge")
    done = shell(merge["run"], repository, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stderr
    assert "2 runs merged: 1 FAIL, 1 PASS" in done.stdout
    assert summary.read_text(encoding="utf-8").count("Explanation check") == 3
    (verify,) = (step for step in load(WORKFLOW)["jobs"]["merge"]["steps"] if step.get("name") == "Verify")
    told = shell(verify["run"], repository)
    assert told.returncode == 3, told.stdout + told.stderr
    (bundle,) = (repository / "merged" / "bundle").iterdir()
    (bundle / "cases.jsonl").write_bytes((bundle / "cases.jsonl").read_bytes().replace(b"0.1", b"0.2", 1))
    assert shell(verify["run"], repository).returncode == 4


def test_the_release_job_of_gitlab_runs(repository: Path) -> None:
    job = load(GITLAB)["explanations-release"]
    (repository / "contracts" / "bad.saliency.yaml").unlink()
    done = shell("\n".join(job["script"]), repository, GITLAB_USER_NAME="A. Tester")
    assert done.returncode == 0, done.stdout + done.stderr
    for path in job["artifacts"]["paths"]:
        assert (repository / path).exists()
    told = shell("\n".join(job["after_script"]), repository)
    assert told.returncode == 0, told.stdout + told.stderr


def test_shards_of_both_run_and_merge(repository: Path) -> None:
    """Two of two jobs, one as GitHub runs it and one as GitLab does, joined by GitLab's last job."""
    github = load(SHARDS)["jobs"]["check"]
    assert github["strategy"]["matrix"]["shard"] == list(range(1, load(GITLAB_SHARDS)["explanations"]["parallel"] + 1))
    (used,) = (step for step in github["steps"] if step.get("uses", "").startswith("./"))
    argument = used["with"]["args"].replace("${{ matrix.shard }}", "1").replace("${{ strategy.job-total }}", "2")
    (check,) = (step for step in github_steps(ACTION) if step.get("name") == "Check")
    variables = {"PATHS": used["with"]["paths"], "ARGS": argument, "IMAGES": "none", "TESTER": "A", "CACHE": "false"}
    one = shell(check["run"], repository, **variables)
    jobs = load(GITLAB_SHARDS)
    second = {"CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "2", "GITLAB_USER_NAME": "A"}
    two = shell("\n".join(jobs["explanations"]["script"]), repository, **second)
    assert sorted((one.returncode, two.returncode)) == [0, 1], one.stdout + two.stdout
    merge = "\n".join(jobs["explanations-merged"]["script"])
    lacking = shell(merge, repository)
    assert lacking.returncode == 1
    assert "Shard 1 of 2 over contracts/bad.saliency.yaml, contracts/good.saliency.yaml is not among" in lacking.stderr
    (repository / "saliency-out" / "run.json").rename(repository / "shards" / "run-1.json")
    done = shell(merge, repository)
    assert "2 runs merged: 1 FAIL, 1 PASS" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 3, done.stdout + done.stderr
