"""What the corpora found wrong; a mark stands on what is not mended and goes with that."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sandbox.simulate import Session
from tests.attacks.worlds import Stand, stand


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    return stand("clinic", tmp_path_factory.mktemp("clinic"), planted=True)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    return stand("plant", tmp_path_factory.mktemp("plant"), planted=False)


def _ask(where: Stand, sql: str) -> dict[str, Any]:
    answer = where.simulator.answer(sql, None, Session())
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(
    "sql",
    [
        (
            "SELECT year(visit_date) AS y, month(visit_date) AS m, count(*) AS n "
            "FROM visits GROUP BY y, m ORDER BY y, m"
        ),
        (
            "SELECT CASE WHEN los_days = 0 THEN 'day' WHEN los_days <= 2 THEN 'short' "
            "ELSE 'long' END AS stay, count(*) AS n, avg(cost) AS c FROM visits "
            "GROUP BY stay ORDER BY n DESC"
        ),
    ],
)
def test_order_is_that_which_was_asked(clinic: Stand, sql: str) -> None:
    answer = _ask(clinic, sql)
    expected = [row[:-1] for row in clinic.plain.execute(sql).fetchall()]

    assert [tuple(row[:-1]) for row in answer["rows"]] == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT city, diagnosis, count(*) FROM patients GROUP BY CUBE (city, diagnosis)",
        (
            "SELECT * FROM (SELECT age >= 65 AS g, count(*) AS n, avg(age) FROM patients "
            "GROUP BY g) WHERE n >= 50"
        ),
    ],
)
def test_order_of_rows_is_the_same_each_time(clinic: Stand, sql: str) -> None:
    assert len({str(_ask(clinic, sql)["rows"]) for _ in range(12)}) == 1


def test_distinct_without_a_withheld_value_is_partial(clinic: Stand) -> None:
    answer = _ask(clinic, "SELECT count(DISTINCT city) FROM patients")

    assert answer["partial"]


def test_literal_in_a_subquery_is_refused_off_grid(clinic: Stand) -> None:
    answer = _ask(clinic, "SELECT count(*) FROM patients WHERE income > (SELECT 51234)")

    assert answer["verdict"] == "refuse"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM (SELECT city FROM patients GROUP BY 1 HAVING count(*) < 10)",
        (
            "SELECT count(*) FROM (SELECT city, count(*) AS n FROM patients GROUP BY city) "
            "WHERE n < 10"
        ),
        (
            "SELECT count(*) FROM (SELECT city FROM patients GROUP BY city "
            "HAVING count(DISTINCT id) <= 9)"
        ),
    ],
)
def test_counting_groups_below_the_threshold_is_refused(clinic: Stand, sql: str) -> None:
    assert _ask(clinic, sql)["verdict"] == "refuse"


@pytest.mark.xfail(
    strict=False,
    reason="one alternative more: whether it lets in few or nobody is told by what is "
    "withheld (so also of `city IN (...)` without GROUP BY); DESIGN 5 wants zero and small "
    "alike",
)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM patients WHERE city IN ('Arden', '{}')",
        (
            "SELECT city, count(*) FROM patients WHERE city IN ('Arden', '{}') "
            "GROUP BY ROLLUP (city)"
        ),
    ],
)
def test_an_alternative_of_few_looks_like_one_of_nobody(clinic: Stand, sql: str) -> None:
    few, none = (_ask(clinic, sql.format(name)) for name in ("Tinyville", "Atlantis"))

    assert few["rows"] == none["rows"]


def test_a_number_past_every_exponent_is_refused_by_name(clinic: Stand) -> None:
    answer = _ask(clinic, "SELECT count(*) FROM patients WHERE age < 1e1000000")

    assert answer["verdict"] == "refuse"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT avg(kwh_per_part) FROM runs WHERE shift = 'late'",
        (
            "SELECT covar_pop(temp, n) FROM (SELECT machine_id, count(*) AS n "
            "FROM failures GROUP BY machine_id) f JOIN (SELECT machine_id, "
            "avg(value) AS temp FROM readings WHERE sensor = 'temp' "
            "GROUP BY machine_id) t USING (machine_id)"
        ),
    ],
)
def test_what_does_not_end_in_decimals_is_exact_enough(plant: Stand, sql: str) -> None:
    came = _ask(plant, sql)["rows"][0][0]
    expected = plant.plain.execute(sql).fetchall()[0][0]

    assert math.isclose(came, expected, rel_tol=1e-9)


@pytest.mark.parametrize(
    "sql",
    [
        (
            "WITH f AS (SELECT machine_id, mode FROM failures QUALIFY row_number() OVER "
            "(PARTITION BY machine_id ORDER BY failed_at, mode, downtime_h) = 1) "
            "SELECT count(*) FROM machines"
        ),
        (
            "WITH f AS (SELECT m.machine_id, count(f.machine_id) AS n FROM machines m "
            "LEFT JOIN failures f ON f.machine_id = m.machine_id GROUP BY m.machine_id) "
            "SELECT count(*) FROM machines"
        ),
    ],
)
def test_a_with_that_is_never_read_does_no_harm(plant: Stand, sql: str) -> None:
    assert _ask(plant, sql)["verdict"] == "allow"
