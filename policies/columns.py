"""What a query may do with one column, by its roles: the table of allowed uses.

Everything that is not allowed here is refused, by a branch that names it.
"""

from __future__ import annotations

from policies.document import Column, Role, Table
from policies.phrases import plain
from policies.reasons import Reason
from policies.resolution import is_dimension, is_hidden, steps_of
from policies.shape import ColumnUse, Usage

_GROUPS = {
    Usage.GROUP_KEY,
    Usage.GROUP_BIN,
    Usage.GROUP_TRUNC,
    Usage.GROUP_EXPRESSION,
}
_COMPARISONS = {Usage.EQUALITY, Usage.RANGE}
_COUNTS = {"count", "count_distinct", "approx_count_distinct"}


def refuse_use(table: Table, use: ColumnUse) -> Reason | None:
    """Return why `table`'s policy refuses this use of a column, or None: it is allowed."""
    column = table.column(use.column)
    if column is None or column.has(Role.HIDDEN):
        return _reason(
            "column_hidden",
            table,
            use,
            "is hidden: nothing may refer to it",
            _visible_hint(table),
        )
    if use.usage is Usage.ROW_OUTPUT:
        return _reason(
            "row_level_output",
            table,
            use,
            "would leave row by row",
            f"Aggregate it, for example {_aggregate_hint(table, column)}; labelled rows "
            "leave only as a licensed subset.",
        )
    if use.usage is Usage.OTHER:
        return _reason(
            "use_not_understood",
            table,
            use,
            "is used in a way that the analyser does not know",
            "Use it as a bare column, in a bin, or compared with a constant.",
        )
    if use.usage is Usage.PER_UNIT:
        # What comes of it keeps its limits, and is judged where it is used.
        return None
    if column.has(Role.UNIT_KEY):
        return _refuse_unit_key(table, use)
    if column.has(Role.ROW_KEY):
        return None if use.usage is Usage.JOIN_KEY else _row_key(table, use)
    if use.usage is Usage.JOIN_KEY:
        # Only with a public table: joins of protected tables are checked as joins.
        return None if _is_free_dimension(column) else _gridded_join(table, use)
    if use.usage in (Usage.AGGREGATE, Usage.COUNT_DISTINCT):
        return _refuse_aggregate(table, column, use)
    if use.usage is Usage.NULL_TEST:
        return None
    if use.usage in _GROUPS:
        return _refuse_group(table, column, use)
    if use.usage in _COMPARISONS:
        return _refuse_comparison(table, column, use)
    return _reason(
        "use_unknown",
        table,
        use,
        "is used in a way that this version of the policy does not know",
        "Use it as a bare column, in a bin, or compared with a constant.",
    )


def _reason(code: str, table: Table, use: ColumnUse, what: str, hint: str) -> Reason:
    path = f"tables.{table.name}.columns.{use.column}"
    return Reason(code, f"`{table.name}.{use.column}` {what}", hint, use.place, path)


def _is_free_dimension(column: Column) -> bool:
    return steps_of(column).is_free


def _visible_hint(table: Table) -> str:
    names = [column.name for column in table.columns if not is_hidden(column)]
    if not names:
        return "Leave it out and count rows: count(*)."
    more = ", …" if len(names) > 8 else ""
    return f"Leave it out. You may use: {', '.join(names[:8])}{more}."


def _aggregate_hint(table: Table, column: Column) -> str:
    if column.has(Role.MEASURE):
        return f"avg({column.name})"
    key = _group_key(column)
    return "count(*)" if key is None else _counted(table, key)


def _group_key(column: Column) -> str | None:
    """The SQL by which a column may be grouped, or None: not at all."""
    if column.has(Role.UNIT_KEY) or column.has(Role.ROW_KEY):
        return None
    steps = steps_of(column)
    if steps.grid is not None:
        return f"floor({column.name} / {plain(steps.grid)}) * {plain(steps.grid)}"
    if steps.grain is not None:
        return f"date_trunc('{steps.grain}', {column.name})"
    return column.name if steps.is_free else None


def _counted(table: Table, key: str) -> str:
    return f"SELECT {key}, count(*) FROM {table.name} GROUP BY {key}"


def _refuse_unit_key(table: Table, use: ColumnUse) -> Reason | None:
    if use.usage is Usage.JOIN_KEY or use.usage is Usage.COUNT_DISTINCT:
        return None
    if use.usage is Usage.AGGREGATE and use.aggregate in _COUNTS:
        return None
    code = "unit_key_compared"
    what = (
        "names who is protected and cannot be compared with anything but another unit key"
    )
    if use.usage in _GROUPS:
        code, what = "unit_key_grouped", "names who is protected: groups by it are persons"
    elif use.usage is Usage.AGGREGATE:
        code, what = "unit_key_aggregated", "names who is protected and can only be counted"
    return _reason(
        code, table, use, what, f"Use count(DISTINCT {use.column}), or join on it."
    )


def _row_key(table: Table, use: ColumnUse) -> Reason:
    return _reason(
        "row_key_used",
        table,
        use,
        "keeps the lines of one record together and serves in joins only",
        "Leave it out.",
    )


def _gridded_join(table: Table, use: ColumnUse) -> Reason:
    return _reason(
        "join_on_measure",
        table,
        use,
        "cannot be a join key: it is no plain dimension",
        "Join public tables on a dimension without grid or grain.",
    )


def _refuse_aggregate(table: Table, column: Column, use: ColumnUse) -> Reason | None:
    distinct = use.usage is Usage.COUNT_DISTINCT
    if use.aggregate == "count" and not distinct:
        return None
    if distinct or use.aggregate in _COUNTS:
        if _is_free_dimension(column):
            return None
        return _reason(
            "distinct_of_measure",
            table,
            use,
            "is a measure or has a grid: counting its values would list them",
            "Count rows instead: count(*)"
            + (f", or take avg({column.name})." if column.has(Role.MEASURE) else "."),
        )
    if column.has(Role.MEASURE):
        return None
    return _reason(
        "not_a_measure",
        table,
        use,
        f"is no measure, so there is no {use.aggregate} of it",
        f"Group by it: {_counted(table, _group_key(column) or column.name)}.",
    )


def _bin_hint(column: Column) -> str:
    if column.grid is not None:
        return f"Use bins: {_group_key(column)}, or a multiple of {plain(column.grid)}."
    if column.grain is not None:
        return f"Cut it: {_group_key(column)}, or coarser."
    return f"Aggregate it, for example avg({column.name})."


def _refuse_group(table: Table, column: Column, use: ColumnUse) -> Reason | None:
    free = _is_free_dimension(column)
    if use.usage is Usage.GROUP_TRUNC:
        if is_dimension(column) and use.on_grid:
            return None
        return _reason(
            "below_grain",
            table,
            use,
            f"may be cut no finer than {column.grain or 'the policy allows'}"
            + (f"; {use.detail} came" if use.detail else ""),
            _bin_hint(column),
        )
    if use.usage is Usage.GROUP_BIN:
        if free or (column.grid is not None and use.on_grid):
            return None
        return _reason(
            "bin_off_grid",
            table,
            use,
            "has no grid, so it cannot be binned"
            if column.grid is None
            else f"may be binned only at multiples of its grid {column.grid}"
            + (f"; {use.detail} came" if use.detail else ""),
            _bin_hint(column),
        )
    if free:
        return None
    return _reason(
        "group_by_measure" if column.has(Role.MEASURE) else "group_below_grain",
        table,
        use,
        "cannot be a group key as it stands: its single values would be groups",
        _bin_hint(column),
    )


def _refuse_comparison(table: Table, column: Column, use: ColumnUse) -> Reason | None:
    if _is_free_dimension(column):
        return None
    if column.grid is None and column.grain is None:
        return _reason(
            "measure_without_grid",
            table,
            use,
            "is a measure without a grid, so it cannot be compared",
            "Leave the comparison out, or ask the provider for a grid.",
        )
    if use.on_grid:
        return None
    limit = (
        f"grid {plain(column.grid)}" if column.grid is not None else f"grain {column.grain}"
    )
    return _reason(
        "constant_off_grid",
        table,
        use,
        f"may be compared only with constants on its {limit}",
        (
            f"Use `{column.name} < c` or `{column.name} >= c`, c a multiple of "
            f"{plain(column.grid)}."
            if column.grid is not None
            else f"Use `{column.name} >= d` or `{column.name} < d`, d the first day of a "
            f"{column.grain}."
        ),
    )
