"""Whether a policy fits the tables it speaks of: each column there, each of a fitting type.

`policies` cannot know this: it sees the document alone. A role on a column that does not
exist protects nothing, so whoever wrote it is told, with the line.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from policies.composing import compose, line_numbers
from policies.document import Column, Policy, Role, Table
from policies.engine_types import Kind, kind_of
from policies.errors import PolicyError
from policies.floor import check_floor
from policies.nodes import Node


class TableAbsent(PolicyError):
    """The policy names a table that does not stand behind it, or lacks its own."""

    code = "policy_table_absent"


class ColumnAbsent(PolicyError):
    """The policy names a column that the table does not have."""

    code = "policy_column_absent"


class ColumnUnfit(PolicyError):
    """A role or limit does not fit the column's type."""

    code = "policy_column_unfit"


def check_fits(
    policy: Policy, text: str, *, own: str, schemas: Mapping[str, Mapping[str, str]]
) -> None:
    """Raise PolicyError unless each table is in `schemas` (column name: engine type).

    `text` is the document `policy` was read from; `own` the dataset's table, which must be
    among the policy's. A table brought by the requester is refused: this node takes none.
    """
    tables = compose(text).require("tables")
    if policy.table(own) is None:
        raise TableAbsent(
            f"the policy does not speak of the table `{own}`, which is this dataset's",
            line=tables.line,
            path="tables",
            hint=f"Add an entry `{own}:` under `tables:`.",
        )
    for table in policy.tables:
        node = tables.require(table.name)
        if table.requester:
            raise TableAbsent(
                f"`{table.name}` is to be brought by the requester; this node takes no "
                "such tables yet",
                line=node.line,
                path=node.path,
                hint="Leave the table out.",
            )
        if table.name not in schemas:
            known = ", ".join(f"`{name}`" for name in sorted(schemas))
            raise TableAbsent(
                f"no profiled dataset here has the table name `{table.name}`",
                line=node.line,
                path=node.path,
                hint=f"Table names here: {known}.",
            )
        _check_table(table, node, schemas[table.name])


def check_keeps_floor(policy: Policy, text: str) -> None:
    """Raise WeakerThanFloor, with the line in `text`, unless `policy` keeps to the floor.

    A node whose operator names no floor demands nothing.
    """
    if settings.POLICY_FLOOR is not None:
        check_floor(policy, settings.POLICY_FLOOR, lines=line_numbers(text))


def _check_table(table: Table, node: Node, schema: Mapping[str, str]) -> None:
    for unit in table.units:
        if unit.column not in schema:
            raise _absent(node.child("units") or node, table.name, unit.column, schema)
    columns = node.child("columns")
    for column in table.columns:
        at = (columns.child(column.name) if columns is not None else None) or node
        if column.name not in schema:
            raise _absent(at, table.name, column.name, schema)
        _check_type(column, schema[column.name].upper(), at)


def _check_type(column: Column, type_: str, at: Node) -> None:
    kind = kind_of(type_)
    is_number, is_date = kind.is_number, kind is Kind.DATE
    faults = (
        (column.has(Role.MEASURE) and not is_number, "a measure", "a number"),
        (column.grid is not None and not is_number, "a grid", "a number"),
        (column.clamp is not None and not is_number, "a clamp", "a number"),
        (column.grain is not None and not is_date, "a grain", "a date or a timestamp"),
        (column.scale is not None and not is_number, "a scale", "a number"),
        (
            column.has(Role.UNIT_KEY) and kind is Kind.FLOAT,
            "a unit key",
            "exact: a whole number, a text or a date",
        ),
    )
    for is_wrong, what, expected in faults:
        if is_wrong:
            raise ColumnUnfit(
                f"`{column.name}` is {type_}; {what} needs a column that is {expected}",
                line=at.line,
                path=at.path,
                hint="Give the column another role, or drop the limit.",
            )


def _absent(at: Node, table: str, column: str, schema: Mapping[str, str]) -> ColumnAbsent:
    near = [name for name in schema if name.lower() == column.lower()]
    known = ", ".join(f"`{name}`" for name in (near or sorted(schema))[:20])
    return ColumnAbsent(
        f"the table `{table}` has no column `{column}`",
        line=at.line,
        path=at.path,
        hint=f"Did you mean {known}?" if near else f"Its columns are {known}.",
    )
