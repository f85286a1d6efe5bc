"""combine: the one policy that holds where a query joins tables of several policies.

Joins take the strictest (DESIGN section 5): differential privacy over safe; the purposes
and aggregates that all allow; the larger min_units, reviewers and p_percent; the smaller
share, budgets and caps. See `policies.strictness` on n.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from policies.decision import rule_for
from policies.document import (
    Aggregate,
    AggregateRule,
    Approval,
    DpBudget,
    Mode,
    Policy,
    Table,
)
from policies.errors import Contradiction, NothingRemains
from policies.strictness import strictest_dominance


def combine(policies: Sequence[Policy], purpose: str) -> Policy:
    """Return a policy over all tables that allows only what each of `policies` allows.

    Its one rule is for aggregates and serves `purpose`. Subset rules are left out: rows
    leave from one table under its own policy, never from a join. Requires at least one
    policy. Raises NothingRemains where one of them has no rule for `purpose` or no
    aggregate is common to all, Contradiction where two describe a table differently.
    """
    if not policies:
        raise NothingRemains(
            "there is no policy to combine", hint="Name at least one dataset."
        )
    rules = [_rule(policy, purpose) for policy in policies]
    return Policy(_tables(policies), (reduce(_meet, rules),))


def _rule(policy: Policy, purpose: str) -> AggregateRule:
    rule = rule_for(policy, purpose)
    if rule is None:
        names = ", ".join(f"`{table.name}`" for table in policy.tables)
        raise NothingRemains(
            f"the policy of {names} has no aggregate rule for the purpose "
            f"`{purpose[:60]}`, so a query that joins it has none either",
            path="rules",
            hint="Ask for a purpose that each of the joined datasets serves.",
        )
    return rule


def _tables(policies: Sequence[Policy]) -> tuple[Table, ...]:
    found: dict[str, Table] = {}
    for policy in policies:
        for table in policy.tables:
            key = table.name.casefold()
            if found.setdefault(key, table) != table:
                raise Contradiction(
                    f"two policies describe the table `{table.name}` differently",
                    path=f"tables.{table.name}",
                    hint="Ask under one version of its policy, or of one dataset only.",
                )
    return tuple(sorted(found.values(), key=lambda table: table.name))


def _meet(a: AggregateRule, b: AggregateRule) -> AggregateRule:
    aggregates = a.aggregates & b.aggregates
    if not aggregates:
        raise NothingRemains(
            f"the joined policies have no aggregate in common: one admits {_words(a)}, "
            f"another {_words(b)}",
            path="rules",
            hint="Ask each dataset on its own.",
        )
    return AggregateRule(
        purposes=tuple(purpose for purpose in a.purposes if purpose in b.purposes),
        aggregates=aggregates,
        min_units=max(a.min_units, b.min_units),
        mode=Mode.DP if Mode.DP in (a.mode, b.mode) else Mode.SAFE,
        dominance=strictest_dominance(a.dominance, b.dominance),
        approval=Approval(max(a.approval.reviewers, b.approval.reviewers)),
        max_queries_per_day=_smaller(a.max_queries_per_day, b.max_queries_per_day),
        budget=_budget(a, b),
    )


def _words(rule: AggregateRule) -> str:
    return ", ".join(name for name in Aggregate if name in rule.aggregates)


def _smaller(a: int | None, b: int | None) -> int | None:
    return min((cap for cap in (a, b) if cap is not None), default=None)


def _budget(a: AggregateRule, b: AggregateRule) -> DpBudget | None:
    # A budget that a safe rule writes down binds too: smaller only ever protects more.
    if a.budget is None or b.budget is None:
        return a.budget or b.budget
    return DpBudget(
        rho_total=min(a.budget.rho_total, b.budget.rho_total),
        rho_per_consumer=min(a.budget.rho_per_consumer, b.budget.rho_per_consumer),
        delta=min(a.budget.delta, b.budget.delta),
        max_groups_per_unit=min(a.budget.max_groups_per_unit, b.budget.max_groups_per_unit),
        max_rows_per_unit_group=min(
            a.budget.max_rows_per_unit_group, b.budget.max_rows_per_unit_group
        ),
    )
