"""Which of two limits or policies protects more: the order that joins and floors use.

`a` covers `b` when whatever `b` withholds or refuses, `a` does too. The order is partial:
of two limits neither may cover the other.
"""

from __future__ import annotations

from decimal import Decimal

from policies.checks import subset_table
from policies.decision import rule_for
from policies.document import AggregateRule, Dominance, Mode, Policy, SubsetRule, Table
from policies.resolution import column_covers, derived_cover, same_units


def dominance_covers(a: Dominance, b: Dominance) -> bool:
    """Whether every group that `b` withholds for dominance is withheld by `a` too."""
    return _largest_cover(a, b) and _p_covers(a, b)


def _largest_cover(a: Dominance, b: Dominance) -> bool:
    # (n, k) withholds where the n largest make up k or more. With b's n the larger, b
    # withholds while a's fewer largest may hold as little as a.n / b.n of b's share (when
    # the n largest are equal); with a's n the larger, they hold at least b's share.
    if b.n is None or b.share is None:
        return True
    if a.n is None or a.share is None:
        return False
    return a.share * b.n <= b.share * min(a.n, b.n)


def _p_covers(a: Dominance, b: Dominance) -> bool:
    # p% withholds where the rest after the two largest is below p % of the largest.
    return b.p_percent is None or (a.p_percent is not None and a.p_percent >= b.p_percent)


def strictest_dominance(a: Dominance, b: Dominance) -> Dominance:
    """Return limits that cover both.

    Of (n, k) pairs where one covers the other, that one; else the larger n with the
    smaller share. The larger n is the stricter one: at one share, the n + 1 largest reach
    it wherever the n largest do. One pair cannot say "either", so the result may withhold
    more than the two together, never less.
    """
    if _largest_cover(a, b):
        n, share = a.n, a.share
    elif _largest_cover(b, a):
        n, share = b.n, b.share
    else:
        n = max(x for x in (a.n, b.n) if x is not None)
        share = min(x for x in (a.share, b.share) if x is not None)
    ps = [p for p in (a.p_percent, b.p_percent) if p is not None]
    return Dominance(n, share, max(ps, default=None))


def rule_covers(a: AggregateRule, b: AggregateRule) -> bool:
    """Whether whatever `a` lets out for some purpose, `b` lets out for it too."""
    return set(a.purposes) <= set(b.purposes) and limits_cover(a, b)


def limits_cover(a: AggregateRule, b: AggregateRule) -> bool:
    """Whether whatever `a` lets out, `b` lets out too, whatever their purposes."""
    return (
        a.aggregates <= b.aggregates
        and a.min_units >= b.min_units
        and (a.mode is Mode.DP or b.mode is Mode.SAFE)
        and dominance_covers(a.dominance, b.dominance)
        and a.approval.reviewers >= b.approval.reviewers
        and caps_cover(a.max_queries_per_day, b.max_queries_per_day)
        and budget_covers(a, b)
    )


def caps_cover(a: int | None, b: int | None) -> bool:
    """Whether a cap of `a` lets no more through than one of `b`; None: no cap."""
    return b is None or (a is not None and a <= b)


def _spending(rule: AggregateRule) -> tuple[Decimal | int, ...]:
    budget = rule.budget
    if budget is None:
        return ()
    return (
        budget.rho_total,
        budget.rho_per_consumer,
        budget.delta,
        budget.max_groups_per_unit,
        budget.max_rows_per_unit_group,
    )


def budget_covers(a: AggregateRule, b: AggregateRule) -> bool:
    """Whether `a` spends no more than `b` may."""
    # A rule of mode safe spends nothing, whatever budget it writes down.
    if b.mode is Mode.SAFE:
        return True
    limits = _spending(b)
    return len(_spending(a)) >= len(limits) and all(
        x <= y for x, y in zip(_spending(a), limits, strict=False)
    )


def subset_covers(a: SubsetRule, b: SubsetRule) -> bool:
    """Whether every row that `a` lets out, `b` lets out on terms that are no harder."""
    return (
        set(a.columns) <= set(b.columns)
        and set(b.pseudonymise) & set(a.columns) <= set(a.pseudonymise)
        and (a.row_filter == b.row_filter or b.row_filter is None)
        and a.max_rows <= b.max_rows
        and a.licence == b.licence
        and (not b.purposes or (bool(a.purposes) and set(a.purposes) <= set(b.purposes)))
        and a.fingerprint >= b.fingerprint
        and a.approval.reviewers >= b.approval.reviewers
        and caps_cover(a.expires_after_days, b.expires_after_days)
    )


def table_covers(a: Policy, b: Policy, name: str) -> bool:
    """Whether `a` lets nothing be learned of the table `name` that `b` does not."""
    mine, other = a.table(name), b.table(name)
    if mine is None:
        return True
    if other is None or mine.requester != other.requester:
        return False
    if mine.public or other.public:
        return other.public and (mine.public or not joins_units(a, mine))
    return (
        same_units(mine, other)
        and all(column_covers(col, other.column(col.name)) for col in mine.columns)
        and derived_cover(mine, other)
    )


def joins_units(policy: Policy, table: Table) -> bool:
    """Whether another protected table may be joined with `table` on units.

    With a public table it may not: that would pick out the units which it lists.
    """
    domains = {unit.domain for unit in table.units}
    return any(
        unit.domain in domains
        for other in policy.tables
        if other.name != table.name
        for unit in other.units
    )


def policy_covers(a: Policy, b: Policy) -> bool:
    """Whether `a` is at least as strict as `b`: whatever it lets out, `b` lets out too."""
    return (
        all(table_covers(a, b, table.name) for table in a.tables)
        and all(
            (other := rule_for(b, purpose)) is not None and limits_cover(rule, other)
            for rule in a.aggregate_rules
            for purpose in rule.purposes
        )
        and all(
            any(
                subset_covers(rule, other)
                for other in b.subset_rules
                if subset_table_name(b, other) == subset_table_name(a, rule)
            )
            for rule in a.subset_rules
        )
    )


def subset_table_name(policy: Policy, rule: SubsetRule) -> str:
    """The table whose rows a subset delivers; empty where no one table has its columns."""
    table = subset_table(policy, rule)
    return "" if table is None else table.name
