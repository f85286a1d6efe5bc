"""A determined attacker's finds: what told of few; a mark stands on what is still open."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.simulate import Session, Simulator
from tests.attacks.worlds import Stand, stand


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    return stand("clinic", tmp_path_factory.mktemp("clinic"), planted=True)


def _ask(simulator: Simulator, sql: str, session: Session | None = None) -> dict[str, Any]:
    answer = simulator.answer(sql, None, session or Session())
    assert isinstance(answer, dict)
    return answer


_PER_PATIENT = "(SELECT id, {} AS m, sum(income) AS t FROM patients GROUP BY id)"


@pytest.mark.parametrize(
    "value",
    [
        "count(*) FILTER (WHERE diagnosis = 'HIV')",
        "sum((diagnosis = 'HIV')::INT)",
        "max((diagnosis = 'HIV')::INT)",
        "count(CASE WHEN diagnosis = 'HIV' THEN 1 END)",
        "count(DISTINCT CASE WHEN diagnosis = 'HIV' THEN city END)",
        "min((city <> 'Tinyville')::INT)",
        "count(nullif(city, 'Tinyville'))",
        "avg((city <> 'Tinyville')::INT)",
    ],
)
@pytest.mark.parametrize("outer", ["sum(m)", "avg(m)", "sum(t * m)", "covar_pop(t, m)"])
def test_condition_counted_within_units_withholds_few(
    clinic: Stand, value: str, outer: str
) -> None:
    sql = f"SELECT {outer} FROM {_PER_PATIENT.format(value)}"

    assert _ask(clinic.simulator, sql)["rows"] == [[None]]


@pytest.mark.xfail(
    strict=True,
    reason="history knows the rows of a view, not the conditions that its values count: "
    "two answers whose conditions differ by two patients' visits differ by just these",
)
@pytest.mark.parametrize(
    "value",
    [
        "count(*) FILTER (WHERE {})",
        "sum(({})::INT)",
        "sum(cost) FILTER (WHERE {})",
    ],
)
def test_conditions_counted_within_units_are_compared_with_history(
    clinic: Stand, value: str
) -> None:
    sql = f"SELECT sum(m) FROM (SELECT patient_id, {value} AS m FROM visits GROUP BY 1)"
    session = Session()
    whole = sql.format("los_days < 5")
    assert _ask(clinic.simulator, whole, session)["verdict"] == "allow"
    less = sql.format("los_days < 5 AND department <> 'Oncology'")

    assert _ask(clinic.simulator, less, session)["rows"] == [[None]]


@pytest.mark.parametrize(
    "sql",
    [
        # 8030 - 8000: thirty visits of two patients.
        (
            "SELECT sum(r) FROM (SELECT patient_id, dense_rank() OVER (PARTITION BY "
            "patient_id ORDER BY department = '{}') AS r FROM visits)"
        ),
        (
            "SELECT sum(r) FROM (SELECT patient_id, row_number() OVER (PARTITION BY "
            "patient_id, department = '{}' ORDER BY visit_date) AS r FROM visits)"
        ),
        # What one patient paid, less what another visit cost.
        (
            "SELECT sum(cost) FROM (SELECT DISTINCT ON (patient_id) patient_id, cost "
            "FROM visits ORDER BY patient_id, department = '{}' DESC)"
        ),
        (
            "SELECT avg(c) FROM (SELECT patient_id, arg_max(cost, department = '{}') AS c "
            "FROM visits GROUP BY patient_id)"
        ),
        # 2048 - 2047: one patient was there and elsewhere.
        "SELECT count(*) FROM (SELECT DISTINCT patient_id, department = '{}' FROM visits)",
        (
            "SELECT count(*) FROM (SELECT DISTINCT patient_id, "
            "replace(department, '{}', 'ER') FROM visits)"
        ),
        (
            "SELECT sum(m) FROM (SELECT patient_id, count(DISTINCT "
            "replace(department, '{}', 'ER')) AS m FROM visits GROUP BY patient_id)"
        ),
        (
            "SELECT sum(m) FROM (SELECT patient_id, count(d) AS m FROM (SELECT patient_id, "
            "nullif(department, '{}') AS d FROM visits) GROUP BY patient_id)"
        ),
    ],
)
def test_condition_in_order_or_key_within_units_withholds_few(
    clinic: Stand, sql: str
) -> None:
    few, none = (
        _ask(clinic.simulator, sql.format(name))["rows"] for name in ("Oncology", "Nowhere")
    )

    assert few == none == [[None]]


def test_semi_join_as_a_value_within_units_is_judged(clinic: Stand) -> None:
    sql = (
        "SELECT sum(m) FROM (SELECT id, max((id IN (SELECT patient_id FROM visits WHERE "
        "department = 'Oncology'))::INT) AS m FROM patients GROUP BY id)"
    )

    assert _ask(clinic.simulator, sql)["rows"] == [[None]]


@pytest.mark.parametrize(
    "joined",
    [
        "(SELECT patient_id FROM visits WHERE department = '{}')",
        (
            "(SELECT patient_id, count(*) AS n FROM visits WHERE department = '{}' "
            "GROUP BY patient_id)"
        ),
        "(SELECT DISTINCT patient_id, department = '{}' AS d FROM visits)",
    ],
)
def test_outer_join_with_few_does_not_weigh_their_income(
    clinic: Stand, joined: str
) -> None:
    """Each of a patient's thirty visits would add her income once more to the total."""
    sql = (
        "SELECT count(*), sum(p.income) FROM patients AS p LEFT JOIN "
        + joined
        + " AS v ON v.patient_id = p.id"
    )
    few, none = (
        _ask(clinic.simulator, sql.format(name))["rows"] for name in ("Oncology", "Nowhere")
    )

    assert few == none == [[None, None]]
