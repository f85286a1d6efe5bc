"""A new answer beside an earlier one over other joined tables: compared by their units.

`ships` and `ships JOIN surveys` read different rows, but the units of the second are among
those of the first: where only three ships have no survey, the difference tells about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.history.entry import Label, Past, label_of
from sandbox.passes.folds import Fold, Merge, comparable
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.joint_rows import Source, belongs_sql, joint_from
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Kind, Ref, Term
from sandbox.quoting import text_literal


class UnitsCompared:
    """The units of a new answer's cells and of an earlier release's totals."""

    def __init__(
        self,
        block: Block,
        past: Past,
        unit: Unit,
        rows: Rows,
        *,
        policy: Policy,
        min_units: int,
    ) -> None:
        """Ask; `rows` must reach the tables of the earlier release."""
        self._width, self._min_units = len(block.keys) + len(block.hidden), min_units
        self._asked: list[Answer] = []
        if unit.ref is None or not past.released:
            return
        fold = Fold(self._width + 2, (Merge.SUM,))
        new = _units_sql(
            Source(block.tables, block.joins, block.where, block.optional),
            (*block.keys, *block.hidden),
            unit.ref,
            policy,
        )
        for ref in _units_of(past, unit.domain, policy):
            old = _units_sql(
                Source(past.tables, past.joins, past.where, past.optional),
                past.keys,
                ref,
                policy,
            )
            sql = _overlaps_sql(new, old, list(past.released), self._width)
            self._asked.append(rows.ask(sql, fold))

    def mark(self, cells: Sequence[Cell]) -> None:
        """Withhold cells with all but a few of a total's units, or a few more."""
        safe = {label_of(cell): cell for cell in cells if cell.is_safe}
        for answer in self._asked if safe else ():
            for label, mine, its, both in self._overlaps(answer):
                cell = safe.get(label)
                few_left = both == mine and 0 < its - both < self._min_units
                few_more = both == its and 0 < mine - both < self._min_units
                if cell is not None and (few_left or few_more):
                    cell.withhold(Ground.HISTORY)

    def _overlaps(self, answer: Answer) -> Iterator[tuple[Label, int, int, int]]:
        """Yield of each cell and total that share units: cell, its units, total's, both."""
        sizes: dict[object, int] = {}
        totals: dict[object, int] = {}
        pairs: list[tuple[Label, object, object, int]] = []
        for row in answer.rows:
            keys = row[: self._width]
            kind, total, units = row[self._width :]
            assert isinstance(units, int)
            if kind == _SIZE:
                sizes[comparable(keys)] = units
            elif kind == _TOTAL:
                totals[total] = units
            else:
                pairs.append((tuple(map(scalar, keys)), comparable(keys), total, units))
        for label, key, total, shared in pairs:
            yield label, sizes[key], totals[total], shared


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


_SIZE, _TOTAL, _PAIR = 0, 1, 2


def _overlaps_sql(
    new: str, old: str, totals: Sequence[frozenset[Label]], width: int
) -> str:
    """Return units of each cell, of each total, and of both, below one another.

    They are counted apart: each adds up over parts of the data, a share of them does not.
    """
    depth = len(next(iter(totals[0]))) if totals and totals[0] else 0
    listed = ", ".join(
        f"({', '.join([str(number), *map(_text, label)])})"
        for number, total in enumerate(totals)
        for label in total
    )
    names = ", ".join(["t", *(f"q{i}" for i in range(depth))])
    matches = [f"old.c{i} IS NOT DISTINCT FROM q{i}::VARCHAR" for i in range(depth)]
    keys = "".join(f"v{i}, " for i in range(width))
    none = "NULL, " * width
    return (
        f"WITH new AS ({new}), old AS ({old}), listed({names}) AS (VALUES {listed}), "
        f"its AS (SELECT DISTINCT t, u FROM old JOIN listed "
        f"ON {' AND '.join(matches) or 'TRUE'}) "
        f"SELECT {keys}{_SIZE} AS kind, NULL AS t, count(*) FROM new GROUP BY ALL "
        f"UNION ALL SELECT {none}{_TOTAL}, t, count(*) FROM its GROUP BY t "
        f"UNION ALL SELECT {keys}{_PAIR}, t, count(*) FROM new JOIN its USING (u) "
        f"GROUP BY {keys}t"
    )


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    return text_literal(str(value))
