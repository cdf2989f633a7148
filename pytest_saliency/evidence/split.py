"""The document of a run in three files, and back: what differs between runs, what does not, and the tables.

``run.json``: the run, waivers, locks, deviations, and what each check cost (``executions``); beside them, for readers,
``models`` and ``data`` gathered from the records. ``results.json``: the records without tables and execution, with the
names of the tables' columns. ``cases.jsonl``: one line for each row of each table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_saliency.errors import SaliencyError
from pytest_saliency.evidence.canonical import canonical, parse

TABLES = ("per_image", "everyone")
GATHERED = ("executions", "models", "data")
DIGESTS = ("weights_sha256", "state_sha256")

Record = Mapping[str, Any]
Document = Mapping[str, Any]


class JoinError(SaliencyError):
    """Files of a bundle that do not make up a document; the message begins with the file's name."""


def run_part(document: Document) -> dict[str, Any]:
    """Return the content of ``run.json``."""
    records = document["records"]
    return {
        **{key: value for key, value in document.items() if key != "records"},
        "executions": [record.get("execution") for record in records],
        "models": models_of(records),
        "data": data_of(records),
    }


def results_part(document: Document) -> dict[str, Any]:
    """Return the content of ``results.json``."""
    return {"format": document["format"], "records": [_without_tables(record) for record in document["records"]]}


def cases_lines(document: Document) -> bytes:
    """Return the content of ``cases.jsonl``."""
    lines = []
    for place, record in enumerate(document["records"]):
        for table in TABLES:
            columns = record.get(table)
            if columns is None:
                continue
            for row in range(length(columns)):
                values = {name: column[row] for name, column in columns.items()}
                line = {"record": place, "node": record.get("node"), "table": table, "row": row, "values": values}
                lines.append(canonical(line))
    return b"".join(line + b"\n" for line in lines)


def length(columns: Mapping[str, Any]) -> int:
    """Return the number of rows of a table.

    Raises
    ------
    SaliencyError
        Its columns are not of one length.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise SaliencyError(f"a table of a record has columns of {sorted(lengths)} rows; all need the same number.")
    return lengths.pop() if lengths else 0


def models_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return each model that the records are about, once: name, source, architecture and digests."""
    found = {}
    for record in records:
        for subject in (record.get("subjects") or {}).values():
            row = {key: subject.get(key) for key in ("name", "source", "architecture", *DIGESTS)}
            found[canonical(row)] = row
    return [found[key] for key in sorted(found)]


def data_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return each set of cases that the records are about, once: source, digests and number."""
    found = {}
    for record in records:
        cases = record.get("cases")
        if cases:
            row = {key: cases.get(key) for key in ("source", "digest", "unordered_digest", "n")}
            found[canonical(row)] = row
    return [found[key] for key in sorted(found)]


def join(run: Any, results: Any, cases: Iterable[bytes]) -> dict[str, Any]:
    """Return the document that the three parts make up; ``cases`` are the lines of ``cases.jsonl``.

    Raises
    ------
    JoinError
        They do not fit together.
    """
    records = _records(run, results)
    tables = _tables(records)
    for number, line in enumerate(cases, start=1):
        where = f"cases.jsonl: line {number}"
        row = parse(line) if line.strip() else None
        if not isinstance(row, dict) or set(row) != {"record", "node", "table", "row", "values"}:
            raise JoinError(f"{where} is not a row of a table")
        key = (row["record"], row["table"])
        if type(row["record"]) is not int or key not in tables:
            raise JoinError(f"{where} belongs to no table that results.json declares")
        columns, expected = tables[key]
        record = records[row["record"]]
        if row["node"] != record.get("node"):
            raise JoinError(f"{where} names {row['node']!r}, and record {row['record']} is {record.get('node')!r}")
        if not isinstance(row["values"], dict) or set(row["values"]) != set(columns):
            raise JoinError(f"{where} does not have the columns that results.json declares")
        have = len(next(iter(columns.values())))
        if row["row"] != have or have >= expected:
            raise JoinError(f"{where} is row {row['row']!r} of {row['table']}, where row {have} of {expected} is due")
        for name, value in row["values"].items():
            columns[name].append(value)
    for (place, table), (columns, expected) in tables.items():
        have = len(next(iter(columns.values()), ()))
        if have != expected:
            said = f"table {table} of record {place} has {have} rows, and results.json says {expected}"
            raise JoinError(f"cases.jsonl: {said}")
        records[place][table] = columns
    return {**{key: value for key, value in run.items() if key not in GATHERED}, "records": records}


def _without_tables(record: Record) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key not in (*TABLES, "execution")}
    kept["tables"] = {
        table: {"columns": sorted(record[table]), "rows": length(record[table])}
        for table in TABLES
        if record.get(table) is not None
    }
    kept["has"] = [key for key in (*TABLES, "execution") if key in record]
    return kept


def _records(run: Any, results: Any) -> list[dict[str, Any]]:
    if not isinstance(run, dict) or not isinstance(run.get("run"), dict) or "records" in run:
        raise JoinError("run.json does not hold a run")
    if not isinstance(results, dict) or set(results) != {"format", "records"}:
        raise JoinError("results.json does not hold format and records, and only these")
    if results["format"] != run.get("format"):
        raise JoinError(f"results.json has format {results['format']!r} and run.json {run.get('format')!r}")
    rows, executions = results["records"], run.get("executions")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise JoinError("results.json holds no list of records")
    if not isinstance(executions, list) or len(executions) != len(rows):
        raise JoinError("run.json does not hold an execution for each record of results.json")
    made = []
    for row, execution in zip(rows, executions, strict=True):
        record = {key: value for key, value in row.items() if key not in ("tables", "has")}
        has = row.get("has")
        if not isinstance(has, list) or any(entry not in (*TABLES, "execution") for entry in has):
            raise JoinError(f"results.json: the record of {row.get('node')!r} does not say which parts it has")
        record.update(dict.fromkeys(has))
        if "execution" in has:
            record["execution"] = execution
        made.append(record)
    for place, row in enumerate(rows):
        _check_tables(place, row)
        made[place]["tables"] = row["tables"]
    return made


def _check_tables(place: int, row: Mapping[str, Any]) -> None:
    tables = row.get("tables")
    good = isinstance(tables, dict) and set(tables) <= set(TABLES) & set(row["has"])
    if good and isinstance(tables, dict):
        for table in tables.values():
            good = good and isinstance(table, dict) and set(table) == {"columns", "rows"}
            good = good and isinstance(table["columns"], list) and all(isinstance(n, str) for n in table["columns"])
            good = good and len(set(table["columns"])) == len(table["columns"])
            good = good and type(table["rows"]) is int and table["rows"] >= 0
            good = good and (bool(table["columns"]) or table["rows"] == 0)
    if not good:
        raise JoinError(f"results.json: record {place} does not say which columns its tables have")


def _tables(records: list[dict[str, Any]]) -> dict[tuple[int, str], tuple[dict[str, list[Any]], int]]:
    found: dict[tuple[int, str], tuple[dict[str, list[Any]], int]] = {}
    for place, record in enumerate(records):
        for table, declared in record.pop("tables").items():
            found[(place, table)] = ({name: [] for name in declared["columns"]}, declared["rows"])
    return found
