"""Attacks through what is computed within units: each with a control that is answered."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml

from sandbox.simulate import Session, Simulator
from tests.attacks import world

CORPUS: dict[str, Any] = yaml.safe_load(
    (world.CORPUS / "stage_zero.yaml").read_text(encoding="utf-8")
)
PAIRS = (
    "SELECT count(*) FROM calls a JOIN calls b ON a.imo = b.imo "
    "AND a.agent_id = b.agent_id WHERE {}"
)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return world.simulator(tmp_path_factory.mktemp("world"))


def _codes(answer: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in answer["reasons"]}


@pytest.mark.parametrize("attack", CORPUS["refused"])
def test_within_units_refuses(simulator: Simulator, attack: dict[str, str]) -> None:
    answer = simulator.answer(attack["sql"], None, Session())

    assert answer["verdict"] == "refuse", answer
    assert "engine_failed" not in _codes(answer)
    assert attack.get("code", "") in {"", *_codes(answer)}


@pytest.mark.parametrize("condition", CORPUS["gaps"])
def test_gap_in_another_form_is_refused(simulator: Simulator, condition: str) -> None:
    answer = simulator.answer(PAIRS.format(condition), None, Session())

    assert answer["verdict"] == "refuse"
    assert "gap_off_grid" in _codes(answer)


def test_gap_in_the_closed_form_is_answered(simulator: Simulator) -> None:
    sql = PAIRS.format("b.arrived > a.arrived AND b.arrived <= a.arrived + INTERVAL 90 DAY")

    assert simulator.answer(sql, None, Session())["verdict"] in {"allow", "suppress"}


@pytest.mark.parametrize("attack", CORPUS["left_out"])
def test_few_units_left_out_within_withhold(
    simulator: Simulator, attack: dict[str, str]
) -> None:
    withheld = simulator.answer(attack["withheld"], None, Session())
    answered = simulator.answer(attack["control"], None, Session())

    assert withheld["verdict"] == "suppress", withheld
    assert withheld["rows"] == [[None]]
    assert answered["verdict"] in {"allow", "suppress"}
    assert answered["rows"] != [[None]], answered


@pytest.mark.parametrize("steps", CORPUS["differences"])
def test_difference_of_answers_within_units_is_withheld(
    simulator: Simulator, steps: dict[str, str]
) -> None:
    session = Session()
    first = simulator.answer(steps["first"], None, session)
    last = simulator.answer(steps["then"], None, session)

    assert first["rows"] != [[None]], first
    assert last["rows"] == [[None]], last


@pytest.mark.parametrize("case", CORPUS["totals"])
def test_total_within_units_does_not_tell_the_withheld_part(
    simulator: Simulator, case: dict[str, str]
) -> None:
    """Three calls at Tinyhavn are withheld; total less the other ports would tell them."""
    total, parts = case["total"], case["parts"]
    for steps in itertools.permutations((total, parts)):
        session = Session()
        answers = {sql: simulator.answer(sql, None, session) for sql in steps}
        whole = answers[total]["rows"][0]
        shown = [row for row in answers[parts]["rows"] if row[0] is not None]

        for position in (0, 1):
            values = [row[position + 1] for row in shown]
            complete = whole[position] is not None and None not in values
            # Six ports beside Tinyhavn: one of them must be missing too.
            assert not (complete and len(values) == 6), (steps, answers)


def test_few_and_none_within_units_look_alike(simulator: Simulator) -> None:
    sql = (
        "SELECT n, count(*) FROM (SELECT imo, count(*) AS n FROM ships "
        "WHERE insurer = '{}' GROUP BY imo) GROUP BY n"
    )
    answers = [
        simulator.answer(sql.format(name), None, Session()) for name in ("Obscura", "X")
    ]

    seen = ("verdict", "columns", "rows", "suppressed", "partial")
    assert len({str([answer[key] for key in seen]) for answer in answers}) == 1, answers


def test_rows_of_a_view_are_equal_whatever_the_outputs_are_called(
    simulator: Simulator,
) -> None:
    session = Session()
    first = simulator.answer(
        "SELECT avg(n) FROM (SELECT imo, count(*) AS n FROM surveys GROUP BY imo)",
        None,
        session,
    )
    again = simulator.answer(
        "SELECT avg(k) FROM (SELECT s.imo, max(grade) AS g, count(*) AS k FROM surveys s "
        "GROUP BY s.imo)",
        None,
        session,
    )

    assert (first["charge"], again["charge"]) == (1, 0)
