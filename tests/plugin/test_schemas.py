"""Real runs with baselines, pictures, maps, a bundle and a lock write files that their schemas take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from jsonschema import Draft202012Validator

from pytest_saliency.cli import main
from pytest_saliency.evidence.schemas import schema

from .baselining import EVIDENCE, FAITHFUL, NO_WORSE, SENSITIVE, Repository, repository
from .texts import DRIFT

__all__ = ["repository"]


def valid(name: str, value: Any) -> None:
    found = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in Draft202012Validator(schema(name)).iter_errors(value)
    ]
    assert found == [], f"{name}: {found[:5]}"


def test_all_files_of_a_run_are_as_their_schemas_say(repository: Repository) -> None:
    repository.checks(NO_WORSE, SENSITIVE, EVIDENCE, FAITHFUL, DRIFT)
    done = CliRunner().invoke(main, ["lock", "toy.saliency.yaml"])
    assert done.exit_code == 0, done.output
    repository.approved()
    repository.cheat()
    repository.run(
        "--saliency-json=run.json", "--saliency-bundle=out", "--saliency-bundle-maps", "--saliency-images=all"
    )
    document = json.loads(Path("run.json").read_bytes())
    kinds = {record["kind"] for record in document["records"] if record["decision"]}
    assert kinds == {"class_sensitive", "faithful", "no_semantic_drift", "not_worse_than_baseline"}
    assert any(record["gallery"] for record in document["records"])
    assert any(record.get("baseline") for record in document["records"])
    assert [lock["state"] for lock in document["locks"]] == ["unchanged"]
    valid("run", document)
    (lock,) = Path().glob("*.lock.json")
    valid("lock", json.loads(lock.read_bytes()))
    for entry in repository.entries():
        valid("baseline", json.loads(entry.read_bytes()))
    (bundle,) = (path for path in Path("out").iterdir() if path.is_dir())
    valid("manifest", json.loads((bundle / "manifest.json").read_bytes()))
    valid("bundle-run", json.loads((bundle / "run.json").read_bytes()))
    valid("results", json.loads((bundle / "results.json").read_bytes()))
    for line in (bundle / "cases.jsonl").read_bytes().splitlines()[:20]:
        valid("cases-line", json.loads(line))
