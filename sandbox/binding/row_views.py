"""Rows of FROM as views: what a view carries of them, and what a name means there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from policies.columns import refuse_use
from policies.document import Role
from policies.shape import ColumnUse, Usage
from sandbox.binding.facts import Facts
from sandbox.binding.items import Bound, Meaning, Projected
from sandbox.binding.predicates import PredicateBinder
from sandbox.binding.terms import TermBinder
from sandbox.binding.units import Equalities, units_of
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    All,
    CompareResult,
    Predicate,
    Ref,
    Term,
    WithinResult,
)
from sandbox.plan.view_columns import typed
from sandbox.plan.views import ALL, UnitJoin, View, make_view

if TYPE_CHECKING:
    from sandbox.binding.scope import Scope


def rows_as_view(
    facts: Facts, sub: Scope, where: Predicate | None = None, *, copy: int = 0
) -> tuple[View, tuple[Bound, ...]] | None:
    """Return the rows of a scope as a view, and what its names mean in it.

    `where` is the whole filter where it is bound already.
    """
    terms = TermBinder(facts, sub, {})
    predicates = PredicateBinder(terms)
    if where is None:
        parts = list(sub.where)
        for condition in sub.conditions:
            found = predicates.where(condition)
            if found is None:
                return None
            parts.append(found)
        where = canonical(All(tuple(parts))) if parts else ALL
    units = units_of(facts, sub.tables, sub.joins)
    if not units or any(unit.ref is None for unit in units):
        facts.refuse(
            "no_unit_within",
            "rows that are each their own unit have nothing to be computed within one",
            "Aggregate them directly.",
        )
        return None
    tables = sorted(sub.tables, key=lambda name: name in sub.optional)
    return view_over(
        facts,
        table=tables[0],
        joins=chained(tables, sub.joins, sub.optional),
        where=where,
        bound=tuple(sub.bound),
        units=[(unit.domain, unit.ref) for unit in units if unit.ref is not None],
        same=Equalities(sub.joins, sub.optional),
        copy=copy,
    )


def view_over(
    facts: Facts,
    *,
    table: str,
    joins: Iterable[UnitJoin],
    where: Predicate,
    bound: Sequence[Bound],
    units: Iterable[tuple[str, Term]],
    same: Equalities | None = None,
    copy: int = 0,
) -> tuple[View, tuple[Bound, ...]]:
    """Make the row view that carries every column that may be named, and add it."""
    check_no_result(facts, where)
    values: dict[tuple[int, str], Term] = {}
    for number, item in enumerate(bound):
        for name, meaning in item.columns.items():
            value = _carried(facts, meaning)
            if isinstance(value, Ref) and same is not None:
                value = same.root(value)
            if value is not None:
                values[number, name] = value
    view, refs = make_view(
        table=table,
        joins=joins,
        where=where,
        outputs=[typed(value, facts.policy) for value in values.values()],
        units=units,
        copy=copy,
    )
    facts.add_view(view)
    found = dict(zip(values, refs, strict=True))
    shown: list[Bound] = []
    for number, item in enumerate(bound):
        columns: dict[str, Meaning] = dict(item.columns)
        columns.update({n: ref for (i, n), ref in found.items() if i == number})
        for name, ref in columns.items():
            if isinstance(ref, Ref):
                facts.names.setdefault(ref, f"{item.alias}.{name}" if item.alias else name)
        shown.append(Bound(item.alias, columns, item.names))
    return view, tuple(shown)


def _carried(facts: Facts, meaning: Meaning) -> Term | None:
    """Return what a view carries of a column; hidden ones stay where they are refused."""
    if isinstance(meaning, Ref):
        column = facts.column(meaning)
        hidden = column is None or column.has(Role.HIDDEN)
        return meaning if facts.is_public(meaning) or not hidden else None
    if not isinstance(meaning, Projected):
        return None
    plain = meaning.terms.ref(meaning.expression)
    if plain is not None:
        return _carried(facts, plain)
    with facts.trial() as tried:
        term = meaning.terms.term(meaning.expression, Usage.GROUP_EXPRESSION)
    if term is None or tried.findings or not all(_is_allowed(facts, u) for u in tried.uses):
        return None  # whoever uses it is told why; it may be that nobody does
    facts.uses += tried.uses
    return term


def _is_allowed(facts: Facts, use: ColumnUse) -> bool:
    table = facts.policy.table(use.table)
    if table is None:
        return False
    return not table.is_protected or refuse_use(table, use) is None


def check_no_result(facts: Facts, node: object) -> None:
    """Refuse results that would re-enter below a view."""
    if any(isinstance(item, (CompareResult, WithinResult)) for item in _walk(node)):
        facts.refuse(
            "reentry_in_unit",
            "a result re-enters a filter below a computation within units",
            "Compare with it in the outermost filter.",
        )


def _walk(node: object) -> Iterable[object]:
    yield node
    if isinstance(node, tuple):
        for item in node:
            yield from _walk(item)
    for name in getattr(node, "__dataclass_fields__", ()):
        yield from _walk(getattr(node, name))


def chained(
    tables: Sequence[str],
    joins: Sequence[tuple[Ref, Ref]],
    optional: Sequence[str] = (),
) -> tuple[UnitJoin, ...]:
    """Return the joins of tables after the first, each on what stands before it."""
    done, pending = {tables[0]}, list(tables[1:])
    found: list[UnitJoin] = []
    while pending:
        for name in pending:
            on = [(a, b) for a, b in joins if a.table in done and b.table == name]
            on += [(b, a) for a, b in joins if b.table in done and a.table == name]
            if on:
                found.append(
                    UnitJoin("left" if name in optional else "inner", name, tuple(on))
                )
                done.add(name)
                pending.remove(name)
                break
        else:
            return tuple(found)  # a table without a join: a finding stands
    return tuple(found)
