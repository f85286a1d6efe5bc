"""Inner joins of rows: which columns they make equal, and what stands beside."""

from __future__ import annotations

from policies.shape import JoinUse, Place, Usage
from sandbox.binding.facts import Facts
from sandbox.binding.items import Meaning, Reentered
from sandbox.binding.names import Names, as_ref
from sandbox.plan.result_walks import is_single_row
from sandbox.plan.terms import NUMBERS, Kind, Ref
from sandbox.sql import syntax


class JoinedNames(Names):
    """Names that joins make equal; a join without an equality is a finding."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.conditions: list[syntax.Expression] = []  # of ON
        self.among: list[tuple[syntax.Column, Reentered]] = []  # joins with results

    def equate(
        self, node: syntax.Join, left_aliases: set[str], *, merge_right: bool = False
    ) -> None:
        """Add the equalities and conditions of a join of what is bound already."""
        if node.kind in ("semi", "anti", "positional"):
            self._refuse_join(node)
            return
        before = len(self.joins) + len(self.among)
        using = self._common(left_aliases) if node.natural else list(node.using)
        for name in using:
            self._equate_by_name(name, left_aliases, node.place, merge_right=merge_right)
        for condition in conjuncts(node.condition):
            if not self._equate_by_condition(condition, node.place):
                self.conditions.append(condition)
        if len(self.joins) + len(self.among) == before and not self._is_one_row(
            left_aliases
        ):
            self.facts.refuse(
                "join_without_key",
                "two tables are joined without an equality of their columns",
                "Write JOIN ... ON a.key = b.key.",
                node.place,
            )

    def _refuse_join(self, node: syntax.Join) -> None:
        self.facts.refuse(
            "join_unavailable",
            f"a {node.kind} join of rows is not part of what may be asked",
            "Use JOIN ... ON a.key = b.key.",
            node.place,
        )

    def _common(self, left_aliases: set[str]) -> list[str]:
        sides: list[set[str]] = [set(), set()]
        for item in self.bound:
            sides[item.alias.lower() in left_aliases] |= set(item.columns)
        return sorted(sides[0] & sides[1])

    def _is_one_row(self, left_aliases: set[str]) -> bool:
        """Whether the right side is a result of one row, which multiplies none."""
        right = [item for item in self.bound if item.alias.lower() not in left_aliases]
        return bool(right) and all(
            isinstance(meaning, Reentered) and is_single_row(meaning.relation)
            for item in right
            for meaning in item.columns.values()
        )

    def _equate_by_name(
        self, name: str, aliases: set[str], place: Place | None, *, merge_right: bool
    ) -> None:
        left = self._first(name, aliases, inside=True)
        right = self._first(name, aliases, inside=False)
        if left is None or right is None:
            self.facts.refuse(
                "unknown_column",
                f"`{name[:60]}` is not in both joined tables",
                "Check USING.",
                place,
            )
            return
        self._merged[name.lower()] = right[0] if merge_right else left[0]
        self._equate(
            (syntax.Column((left[0], name), place), left[1]),
            (syntax.Column((right[0], name), place), right[1]),
            place,
        )

    def _first(
        self, name: str, aliases: set[str], *, inside: bool
    ) -> tuple[str, Meaning] | None:
        for item in self.bound:
            if (item.alias.lower() in aliases) == inside and name.lower() in item.columns:
                return item.alias, item.columns[name.lower()]
        return None

    def _equate_by_condition(
        self, condition: syntax.Expression, place: Place | None
    ) -> bool:
        if not isinstance(condition, syntax.Comparison) or condition.operator != "=":
            return False
        left, right = condition.left, condition.right
        if not isinstance(left, syntax.Column) or not isinstance(right, syntax.Column):
            return False
        meanings = self.find(left), self.find(right)
        if meanings[0] is None or meanings[1] is None:
            return False
        return self._equate((left, meanings[0]), (right, meanings[1]), place)

    def _equate(
        self,
        left: tuple[syntax.Column, Meaning],
        right: tuple[syntax.Column, Meaning],
        place: Place | None,
    ) -> bool:
        for (name, _), (_, other) in ((left, right), (right, left)):
            if isinstance(other, Reentered):
                self.among.append((name, other))
                return True
        refs = as_ref(left[1]), as_ref(right[1])
        return self._join_refs(*refs, place)

    def _join_refs(self, one: Ref | None, other: Ref | None, place: Place | None) -> bool:
        if one is None or other is None or one.table == other.table:
            return False
        comparable = one.kind == other.kind or {one.kind, other.kind} <= NUMBERS
        if not comparable or Kind.OTHER in (one.kind, other.kind):
            # A cast from text would raise on a value and name it.
            self.facts.refuse(
                "types_differ",
                f"`{one.table}.{one.column}` and `{other.table}.{other.column}` have "
                "different types and cannot be joined",
                "Join columns of one type.",
                place,
            )
        self.joins.append((one, other))
        self.facts.joins.append(
            JoinUse(one.table, one.column, other.table, other.column, "inner", place)
        )
        for ref in (one, other):
            self.facts.use(ref, Usage.JOIN_KEY, place)
        return True


def conjuncts(condition: syntax.Expression | None) -> list[syntax.Expression]:
    """Return the conditions that all must hold."""
    if condition is None:
        return []
    if isinstance(condition, syntax.Logical) and condition.operator == "AND":
        return [part for item in condition.items for part in conjuncts(item)]
    return [condition]
