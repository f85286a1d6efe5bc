"""What cannot be read in parts is refused by name; what can is opened within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from policies.codec import load_policy
from sandbox.analyse import analyse
from sandbox.errors import ResourceExceeded
from sandbox.passes.holding import OpenInParts
from sandbox.stages.release import Released, release_held
from tests.attacks.parts import LIMITS, FileImages, cut, engine

POLICY = load_policy("""
version: 1
tables:
  visits:
    units: [{domain: person, column: pid}]
    columns:
      pid: {role: unit_key}
      ward: {role: dimension}
      cost: {role: measure, grid: 1}
  people:
    units: [{domain: person, column: pid}]
    columns: {pid: {role: unit_key}, sex: {role: dimension}}
  trades:
    units: [{domain: firm, column: seller}, {domain: firm, column: buyer}]
    columns: {seller: {role: unit_key}, buyer: {role: unit_key}, good: {role: dimension}}
rules:
  - kind: aggregate
    min_units: 5
    aggregates: [count, sum, avg]
    purposes: [care]
    approval: automatic
""")
SCHEMAS = {
    "visits": [("pid", "BIGINT"), ("ward", "VARCHAR"), ("cost", "BIGINT")],
    "people": [("pid", "BIGINT"), ("sex", "VARCHAR")],
    "trades": [("seller", "BIGINT"), ("buyer", "BIGINT"), ("good", "VARCHAR")],
}
JOINED = "SELECT sex, sum(cost) AS s FROM visits JOIN people USING (pid) GROUP BY sex"


@pytest.fixture
def shards(tmp_path: Path) -> dict[str, list[Path]]:
    connection = duckdb.connect()
    made = {
        "visits": "SELECT i % 2000 AS pid, 'w' || i % 3 AS ward, i % 90 AS cost "
        "FROM range(20000) t(i)",
        "people": "SELECT i AS pid, CASE WHEN i % 2 = 0 THEN 'f' ELSE 'm' END AS sex "
        "FROM range(2000) t(i)",
        "trades": "SELECT i % 50 AS seller, i % 49 AS buyer, 'g' AS good "
        "FROM range(5000) t(i)",
    }
    files = {name: tmp_path / f"{name}.parquet" for name in made}
    for name, sql in made.items():
        connection.execute(f"COPY ({sql}) TO '{files[name]}' (FORMAT parquet)")
    return cut(files, POLICY, {"visits": 8, "people": 1}, tmp_path / "cut")


def ask(sql: str, source: FileImages) -> Released:
    connection = engine()
    plan = analyse(sql, POLICY, SCHEMAS, connection).plan
    assert plan is not None
    holding = OpenInParts(connection, POLICY, source)
    rule = POLICY.aggregate_rules[0]
    return release_held(plan, POLICY, rule, holding, history=(), limits=LIMITS)


def _bytes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def test_a_small_table_is_spread_over_the_parts_of_a_large_one(
    shards: dict[str, list[Path]],
) -> None:
    budget = _bytes(shards["people"]) + _bytes(shards["visits"]) // 3
    source = FileImages(shards, budget)

    answer = ask(JOINED, source)

    assert [row[0] for row in answer.rows] == ["f", "m"]
    assert sum(int(str(row[1])) for row in answer.rows) == sum(i % 90 for i in range(20000))
    assert source.most_bytes <= budget
    assert len(source.rounds) >= 8, "one round to find where units belong, one to read"


def test_shards_that_are_not_partitioned_alike_are_refused(
    shards: dict[str, list[Path]], tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.parquet"
    duckdb.connect().execute(
        f"COPY (SELECT * FROM '{shards['visits'][0]}' UNION ALL "
        f"SELECT * FROM '{shards['visits'][1]}') TO '{mixed}' (FORMAT parquet)"
    )
    shards["visits"][1] = mixed
    budget = _bytes(shards["people"]) + _bytes(shards["visits"]) // 3

    with pytest.raises(ResourceExceeded) as raised:
        ask(JOINED, FileImages(shards, budget))

    assert raised.value.code == "needs_more_memory"
    assert "partitioned alike" in raised.value.message


def test_rows_of_two_units_each_are_refused(shards: dict[str, list[Path]]) -> None:
    with pytest.raises(ResourceExceeded) as raised:
        ask("SELECT good, count(*) FROM trades GROUP BY good", FileImages(shards, 100))

    assert raised.value.code == "needs_more_memory"
    assert "several units" in raised.value.message
