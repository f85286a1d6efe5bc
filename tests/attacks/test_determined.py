"""A determined attacker's finds: what told of few; a mark stands on what is still open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from policies.codec import load_policy
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


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    """Twenty people in each bin of x, of whom one is of group B."""
    path: Path = tmp_path_factory.mktemp("people") / "t.parquet"
    duckdb.execute(
        "COPY (SELECT r AS id, if(r < 380, 'A', 'B') AS g, if(r < 380, 1000, 2000) AS y, "
        "if(r < 380, r % 20 * 100 + r % 7, (r - 380) * 100 + 50)::INT AS x "
        f"FROM range(400) AS t(r)) TO '{path}' (FORMAT parquet)"
    )
    policy = load_policy(
        "version: 1\ntables:\n  t:\n    units: [{domain: person, column: id}]\n"
        "    columns:\n      id: {role: unit_key}\n      g: {role: dimension}\n"
        "      y: {role: measure, grid: 500}\n"
        "      x: {role: [dimension, measure], grid: 100}\nrules:\n"
        "- {kind: aggregate, mode: safe, min_units: 10, purposes: [official-statistics], "
        "dominance: {n: 1, share: 0.5}, aggregates: [count, quantile], approval: automatic}"
    )
    return Simulator(policy, {"t": path})


_LEVELS = "quantile_cont(x, 0.05), quantile_cont(x, 0.051)"
_BINS = "SELECT floor(x / 100) AS b, count(*) FROM t{} GROUP BY b"
_QUANTILES = f"SELECT {_LEVELS} FROM t{{}}"


@pytest.mark.parametrize("first", [_BINS, _QUANTILES])
@pytest.mark.parametrize("then", [_BINS, _QUANTILES])
def test_quantiles_are_compared_as_histograms(
    people: Simulator, first: str, then: str
) -> None:
    """Two levels in one bin tell its rows: 20 of all and 19 below, so one above."""
    session = Session()
    assert _ask(people, first.format(""), session)["verdict"] == "allow"
    answer = _ask(people, then.format(" WHERE y < 1500"), session)

    assert all(value is None for row in answer["rows"] for value in row)


def test_quantiles_of_a_total_and_its_parts_are_not_told_together(
    people: Simulator,
) -> None:
    rows = _ask(people, f"SELECT g, {_LEVELS} FROM t GROUP BY ROLLUP (g)")["rows"]

    assert sum(None not in row[1:] for row in rows) == 1


@pytest.mark.parametrize(
    "sql",
    [
        (
            "SELECT sum(m) FROM (SELECT patient_id, count(DISTINCT regexp_replace("
            "upper(department), '^(?:ONC|ER).*$', 'q')) AS m FROM visits GROUP BY 1)"
        ),
        (
            "SELECT sum(r) FROM (SELECT patient_id, dense_rank() OVER (PARTITION BY "
            "patient_id ORDER BY instr(department, 'Onc')) AS r FROM visits)"
        ),
        (
            "SELECT count(*) FROM (SELECT DISTINCT patient_id, starts_with(department, "
            "'Onc') FROM visits)"
        ),
    ],
)
def test_function_of_a_text_within_units_names_nobody(clinic: Stand, sql: str) -> None:
    assert _ask(clinic.simulator, sql)["rows"] == [[None]]


@pytest.mark.xfail(
    strict=True,
    reason="two answers over a table joined with itself are not compared row by row: what "
    "the filter on the second copy leaves out is the visits of two patients",
)
@pytest.mark.parametrize("asked", ["count(*)", "sum(a.cost)"])
def test_self_joins_are_compared_with_history(clinic: Stand, asked: str) -> None:
    sql = (
        f"SELECT {asked} FROM visits AS a JOIN visits AS b ON a.patient_id = b.patient_id "
        "WHERE b.los_days < 3"
    )
    session = Session()
    assert _ask(clinic.simulator, sql, session)["verdict"] == "allow"
    less = f"{sql} AND b.department <> 'Oncology'"

    assert _ask(clinic.simulator, less, session)["rows"] == [[None]]


def test_weights_by_joins_do_not_solve_for_one_income(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Fifteen patients came two, three, four or (one of them) six times."""
    calm = stand("clinic", tmp_path_factory.mktemp("calm"), planted=False)
    where = "p.age >= 45 AND p.age < 50 AND p.city = 'Arden' AND p.income < 60000"
    once = "AND p.id IN (SELECT patient_id FROM visits)"
    session, sums = Session(), []
    for joins in range(4):
        more = "".join(f" JOIN visits v{i} ON p.id = v{i}.patient_id" for i in range(joins))
        sql = f"SELECT sum(p.income) FROM patients p{more} WHERE {where} "
        answer = _ask(calm.simulator, sql + ("" if joins else once), session)
        sums.append(answer["rows"][0][0])

    if None not in sums:
        # (n - 2)(n - 3)(n - 4) is nought for all but the one with n = 6, and 24 for her.
        income = (sums[3] - 9 * sums[2] + 26 * sums[1] - 24 * sums[0]) / 24
        (truth,) = calm.plain.execute(
            f"SELECT income FROM patients p WHERE {where} AND (SELECT count(*) FROM visits "
            "WHERE patient_id = p.id) = 6"
        ).fetchall()
        assert income != truth[0]


def test_count_of_a_dimension_is_compared_with_history(clinic: Stand) -> None:
    session = Session()
    known = _ask(clinic.simulator, "SELECT count(diagnosis) FROM patients", session)
    less = "SELECT count(*) FROM patients WHERE diagnosis <> 'HIV'"

    assert known["verdict"] == "allow"
    assert _ask(clinic.simulator, less, session)["rows"] == [[None]]
