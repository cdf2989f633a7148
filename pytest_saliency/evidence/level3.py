"""Level 3: the checks run again in the repository, and what they give is compared with what the bundle says.

This runs the code of the repository in ``root``, as pytest does, and nothing of the bundle. Nothing is taken from a
cache, and nothing is written but into a temporary folder.
"""

from __future__ import annotations

import os
import re
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
from pytest_saliency.evidence.waiver_file import printable

AGAIN = re.compile(r"#[0-9]+$")
"""What stands behind the node id of a test in Python in the name of its second and later records."""
DIGESTS = ("weights_sha256", "state_sha256", "architecture", "layer")
SETTLED_OFF = ("saliency_bundle=", "saliency_html=", "saliency_github=false", "saliency_baseline=check")

Record = Mapping[str, Any]


class RootError(SaliencyError):
    """The folder that level 3 was to run in is not the repository of the run."""


def check_again(folder: Path, document: Mapping[str, Any], root: Path) -> Found:
    """Return what level 3 found.

    Raises
    ------
    RootError
        ``root`` does not hold the files of the checks.
    SaliencyError
        torch is not installed.
    """
    if find_spec("torch") is None:
        raise SaliencyError("level 3 needs torch, which is not installed here; levels 0 and 1 do not.")
    _hold(document, root)
    found = Found(3)
    guarded(found, RESULTS, "running again", lambda: _check(document, root, found))
    return found


def _hold(document: Mapping[str, Any], root: Path) -> None:
    """Refuse a folder without the files that the checks are declared in."""
    for record in document["records"]:
        file = str(record.get("node")).partition("::")[0]
        if record.get("decision") is None or not file or _outside(file):
            continue
        if not (root / file).is_file():
            commit = (document["run"].get("git") or {}).get("commit") if isinstance(document["run"], Mapping) else None
            where = (
                f"the repository at commit {str(commit)[:7]}" if commit else "the repository that the run was made in"
            )
            raise RootError(f"{root} holds no {printable(file)}; give --root {where}.")


def _outside(file: str) -> bool:
    return file.startswith("-") or Path(file).is_absolute() or ".." in Path(file).parts


def node_of(record: Record) -> str:
    """Return the node id that pytest knows for ``record``."""
    node = str(record["node"])
    return node if record.get("contract") else AGAIN.sub("", node)


def _check(document: Mapping[str, Any], root: Path, found: Found) -> None:
    wanted = {
        name: record
        for name, record in zip(names_of(document["records"]), document["records"], strict=True)
        if record.get("decision") is not None
    }
    if not wanted:
        found.skipped.append("running again: no check reached a decision")
        return
    nodes = list(dict.fromkeys(node_of(record) for record in wanted.values()))
    if any(_outside(node.partition("::")[0]) for node in nodes):
        found.add(RESULTS, "a node id of the bundle is no path below the repository, so that nothing was run again")
        return
    again, said = run_again(nodes, root)
    if again is None:
        found.unrepeated.append(f"the checks could not be run again in {root.name or root}: {said}")
        return
    made = dict(zip(names_of(again["records"]), again["records"], strict=True))
    missing = [name for name in wanted if name not in made]
    if missing:
        found.unrepeated.append(f"{', '.join(missing)}: did not run again{f' ({said})' if said else ''}")
    for name, record in wanted.items():
        if name not in made:
            continue
        guarded(found, RESULTS, name, lambda: compare(name, record, made[name], found))  # noqa: B023
    if not (found.findings or found.unrepeated or found.unlike):
        found.checked.append(f"{len(wanted)} checks were run again on the same models and cases, with the same result")


def run_again(nodes: list[str], root: Path) -> tuple[dict[str, Any] | None, str]:
    """Run the checks ``nodes`` with pytest in ``root``; returns its document, if any, and what went wrong."""
    from pytest_saliency.records.runfile import read_run

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
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-3:]
        said = f"pytest ended with exit code {done.returncode}: {' | '.join(last)}"
        try:
            return read_run(file), "" if done.returncode in (0, 1) else said
        except SaliencyError:
            return None, said


def compare(name: str, said: Record, again: Record, found: Found) -> None:
    """Compare the record of a bundle with the record of the same check run again."""
    made = settled(again)
    if made.get("decision") is None:
        found.unrepeated.append(f"{name}: run again it is {made['verdict']}: {made['headline']}")
        return
    before = len(found.unlike)
    for key in ("digest", "n"):
        if said["cases"][key] != made["cases"][key]:
            found.unlike.append(f"{name}: the cases here have {key} {made['cases'][key]}, not {said['cases'][key]}")
    for role, subject in said["subjects"].items():
        here = made["subjects"].get(role) or {}
        for key in DIGESTS:
            if subject.get(key) != here.get(key):
                found.unlike.append(f"{name}: {key} of {role} is {here.get(key)} here, not {subject.get(key)}")
    difference = first_difference(said["criterion"], made["criterion"], "criterion")
    if difference is not None:
        found.unlike.append(f"{name}: the repository declares another criterion: {difference}")
    if len(found.unlike) > before:
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
