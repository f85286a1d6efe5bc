"""Which of two limits protects more: the one order that joins, floors and tests use.

`a` covers `b` when whatever `b` withholds or refuses, `a` does too. The order is partial:
of two limits neither may cover the other.
"""

from __future__ import annotations

from decimal import Decimal

from policies.document import AggregateRule, Dominance, Mode


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
    return (
        set(a.purposes) <= set(b.purposes)
        and a.aggregates <= b.aggregates
        and a.min_units >= b.min_units
        and (a.mode is Mode.DP or b.mode is Mode.SAFE)
        and dominance_covers(a.dominance, b.dominance)
        and a.approval.reviewers >= b.approval.reviewers
        and _capped(a.max_queries_per_day, b.max_queries_per_day)
        and _budget_covers(a, b)
    )


def _capped(a: int | None, b: int | None) -> bool:
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


def _budget_covers(a: AggregateRule, b: AggregateRule) -> bool:
    # A rule of mode safe spends nothing, whatever budget it writes down.
    if b.mode is Mode.SAFE:
        return True
    limits = _spending(b)
    return len(_spending(a)) >= len(limits) and all(
        x <= y for x, y in zip(_spending(a), limits, strict=False)
    )
