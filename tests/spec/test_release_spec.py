"""Tables of data, query and policy, and what must be released of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from policies.codec import load_policy
from policies.decision import Request, Verdict, decide
from policies.document import Policy
from sandbox.analyse import analyse
from sandbox.protocol import Limits
from sandbox.quoting import quoted
from sandbox.stages.release import release

LIMITS = Limits(memory_bytes=1024**3)
PURPOSE = "official-statistics"
WITHHELD = "*"


def _cases() -> list[Any]:
    found = yaml.safe_load(
        (Path(__file__).parent / "release.yaml").read_text(encoding="utf-8")
    )
    return [pytest.param(case, id=case["title"].replace(" ", "_")) for case in found]


def _policy(case: dict[str, Any]) -> Policy:
    rule = {
        "kind": "aggregate", "mode": "safe", "min_units": 10, "purposes": [PURPOSE],
        "aggregates": [
            "count", "count_distinct", "approx_count_distinct", "sum", "avg", "stddev",
            "variance", "covar", "corr", "regr", "skewness", "kurtosis", "quantile",
        ], "approval": "automatic",
        **case.get("rule", {}),
    }  # fmt: skip
    units = case.get("units", [{"domain": "person", "column": "id"}])
    table = {"units": units, "columns": case["columns"]}
    return load_policy(
        yaml.safe_dump({"version": 1, "tables": {"t": table}, "rules": [rule]})
    )


def _rows(case: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    fresh = itertools.count(10_001)
    for block in case["data"]:
        key = block.get("as", "id")
        ids = block.get("ids") or [next(fresh) for _ in range(block["units"])]
        for number, unit in enumerate(ids):
            values = {
                name: value[number % len(value)] if isinstance(value, list) else value
                for name, value in block.items()
            }
            row = tuple(unit if name == key else values[name] for name in case["types"])
            yield from [row] * block.get("each", 1)


def _engine(case: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in case["types"].items())
    connection.execute(f"CREATE TABLE t ({columns})")
    marks = ", ".join("?" for _ in case["types"])
    connection.executemany(f"INSERT INTO t VALUES ({marks})", list(_rows(case)))
    return connection


def _is_same(expected: object, came: object) -> bool:
    if isinstance(expected, (int, float)) and isinstance(came, (int, float)):
        return math.isclose(expected, came, rel_tol=1e-12)
    return str(came).startswith(str(expected)) if came is not None else expected is None


@pytest.mark.parametrize("case", _cases())
def test_release_gives_what_the_table_says(case: dict[str, Any]) -> None:
    policy, connection = _policy(case), _engine(case)
    schemas = {"t": list(case["types"].items())}
    history: list[str] = []

    for ask in case["asks"]:
        found = analyse(ask["sql"], policy, schemas, connection)
        decision = decide(policy, Request(PURPOSE), found.shape)
        codes = [reason.code for reason in decision.reasons]
        if "refused" in ask:
            assert ask["refused"] in codes
            continue
        assert decision.verdict is Verdict.ALLOW, (ask["sql"], codes)
        assert found.plan is not None
        assert decision.rule is not None
        answer = release(
            found.plan, policy, decision.rule, connection, history=history, limits=LIMITS
        )
        if case.get("session"):
            history.append(answer.history)

        came = [
            [WITHHELD if i in mask else value for i, value in enumerate(row)]
            for row, mask in zip(answer.rows, answer.withheld, strict=True)
        ]
        assert len(came) == len(ask["released"]), (ask["sql"], came)
        for expected, row in zip(ask["released"], came, strict=True):
            assert len(expected) == len(row)
            assert all(map(_is_same, expected, row)), (ask["sql"], came)
        withheld = any(WITHHELD in row for row in ask["released"])
        assert answer.partial is ask.get("partial", withheld)
        assert answer.suppressed == sum(WITHHELD in row for row in came)
