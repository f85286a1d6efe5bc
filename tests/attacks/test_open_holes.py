"""Attacks that still succeed: each is strict, so that a fix must take its mark away."""

from __future__ import annotations

import pytest

from sandbox.simulate import Session, Simulator
from tests.attacks import world


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return world.simulator(tmp_path_factory.mktemp("world"))


@pytest.mark.xfail(
    strict=True,
    reason="sum / avg is the count of values; with count(*) it tells how few lack one. "
    "Withheld inside one query; history knows which rows were told of, not which measure.",
)
def test_session_sum_then_average_tells_the_gaps(simulator: Simulator) -> None:
    session = Session()
    for sql in ("SELECT count(*) FROM ships", "SELECT sum(draught) FROM ships"):
        simulator.answer(sql, None, session)

    answer = simulator.answer("SELECT avg(draught) FROM ships", None, session)

    assert answer["verdict"] == "suppress"


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
