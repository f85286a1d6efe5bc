"""What was released before, and the cells of a new answer that come too close to it.

A cell and an earlier one whose rows it contains differ by a set of units. If that set is
not empty and smaller than min_units, subtracting the answers tells about these few: the
later answer is withheld (DESIGN section 5, "Complement"). The same is checked against the
union of earlier cells inside a new one, and of new ones inside an earlier one, which is
how a total gives away the one group that was withheld.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.recombine import contributes
from sandbox.errors import QueryRejected
from sandbox.history.audit import audit
from sandbox.history.entry import Label, Past, label_of, read_all
from sandbox.history.units import compare_units, holds
from sandbox.plan.block import Block, Unit
from sandbox.plan.expanding import Rows, rows_of
from sandbox.plan.joint_rows import agree, belongs_sql, core_of, joint_from, unit_sql
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Ref, refs_of
from sandbox.plan.view_columns import extended
from sandbox.plan.view_sql import materialise
from sandbox.plan.views import base_tables, by_name


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie in one new cell (or none) and one earlier cell (or none)."""

    new: Label | None
    old: Label | None
    n: int
    units: int


def compare(
    block: Block,
    policy: Policy,
    rule: AggregateRule,
    cells: Sequence[Cell],
    history: Sequence[str],
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Mark the cells that would, beside earlier releases, tell about too few units."""
    pasts = _earlier(block, policy, history, connection)
    policy = extended(policy, [view for past in pasts for view in past.views])
    compared: set[Past] = set()
    for mine in rows_of(block, (*block.keys, *block.hidden)):
        alike: dict[Past, Rows] = {}
        for past in pasts:
            theirs = next(
                (rows for rows in rows_of(past, past.keys) if _agree(mine, rows, policy)),
                None,
            )
            if theirs is None:
                continue
            for unit in block.units:
                _Comparison(
                    block, past, unit, mine, theirs, rule.min_units, policy, connection
                ).mark(cells)
            if core_of(mine.source, policy) == core_of(theirs.source, policy):
                compared.add(past)
            if all(_agree(theirs, other, policy) for other in alike.values()):
                alike[past] = theirs
        if alike:
            contributing = [cell for cell in cells if contributes(block, cell)]
            for unit in block.units:
                audit(
                    mine, alike, unit, contributing, connection,
                    policy=policy, min_units=rule.min_units,
                )  # fmt: skip
    for past in pasts:
        if past in compared and not (block.views or past.views):
            continue
        for unit in block.units:
            compare_units(
                block, past, unit, cells, connection,
                policy=policy, min_units=rule.min_units,
            )  # fmt: skip


def _agree(one: Rows, other: Rows, policy: Policy) -> bool:
    return agree(one.source, other.source, policy)


def _earlier(
    block: Block,
    policy: Policy,
    history: Sequence[str],
    connection: duckdb.DuckDBPyConnection,
) -> list[Past]:
    """Return the releases to compare with, each once; their views can be read then."""
    found: dict[Past, None] = {}
    for past in (item for text in history for item in read_all(text)):
        if past.fingerprint == block.fingerprint:
            continue
        # What was aggregated does not matter: the same rows were told of.
        found[dataclasses.replace(past, fingerprint="")] = None
    held = []
    for past in found:
        if holds(connection, past.base_tables):
            materialise(past.views, connection, policy)
            held.append(past)
        elif {*past.base_tables} & _protected_tables(block, policy):
            raise _not_held()
    return held


def _protected_tables(block: Block, policy: Policy) -> set[str]:
    views = by_name(block.views)
    tables = base_tables((*block.tables, *views), views)
    found = ((name, policy.table(name)) for name in tables)
    return {name for name, table in found if table is None or table.is_protected}


def _not_held() -> QueryRejected:
    # Answering without the comparison would let a differencing pair through.
    return QueryRejected(
        "an earlier release joined this table with one that this grant does not hold, so "
        "the answer cannot be compared with it",
        hint="Ask under a grant whose policy names both tables, or ask the provider.",
        code="history_not_held",
    )


class _Comparison:
    """One new block against one earlier release, for one unit."""

    def __init__(
        self,
        block: Block,
        past: Past,
        unit: Unit,
        new: Rows,
        old: Rows,
        min_units: int,
        policy: Policy,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self._plan, self._past, self._unit = block, past, unit
        self._policy = policy
        self._new, self._old = new, old
        self._sources = (self._new.source, self._old.source)
        self._min_units = min_units
        self._connection = connection
        self._new_keys = (*block.keys, *block.hidden)

    def mark(self, cells: Sequence[Cell]) -> None:
        """Add the ground HISTORY to cells, smallest first where there is a choice."""
        labelled = {
            label_of(cell): cell
            for cell in cells
            if cell.is_safe and contributes(self._plan, cell)
        }
        parts = self._parts()
        for label, cell in labelled.items():
            inside = {
                known
                for released in self._past.released
                if _lies_within(
                    parts, old=released, new=frozenset({label}), old_in_new=True
                )
                for known in released
            }
            rest = [part for part in parts if part.new == label and part.old not in inside]
            if inside and self._is_few(rest, frozenset({label}), inside, new_first=True):
                cell.withhold(Ground.HISTORY)
        for released in sorted(self._past.released, key=str):
            self._protect(released, parts, labelled)
        if self._asks_more_that_is_sensitive():
            self._protect_equal(parts, labelled)

    def _asks_more_that_is_sensitive(self) -> bool:
        new, old = (
            {
                ref
                for node in nodes
                for ref in refs_of(node)
                if _is_sensitive(ref, self._policy)
            }
            for nodes in (
                (self._plan.where, *self._new_keys),
                (self._past.where, *self._past.keys),
            )
        )
        return new != old

    def _protect_equal(self, parts: list[Part], labelled: dict[Label, Cell]) -> None:
        # The same rows with and without a condition on a sensitive column: all hold it.
        for label, cell in labelled.items():
            alone = frozenset({label})
            if any(
                _lies_within(parts, old=released, new=alone, old_in_new=True)
                and _lies_within(parts, old=released, new=alone, old_in_new=False)
                for released in self._past.released
            ):
                cell.withhold(Ground.UNANIMITY)

    def _protect(
        self, released: frozenset[Label], parts: list[Part], labelled: dict[Label, Cell]
    ) -> None:
        inside = [
            label
            for label, cell in labelled.items()
            if cell.is_safe
            and _lies_within(parts, old=released, new=frozenset({label}), old_in_new=False)
        ]
        inside.sort(key=lambda label: (labelled[label].units, str(label)))
        while inside:
            rest = [p for p in parts if p.old in released and p.new not in inside]
            if not self._is_few(rest, released, set(inside), new_first=False):
                return
            labelled[inside.pop(0)].withhold(Ground.HISTORY)

    # --- counting

    def _labelled_sql(self) -> str:
        unit = None
        if self._unit.ref is not None:
            unit = unit_sql(self._new.base(self._unit.ref), self._sources)
        new = [f"{term_sql(t)} AS c{i}" for i, t in enumerate(self._new.keys)]
        old = [f"{term_sql(t)} AS p{i}" for i, t in enumerate(self._old.keys)]
        columns = [
            *new,
            *old,
            f"{belongs_sql(self._sources[0])} AS is_new",
            f"{belongs_sql(self._sources[1])} AS is_old",
            f"{'row_number() OVER ()' if unit is None else unit} AS u",
        ]
        joint = joint_from(self._sources, self._policy)
        condition = "" if unit is None else f" WHERE {unit} IS NOT NULL"
        return f"SELECT {', '.join(columns)} FROM {joint}{condition}"

    def _parts(self) -> list[Part]:
        fresh = [f"CASE WHEN is_new THEN c{i} END" for i in range(len(self._new_keys))]
        past = [f"CASE WHEN is_old THEN p{i} END" for i in range(len(self._past.keys))]
        names = ", ".join([*fresh, *past, "is_new", "is_old"])
        rows = self._connection.execute(
            f"SELECT {names}, count(*), count(DISTINCT u) "
            f"FROM ({self._labelled_sql()}) AS l WHERE is_new OR is_old GROUP BY ALL"
        ).fetchall()
        width, total = len(fresh), len(fresh) + len(past)
        parts = []
        for row in rows:
            old = tuple(map(scalar, row[width:total])) if row[total + 1] else None
            new = tuple(map(scalar, row[:width])) if row[total] else None
            parts.append(Part(new, old, row[total + 2], row[total + 3]))
        return parts

    def _is_few(
        self,
        rest: list[Part],
        whole: frozenset[Label],
        without: set[Label],
        *,
        new_first: bool,
    ) -> bool:
        """Whether the units of `rest` are some, but fewer than min_units."""
        if not rest or max(part.units for part in rest) >= self._min_units:
            return False
        upper = sum(part.units for part in rest)
        if self._unit.ref is None or upper < self._min_units:
            return upper < self._min_units
        return self._exact(whole, without, new_first=new_first) < self._min_units

    def _exact(
        self, whole: frozenset[Label], without: set[Label], *, new_first: bool
    ) -> int:
        # Only where neither bound decides: the same unit may stand in several parts.
        values: list[object] = []
        one, other = (("is_new", "c"), ("is_old", "p"))[:: 1 if new_first else -1]
        inside = _any_label(*one, whole, values)
        excluded = _any_label(*other, without, values)
        row = self._connection.execute(
            f"SELECT count(DISTINCT u) FROM ({self._labelled_sql()}) AS l "
            f"WHERE ({inside}) AND NOT ({excluded})",
            values,
        ).fetchone()
        return int(row[0]) if row else 0


def _any_label(
    flag: str, prefix: str, labels: Iterable[Label], values: list[object]
) -> str:
    found = []
    for label in sorted(labels, key=str):
        values += label
        equal = [
            f"{prefix}{i}::VARCHAR IS NOT DISTINCT FROM ?::VARCHAR"
            for i in range(len(label))
        ]
        found.append(f"({' AND '.join([flag, *equal])})")
    return " OR ".join(found)


def _lies_within(
    parts: Iterable[Part], *, old: frozenset[Label], new: frozenset[Label], old_in_new: bool
) -> bool:
    """Whether there are rows of the inner set, and all of them are rows of the outer."""
    inner = [p for p in parts if (p.old in old if old_in_new else p.new in new)]
    return bool(inner) and all(
        (p.new in new if old_in_new else p.old in old) for p in inner
    )


def _is_sensitive(ref: Ref, policy: Policy) -> bool:
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    return column is not None and column.sensitive
