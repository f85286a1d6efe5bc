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
    "(SELECT patient_id, {} AS m, sum(cost) AS t FROM visits GROUP BY patient_id)"
)


@pytest.mark.xfail(
    strict=True,
    reason="a condition that is counted within each unit is watched by nobody: three "
    "patients have HIV, one patient was in Oncology, and the sums say so (one call each)",
)
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
@pytest.mark.parametrize("outer", ["sum(m)", "avg(m)"])
def test_condition_counted_within_units_withholds_few(
    clinic: Stand, value: str, outer: str
) -> None:
    sql = f"SELECT {outer} FROM {_PER_PATIENT.format(value)}"

    assert _ask(clinic.simulator, sql)["rows"] == [[None]]
