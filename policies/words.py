"""A policy in plain sentences, for the provider who signs it and the builder who reads it.

The sentences promise no more than the rules hold: what safe mode does not protect against
is said where safe mode is described.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.checks import subset_table
from policies.disclosed import KEPT
from policies.document import Column, Derived, Mode, Policy, Role, Table
from policies.errors import UnknownTerm
from policies.phrases import listed, plain
from policies.rule_words import aggregate_sentences, subset_sentences


def describe(policy: Policy, table_name: str) -> tuple[str, ...]:
    """Say in sentences what `policy` lets anyone learn from a table.

    Order: who is protected, each column by name, then each rule with its limits. Raises
    UnknownTerm where the policy has no such table.
    """
    table = find_table(policy, table_name)
    if table.public:
        return (f"`{table.name}` is a public reference table: all its columns are free.",)
    if table.requester:
        sentence = (
            f"`{table.name}` is a list that the requester brings: it may be joined on unit "
            "keys and nothing else. This node does not take such lists yet."
        )
        return (sentence,)
    return tuple(_protected(policy, table))


def describe_column(policy: Policy, table_name: str, column_name: str) -> str:
    """Say in one or more sentences what a column may be used for.

    A column that the policy does not name is hidden. Raises UnknownTerm where the policy
    has no such table.
    """
    table = find_table(policy, table_name)
    if table.public:
        return f"`{column_name}` may be used freely: its table is public."
    if table.requester:
        return f"`{column_name}` may be joined on unit keys: its table is the requester's."
    column = table.column(column_name)
    if column is None or column.has(Role.HIDDEN):
        return f"`{column_name}` is hidden: no query may refer to it."
    noisy = any(rule.mode is Mode.DP for rule in policy.aggregate_rules)
    return " ".join((_use(table, column), *_limits(column, noisy=noisy)))


def find_table(policy: Policy, name: str) -> Table:
    """Return the table of that name; raises UnknownTerm where there is none."""
    table = policy.table(name)
    if table is None:
        raise UnknownTerm(
            "the policy has no table of this name",
            path="tables",
            hint=f"Its tables are: {', '.join(table.name for table in policy.tables)}.",
        )
    return table


def _protected(policy: Policy, table: Table) -> Iterator[str]:
    yield from _units(table)
    for column in table.columns:
        yield describe_column(policy, table.name, column.name)
    yield "Columns that are not named here are hidden."
    for item in table.derived:
        yield _derived(item)
    subsets = [rule for rule in policy.subset_rules if subset_table(policy, rule) == table]
    if not policy.aggregate_rules and not subsets:
        yield "Nothing may leave: the policy has no rule for this table."
    for rule in policy.aggregate_rules:
        yield from aggregate_sentences(rule)
    for subset in subsets:
        yield from subset_sentences(subset)


def _units(table: Table) -> Iterator[str]:
    if table.row_units:
        yield (
            f"Each row of `{table.name}` is protected as one unit of its own. Where "
            "several rows are about one person or firm, this protects the rows, not them."
        )
    for unit in table.units:
        yield (
            f"Protected is each {unit.domain}: rows with the same `{unit.column}` are "
            "about one."
        )
    if len(table.units) > 1:
        yield "A row belongs to all of these; the limits below hold for each of them."


def _use(table: Table, column: Column) -> str:
    name = f"`{column.name}`"
    if column.has(Role.UNIT_KEY):
        domain = next(unit.domain for unit in table.units if unit.column == column.name)
        return (
            f"{name} says which {domain} a row is about: it may be counted and joined with "
            f"other tables of the same {domain}, never shown, grouped or compared."
        )
    if column.has(Role.ROW_KEY):
        return f"{name} keeps the rows of one record together: it serves in joins only."
    uses = listed([*_verbs(column)])
    label = (
        " It is the label that models learn to predict." if column.has(Role.LABEL) else ""
    )
    return f"{name}: queries may {uses}.{label}"


def _verbs(column: Column) -> Iterator[str]:
    grid = None if column.grid is None else plain(column.grid)
    if column.has(Role.DIMENSION) or column.has(Role.LABEL):
        if grid is not None:
            yield f"group by it in bins of {grid} or a multiple of that"
        elif column.grain is not None:
            yield f"group and filter by it, cut to the {column.grain} or coarser"
        else:
            yield "group and filter by it as it stands"
    if column.has(Role.MEASURE):
        yield "aggregate it"
    if grid is not None:
        yield f"compare it with multiples of {grid}"


def _limits(column: Column, *, noisy: bool) -> Iterator[str]:
    if column.sensitive:
        yield "It is sensitive: a group in which everyone has the same value is withheld."
    if column.values_public:
        yield "Its values are public: they may be printed even where a group is withheld."
    if column.scale is not None:
        yield f"It is read with {column.scale} decimals."
    if column.clamp is not None and noisy:
        yield (
            "Under differential privacy, values are cut to the range from "
            f"{plain(column.clamp[0])} to {plain(column.clamp[1])}."
        )


def _derived(item: Derived) -> str:
    formula = "" if item.expr == KEPT else f" as `{item.expr}`"
    return (
        f"`{item.name}` is a measure that the provider defined{formula}. It may be "
        "aggregated like any other measure."
    )
