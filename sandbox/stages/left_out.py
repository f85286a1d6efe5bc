"""What the filters inside views leave out: none, or at least min_units units (DESIGN 5).

`sum(total) FROM (SELECT pid, sum(cost) AS total FROM visits WHERE dept <> 'ICU' GROUP BY
pid)` beside the same without the filter tells the costs of three people in the ICU. A
filter in a view is never compared row by row with other answers, so every one is watched
here, by whatever column it filters:

- in each cell, the units that have rows which a filter left out, or which only one of its
  alternatives let in;
- in each group, the units that are left out wholly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.rebuilding import members_within, rebuilt, refs_in, renamed
from sandbox.plan.render import members_sql, predicate_sql, term_sql
from sandbox.plan.terms import Kind, Member, Predicate, Ref
from sandbox.plan.view_columns import is_filtered_sensitively
from sandbox.plan.view_sql import source_sql, without_partner_sql
from sandbox.plan.views import (
    ALL,
    PerUnit,
    UnitWindow,
    View,
    by_name,
    closure,
    predicates_of,
)
from sandbox.quoting import quoted
from sandbox.stages.contrasts import alternatives
from sandbox.stages.stage_one import base_sql, from_sql
from sandbox.stages.unfiltered import Unfiltered, views_in_from
from sandbox.stages.unit_rows import samples_of
from sandbox.stages.units_counted import UnitsCounted

_EVERY = ("TRUE",)  # rows on either side of the filter, which is dear to look at


@dataclass(frozen=True, slots=True)
class _Filter:
    """A filter over the rows of a FROM that satisfy what was `given`."""

    condition: Predicate
    source: str
    given: Predicate = ALL


class LeftOut:
    """Who is left out by the filters of a block's views."""

    def __init__(self, block: Block, policy: Policy, rows: Rows) -> None:
        """Ask; the views of the block must be known to `rows` and `policy`."""
        self._block, self._policy, self._rows = block, policy, rows
        self._views = by_name(block.views)
        self._read = views_in_from(block)
        outside = dataclasses.replace(block, views=())
        self._used = {*refs_in(outside), *refs_in(self._read)}
        self._members = dict.fromkeys(members_within((outside, self._read)))
        self._twin = Unfiltered(block)
        self._marked: list[UnitsCounted] = []
        self._matched: list[UnitsCounted] = []
        self._wholly: list[Answer] = []
        for unit in block.units if block.views else ():
            if unit.ref is not None:
                self._marked += self._ask_marked(unit)
                self._matched += self._ask_matched(unit)
                self._wholly += self._ask_wholly(unit.ref)

    def judge(self, cells: Sequence[Cell], min_units: int) -> None:
        """Withhold the cells of which the views' filters leave out some, but too few."""

        def is_few(units: object) -> bool:
            assert isinstance(units, int)
            return 0 < units < min_units

        for counted in self._marked:
            self._judge_marked(counted, cells, min_units)
        for counted in self._matched:
            self._judge_matched(counted, cells, min_units)
        for answer in self._wholly:
            self._judge_wholly(answer, cells, is_few)

    # --- units with some rows left out

    def _ask_marked(self, unit: Unit) -> Iterator[UnitsCounted]:
        """Ask of each cell for units that have rows which a filter left out."""
        marks = [*self._marks(unit.domain)]
        marks += [m for item in self._members for m in self._member_marks(item, unit)]
        keys = [f"k{i}" for i in range(len(self._block.keys))]
        keys += [f"h{i}" for i in range(len(self._block.hidden))]
        if marks:
            yield self._ask_counts(unit, marks, keys, ("i", "NOT i"))

    def _ask_counts(
        self, unit: Unit, marks: Sequence[str], keys: Sequence[str], sides: Sequence[str]
    ) -> UnitsCounted:
        block, policy, facts = self._block, self._policy, self._rows.facts
        samples = samples_of(block, policy, facts) if facts is not None else []
        every = sides == _EVERY
        return UnitsCounted(
            self._rows,
            base_sql(block, policy, unit, every=every),
            keys,
            marks,
            sides=sides,
            samples=[
                base_sql(block, policy, unit, every=every, instead=item) for item in samples
            ],
        )

    def _judge_marked(
        self, counted: UnitsCounted, cells: Sequence[Cell], min_units: int
    ) -> None:
        names = {(*cell.keys, *cell.codes) for cell in cells}
        few = {
            name
            for name, units in counted.at_least(min_units, names).items()
            if any(0 < number < min_units for number in units)
        }
        for cell in cells:
            if (*cell.keys, *cell.codes) in few:
                cell.withhold(Ground.COMPLEMENT)

    def _ask_matched(self, unit: Unit) -> Iterator[UnitsCounted]:
        """Ask of each group for units that satisfy a condition of a join's other side."""
        marks = [*self._matches(unit.domain)]
        keys = [f"k{i}" for i in range(len(self._block.keys))]
        if marks:
            yield self._ask_counts(unit, marks, keys, _EVERY)

    def _judge_matched(
        self, counted: UnitsCounted, cells: Sequence[Cell], min_units: int
    ) -> None:
        """Withhold groups in which few or none satisfy a condition of a join's other side.

        An outer join and NOT EXISTS keep the rows of those for whom nothing is found, so
        that the group looks the same with nobody as it does with few.
        """
        names = {cell.keys for cell in cells}
        few = {
            name
            for name, units in counted.at_least(min_units, names).items()
            if min(units) < min_units
        }
        for cell in cells:
            if cell.keys in few:
                cell.withhold(Ground.COMPLEMENT)

    def _matches(self, domain: str) -> Iterator[str]:
        for view in self._read:
            pairs = source_sql(view, self._policy, inner_only=True)
            for join in view.joins:
                if join.way == "inner":
                    continue
                units = self._unit_refs(view, domain)
                if join.condition != ALL:
                    yield _units_where(units, pairs, predicate_sql(join.condition))
                elif self._is_filtered((join.table,)) or (
                    join.way in ("right", "full") and self._is_filtered(view.tables)
                ):
                    # `LEFT JOIN (SELECT ... WHERE ...)` is the same condition.
                    yield _units_where(units, pairs, "TRUE")
        for member in self._members:
            view = self._views[member.view]
            if self._is_filtered((view.name,)) and (domain, member.column) in view.units:
                yield members_sql(view.name, member.column)

    def _is_filtered(self, names: Sequence[str]) -> bool:
        return any(predicates_of(view) for view in closure(names, self._views))

    def _marks(self, domain: str) -> Iterator[str]:
        for view in self._read:
            units = self._unit_refs(view, domain)
            for item in self._filters(view):
                whole, given = predicate_sql(item.condition), predicate_sql(item.given)
                conditions = [f"({whole}) IS NOT TRUE"]
                conditions += [
                    f"({whole}) IS TRUE AND ({predicate_sql(weaker)}) IS NOT TRUE"
                    for weaker in alternatives(item.condition)
                ]
                for condition in conditions:
                    yield _units_where(units, item.source, f"({given}) AND {condition}")
            for number, join in enumerate(view.joins):
                table = self._policy.table(join.table)
                if join.way == "inner" and table is not None and table.public:
                    # A public table that lacks a key leaves rows out, as a filter does.
                    seen = view.tables[: number + 1]
                    yield _units_where(
                        [unit for unit in units if unit.table in seen],
                        without_partner_sql(view, self._policy, number),
                        "TRUE",
                    )

    def _filters(self, view: View) -> Iterator[_Filter]:
        source = source_sql(view, self._policy)
        if view.where != ALL:
            yield _Filter(view.where, source)
        pairs = source_sql(view, self._policy, inner_only=True)
        for join in view.joins:
            if join.condition != ALL:
                yield _Filter(join.condition, pairs)
        used = {ref.column for ref in self._used if ref.table == view.name}
        for column in view.columns:
            value = column.value
            if not isinstance(value, (PerUnit, UnitWindow)) or column.name not in used:
                continue
            if value.condition != ALL:
                yield _Filter(value.condition, source, view.where)

    def _unit_refs(self, view: View, domain: str) -> list[Ref]:
        tables = [self._policy.table(name) for name in view.tables]
        return [
            Ref(table.name, unit.column, Kind.OTHER)
            for table in tables
            if table is not None
            for unit in table.units
            if unit.domain == domain
        ]

    def _member_marks(self, member: Member, unit: Unit) -> Iterator[str]:
        """Yield the units that only one alternative inside a semi-join lets in."""
        view, column = self._views[member.view], quoted(member.column)
        if (unit.domain, member.column) not in view.units:
            return
        for inner in closure([view.name], self._views):
            for weaker in alternatives(inner.where):
                made, names = rebuilt(view.name, self._views, _with_where(inner, weaker))
                self._rows.materialise(made, self._policy)
                yield (
                    f"SELECT {column} FROM {quoted(view.name)} EXCEPT "
                    f"SELECT {column} FROM {quoted(names[view.name])}"
                )

    # --- units left out wholly

    def _ask_wholly(self, ref: Ref) -> Iterator[Answer]:
        """Ask of each group for units that are missing because of filters."""
        twin = self._twin
        if not twin.differs:
            return
        self._rows.materialise(twin.views, self._policy)
        known = [f"k{i}" for i in range(len(twin.shown))]
        left = (
            f"{_keys_sql(twin.block, renamed(ref, twin.names))} EXCEPT "
            f"{_keys_sql(twin.filtered, ref)}"
        )
        yield self._rows.ask(
            f"SELECT {', '.join([*known, 'count(u)'])} FROM ({left}) AS l"
            + (f" GROUP BY {', '.join(known)}" if known else ""),
            Fold(len(known), (Merge.SUM,)),
        )

    def _judge_wholly(
        self, answer: Answer, cells: Sequence[Cell], is_few: Callable[[object], bool]
    ) -> None:
        """Withhold groups from which too few units are missing because of filters."""
        missing = {row[:-1]: row[-1] for row in answer.rows}
        sensitive = any(is_filtered_sensitively(v, self._policy) for v in self._read)
        for cell in cells:
            units = missing.get(tuple(cell.keys[i] for i in self._twin.shown), 0)
            if is_few(units):
                cell.withhold(Ground.COMPLEMENT)
            if sensitive and units == 0:
                # Everyone in the group satisfies the filter on a sensitive column.
                cell.withhold(Ground.UNANIMITY)


def _with_where(changed: View, where: Predicate) -> Callable[[View], View]:
    def change(view: View) -> View:
        return dataclasses.replace(view, where=where) if view == changed else view

    return change


def _units_where(units: Sequence[Ref], source: str, condition: str) -> str:
    parts = [
        f"SELECT {term_sql(unit)} AS u FROM {source} WHERE {condition} "
        f"AND {term_sql(unit)} IS NOT NULL"
        for unit in units
    ]
    return " UNION ".join(parts) or "SELECT NULL"


def _keys_sql(block: Block, ref: Ref) -> str:
    keys = [f"{term_sql(term)} AS k{i}" for i, term in enumerate(block.keys)]
    return (
        f"SELECT DISTINCT {', '.join([*keys, f'{term_sql(ref)} AS u'])} "
        f"FROM {from_sql(block)} WHERE ({predicate_sql(block.where)}) "
        f"AND {term_sql(ref)} IS NOT NULL"
    )
