"""A new answer and one earlier release: the cells that come too close to what left.

A cell and an earlier one whose rows it contains differ by a set of units. If that set is
not empty and smaller than min_units, subtracting the answers tells about these few: the
later answer is withheld (DESIGN section 5, "Complement"). The same is checked against the
union of earlier cells inside a new one, and of new ones inside an earlier one, which is
how a total gives away the one group that was withheld.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.recombine import contributes
from sandbox.history.atoms import Atoms, Part
from sandbox.history.entry import Label, label_of
from sandbox.history.reach import Beside
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.expanding import Rows as BaseRows
from sandbox.plan.joint_rows import belongs_sql, joint_from, unit_sql
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Ref, refs_of


class Pair:
    """One new block against one earlier release, for one unit."""

    def __init__(
        self,
        block: Block,
        new: BaseRows,
        beside: Beside,
        unit: Unit,
        atoms: Atoms,
        number: int,
        rows: Rows,
        *,
        policy: Policy,
        min_units: int,
    ) -> None:
        """Compare by `atoms`, in which the earlier release has `number`."""
        self._plan, self._past, self._unit = block, beside.past, unit
        self._policy, self._min_units = policy, min_units
        self._new, self._old = new, beside.rows
        self._sources = (self._new.source, self._old.source)
        self._new_keys = (*block.keys, *block.hidden)
        self._atoms, self._number, self._rows = atoms, number, rows
        self._own: list[Part] | None = None

    def mark(self, cells: Sequence[Cell]) -> None:
        """Add the ground HISTORY to cells, smallest first where there is a choice."""
        labelled = {
            label_of(cell): cell
            for cell in cells
            if cell.is_safe and contributes(self._plan, cell)
        }
        if not labelled:
            return
        shared = _Shared(self._parts())
        # Sets of which all rows lie in one new cell, by that cell.
        inside: dict[Label | None, list[frozenset[Label]]] = {}
        for released in self._past.released:
            news = shared.news(released)
            if len(news) == 1:
                inside.setdefault(news.pop(), []).append(released)
        for label, cell in labelled.items():
            known = frozenset[Label]().union(*inside.get(label, ()))
            rest = [part for part in shared.by_new.get(label, ()) if part.old not in known]
            if known and self._is_few(rest, frozenset({label}), known, new_first=True):
                cell.withhold(Ground.HISTORY)
        for released in sorted(self._past.released, key=_in_order):
            self._protect(released, shared, labelled)
        alike = [
            labelled[label]
            for label, sets in inside.items()
            if label in labelled and any(map(shared.olds(label).issubset, sets))
        ]
        if alike and self._asks_more_that_is_sensitive():
            # The same rows with and without a condition on a sensitive column: all hold it.
            for cell in alike:
                cell.withhold(Ground.UNANIMITY)

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

    def _protect(
        self, released: frozenset[Label], shared: _Shared, labelled: dict[Label, Cell]
    ) -> None:
        inside = [
            label
            for label in shared.news(released)
            if label in labelled
            and labelled[label].is_safe
            and shared.olds(label) <= released
        ]
        inside.sort(key=lambda label: (labelled[label].units, str(label)))
        while inside:
            rest = [part for part in shared.of(released) if part.new not in inside]
            if not self._is_few(rest, released, frozenset(inside), new_first=False):
                return
            labelled[inside.pop(0)].withhold(Ground.HISTORY)

    # --- counting

    def _parts(self) -> list[Part]:
        if self._atoms.are_too_many:
            return self._counted()
        return self._atoms.parts(self._number)

    def _counted(self) -> list[Part]:
        """Return the parts of this pair alone, their units counted."""
        if self._own is not None:
            return self._own
        fresh = [f"CASE WHEN is_new THEN c{i} END" for i in range(len(self._new.keys))]
        past = [f"CASE WHEN is_old THEN p{i} END" for i in range(len(self._old.keys))]
        names = ", ".join([*fresh, *past, "is_new", "is_old"])
        asked = self._rows.ask(
            f"SELECT {names}, count(DISTINCT u) "
            f"FROM ({self._labelled_sql()}) AS l WHERE is_new OR is_old GROUP BY ALL",
            Fold(len(fresh) + len(past) + 2, (Merge.SUM,)),
        )
        self._own = []
        for *values, is_new, is_old, units in asked.rows:
            assert isinstance(units, int)
            labels = tuple(map(scalar, values))
            new = labels[: len(fresh)] if is_new else None
            old = labels[len(fresh) :] if is_old else None
            self._own.append(Part(new, old, units, units))
        return self._own

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

    def _is_few(
        self,
        rest: list[Part],
        whole: frozenset[Label],
        without: frozenset[Label],
        *,
        new_first: bool,
    ) -> bool:
        """Whether the units of `rest` are some, but fewer than min_units."""
        found = self._few_by_bounds(rest)
        if found is None:
            # Atoms cut finer than this pair does: the same unit stands in more of them.
            names = {(part.new, part.old) for part in rest}
            own = [part for part in self._counted() if (part.new, part.old) in names]
            found = self._few_by_bounds(own)
        if found is None:
            return self._exact(whole, without, new_first=new_first) < self._min_units
        return found

    def _few_by_bounds(self, rest: list[Part]) -> bool | None:
        if not rest or max(part.least for part in rest) >= self._min_units:
            return False
        is_few = sum(part.most for part in rest) < self._min_units
        return is_few if is_few or self._unit.ref is None else None

    def _exact(
        self, whole: frozenset[Label], without: frozenset[Label], *, new_first: bool
    ) -> int:
        # Only where neither bound decides: the same unit may stand in several parts.
        values: list[object] = []
        one, other = (("is_new", "c"), ("is_old", "p"))[:: 1 if new_first else -1]
        inside = _any_label(*one, whole, values)
        excluded = _any_label(*other, without, values)
        ((units,),) = self._rows.ask(
            f"SELECT count(DISTINCT u) FROM ({self._labelled_sql()}) AS l "
            f"WHERE ({inside}) AND NOT ({excluded})",
            Fold(0, (Merge.SUM,)),
            values,
        ).rows
        assert isinstance(units, int)
        return units


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


class _Shared:
    """Which cells of two answers share rows; None stands for rows of the other alone."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.by_new: dict[Label | None, list[Part]] = {}
        self._by_old: dict[Label | None, list[Part]] = {}
        for part in parts:
            self.by_new.setdefault(part.new, []).append(part)
            self._by_old.setdefault(part.old, []).append(part)

    def of(self, released: frozenset[Label]) -> list[Part]:
        """Return the parts of a set of earlier cells."""
        return [part for label in released for part in self._by_old.get(label, ())]

    def news(self, released: frozenset[Label]) -> set[Label | None]:
        """Return the new cells in which rows of a set of earlier cells lie."""
        return {part.new for part in self.of(released)}

    def olds(self, label: Label | None) -> set[Label | None]:
        """Return the earlier cells in which rows of a new cell lie."""
        return {part.old for part in self.by_new.get(label, ())}


def _in_order(released: frozenset[Label]) -> list[str]:
    return sorted(map(str, released))


def _is_sensitive(ref: Ref, policy: Policy) -> bool:
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    return column is not None and column.sensitive
