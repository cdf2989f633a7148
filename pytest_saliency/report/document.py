"""The document of a run: all records, also of declared checks that did not run, and what qualifies them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_saliency.errors import ContractError, SaliencyError
from pytest_saliency.records.record import without_result
from pytest_saliency.records.runfile import run_document
from pytest_saliency.report.families import families_of
from pytest_saliency.report.hints import seldom_right
from pytest_saliency.report.paths import option_path, option_text
from pytest_saliency.report.reached import unreached
from pytest_saliency.report.undemanding import undemanding

if TYPE_CHECKING:
    from pytest_saliency.shards import Sharding

WAIVERS = "saliency-waivers.yaml"
NAMED = 5  # changed files that a deviation names
NOT_REACHED = "declared, but not selected or not reached in this run"
IN_ANOTHER_SHARD = "declared, but not selected here: it belongs to another shard"

Record = Mapping[str, Any]


def now() -> str:
    """Return the time in UTC to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def document_of(
    records: Sequence[Record],
    config: pytest.Config,
    *,
    started: str,
    exit_status: int,
    stopped: str = "",
    uncollected: Sequence[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Return the document of the run that ends now, and what kept it from being complete.

    ``stopped`` says how it ended before its time ("stopped early: ..."), ``uncollected`` names files.
    """
    root, problems = config.rootpath, []
    sharding = _sharding(config)
    made = run_document(
        [*records, *(not_run(records, root, sharding) if sharding else not_run(records, root))],
        command=command_of(config.invocation_params.args, root),
        started=started,
        finished=now(),
        exit_status=exit_status,
        root=root,
        tester=option_text(config, "tester"),
    )
    if sharding is not None:
        made["run"]["shard"] = sharding.told()
    if stopped:
        made["run"]["stopped"] = stopped
    if uncollected:
        made["run"]["uncollected"] = sorted(set(uncollected))
    for add in (_waivers, _locks, _baselines):
        try:
            add(made, config)
        except SaliencyError as error:
            problems.append(str(error))
    made["families"] = families_of(made["records"])
    made["deviations"] = deviations(made)
    return made, problems


def _sharding(config: pytest.Config) -> Sharding | None:
    """Return what dealt the checks out; None where the session is not one of several shards."""
    if "pytest_saliency.shards" not in sys.modules:
        return None
    from pytest_saliency.shards import SHARDING

    return config.stash.get(SHARDING, None)


def command_of(args: Iterable[object], root: Path) -> str:
    """Return the command of the run, with paths below ``root`` relative to it: a record names no machine's folders."""
    inside = f"{root}/"
    return shlex.join(["pytest", *(str(arg).replace(inside, "") for arg in args)])


def not_run(records: Sequence[Record], root: Path, sharding: Sharding | None = None) -> list[dict[str, Any]]:
    """Return a ``NOT_RUN`` record for every other check of the contracts that ran: left out by -k, -x or a node id.

    Of a shard: for those of all contracts of its session, so that it never looks like the whole of it.
    """
    from pytest_saliency.contracts.contract import load_contract
    from pytest_saliency.contracts.settings import settings_of

    nodes = {str(record["node"]) for record in records}
    elsewhere: Container[str] = sharding.elsewhere if sharding else ()
    files: dict[str, tuple[str, str]] = sharding.declared() if sharding else {}
    for record in records:
        if record.get("contract") and record.get("source"):
            prefix = str(record["node"]).partition("::")[0]
            files.setdefault(prefix, (str(record["source"]["file"]), str(record["contract_sha256"])))
    made = []
    for prefix, (file, digest) in files.items():
        try:
            contract = load_contract(root / file)
        except ContractError:  # changed while the tests ran, which the bundle tells
            continue
        if contract.digest != digest:
            continue
        made += [
            without_result(setting, "NOT_RUN", IN_ANOTHER_SHARD if node in elsewhere else NOT_REACHED)
            for node, setting in settings_of(contract, prefix, file).items()
            if node not in nodes
        ]
    return made


def _waivers(document: dict[str, Any], config: pytest.Config) -> None:
    from pytest_saliency.evidence.waivers import assess, load_waivers

    path = option_path(config, "waivers") or config.rootpath / WAIVERS
    if option_path(config, "waivers") is None and not path.exists():
        return
    document["waivers"] = assess(
        load_waivers(path), document["records"], datetime.fromisoformat(document["run"]["finished"])
    )


def _locks(document: dict[str, Any], config: pytest.Config) -> None:
    from pytest_saliency.evidence.lock import assess_locks

    document["locks"] = assess_locks(document, config.rootpath)


def _baselines(document: dict[str, Any], config: pytest.Config) -> None:
    from pytest_saliency.records.baseline_mode import folder_of

    folder = folder_of(config)
    if not folder.is_dir():
        return
    from pytest_saliency.records.baseline_changes import annotate

    problems = annotate(document["records"], folder)
    if problems:
        raise SaliencyError(" ".join(problems))


def deviations(document: Mapping[str, Any]) -> list[str]:
    """Return a sentence for everything that makes this run less than the declared one."""
    run, records = document["run"], document["records"]
    found = []
    if run["git"] is None:
        found.append("No commit is recorded: the checks did not run in a git work tree, or it has no commit yet.")
    elif run["git"]["dirty"] is not False:
        changed = run["git"].get("changed") or ()
        named = f": {', '.join(changed[:NAMED])}{', ...' if len(changed) > NAMED else ''}" if changed else ""
        found.append(f"The work tree had uncommitted changes at commit {run['git']['commit'][:12]}{named}.")
    found += unreached(run.get("merged") or [run])
    shard = run.get("shard")
    if shard and shard["count"] > 1:
        found.append(f"This run is shard {shard['index']} of {shard['count']}; the checks of the others are not in it.")
    if run["tester"] is None:
        found.append("Nobody is named as tester.")
    for verdict, words in (("ERROR", "could not be decided"), ("NOT_RUN", "did not run")):
        nodes = [str(record["node"]) for record in records if record["verdict"] == verdict]
        if nodes:
            found.append(f"{_checks(len(nodes))} {words}: {', '.join(nodes)}.")
    precisions = {str((record.get("execution") or {}).get("precision") or "float32") for record in records}
    if precisions - {"float32"}:
        found.append(f"Models ran in {', '.join(sorted(precisions - {'float32'}))} instead of float32.")
    for record in records:
        policy = record.get("policy") or {}
        if record["verdict"] in ("PASS", "NOT_RUN"):
            continue
        if policy.get("known_failure") and not policy["known_failure"].get("expired"):
            found.append(f"{record['node']} is excused as a known failure: {policy['known_failure']['reason']}.")
        elif policy.get("severity") == "warn":
            found.append(f"{record['node']} only warns (severity warn).")
        elif record["verdict"] == "INCONCLUSIVE" and policy.get("on_inconclusive") in ("warn", "skip"):
            found.append(f"{record['node']} does not fail the run (on_inconclusive {policy['on_inconclusive']}).")
    published = [
        str(record["node"]) for record in records if (record.get("criterion") or {}).get("rule") == "published"
    ]
    if published:
        found.append(f"Decided by the published rule alone: {', '.join(published)}.")
    found += undemanding(records)
    found += [f"{said[0].upper()}{said[1:]}." for said in seldom_right(records)]
    for lock in document["locks"]:
        if lock.get("state") == "changed":
            found.append(lock["why"])
        elif lock.get("state") == "unlocked":
            found.append(f"Nothing shows what was planned: {lock['why']}")
    return found


def _checks(count: int) -> str:
    return f"{count} check{'s' if count != 1 else ''}"
