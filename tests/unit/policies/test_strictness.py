"""The order of limits, checked against the rules of dominance on real groups."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.document import (
    Aggregate,
    AggregateRule,
    Approval,
    Dominance,
    DpBudget,
    Mode,
)
from policies.strictness import dominance_covers, rule_covers, strictest_dominance
from tests.unit.policies.policy_values import aggregate_rules, dominances

groups = st.lists(st.integers(0, 50), min_size=1, max_size=8).map(
    lambda values: sorted(values, reverse=True)
)


def withholds(limits: Dominance, values: list[int]) -> bool:
    """The two rules as DESIGN states them, the boundary unsafe."""
    total = sum(values)
    n, share, p = limits.n, limits.share, limits.p_percent
    largest = n is not None and share is not None and sum(values[:n]) >= share * total
    return largest or (p is not None and sum(values[2:]) * 100 <= p * values[0])


@given(a=dominances, b=dominances, values=groups)
def test_dominance_covers_means_withheld_wherever_the_other_withholds(
    a: Dominance, b: Dominance, values: list[int]
) -> None:
    if dominance_covers(a, b) and withholds(b, values):
        assert withholds(a, values)


@given(a=dominances, b=dominances, values=groups)
def test_strictest_dominance_withholds_what_either_withholds(
    a: Dominance, b: Dominance, values: list[int]
) -> None:
    strictest = strictest_dominance(a, b)

    assert dominance_covers(strictest, a)
    assert dominance_covers(strictest, b)
    if withholds(a, values) or withholds(b, values):
        assert withholds(strictest, values)


@given(a=dominances, b=dominances)
def test_strictest_dominance_order_of_arguments_does_not_matter(
    a: Dominance, b: Dominance
) -> None:
    one, other = strictest_dominance(a, b), strictest_dominance(b, a)

    assert dominance_covers(one, other)
    assert dominance_covers(other, one)


def pair(n: int, share: str) -> Dominance:
    return Dominance(n, Decimal(share))


@pytest.mark.parametrize(
    ("a", "b", "strictest"),
    [
        (Dominance(), Dominance(), Dominance()),
        (Dominance(), pair(2, "0.9"), pair(2, "0.9")),
        (pair(2, "0.9"), pair(1, "0.9"), pair(2, "0.9")),  # at one share the larger n
        (pair(1, "0.9"), pair(1, "0.5"), pair(1, "0.5")),
        (pair(1, "0.3"), pair(2, "0.9"), pair(1, "0.3")),  # 2 with 0.9: the first has 0.45
        (pair(1, "0.5"), pair(3, "0.8"), pair(3, "0.5")),  # neither covers the other
        (
            Dominance(p_percent=Decimal(10)),
            Dominance(p_percent=Decimal(20)),
            Dominance(p_percent=Decimal(20)),
        ),
    ],
)
def test_strictest_dominance_known_answers(
    a: Dominance, b: Dominance, strictest: Dominance
) -> None:
    assert strictest_dominance(a, b) == strictest


def test_dominance_covers_is_exact_at_its_boundary() -> None:
    assert dominance_covers(pair(1, "0.45"), pair(2, "0.90"))
    assert not dominance_covers(pair(1, "0.46"), pair(2, "0.90"))
    assert withholds(pair(2, "0.90"), [46, 45, 9])
    assert not withholds(pair(1, "0.47"), [46, 45, 9])


RULE = AggregateRule(
    purposes=("p", "q"),
    aggregates=frozenset({Aggregate.COUNT, Aggregate.SUM}),
    min_units=10,
    mode=Mode.DP,
    dominance=Dominance(2, Decimal("0.9"), Decimal(10)),
    approval=Approval(1),
    max_queries_per_day=10,
    budget=DpBudget(Decimal("0.5"), Decimal("0.1"), Decimal("1e-6"), 4, 4),
)
BUDGET = RULE.budget
assert BUDGET is not None
LOOSER = {
    "purposes": replace(RULE, purposes=("p", "q", "r")),
    "aggregates": replace(RULE, aggregates=RULE.aggregates | {Aggregate.AVG}),
    "min_units": replace(RULE, min_units=9),
    "mode": replace(RULE, mode=Mode.SAFE),
    "share": replace(RULE, dominance=replace(RULE.dominance, share=Decimal("0.91"))),
    "p_percent": replace(RULE, dominance=replace(RULE.dominance, p_percent=Decimal(9))),
    "no p_percent": replace(RULE, dominance=replace(RULE.dominance, p_percent=None)),
    "no pair": replace(RULE, dominance=Dominance(p_percent=Decimal(10))),
    "reviewers": replace(RULE, approval=Approval(0)),
    "cap": replace(RULE, max_queries_per_day=11),
    "no cap": replace(RULE, max_queries_per_day=None),
    "rho": replace(RULE, budget=replace(BUDGET, rho_total=Decimal("0.6"))),
    "rho of one": replace(RULE, budget=replace(BUDGET, rho_per_consumer=Decimal("0.2"))),
    "delta": replace(RULE, budget=replace(BUDGET, delta=Decimal("1e-5"))),
    "groups": replace(RULE, budget=replace(BUDGET, max_groups_per_unit=5)),
    "rows": replace(RULE, budget=replace(BUDGET, max_rows_per_unit_group=5)),
    "no budget": replace(RULE, budget=None),
}


@pytest.mark.parametrize("case", LOOSER)
def test_rule_covers_sees_each_limit_that_is_looser(case: str) -> None:
    assert not rule_covers(LOOSER[case], RULE)


@given(rule=aggregate_rules(("p",)))
def test_rule_covers_itself(rule: AggregateRule) -> None:
    assert rule_covers(rule, rule)
