"""A policy against the columns of the data that it is to protect.

A policy that names what is not there protects something else than its author believes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice

from policies.document import Column, Policy, Role, Table
from policies.engine_types import Kind, kind_of
from policies.errors import ColumnAbsent, Contradiction, LimitMisplaced, TableAbsent

_NO_LINES: Mapping[str, int] = {}


def check_tables(
    policy: Policy,
    *,
    own: str,
    schemas: Mapping[str, Mapping[str, str]],
    lines: Mapping[str, int] = _NO_LINES,
) -> None:
    """Raise the first fault, unless each table of `policy` stands in `schemas` and fits.

    `schemas` are column name to engine type, by table name; `own` is the table of the
    dataset whose policy it is, which must be among the policy's. Raises TableAbsent,
    also for a table that the requester is to bring: no node takes one yet.
    """
    if policy.table(own) is None:
        raise TableAbsent(
            f"the policy does not speak of the table `{own}`, which is this dataset's",
            line=lines.get("tables"),
            path="tables",
            hint=f"Add an entry `{own}:` under `tables:`.",
        )
    for table in policy.tables:
        path = f"tables.{table.name}"
        if table.requester:
            raise TableAbsent(
                f"`{table.name}` is to be brought by the requester; this node takes no "
                "such tables yet",
                line=lines.get(path),
                path=path,
                hint="Leave the table out.",
            )
        if table.name not in schemas:
            known = ", ".join(f"`{name}`" for name in sorted(schemas))
            raise TableAbsent(
                f"no profiled dataset here has the table name `{table.name}`",
                line=lines.get(path),
                path=path,
                hint=f"Table names here: {known}.",
            )
        for fault in _faults(table, schemas[table.name], lines):
            raise fault


def check_against(
    policy: Policy,
    table: str,
    columns: Sequence[tuple[str, str]],
    *,
    lines: Mapping[str, int] = _NO_LINES,
) -> None:
    """Raise the first fault, unless `policy` fits a table of these columns.

    `columns` are (name, engine type) pairs; `lines` is what `line_numbers` says of the
    policy's text. Afterwards each column that the policy names is there and each limit
    fits its type. Raises TableAbsent, ColumnAbsent or LimitMisplaced.
    """
    for fault in _all(policy, table, columns, lines):
        raise fault


def schema_faults(
    policy: Policy,
    table: str,
    columns: Sequence[tuple[str, str]],
    *,
    lines: Mapping[str, int] = _NO_LINES,
) -> tuple[Contradiction, ...]:
    """Return the first hundred faults that `check_against` may raise, in their order."""
    return tuple(islice(_all(policy, table, columns, lines), 100))


def _all(
    policy: Policy,
    table: str,
    columns: Sequence[tuple[str, str]],
    lines: Mapping[str, int],
) -> Iterator[Contradiction]:
    described = policy.table(table)
    if described is None:
        names = ", ".join(known.name for known in policy.tables)
        yield TableAbsent(
            f"the policy does not describe the table `{table}`, only: {names}",
            line=lines.get("tables"),
            path="tables",
            hint=f"Name the table `{table}` under `tables`.",
        )
    else:
        yield from _faults(described, dict(columns), lines)


def _faults(
    table: Table, types: Mapping[str, str], lines: Mapping[str, int]
) -> Iterator[Contradiction]:
    named = {column.name for column in table.columns}
    unnamed = [name for name in types if name not in named]
    for column in table.columns:
        path = f"tables.{table.name}.columns.{column.name}"
        if column.name not in types:
            yield _absent(column.name, unnamed, line=lines.get(path), path=path)
            continue
        engine_type = types[column.name]
        for limit, message, hint in _misplaced(column, kind_of(engine_type)):
            at = f"{path}.{limit}"
            yield LimitMisplaced(
                f"`{column.name}` is {engine_type} and {message}",
                line=lines.get(at, lines.get(path)),
                path=at,
                hint=hint,
            )
    present = {name.casefold() for name in types}
    for item in table.derived:
        path = f"tables.{table.name}.derived.{item.name}"
        if item.name.casefold() in present:
            yield LimitMisplaced(
                f"the derived measure `{item.name}` has the name of a column of the data",
                line=lines.get(path),
                path=path,
                hint="Give it a name that the data does not use.",
            )


def _absent(
    name: str, unnamed: Sequence[str], *, line: int | None, path: str
) -> ColumnAbsent:
    twin = next((known for known in unnamed if known.casefold() == name.casefold()), None)
    close = [twin] if twin else get_close_matches(name, unnamed, n=1)
    hint = "Take it out, or correct its spelling."
    if close:
        hint = f"Did you mean `{close[0]}`?"
    return ColumnAbsent(
        f"the policy names the column `{name}`, which the data lacks",
        line=line,
        path=path,
        hint=hint,
    )


def _misplaced(column: Column, kind: Kind) -> Iterator[tuple[str, str, str]]:
    if not kind.is_number:
        if column.has(Role.MEASURE):
            yield "role", "has the role measure", "Make it a dimension, or hidden."
        if column.grid is not None:
            yield "grid", "has a grid, which is for numbers", "Take the grid out."
        if column.clamp is not None:
            yield "clamp", "has a clamp, which is for numbers", "Take the clamp out."
        if column.scale is not None:
            yield "scale", "has a scale, which is for numbers", "Take the scale out."
    if column.has(Role.UNIT_KEY) and kind is Kind.FLOAT:
        # Two spellings of one number would be two units, and one unit two.
        yield (
            "role",
            "has the role unit_key, which needs exact values",
            ("Publish it as whole numbers or text, or protect another column."),
        )
    if column.grain is not None and kind is not Kind.DATE:
        yield "grain", "has a grain, which is for dates", "Take the grain out."
