"""A release over tables that a job does not hold must not be passed over in silence."""

from __future__ import annotations

from pathlib import Path

from sandbox.simulate import Session, Simulator
from tests.attacks import world

JOINED = "SELECT count(*) FROM ships s JOIN surveys v ON s.imo = v.imo"


def test_history_with_a_table_that_is_not_held_is_refused_by_name(tmp_path: Path) -> None:
    files = world.write_tables(tmp_path)
    session = Session()
    joined = Simulator(world.policy(), files).answer(JOINED, None, session)
    alone = Simulator(world.policy(), {"ships": files["ships"]})

    answer = alone.answer("SELECT count(*) FROM ships", None, session)

    assert joined["verdict"] != "refuse", joined
    assert [reason["code"] for reason in answer["reasons"]] == ["history_not_held"]


def test_history_about_other_tables_only_is_no_hindrance(tmp_path: Path) -> None:
    files = world.write_tables(tmp_path)
    session = Session()
    Simulator(world.policy(), files).answer("SELECT count(*) FROM machines", None, session)
    alone = Simulator(world.policy(), {"ships": files["ships"]})

    answer = alone.answer("SELECT count(*) FROM ships", None, session)

    assert answer["verdict"] != "refuse"
