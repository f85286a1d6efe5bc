"""A policy against the data's columns: what is not there, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given

from policies.codec import load_policy
from policies.composing import line_numbers
from policies.document import Policy
from policies.errors import ColumnAbsent, Contradiction, LimitMisplaced, TableAbsent
from policies.schema_check import check_against, check_tables, schema_faults
from tests.unit.policies.policy_values import EXAMPLE, example, policies

PATIENTS = [
    ("id", "BIGINT"),
    ("visit_id", "VARCHAR"),
    ("name", "VARCHAR"),
    ("city", "VARCHAR"),
    ("age", "INTEGER"),
    ("income", "DOUBLE"),
    ("weight", "DECIMAL(6,2)"),
    ("visit_date", "DATE"),
    ("diagnosis", "VARCHAR"),
    ("failure", "BOOLEAN"),
    ("unnamed", "BLOB"),
]
LINES = line_numbers(EXAMPLE)


def retyped(name: str, engine_type: str) -> list[tuple[str, str]]:
    return [(known, engine_type if known == name else old) for known, old in PATIENTS]


def test_check_against_data_that_fits_passes() -> None:
    check_against(example(), "patients", PATIENTS)


@pytest.mark.parametrize("table", ["cities", "my_list"])
def test_check_against_free_table_has_nothing_to_check(table: str) -> None:
    check_against(example(), table, [])


def test_check_against_table_that_the_policy_lacks() -> None:
    with pytest.raises(TableAbsent) as caught:
        check_against(example(), "milling", PATIENTS, lines=LINES)

    assert caught.value.line == 2
    assert "milling" in caught.value.message
    assert "patients" in caught.value.message


@pytest.mark.parametrize(
    ("present", "hint"),
    [
        ("INCOME", "Did you mean `INCOME`?"),
        ("incomes", "Did you mean `incomes`?"),
        ("xyz", "Take it out, or correct its spelling."),
    ],
)
def test_check_against_absent_column_names_line_and_nearest(
    present: str, hint: str
) -> None:
    columns = [(present if name == "income" else name, kind) for name, kind in PATIENTS]

    with pytest.raises(ColumnAbsent) as caught:
        check_against(example(), "patients", columns, lines=LINES)

    fault = caught.value
    assert isinstance(fault, Contradiction)
    assert fault.code == "policy_column_absent"
    assert EXAMPLE.splitlines()[(fault.line or 0) - 1].lstrip().startswith("income:")
    assert fault.path == "tables.patients.columns.income"
    assert fault.hint == hint


@pytest.mark.parametrize(
    ("name", "engine_type", "limits"),
    [
        ("age", "VARCHAR", ["role", "grid", "clamp"]),
        ("income", "DATE", ["role", "grid", "scale"]),
        ("income", "BIGINT", []),
        ("income", "DECIMAL(9,2)", []),
        ("weight", "BOOLEAN", ["role"]),
        ("weight", "DOUBLE[]", ["role"]),
        ("visit_date", "VARCHAR", ["grain"]),
        ("visit_date", "BIGINT", ["grain"]),
        ("visit_date", "TIMESTAMP", []),
        ("failure", "DOUBLE", []),
        ("id", "VARCHAR", []),
        ("id", "DOUBLE", ["role"]),
    ],
)
def test_schema_faults_limits_that_do_not_fit_the_type(
    name: str, engine_type: str, limits: list[str]
) -> None:
    faults = schema_faults(example(), "patients", retyped(name, engine_type), lines=LINES)

    path = f"tables.patients.columns.{name}"
    assert [fault.path for fault in faults] == [f"{path}.{limit}" for limit in limits]
    for fault in faults:
        assert isinstance(fault, LimitMisplaced)
        assert fault.line == LINES[fault.path]
        assert engine_type in fault.message
        assert fault.hint


SCHEMAS = {
    "patients": dict(PATIENTS),
    "visits": {"patient_id": "BIGINT", "payer": "VARCHAR", "cost": "DECIMAL(9,2)"},
    "runs": {"torque": "DOUBLE"},
    "cities": {},
}


@pytest.mark.parametrize(
    ("own", "absent", "path"),
    [("milling", "", "tables"), ("runs", "runs", "tables.runs")],
)
def test_check_tables_names_the_table_that_is_not_there(
    own: str, absent: str, path: str
) -> None:
    text = EXAMPLE.replace("  my_list: {requester: true}\n", "")
    schemas = {name: types for name, types in SCHEMAS.items() if name != absent}

    with pytest.raises(TableAbsent) as caught:
        check_tables(load_policy(text), own=own, schemas=schemas, lines=line_numbers(text))

    assert (caught.value.path, caught.value.line) == (path, line_numbers(text)[path])
    assert caught.value.hint


def test_check_tables_requesters_table_is_refused() -> None:
    with pytest.raises(TableAbsent, match="no such tables yet") as caught:
        check_tables(example(), own="patients", schemas=SCHEMAS)

    assert caught.value.path == "tables.my_list"


def test_check_tables_that_all_fit_passes() -> None:
    text = EXAMPLE.replace("  my_list: {requester: true}\n", "")

    check_tables(load_policy(text), own="patients", schemas=SCHEMAS)


def test_check_tables_column_of_another_type_is_refused() -> None:
    text = EXAMPLE.replace("  my_list: {requester: true}\n", "")
    schemas = SCHEMAS | {"runs": {"torque": "VARCHAR"}}

    with pytest.raises(LimitMisplaced) as caught:
        check_tables(load_policy(text), own="runs", schemas=schemas)

    assert caught.value.path == "tables.runs.columns.torque.role"


def test_check_against_without_lines_still_names_the_path() -> None:
    with pytest.raises(LimitMisplaced) as caught:
        check_against(example(), "patients", retyped("weight", "VARCHAR"))

    assert caught.value.line is None
    assert caught.value.path == "tables.patients.columns.weight.role"


def test_check_against_derived_measure_must_not_shadow_a_column() -> None:
    with pytest.raises(LimitMisplaced) as caught:
        check_against(example(), "patients", [*PATIENTS, ("BMI", "DOUBLE")], lines=LINES)

    assert EXAMPLE.splitlines()[(caught.value.line or 0) - 1].lstrip().startswith("bmi:")


def test_schema_faults_stops_at_a_hundred() -> None:
    columns = ", ".join(f"c{index}: {{role: hidden}}" for index in range(150))
    policy = load_policy(
        f"{{version: 1, tables: {{t: {{units: row, columns: {{{columns}}}}}}}}}"
    )

    assert len(schema_faults(policy, "t", [])) == 100


def test_schema_faults_lists_all_of_them() -> None:
    faults = schema_faults(example(), "patients", [])

    table = example().table("patients")
    assert table is not None
    assert len(faults) == len(table.columns)


@given(policy=policies())
def test_schema_faults_of_any_policy_over_text_are_named(policy: Policy) -> None:
    for table in policy.tables:
        columns = [(column.name, "VARCHAR") for column in table.columns]

        for fault in schema_faults(policy, table.name, columns):
            assert fault.path.startswith(f"tables.{table.name}.")


def test_line_numbers_fit_json_documents_too() -> None:
    text = (
        '{"version": 1,\n "tables": {"t": {"units": "row",\n '
        '"columns": {\n"a": {"role": "measure"}}}}}'
    )

    with pytest.raises(LimitMisplaced) as caught:
        check_against(load_policy(text), "t", [("a", "VARCHAR")], lines=line_numbers(text))

    assert caught.value.line == 4
