"""What was released before, and the cells of a new answer that come too close to it.

A cell and an earlier one whose rows it contains differ by a set of units. If that set is
not empty and smaller than min_units, subtracting the answers tells about these few: the
later answer is withheld (DESIGN section 5, "Complement"). The same is checked against the
union of earlier cells inside a new one, and of new ones inside an earlier one, which is
how a total gives away the one group that was withheld.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from policies.document import AggregateRule
from sandbox.canonical import from_data, to_data
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.recombine import contributes
from sandbox.errors import QueryRejected
from sandbox.plan import Plan, Unit
from sandbox.render import predicate_sql, term_sql
from sandbox.stage_one import from_sql
from sandbox.stage_two import scalar
from sandbox.terms import Predicate, Ref, Term

FORMAT = "bonded-history/1"
Label = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier release: which rows its cells were about, and which cells left."""

    fingerprint: str
    tables: tuple[str, ...]
    joins: tuple[tuple[Ref, Ref], ...]
    where: Predicate
    keys: tuple[Term, ...]  # visible and hidden
    released: frozenset[frozenset[Label]]  # sets of cells whose totals left


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie in one new cell (or none) and one earlier cell (or none)."""

    new: Label | None
    old: Label | None
    n: int
    units: int


def entry(plan: Plan, sets: Iterable[Iterable[Cell]]) -> str:
    """Return the text that a later job needs to know of this release: no value of it.

    `sets` are the sets of cells whose totals were released.
    """
    released = sorted(
        (sorted((list(_label(cell)) for cell in cells), key=_text) for cells in sets),
        key=_text,
    )
    data = [
        FORMAT,
        plan.fingerprint,
        to_data(plan.tables),
        to_data(plan.joins),
        to_data(plan.where),
        to_data((*plan.keys, *plan.hidden)),
        released,
    ]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _text(item: object) -> str:
    return json.dumps(item, ensure_ascii=False)


def read(text: str) -> Past:
    """Read an entry; raises QueryRejected (`history_unreadable`) on anything else."""
    try:
        tag, fingerprint, tables, joins, where, keys, released = json.loads(text)
        if tag == FORMAT:
            return Past(
                str(fingerprint),
                from_data(tables),
                from_data(joins),
                from_data(where),
                from_data(keys),
                frozenset(frozenset(tuple(label) for label in cells) for cells in released),
            )
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable() from error
    raise _unreadable()


def _unreadable() -> QueryRejected:
    # Without the history a differencing pair would pass: nothing is answered.
    return QueryRejected(
        "an earlier release on record cannot be read, so this answer cannot be "
        "compared with it",
        hint="Have the node's operator check the stored history.",
        code="history_unreadable",
    )


def compare(
    plan: Plan,
    rule: AggregateRule,
    cells: Sequence[Cell],
    history: Sequence[str],
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Mark the cells that would, beside an earlier release, tell about too few units."""
    seen: set[tuple[object, ...]] = set()
    for text in history:
        past = read(text)
        identity = (past.where, past.keys, past.released)
        comparable = past.tables == plan.tables and past.joins == plan.joins
        if not comparable or past.fingerprint == plan.fingerprint or identity in seen:
            continue
        seen.add(identity)
        for unit in plan.units:
            _Comparison(plan, past, unit, rule.min_units, connection).mark(cells)


class _Comparison:
    """One new plan against one earlier release, for one unit."""

    def __init__(
        self,
        plan: Plan,
        past: Past,
        unit: Unit,
        min_units: int,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self._plan, self._past, self._unit = plan, past, unit
        self._min_units = min_units
        self._connection = connection
        self._new_keys = (*plan.keys, *plan.hidden)

    def mark(self, cells: Sequence[Cell]) -> None:
        """Add the ground HISTORY to cells, smallest first where there is a choice."""
        labelled = {
            _label(cell): cell
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
        unit = self._unit.ref
        new = [f"{term_sql(t)} AS c{i}" for i, t in enumerate(self._new_keys)]
        old = [f"{term_sql(t)} AS p{i}" for i, t in enumerate(self._past.keys)]
        columns = [
            *new,
            *old,
            f"(({predicate_sql(self._plan.where)}) IS TRUE) AS is_new",
            f"(({predicate_sql(self._past.where)}) IS TRUE) AS is_old",
            f"{'row_number() OVER ()' if unit is None else term_sql(unit)} AS u",
        ]
        condition = "" if unit is None else f" WHERE {term_sql(unit)} IS NOT NULL"
        return f"SELECT {', '.join(columns)} FROM {from_sql(self._plan)}{condition}"

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


def _label(cell: Cell) -> Label:
    return (*map(scalar, cell.keys), *cell.codes)
