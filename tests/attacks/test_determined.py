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
