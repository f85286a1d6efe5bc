"""Attacks through statistics: what sums of powers, counts of values and pairs tell."""

from __future__ import annotations

import pytest

from sandbox.simulate import Session, Simulator
from tests.attacks import world


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return world.simulator(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    "function", ["avg({})", "stddev({})", "median({})", "corr({}, built)", "sum({} - 3)"]
)
def test_session_sum_then_count_of_values_tells_no_gaps(
    simulator: Simulator, function: str
) -> None:
    """Of draught a few ships lack a value: sum / avg would tell how many."""
    session = Session()
    for sql in ("SELECT count(*) FROM ships", "SELECT sum(draught) FROM ships"):
        assert simulator.answer(sql, None, session)["verdict"] == "allow"

    sql = f"SELECT {function.format('draught')} FROM ships"
    answer = simulator.answer(sql, None, session)

    assert answer["verdict"] == "suppress"
    assert answer["rows"] == [[None]]
