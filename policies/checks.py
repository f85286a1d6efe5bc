"""What must hold among the parts of a policy, whatever data it will meet."""

from __future__ import annotations

from collections.abc import Sequence

from policies.document import (
    AggregateRule,
    Column,
    Mode,
    Policy,
    Role,
    SubsetRule,
    Table,
)
from policies.errors import Contradiction
from policies.nodes import Node

# A node and the steps from it to the part of the document that a message is about.
_At = tuple[Node, *tuple[str | int, ...]]

# Roles that cannot share a column: whoever reads `[hidden, measure]` cannot know which
# of the two the author relied on.
_ALONE = (Role.HIDDEN, Role.UNIT_KEY, Role.ROW_KEY)


def check_policy(policy: Policy, root: Node) -> None:
    """Raise Contradiction, with its line, unless every part fits the others."""
    _check_names([table.name for table in policy.tables], (root, "tables"))
    for table in policy.tables:
        if table.is_protected:
            _check_table(table, root)
    taken: dict[str, int] = {}
    for index, rule in enumerate(policy.rules):
        at = (root, "rules", index)
        if isinstance(rule, SubsetRule):
            _check_subset(policy, rule, at)
            continue
        _check_aggregate(rule, at)
        for purpose in rule.purposes:
            if purpose in taken:
                raise _contradiction(
                    at,
                    f"two aggregate rules (numbers {taken[purpose] + 1} and {index + 1}) "
                    f"serve the purpose `{purpose}`",
                    "Leave each purpose to one aggregate rule.",
                )
            taken[purpose] = index


def _find(at: _At) -> Node:
    node, *steps = at
    for step in steps:
        if isinstance(step, int):
            node = node.elements()[step]
        else:
            node = node.child(str(step)) or node
    return node


def _contradiction(at: _At, message: str, hint: str) -> Contradiction:
    node = _find(at)
    return Contradiction(
        message, line=node.line, column=node.column, path=node.path, hint=hint
    )


def _check_names(names: Sequence[str], at: _At) -> None:
    # The engine does not tell `Age` from `age`: two entries would give one column two
    # protections, and which of them holds would be chance.
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise _contradiction(
                (*at, name),
                f"`{name}` differs from another name only in letter case",
                "SQL does not tell them apart: rename one in the data, or drop one here.",
            )
        seen.add(name.casefold())


def _check_table(table: Table, root: Node) -> None:
    where: _At = (root, "tables", table.name)
    unit_columns = {unit.column for unit in table.units}
    if len(unit_columns) != len(table.units):
        raise _contradiction(
            (*where, "units"), "one column stands for two units", "Name each column once."
        )
    _check_names([column.name for column in table.columns], (*where, "columns"))
    _check_names([item.name for item in table.derived], (*where, "derived"))
    columns = {column.name: column for column in table.columns}
    for unit in table.units:
        column = columns.get(unit.column)
        if column is None or not column.has(Role.UNIT_KEY):
            raise _contradiction(
                (*where, "units"),
                f"`{unit.column}` of `{table.name}` is a unit and lacks the role unit_key",
                f"Add `{unit.column}: {{role: unit_key}}` to its columns.",
            )
    for column in table.columns:
        _check_column(table, column, unit_columns, (*where, "columns", column.name))
    names = {column.name.casefold() for column in table.columns}
    for item in table.derived:
        if item.name.casefold() in names:
            raise _contradiction(
                (*where, "derived", item.name),
                f"`{item.name}` is a column and a derived measure at once",
                "Give the derived measure a name of its own.",
            )


def _check_column(table: Table, column: Column, unit_columns: set[str], at: _At) -> None:
    alone = next((role for role in _ALONE if column.has(role)), None)
    if alone is not None and len(column.roles) > 1:
        raise _contradiction(
            at, f"`{column.name}` is {alone} and more", f"Keep the role {alone} by itself."
        )
    if column.has(Role.UNIT_KEY) and column.name not in unit_columns:
        raise _contradiction(
            at,
            f"`{column.name}` is a unit_key that `units` of `{table.name}` does not name",
            "Name it under `units` with its domain, or give it the role hidden.",
        )
    if column.grain is not None and (column.grid is not None or column.has(Role.MEASURE)):
        raise _contradiction(
            at,
            f"`{column.name}` has a grain, which is for dates, and a grid or the role "
            "measure, which are for numbers",
            "Keep the one that fits its type.",
        )
    if column.values_public and not column.has(Role.DIMENSION):
        raise _contradiction(
            at,
            f"the values of `{column.name}` are public, but it is no dimension",
            "Give it the role dimension, or drop `values: public`.",
        )
    if column.values_public and column.sensitive:
        raise _contradiction(
            at,
            f"`{column.name}` is sensitive and its values are public",
            "Decide for one of the two.",
        )


def _check_aggregate(rule: AggregateRule, at: _At) -> None:
    if not rule.aggregates:
        raise _contradiction(
            at, "an aggregate rule admits no aggregate", "List at least count."
        )
    if rule.mode is Mode.DP and rule.budget is None:
        raise _contradiction(
            at, "a rule of mode dp has no budget", "Add `budget:` with rho_total and delta."
        )


def subset_table(policy: Policy, rule: SubsetRule) -> Table | None:
    """Return the one protected table that has every column of `rule`, or None."""
    wanted = set(rule.columns)
    fitting = [
        table
        for table in policy.tables
        if table.is_protected and wanted <= {column.name for column in table.columns}
    ]
    return fitting[0] if len(fitting) == 1 else None


def _check_subset(policy: Policy, rule: SubsetRule, at: _At) -> None:
    table = subset_table(policy, rule)
    if table is None:
        raise _contradiction(
            (*at, "columns"),
            "the columns of a subset must all stand in exactly one protected table",
            "Check their spelling against the table's columns.",
        )
    columns = {column.name: column for column in table.columns}
    delivered, pseudonymised = set(rule.columns), set(rule.pseudonymise)
    for name in rule.columns:
        column = columns[name]
        if column.has(Role.HIDDEN):
            raise _contradiction(
                (*at, "columns"),
                f"the subset delivers `{name}`, which is hidden",
                "Leave it out, or give it another role.",
            )
        if column.has(Role.UNIT_KEY) and name not in pseudonymised:
            raise _contradiction(
                (*at, "columns"),
                f"the subset delivers the unit key `{name}` in clear",
                f"Add `{name}` to `pseudonymise`, or leave it out.",
            )
    for name in rule.pseudonymise:
        if name not in delivered:
            raise _contradiction(
                (*at, "pseudonymise"),
                f"`{name}` is to be pseudonymised but not delivered",
                "Add it to the columns, or drop it here.",
            )
    if rule.label is not None and rule.label not in rule.columns:
        raise _contradiction(
            (*at, "label"),
            f"the label `{rule.label}` is not among the subset's columns",
            "Add it to the columns.",
        )
