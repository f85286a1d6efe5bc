"""Semi-joins look up values that are kept once, where they are few of many rows."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from policies.codec import load_policy
from sandbox.passes.facts import Facts
from sandbox.passes.folds import Fold
from sandbox.passes.rows import Whole
from sandbox.plan.render import members_sql
from sandbox.plan.terms import Kind, Ref
from sandbox.plan.views import ALL, View, ViewColumn
from sandbox.quoting import text_literal

POLICY = load_policy("""
version: 1
tables:
  orders:
    units: [{domain: customer, column: customer}]
    columns:
      customer: {role: unit_key}
rules:
  - kind: aggregate
    min_units: 10
    aggregates: [count]
    purposes: [research]
    approval: automatic
""")


@pytest.fixture
def orders(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Whole, View]:
    """Orders, so many of each customer, and the view of who has one."""
    path = tmp_path / "orders.parquet"
    connection = duckdb.connect()
    connection.execute(
        f"COPY (SELECT i // {request.param} AS customer FROM range(100) AS r(i)) "
        f"TO '{path}' (FORMAT parquet)"
    )
    connection.execute(f"CREATE VIEW orders AS FROM read_parquet('{path}')")
    column = ViewColumn("c0", Ref("orders", "customer", Kind.INTEGER), Kind.INTEGER)
    view = View("orders", (), ALL, None, (column,), (("customer", "c0"),))
    rows = Whole(connection, Facts(connection, {"orders": [str(path)]}))
    rows.materialise([view], POLICY)
    return rows, view


def kept(rows: Whole) -> list[str]:
    names = rows.ask("SELECT table_name FROM information_schema.tables", Fold(1)).rows
    return [str(name) for (name,) in names if "members of" in str(name)]


@pytest.mark.parametrize(
    ("orders", "is_kept"), [(5, True), (3, False)], indirect=["orders"]
)
def test_few_values_of_many_rows_are_kept(
    orders: tuple[Whole, View], is_kept: bool
) -> None:
    rows, view = orders
    text = members_sql(view.name, "c0")
    sql = f"SELECT count(*) FROM range(50) AS r(i) WHERE i IN ({text})"
    (found,) = rows.ask(sql, Fold(0)).rows

    assert found == (20 if is_kept else 34,)
    assert bool(kept(rows)) == is_kept


@pytest.mark.parametrize("orders", [5], indirect=True)
def test_text_that_says_the_same_stays_as_it_is(orders: tuple[Whole, View]) -> None:
    rows, view = orders
    text = members_sql(view.name, "c0")
    said = text_literal(f"it's {text}")
    sql = f'SELECT {said} AS "it\'s", 7 IN ({text}) AS there'
    (found,) = rows.ask(sql, Fold(2)).rows

    assert found == (f"it's {text}", True)
    assert kept(rows)
