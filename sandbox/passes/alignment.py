"""Whether what is read can be read part by part: every row joined lies in one part.

A part holds all rows of its units, of every table that is partitioned by them. So a
statement over parts is one over the whole where all protected rows that it brings together
are of one unit: joins, semi-joins, groups and windows go by the unit's column. Public
tables are whole in each part. Whatever is not seen to be so here is `Misaligned`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from policies.document import Policy
from sandbox.plan.joint_rows import Join
from sandbox.plan.terms import Apply, Member, Predicate, Ref, Term, members_in
from sandbox.plan.view_sql import ROW_ID
from sandbox.plan.views import (
    UnitWindow,
    View,
    predicates_of,
    terms_of_value,
)

Column = tuple[str, str]  # table or view, column in lower case
# What names the part of a relation's rows: its unit column, nothing where each row is its
# own unit, None where the relation is public and whole in each part.
Units = frozenset[Column] | None
_INNER = frozenset({"inner"})
_KEEPS_LEFT = frozenset({"inner", "left"})


class Misaligned(Exception):
    """Rows of several parts meet; the text says how, in words for whoever asked."""


def column_of(ref: Ref) -> Column:
    """Return what names a column, whatever is known of its type."""
    return ref.table, ref.column.lower()


class Alignment:
    """What names the parts of base tables and views."""

    def __init__(self, policy: Policy, views: Mapping[str, View]) -> None:
        self._policy, self._views = policy, views
        self._known: dict[str, Units] = {}

    def units(self, name: str) -> Units:
        """Return what names the part of a row of a table or view.

        Raises Misaligned where nothing does.
        """
        if name not in self._known:
            view = self._views.get(name)
            self._known[name] = self._base(name) if view is None else self._view(view)
        return self._known[name]

    def _base(self, name: str) -> Units:
        table = self._policy.table(name)
        if table is None or table.requester:
            raise Misaligned("a table that the policy does not partition")
        if table.public:
            return None
        if len(table.units) > 1:
            raise Misaligned("a table whose rows belong to several units each")
        return frozenset((name, unit.column.lower()) for unit in table.units)

    # --- FROM

    def check_from(self, tables: Sequence[str], joins: Iterable[Join]) -> Units:
        """Return the columns that name the part of a joined row; None: all are public.

        Raises Misaligned where two protected tables are not joined by their unit.
        """
        found = {name: self.units(name) for name in tables}
        protected = [name for name, units in found.items() if units is not None]
        if not protected:
            return None
        reached = self._reached(protected, found, joins)
        if reached != set(protected):
            raise Misaligned("a join of protected tables that is not by their unit")
        named = [units for name, units in found.items() if units is not None]
        return frozenset().union(*named)

    def _reached(
        self, protected: Sequence[str], found: Mapping[str, Units], joins: Iterable[Join]
    ) -> set[str]:
        pairs: dict[frozenset[str], bool] = {}
        for one, other in joins:
            pair = frozenset({one.table, other.table})
            if len(pair) == 2 and pair <= set(protected):
                pairs[pair] = pairs.get(pair, False) or self._is_by_unit(one, other, found)
        if not all(pairs.values()):
            # Two tables joined by something else would meet in other parts too.
            raise Misaligned("a join of protected tables that is not by their unit")
        reached = {protected[0]}
        while more := {t for pair in pairs if pair & reached for t in pair} - reached:
            reached |= more
        return reached

    def _is_by_unit(self, one: Ref, other: Ref, found: Mapping[str, Units]) -> bool:
        if one.column == other.column == ROW_ID:
            return True  # a view beside the very rows that it was made of
        return all(column_of(ref) in (found[ref.table] or ()) for ref in (one, other))

    def check_members(self, nodes: Iterable[Term | Predicate]) -> None:
        """Raise Misaligned where a semi-join is not by the unit of both sides."""
        for node in nodes:
            for member in members_in(node):
                self._check_member(member)

    def _check_member(self, member: Member) -> None:
        inner, outer = self.units(member.view), self.units(member.ref.table)
        if inner is None:
            return
        by_unit = (member.view, member.column.lower()) in inner
        if not by_unit or column_of(member.ref) not in (outer or ()):
            raise Misaligned("a semi-join that is not by the unit")

    # --- views

    def _view(self, view: View) -> Units:
        joins = [pair for join in view.joins for pair in join.on]
        tables = (view.table, *(join.table for join in view.joins))
        inside = self.check_from(tables, joins)
        self._check_ways(view)
        terms = [term for column in view.columns for term in terms_of_value(column.value)]
        self.check_members([*predicates_of(view), *(view.keys or ()), *terms])
        if inside is None:
            if view.more or view.units:
                raise Misaligned("a union with a public table")
            return None
        if len(view.units) > 1:
            raise Misaligned("rows that belong to several units each")
        for _, name in view.units:
            self._check_unit(view, name, inside)
            self._check_below(view, name)
        computes = any(isinstance(item.value, UnitWindow) for item in view.columns)
        if not view.units and (computes or view.keys is not None or view.more or inside):
            raise Misaligned("rows that belong to no unit")
        return frozenset((view.name, name.lower()) for _, name in view.units)

    def _check_ways(self, view: View) -> None:
        whole = self.units(view.table) is None
        for join in view.joins:
            public = self.units(join.table) is None
            if public != whole:
                # Each part would keep rows of the public table that it has no partner for.
                ways = _KEEPS_LEFT if public else _INNER
                if join.way not in ways:
                    raise Misaligned("an outer join that keeps rows of a public table")
            whole = whole and public

    def _check_unit(self, view: View, name: str, inside: frozenset[Column]) -> None:
        column = view.column(name)
        value = None if column is None else column.value
        named: tuple[object, ...] = (value,)
        if isinstance(value, Apply) and value.function == "coalesce":
            named = value.arguments
        if not all(isinstance(r, Ref) and column_of(r) in inside for r in named):
            raise Misaligned("rows whose unit is computed")
        if view.keys is not None and value not in view.keys:
            raise Misaligned("groups of several units")
        for item in view.columns:
            if isinstance(item.value, UnitWindow) and value not in item.value.partition:
                raise Misaligned("windows over several units")

    def _check_below(self, view: View, name: str) -> None:
        place = [column.name for column in view.columns].index(name)
        for refs in view.more:
            units = self.units(refs[0].table)
            if units is None or column_of(refs[place]) not in units:
                raise Misaligned("a union of rows with others than their units'")
