"""What the policy says of a view's columns: roles, grids and grains go with the values.

What has no branch here is hidden: a block that refers to it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from policies.document import COMPUTED_SCALE, Column, Policy, Role, Table, UnitKey
from sandbox.plan.exact import scale_of
from sandbox.plan.gaps import gap_grid
from sandbox.plan.terms import (
    NUMBERS,
    Apply,
    Bin,
    Choose,
    DatePart,
    DateText,
    Gap,
    Kind,
    Literal,
    Ref,
    Term,
    Trunc,
    Truth,
    kind_of,
    refs_of,
)
from sandbox.plan.views import (
    Outcome,
    PerUnit,
    UnitWindow,
    Value,
    View,
    refs_of_value,
)

_COUNTS = frozenset({"count", "count_distinct", "row_number", "rank", "dense_rank"})
_KEEPS_VALUES = frozenset(
    {"min", "max", "first", "last", "lag", "lead", "first_value", "last_value"}
)
_COUNTED = frozenset({Role.DIMENSION, Role.MEASURE})
_HIDDEN = frozenset({Role.HIDDEN})


def extended(policy: Policy, views: Iterable[View]) -> Policy:
    """Return the policy that also speaks of `views`, which stand in their order."""
    for view in views:
        if policy.table(view.name) is None:
            policy = replace(policy, tables=(*policy.tables, view_table(view, policy)))
    return policy


def view_table(view: View, policy: Policy) -> Table:
    """Return what the policy says of a view; it must know all that the view reads."""
    filtered = is_filtered_sensitively(view, policy)
    units = {name for _, name in view.units}
    columns = []
    for index, item in enumerate(view.columns):
        if item.name in units:
            # A sensitive key: who is in the view at all is told by what is sensitive.
            column = Column(item.name, frozenset({Role.UNIT_KEY}), sensitive=filtered)
        else:
            column = replace(_column(item.value, policy), name=item.name)
            computed = isinstance(item.value, (PerUnit, UnitWindow))
            reached = any(_is_sensitive(r, policy) for r in refs_of_value(item.value))
            if reached or (computed and filtered):
                column = replace(column, sensitive=True)
            for refs in view.more:
                column = _met(column, _base_column(refs[index], policy))
        columns.append(column)
    return Table(
        view.name,
        units=tuple(UnitKey(domain, name) for domain, name in view.units),
        columns=tuple(columns),
    )


def is_filtered_sensitively(view: View, policy: Policy) -> bool:
    """Whether a sensitive column decides whose rows are in a view."""
    filters = (view.where, *(join.condition for join in view.joins))
    if any(_is_sensitive(ref, policy) for item in filters for ref in refs_of(item)):
        return True
    tables = [policy.table(name) for name in view.tables]
    return any(
        column.sensitive
        for table in tables
        if table is not None
        for column in table.columns
        if column.has(Role.UNIT_KEY)
    )


def typed(value: Value, policy: Policy) -> Outcome:
    """Return a value of a view with the kind and the decimals of what it gives."""
    match value:
        case PerUnit(function="any"):
            return value, Kind.BOOLEAN, None
        case PerUnit(function=function) | UnitWindow(function=function):
            argument = _argument(value)
            if function in _COUNTS or argument is None:
                return value, Kind.INTEGER, None
            kind, scale = kind_of(argument), _scale(argument)
            if function == "avg":
                return value, Kind.DOUBLE, None
            if function == "sum" and kind is Kind.DOUBLE:
                ref = _summed(argument)
                return value, Kind.DECIMAL, 0 if ref is None else scale_of(ref, policy)
            return value, kind, scale
        case _:
            return value, kind_of(value), _scale(value)


def _scale(term: Term) -> int | None:
    ref = _summed(term)
    return None if ref is None else ref.scale


def _argument(value: PerUnit | UnitWindow) -> Term | None:
    if isinstance(value, PerUnit):
        return value.argument
    return value.arguments[0] if value.arguments else None


# --- columns


def _column(value: Value, policy: Policy) -> Column:
    match value:
        case Gap():
            grid = gap_grid(value, policy)
            roles = _HIDDEN if grid is None else frozenset({Role.MEASURE})
            return Column("", roles, grid=grid)
        case PerUnit(function="any"):
            return Column("", frozenset({Role.DIMENSION}))
        case PerUnit() | UnitWindow():
            return _computed(value, policy)
        case _:
            return _row_value(value, policy)


def _computed(value: PerUnit | UnitWindow, policy: Policy) -> Column:
    function, argument = value.function, _argument(value)
    if function in _COUNTS:
        return Column("", _COUNTED, grid=Decimal(1))
    if argument is None:
        return Column("", _HIDDEN)
    if _is_flag(argument) and function in ("sum", "min", "max", "avg"):
        # The number of rows that satisfy a condition, or whether one does.
        if function == "avg":
            return Column("", _COUNTED, scale=COMPUTED_SCALE)
        return Column("", _COUNTED, grid=Decimal(1))
    base = _column(argument, policy)
    if function in _KEEPS_VALUES:
        return base
    if not base.has(Role.MEASURE):
        return Column("", _HIDDEN)
    if function == "avg":
        return Column("", frozenset({Role.MEASURE}), scale=COMPUTED_SCALE)
    if function == "sum":
        return Column("", base.roles, grid=base.grid)
    return Column("", _HIDDEN)


def _row_value(term: Term, policy: Policy) -> Column:
    measure = _summed(term)
    if measure is not None:
        return _base_column(measure, policy)
    if any(not _is_free(ref, policy) for ref in _bare(term)):
        return Column("", _HIDDEN)
    return Column("", frozenset({Role.DIMENSION}))


def _base_column(ref: Ref, policy: Policy) -> Column:
    table = policy.table(ref.table)
    if table is None or table.requester:
        return Column("", _HIDDEN)
    if table.public:
        return Column("", frozenset({Role.DIMENSION}))
    column = table.column(ref.column)
    # Its public values are those of the base table: a view may hold but some of them.
    return Column("", _HIDDEN) if column is None else replace(column, values_public=False)


def _met(one: Column, other: Column) -> Column:
    """Return what may be done with both of two columns that stand below each other."""
    roles = one.roles & other.roles
    if not roles or (one.grid, one.grain) != (other.grid, other.grain):
        return Column(one.name, _HIDDEN)
    sensitive = one.sensitive or other.sensitive
    return replace(one, roles=roles, sensitive=sensitive)


def _summed(term: Term) -> Ref | None:
    """Return the column that a term plainly is, also where NULL counts as nothing."""
    if isinstance(term, Ref):
        return term
    if isinstance(term, Apply) and term.function == "coalesce":
        refs = {item for item in term.arguments if isinstance(item, Ref)}
        others = [item for item in term.arguments if not isinstance(item, Ref)]
        zero = all(isinstance(item, Literal) and item.value == 0 for item in others)
        if len(refs) == 1 and zero and term.kind in NUMBERS:
            return next(iter(refs))
    return None


def _is_flag(term: Term) -> bool:
    return isinstance(term, Truth) or (
        isinstance(term, Literal) and term.value in (0, 1) and term.kind in NUMBERS
    )


def _bare(node: Term) -> frozenset[Ref]:
    """Return the columns whose single values show in a term, not only their bins."""
    match node:
        case Bin() | Trunc() | DatePart() | DateText() | Truth() | Literal():
            return frozenset()
        case Choose(branches=branches, otherwise=otherwise):
            results = (otherwise, *(result for _, result in branches))
            return frozenset(ref for result in results for ref in _bare(result))
        case Apply(arguments=arguments):
            return frozenset(ref for item in arguments for ref in _bare(item))
        case Gap(start=start, end=end):
            return refs_of(start) | refs_of(end)
        case Ref():
            return frozenset({node})


def _is_free(ref: Ref, policy: Policy) -> bool:
    column = _base_column(ref, policy)
    dimension = column.has(Role.DIMENSION) or column.has(Role.LABEL)
    return dimension and column.grid is None and column.grain is None


def _is_sensitive(ref: Ref, policy: Policy) -> bool:
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    return column is not None and (column.sensitive or column.has(Role.LABEL))


def is_gap(ref: Ref, views: dict[str, View]) -> bool:
    """Whether a column holds differences of dates, through however many views."""
    view = views.get(ref.table)
    column = None if view is None else view.column(ref.column)
    if column is None:
        return False
    value: Value | None = column.value
    if isinstance(value, (PerUnit, UnitWindow)):
        value = _argument(value) if value.function in (*_KEEPS_VALUES, "sum") else None
    return isinstance(value, Gap) or (isinstance(value, Ref) and is_gap(value, views))
