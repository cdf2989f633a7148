"""Level 1, the numbers: every decision made again, every seed, every count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.canonical import settled
from pytest_saliency.evidence.columns import about_images, about_results
from pytest_saliency.evidence.compared import first_difference, only_rounding
from pytest_saliency.evidence.findings import Found
from pytest_saliency.evidence.layout import CASES, RESULTS
from pytest_saliency.evidence.outcome import names_of
from pytest_saliency.records.record import FORMAT, versions
from pytest_saliency.records.tool import tool_version

DECIDED = ("PASS", "FAIL", "INCONCLUSIVE")
UNDECIDED = ("ERROR", "NOT_RUN")
WORDS = ("headline", "notes", "statement", "title")
NUMERIC = ("python", "numpy", "scipy")
"""Whose versions may change the last digits of a decision."""

Record = Mapping[str, Any]


def check_records(document: Mapping[str, Any], found: Found) -> None:
    """Check every record by itself."""
    decided = 0
    here = {name: version for name, version in versions().items() if name in NUMERIC}
    for name, record in zip(names_of(document["records"]), document["records"], strict=True):
        guarded(found, RESULTS, name, lambda: _check_verdict(name, record, found))  # noqa: B023 - called at once
        if record.get("decision") is None:
            continue
        decided += 1
        guarded(found, RESULTS, name, lambda: _check_decision(name, record, here, found))  # noqa: B023
        guarded(found, CASES, name, lambda: _check_counts(name, record, found))  # noqa: B023
    if not found.findings and decided:
        found.checked.append(
            f"{decided} decisions, with every bound, test and verdict, follow from the {_rows(document)} rows of"
            f" {CASES}, to the last bit"
        )


def guarded(found: Found, file: str, name: str, check: Callable[[], None]) -> None:
    """Run a check of what somebody else wrote; whatever it breaks on is a finding, never a traceback."""
    try:
        check()
    except SaliencyError as error:
        found.add(file, f"{name}: {error}")
    except Exception as error:  # a record is any JSON here, so that anything may break
        found.add(file, f"{name}: is not a record as this package writes it ({type(error).__name__}: {error})")


def _rows(document: Mapping[str, Any]) -> int:
    return sum(
        len(next(iter(record[table].values()), ()))
        for record in document["records"]
        for table in ("per_image", "everyone")
        if record.get(table)
    )


def _check_verdict(name: str, record: Record, found: Found) -> None:
    verdict, decision = record.get("verdict"), record.get("decision")
    if record.get("format") != FORMAT:
        found.add(RESULTS, f"{name}: has format {record.get('format')!r}, and this release reads {FORMAT}")
    if verdict not in (*DECIDED, *UNDECIDED):
        found.add(RESULTS, f"{name}: {verdict!r} is no verdict")
    elif (verdict in DECIDED) != (decision is not None):
        found.add(RESULTS, f"{name}: says {verdict} {'without' if decision is None else 'with'} a decision")
    if decision is None:
        if record.get("per_image"):
            found.add(CASES, f"{name}: has numbers of images and no decision from them")
        return
    for key in ("verdict", "headline", "seed", "kind"):
        if record.get(key) != decision.get(key):
            found.add(RESULTS, f"{name}: says {key} {record.get(key)!r}, its decision {decision.get(key)!r}")


def _check_decision(name: str, record: Record, here: Mapping[str, str], found: Found) -> None:
    from pytest_saliency.checks.numbers import decide_again, seed_again

    seed = f"{seed_again(record):016x}"
    if seed != record["seed"]:
        found.add(RESULTS, f"{name}: seed is {record['seed']}, and criterion, cases and id give {seed}")
    said, made = settled(record["decision"]), settled(decide_again(record).to_dict())
    difference = first_difference(said, made)
    if difference is None:
        return
    written = record["execution"].get("versions") or {}
    other_tool = str(written.get("pytest-saliency")) != tool_version()
    if other_tool and first_difference(_unworded(said), _unworded(made)) is None:
        found.told.append(
            f"{name}: the decision made again has the same numbers and verdicts, and words something else"
            f" ({difference}); it was made with pytest-saliency {written.get('pytest-saliency')}."
        )
        return
    there = {key: str(written.get(key)) for key in here}
    if there != here and only_rounding(said, made):
        found.told.append(
            f"{name}: the decision made again differs in its last digits ({difference}); it was made with"
            f" {_versions(there)}, and this is {_versions(here)}."
        )
        return
    found.add(RESULTS, f"{name}: the decision does not follow from the numbers: {difference}")


def _unworded(value: Any) -> Any:
    """Return a decision without its sentences, which may read otherwise in another release."""
    if isinstance(value, Mapping):
        return {key: _unworded(entry) for key, entry in value.items() if key not in WORDS}
    return [_unworded(entry) for entry in value] if isinstance(value, list) else value


def _check_counts(name: str, record: Record, found: Found) -> None:
    cases, everyone, kept = record["cases"], record["everyone"], record["per_image"]
    fates = Counter(everyone["fate"])
    wanted = {
        "n": len(everyone["id"]),
        "kept": len(kept["id"]),
        "dropped": {fate: count for fate, count in fates.items() if fate != "kept"},
    }
    for key, value in wanted.items():
        if cases[key] != value:
            found.add(RESULTS, f"{name}: says {key} {cases[key]!r}, and {CASES} has {value!r}")
    if sum(cases["classes"].values()) != wanted["n"]:
        found.add(RESULTS, f"{name}: its classes hold {sum(cases['classes'].values())} cases of {wanted['n']}")
    rows = dict(zip(everyone["id"], zip(everyone["fate"], everyone["label"], strict=True), strict=True))
    if len(rows) != wanted["n"] or len(set(kept["id"])) != len(kept["id"]):
        found.add(CASES, f"{name}: an id is there twice")
    expected = [one for one, fate in zip(everyone["id"], everyone["fate"], strict=True) if fate == "kept"]
    if expected != list(kept["id"]):
        found.add(CASES, f"{name}: the images with numbers are not those that were kept")
    elif any(rows[one][1] != label for one, label in zip(kept["id"], kept["label"], strict=True)):
        found.add(CASES, f"{name}: an image has two labels")
    for line in about_images(record):
        found.add(CASES, f"{name}: {line}")
    for line in about_results(record):
        found.add(RESULTS, f"{name}: {line}")
    _check_method(name, record, found)


def _check_method(name: str, record: Record, found: Found) -> None:
    from pytest_saliency.engine.methods.names import resolves_to

    said, declared = record["method"]["name"], record["criterion"].get("method")
    if not resolves_to(str(declared), str(said)):
        found.add(RESULTS, f"{name}: says method {said!r}, and its criterion {declared!r}")


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
