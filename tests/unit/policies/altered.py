"""Policies that lie close to one another, so that laws on their order bite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from hypothesis import strategies as st

from policies.codec import dump_policy, load_policy
from policies.document import (
    Aggregate,
    AggregateRule,
    Approval,
    Column,
    Grain,
    Policy,
    Role,
    Rule,
    SubsetRule,
    Table,
)
from policies.errors import PolicyError
from tests.unit.policies.policy_values import budgets, dominances, policies, purposes

Change = Callable[[Policy, st.DataObject], Policy]


def _column(draw: st.DrawFn, column: Column) -> Column:
    if column.has(Role.UNIT_KEY):
        return column
    match draw(st.integers(0, 6)):
        case 0:
            return Column(column.name, frozenset({Role.HIDDEN}))
        case 1:
            return replace(column, sensitive=True, values_public=False)
        case 2 if column.has(Role.MEASURE) or column.has(Role.DIMENSION):
            return replace(column, roles=column.roles ^ {Role.MEASURE, Role.DIMENSION})
        case 3 if column.grain is not None:
            return replace(column, grain=draw(st.none() | st.sampled_from(Grain)))
        case 4:
            grid = None if column.grid is None else column.grid * draw(st.integers(1, 3))
            return replace(column, grid=grid)
        case 5 if column.has(Role.DIMENSION):
            return replace(column, grid=Decimal(draw(st.sampled_from([2, 4, 5]))))
        case _:
            return replace(column, scale=draw(st.none() | st.integers(0, 3)))


def _table(draw: st.DrawFn, table: Table) -> Table:
    if not table.columns or draw(st.integers(0, 12)) == 0:
        return Table(table.name, public=True)
    chosen = draw(st.sampled_from(table.columns))
    columns = tuple(
        _column(draw, column) if column == chosen else column for column in table.columns
    )
    return replace(table, columns=columns, derived=table.derived[draw(st.integers(0, 1)) :])


def _aggregate(draw: st.DrawFn, rule: AggregateRule) -> AggregateRule:
    match draw(st.integers(0, 6)):
        case 0:
            return replace(rule, min_units=rule.min_units + draw(st.integers(-3, 3)))
        case 1:
            return replace(rule, aggregates=rule.aggregates ^ {Aggregate.COUNT})
        case 2:
            return replace(rule, dominance=draw(dominances))
        case 3:
            return replace(rule, approval=Approval(draw(st.integers(0, 2))))
        case 4:
            return replace(rule, max_queries_per_day=draw(st.none() | st.integers(1, 9)))
        case 5:
            return replace(rule, budget=draw(budgets))
        case _:
            return replace(rule, purposes=rule.purposes[1:])


def _subset(draw: st.DrawFn, rule: SubsetRule) -> SubsetRule:
    match draw(st.integers(0, 5)):
        case 0:
            return replace(rule, columns=rule.columns[1:], label=None)
        case 1:
            return replace(rule, max_rows=draw(st.integers(1, 9)))
        case 2:
            return replace(rule, row_filter=None)
        case 3:
            serves = tuple(draw(st.lists(purposes, unique=True)))
            return replace(rule, purposes=serves)
        case 4:
            return replace(rule, expires_after_days=None, fingerprint=not rule.fingerprint)
        case _:
            return replace(rule, approval=Approval(draw(st.integers(0, 2))))


@st.composite
def altered(draw: st.DrawFn, policy: Policy) -> Policy:
    """`policy` with a few things changed, so that it still loads."""
    for _ in range(draw(st.integers(0, 3))):
        tables = list(policy.tables)
        rules: list[Rule] = list(policy.rules)
        if draw(st.booleans()) and rules:
            at = draw(st.integers(0, len(rules) - 1))
            rule = rules[at]
            rules[at] = (
                _aggregate(draw, rule)
                if isinstance(rule, AggregateRule)
                else _subset(draw, rule)
            )
            if draw(st.integers(0, 7)) == 0:
                del rules[at]
        else:
            at = draw(st.integers(0, len(tables) - 1))
            tables[at] = _table(draw, tables[at])
        changed = Policy(tuple(tables), tuple(rules))
        try:
            policy = load_policy(dump_policy(changed))
        except PolicyError:
            continue
    return policy


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies, most often one made from the other."""
    first = draw(policies())
    second = policies() if draw(st.integers(0, 5)) == 0 else altered(first)
    return first, draw(second)
