"""Level 3: the checks run again in the repository, and what they give is compared with what the bundle says.

This runs the code of the repository in ``root``, as pytest does, and nothing of the bundle. Nothing is taken from a
cache, and nothing is written but into a temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.again import guarded
from pytest_saliency.evidence.canonical import settled
from pytest_saliency.evidence.compared import first_difference
from pytest_saliency.evidence.findings import Found
from pytest_saliency.evidence.layout import CASES, RESULTS
from pytest_saliency.evidence.outcome import names_of
from pytest_saliency.evidence.tolerated import tolerance_for, too_far

DIGESTS = ("weights_sha256", "state_sha256", "architecture", "layer")
SETTLED_OFF = ("saliency_bundle=", "saliency_html=", "saliency_github=false", "saliency_baseline=check")

Record = Mapping[str, Any]


def check_again(folder: Path, document: Mapping[str, Any], root: Path) -> Found:
    """Return what level 3 found.

    Raises
    ------
    SaliencyError
        torch is not installed.
    """
    if find_spec("torch") is None:
        raise SaliencyError("level 3 needs torch, which is not installed here; levels 0 and 1 do not.")
    found = Found(3)
    guarded(found, RESULTS, "running again", lambda: _check(document, root, found))
    return found


def _check(document: Mapping[str, Any], root: Path, found: Found) -> None:
    wanted = {
        name: record
        for name, record in zip(names_of(document["records"]), document["records"], strict=True)
        if record.get("decision") is not None
    }
    if not wanted:
        found.skipped.append("running again: no check reached a decision")
        return
    nodes = list(dict.fromkeys(str(record["node"]) for record in wanted.values()))
    again, said = run_again(nodes, root)
    if again is None:
        found.add(RESULTS, f"the checks could not be run again in {root.name or root}: {said}")
        return
    made = dict(zip(names_of(again["records"]), again["records"], strict=True))
    before = len(found.findings)
    for name, record in wanted.items():
        if name not in made:
            found.add(RESULTS, f"{name}: did not run again")
        else:
            guarded(found, RESULTS, name, lambda: compare(name, record, made[name], found))  # noqa: B023
    if len(found.findings) == before:
        found.checked.append(f"{len(wanted)} checks were run again on the same models and cases, with the same result")


def run_again(nodes: list[str], root: Path) -> tuple[dict[str, Any] | None, str]:
    """Run the checks ``nodes`` with pytest in ``root``; returns the document of that run, or why there is none."""
    from pytest_saliency.records.runfile import read_run

    if any(node.startswith("-") or Path(node.partition("::")[0]).is_absolute() for node in nodes):
        return None, "a node id of the bundle is no path below the repository"
    with tempfile.TemporaryDirectory() as held:
        file = Path(held) / "run.json"
        options = [f"--saliency-json={file}", "--saliency-no-cache", "--saliency-images=none", "-q", "--tb=line"]
        options += [word for setting in SETTLED_OFF for word in ("-o", setting)]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, "--", *nodes],
            cwd=root,
            env={key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        try:
            return read_run(file), ""
        except SaliencyError:
            last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-3:]
            return None, f"pytest ended with exit code {done.returncode}: {' | '.join(last)}"


def compare(name: str, said: Record, again: Record, found: Found) -> None:
    """Compare the record of a bundle with the record of the same check run again."""
    made = settled(again)
    if made.get("decision") is None:
        found.add(RESULTS, f"{name}: run again it is {made['verdict']}: {made['headline']}")
        return
    before = len(found.findings)
    for key in ("digest", "n"):
        if said["cases"][key] != made["cases"][key]:
            found.add(RESULTS, f"{name}: the cases here have {key} {made['cases'][key]}, not {said['cases'][key]}")
    for role, subject in said["subjects"].items():
        here = made["subjects"].get(role) or {}
        for key in DIGESTS:
            if subject.get(key) != here.get(key):
                found.add(RESULTS, f"{name}: {key} of {role} is {here.get(key)} here, not {subject.get(key)}")
    difference = first_difference(said["criterion"], made["criterion"], "criterion")
    if difference is not None:
        found.add(RESULTS, f"{name}: the repository declares another criterion: {difference}")
    if len(found.findings) > before:
        return  # numbers of another model, other cases or another criterion would say nothing
    _tables(name, said, made, found)
    if said["verdict"] != made["verdict"]:
        within = (said["decision"].get("within_tolerance") or {}).get("verdicts") or ()
        sentence = f"{name}: run again it is {made['verdict']}, and the bundle says {said['verdict']}"
        if made["verdict"] in within:
            found.told.append(f"{sentence}; both lie within the tolerance that the record states.")
        else:
            found.add(RESULTS, sentence)


def _tables(name: str, said: Record, made: Record, found: Found) -> None:
    one, two = said["per_image"], made["per_image"]
    if one.get("id") != two.get("id"):
        if len(one["id"]) != len(two["id"]):
            found.add(CASES, f"{name}: {len(one['id'])} images were kept, and run again {len(two['id'])}")
            return
        found.told.append(f"{name}: ids differ, as they do where they are keyed; rows are compared in their order.")
    for column in sorted(set(one) & set(two)):
        tolerance = tolerance_for(column, said["inputs"])
        if tolerance is not None:
            problem = too_far(one[column], two[column], tolerance)
            if problem is not None:
                found.add(CASES, f"{name}: {column} is not what running again gives: it {problem}")
        elif column in ("class", "label", "top1", "top2", "block") and one[column] != two[column]:
            count = sum(a != b for a, b in zip(one[column], two[column], strict=True))
            found.add(CASES, f"{name}: {column} differs for {count} of {len(one[column])} images when run again")
