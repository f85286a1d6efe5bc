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
