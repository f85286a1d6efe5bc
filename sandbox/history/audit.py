"""A new answer beside all earlier ones over the same rows: what they tell together.

Pairs are compared in `sandbox.history.pairs`. This looks at sums and differences of any
number of answers: if with the new cells some combination is about fewer than min_units
units, the smallest of the new cells are withheld until none is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.span import Span
from sandbox.history.entry import Label, Past, label_of
from sandbox.plan.block import Unit
from sandbox.plan.expanding import Rows
from sandbox.plan.joint_rows import Source, belongs_sql, joint_from, unit_sql
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Term

MAX_ATOMS = 5_000  # more would take minutes; pairs are compared in any case


def audit(
    mine: Rows,
    pasts: Mapping[Past, Rows],
    unit: Unit,
    cells: Sequence[Cell],
    connection: duckdb.DuckDBPyConnection,
    *,
    policy: Policy,
    min_units: int,
) -> None:
    """Withhold cells until no combination of totals tells of too few units.

    Requires that `mine` and the rows of all `pasts` can stand side by side.
    """
    safe = {label_of(cell): cell for cell in cells if cell.is_safe}
    found = _atoms(mine, pasts, unit, connection, policy)
    if found is None or not safe:
        return
    units, new, old = found
    known = Span(units, min_units)
    for atoms in old:
        known.add(atoms)
    if known.tells_of_few():
        return  # earlier answers tell it already: withholding this one protects nobody
    span = known.copy()
    for label in safe:
        span.add(new.get(label, ()))
    if not span.tells_of_few():
        return
    for label in sorted(safe, key=lambda item: (-safe[item].units, str(item))):
        span = known.copy()
        span.add(new.get(label, ()))
        if span.tells_of_few():
            safe[label].withhold(Ground.HISTORY)
        else:
            known = span


def _atoms(
    mine: Rows,
    pasts: Mapping[Past, Rows],
    unit: Unit,
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
) -> tuple[dict[int, int], dict[Label, set[int]], list[set[int]]] | None:
    """Return units by atom, and the atoms of each new cell and each earlier total."""
    every = (mine, *pasts.values())
    parts = [_part(rows.source, rows.keys) for rows in every]
    columns = [f"{text} AS s{index}" for index, text in enumerate(parts)]
    sources = [rows.source for rows in every]
    joint = joint_from(sources, policy)
    name = "1" if unit.ref is None else unit_sql(mine.base(unit.ref), sources)
    names = ", ".join(f"s{index}" for index in range(len(parts)))
    counted = "count(*)" if unit.ref is None else "count(DISTINCT u)"
    rows = connection.execute(
        f"SELECT {names}, {counted} FROM (SELECT {', '.join(columns)}, {name} AS u "
        f"FROM {joint} WHERE {name} IS NOT NULL) AS l "
        f"GROUP BY {names} LIMIT {MAX_ATOMS * 20}"
    ).fetchall()
    numbers: dict[tuple[object, ...], int] = {}
    units: dict[int, int] = {}
    new: dict[Label, set[int]] = {}
    old: dict[tuple[int, frozenset[Label]], set[int]] = {}
    for row in rows:
        labels = [None if item is None else _label(item) for item in row[:-1]]
        inside = [
            (index, released)
            for index, (past, label) in enumerate(zip(pasts, labels[1:], strict=True))
            if label is not None
            for released in past.released
            if label in released
        ]
        signature = (labels[0], frozenset(inside))
        if signature == (None, frozenset()):
            continue  # of no interest to anyone
        atom = numbers.setdefault(signature, len(numbers))
        units[atom] = units.get(atom, 0) + row[-1]
        if labels[0] is not None:
            new.setdefault(labels[0], set()).add(atom)
        for key in inside:
            old.setdefault(key, set()).add(atom)
    if len(units) > MAX_ATOMS:
        return None
    return units, new, list(old.values())


def _part(source: Source, keys: tuple[Term, ...]) -> str:
    label = ", ".join(["TRUE", *(term_sql(term) for term in keys)])
    return f"CASE WHEN {belongs_sql(source)} THEN row({label}) END"


def _label(item: object) -> Label:
    values = tuple(item.values()) if isinstance(item, dict) else tuple(item)  # type: ignore[arg-type]  # a row() of the engine, a dict or a tuple
    return tuple(map(scalar, values[1:]))
