"""Attacks that still succeed: each is strict, so that a fix must take its mark away."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from policies.codec import load_policy
from sandbox.simulate import Session, Simulator
from tests.attacks import world


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return world.simulator(tmp_path_factory.mktemp("world"))


@pytest.mark.xfail(
    strict=True,
    reason="the rest of a condition used as a group key is shown, though WHERE on the same "
    "condition is withheld for the few it leaves out; with a published row count it tells.",
)
def test_condition_as_group_key_withholds_its_rest(simulator: Simulator) -> None:
    key = simulator.answer(
        "SELECT starts_with(port, 'Tiny') AS g, count(*) FROM calls GROUP BY g",
        None,
        Session(),
    )
    where = simulator.answer(
        "SELECT count(*) FROM calls WHERE NOT starts_with(port, 'Tiny')", None, Session()
    )

    assert where["rows"] == [[None]]
    assert all(row[1] is None for row in key["rows"])


@pytest.mark.xfail(
    strict=True,
    reason="history knows which rows were told of, not which of their columns had to be "
    "present: sums over the rows of a and b, and of a and c, differ by the rows that have "
    "one of the two. Withheld inside one query.",
)
def test_session_pairs_that_differ_by_few_rows_tell_them(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    duckdb.execute(
        "COPY (SELECT r AS id, r % 9 AS a, CASE WHEN r < 40 THEN r % 7 END AS b, "
        "CASE WHEN r < 43 THEN r % 5 END AS c FROM range(63) AS t(r)) "
        f"TO '{path}' (FORMAT parquet)"
    )
    measures = "".join(f"      {n}: {{role: measure, grid: 1}}\n" for n in "abc")
    policy = load_policy(
        "version: 1\ntables:\n  t:\n    units: [{domain: person, column: id}]\n"
        "    columns:\n      id: {role: unit_key}\n" + measures + "rules:\n"
        "- {kind: aggregate, mode: safe, min_units: 10, purposes: [official-statistics], "
        "aggregates: [sum, count], approval: automatic}\n"
    )
    simulator, session = Simulator(policy, {"t": path}), Session()
    first = simulator.answer("SELECT sum(a + b) FROM t", None, session)
    assert first["verdict"] == "allow"

    assert simulator.answer("SELECT sum(a + c) FROM t", None, session)["verdict"] != "allow"
