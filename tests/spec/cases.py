"""The tables of `*.yaml`: data, queries and policies, and what must be released of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import yaml

from policies.codec import load_policy
from policies.document import Policy
from sandbox.quoting import quoted

HERE = Path(__file__).parent
FILES = ("release", "wide")
PURPOSE = "official-statistics"
WITHHELD = "*"
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
AGGREGATES = [
    "count", "count_distinct", "approx_count_distinct", "sum", "avg", "stddev", "variance",
    "covar", "corr", "regr", "skewness", "kurtosis", "quantile",
]  # fmt: skip


def cases(name: str) -> list[dict[str, Any]]:
    """Return the cases of one file."""
    found = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, list)
    return found


def tables(case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each table of a case by name: `t`, and those it names beside."""
    return {"t": case, **case.get("tables", {})}


def policy_of(case: dict[str, Any]) -> Policy:
    """Return the policy that a case is asked under."""
    rule = {
        "kind": "aggregate", "mode": "safe", "min_units": 10, "purposes": [PURPOSE],
        "aggregates": AGGREGATES, "approval": "automatic", **case.get("rule", {}),
    }  # fmt: skip
    described = {name: _described(table) for name, table in tables(case).items()}
    return load_policy(yaml.safe_dump({"version": 1, "tables": described, "rules": [rule]}))


def _described(table: dict[str, Any]) -> dict[str, Any]:
    if table.get("public"):
        return {"public": True}
    units = table.get("units", [{"domain": "person", "column": "id"}])
    found = {"units": units, "columns": table["columns"]}
    return found | ({"derived": table["derived"]} if "derived" in table else {})


def engine_of(case: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """Return an engine that holds the data of a case."""
    connection = duckdb.connect()
    for name, table in tables(case).items():
        kinds = table["types"].items()
        columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in kinds)
        connection.execute(f"CREATE TABLE {quoted(name)} ({columns})")
        marks = ", ".join("?" for _ in kinds)
        rows = list(_rows(table))
        connection.executemany(f"INSERT INTO {quoted(name)} VALUES ({marks})", rows)
    return connection


def schemas_of(case: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return the columns and engine types of each table."""
    return {name: list(table["types"].items()) for name, table in tables(case).items()}


def _rows(table: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    fresh = itertools.count(10_001)
    for block in table["data"]:
        key = block.get("as", "id")
        ids = _ids(block, fresh)
        for number, unit in enumerate(ids):
            values = {
                name: value[number % len(value)] if isinstance(value, list) else value
                for name, value in block.items()
            }
            row = tuple(unit if name == key else values[name] for name in table["types"])
            yield from [row] * block.get("each", 1)


def _ids(block: dict[str, Any], fresh: Iterator[int]) -> list[int | None]:
    named = block.get("ids")
    if isinstance(named, str):
        match = _RANGE.fullmatch(named)
        assert match is not None, named
        return list(range(int(match[1]), int(match[2]) + 1))
    return named or [next(fresh) for _ in range(block.get("units", 1))]
