"""A new answer beside all earlier ones over the same rows: what they tell together.

Pairs are compared in `sandbox.history.pairs`. This looks at sums and differences of any
number of answers: if with the new cells some combination is about fewer than min_units
units, the smallest of the new cells are withheld until none is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.recombine import contributes
from sandbox.disclosure.span import Span
from sandbox.history.entry import Label, Past, label_of
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.expanding import Rows as BaseRows
from sandbox.plan.joint_rows import Source, belongs_sql, joint_from, unit_sql
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Term

MAX_ATOMS = 5_000  # more would take minutes; pairs are compared in any case
MAX_LABELS = 20 * MAX_ATOMS


class Audit:
    """The combinations of a new answer with all earlier ones over the same rows."""

    def __init__(
        self,
        block: Block,
        mine: BaseRows,
        pasts: Mapping[Past, BaseRows],
        unit: Unit,
        rows: Rows,
        *,
        policy: Policy,
        min_units: int,
    ) -> None:
        """Ask; requires that `mine` and the rows of all `pasts` can stand side by side."""
        self._block, self._pasts, self._min_units = block, pasts, min_units
        every = (mine, *pasts.values())
        parts = [_part(item.source, item.keys) for item in every]
        columns = [f"{text} AS s{index}" for index, text in enumerate(parts)]
        sources = [item.source for item in every]
        joint = joint_from(sources, policy)
        name = "1" if unit.ref is None else unit_sql(mine.base(unit.ref), sources)
        names = ", ".join(f"s{index}" for index in range(len(parts)))
        counted = "count(*)" if unit.ref is None else "count(DISTINCT u)"
        self._asked = rows.ask(
            f"SELECT {names}, {counted} FROM (SELECT {', '.join(columns)}, {name} AS u "
            f"FROM {joint} WHERE {name} IS NOT NULL) AS l "
            f"GROUP BY {names} LIMIT {MAX_LABELS + 1}",
            Fold(len(parts), (Merge.SUM,), enough=MAX_LABELS + 1),
        )

    def mark(self, cells: Sequence[Cell]) -> None:
        """Withhold cells until no combination of totals tells of too few units."""
        contributing = [cell for cell in cells if contributes(self._block, cell)]
        safe = {label_of(cell): cell for cell in contributing if cell.is_safe}
        found = self._atoms() if safe else None
        if found is None:
            return
        units, new, old = found
        known = Span(units, self._min_units)
        for atoms in old:
            known.add(atoms)
        if known.tells_of_few():
            return  # earlier answers tell it already: withholding this protects nobody
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
        self,
    ) -> tuple[dict[int, int], dict[Label, set[int]], list[set[int]]] | None:
        """Return units by atom, and the atoms of each new cell and each earlier total."""
        rows = self._asked.rows
        if len(rows) > MAX_LABELS:
            return None
        numbers: dict[tuple[object, ...], int] = {}
        units: dict[int, int] = {}
        new: dict[Label, set[int]] = {}
        old: dict[tuple[int, frozenset[Label]], set[int]] = {}
        for *row, counted in rows:
            assert isinstance(counted, int)
            labels = [None if item is None else _label(item) for item in row]
            inside = [
                (index, released)
                for index, (past, label) in enumerate(
                    zip(self._pasts, labels[1:], strict=True)
                )
                if label is not None
                for released in past.released
                if label in released
            ]
            signature = (labels[0], frozenset(inside))
            if signature == (None, frozenset()):
                continue  # of no interest to anyone
            atom = numbers.setdefault(signature, len(numbers))
            units[atom] = units.get(atom, 0) + counted
            if labels[0] is not None:
                new.setdefault(labels[0], set()).add(atom)
            for key in inside:
                old.setdefault(key, set()).add(atom)
        return None if len(units) > MAX_ATOMS else (units, new, list(old.values()))


def _part(source: Source, keys: tuple[Term, ...]) -> str:
    label = ", ".join(["TRUE", *(term_sql(term) for term in keys)])
    return f"CASE WHEN {belongs_sql(source)} THEN row({label}) END"


def _label(item: object) -> Label:
    values = tuple(item.values()) if isinstance(item, dict) else tuple(item)  # type: ignore[arg-type]  # a row() of the engine, a dict or a tuple
    return tuple(map(scalar, values[1:]))
