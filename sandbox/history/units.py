"""A new answer beside an earlier one over other joined tables: compared by their units.

`ships` and `ships JOIN surveys` read different rows, but the units of the second are among
those of the first: where only three ships have no survey, the difference tells about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.history.entry import Label, Past, label_of
from sandbox.plan.block import Block, Unit
from sandbox.plan.joint_rows import Source, belongs_sql, joint_from
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Kind, Ref, Term
from sandbox.quoting import text_literal


def compare_units(
    block: Block,
    past: Past,
    unit: Unit,
    cells: Sequence[Cell],
    connection: duckdb.DuckDBPyConnection,
    *,
    policy: Policy,
    min_units: int,
) -> None:
    """Withhold cells whose units are all but a few of an earlier total's, or more by few.

    Requires that the job holds the tables of the earlier release.
    """
    if unit.ref is None or not past.released:
        return
    safe = {label_of(cell): cell for cell in cells if cell.is_safe}
    for ref in _units_of(past, unit.domain, policy):
        new = _units_sql(
            Source(block.tables, block.joins, block.where, block.optional),
            (*block.keys, *block.hidden),
            unit.ref,
            policy,
        )
        old = _units_sql(
            Source(past.tables, past.joins, past.where, past.optional),
            past.keys,
            ref,
            policy,
        )
        totals = list(past.released)
        for label, number, mine, its, both in _overlaps(
            connection, new, old, totals, block
        ):
            cell = safe.get(label)
            few_left = both == mine and 0 < its - both < min_units
            few_more = both == its and 0 < mine - both < min_units
            if cell is not None and number >= 0 and (few_left or few_more):
                cell.withhold(Ground.HISTORY)


def holds(connection: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> bool:
    """Whether this job holds all of `tables`."""
    rows = connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
    return set(tables) <= {row[0] for row in rows}


def _units_of(past: Past, domain: str, policy: Policy) -> Iterator[Ref]:
    for name in past.tables:
        table = policy.table(name)
        if table is not None:
            for unit in table.units:
                if unit.domain == domain:
                    yield Ref(name, unit.column, Kind.OTHER)


def _units_sql(source: Source, keys: tuple[Term, ...], unit: Ref, policy: Policy) -> str:
    labels = [f"{term_sql(term)}::VARCHAR AS c{i}" for i, term in enumerate(keys)]
    shown = [f"{term_sql(term)} AS v{i}" for i, term in enumerate(keys)]
    return (
        f"SELECT DISTINCT {', '.join([*labels, *shown, f'{term_sql(unit)} AS u'])} "
        f"FROM {joint_from([source], policy)} "
        f"WHERE {belongs_sql(source)} AND {term_sql(unit)} IS NOT NULL"
    )


def _overlaps(
    connection: duckdb.DuckDBPyConnection,
    new: str,
    old: str,
    totals: Sequence[frozenset[Label]],
    block: Block,
) -> Iterator[tuple[Label, int, int, int, int]]:
    """Yield cell, total, units of the cell, of the total, and of both."""
    width = len(block.keys) + len(block.hidden)
    depth = len(next(iter(totals[0]))) if totals and totals[0] else 0
    listed = ", ".join(
        f"({', '.join([str(number), *map(_text, label)])})"
        for number, total in enumerate(totals)
        for label in total
    )
    names = ", ".join(["t", *(f"q{i}" for i in range(depth))])
    matches = [f"old.c{i} IS NOT DISTINCT FROM q{i}::VARCHAR" for i in range(depth)]
    keys = [f"v{i}" for i in range(width)]
    shown = ", ".join([*keys, "t"])
    grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
    same = [f"sizes.v{i} IS NOT DISTINCT FROM pairs.v{i}" for i in range(width)]
    rows = connection.execute(
        f"WITH new AS ({new}), old AS ({old}), listed({names}) AS (VALUES {listed}), "
        f"its AS (SELECT DISTINCT t, u FROM old JOIN listed "
        f"ON {' AND '.join(matches) or 'TRUE'}), "
        f"sizes AS (SELECT {', '.join([*keys, 'count(*) AS mine'])} FROM new{grouped}), "
        f"totals AS (SELECT t, count(*) AS n FROM its GROUP BY t), "
        f"pairs AS (SELECT {shown}, count(*) AS shared FROM new JOIN its USING (u) "
        f"GROUP BY {shown}) "
        f"SELECT {', '.join(f'pairs.{key}' for key in keys)}{', ' if keys else ''}"
        f"pairs.t, mine, n, shared FROM pairs JOIN sizes ON {' AND '.join(same) or 'TRUE'} "
        f"JOIN totals USING (t)"
    ).fetchall()
    for row in rows:
        yield tuple(map(scalar, row[:width])), row[width], row[-3], row[-2], row[-1]


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    return text_literal(str(value))
