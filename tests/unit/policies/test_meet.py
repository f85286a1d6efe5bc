"""combine: a join allows only what each of its policies allows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.codec import dump_policy, load_policy
from policies.decision import Request, Verdict, decide
from policies.document import (
    Aggregate,
    AggregateRule,
    Dominance,
    DpBudget,
    Mode,
    Policy,
    Table,
)
from policies.errors import Contradiction, NothingRemains
from policies.meet import combine
from policies.strictness import rule_covers
from tests.unit.policies.policy_values import (
    aggregate_rules,
    budgets,
    example,
    honest_shapes,
    shapes,
    tables,
)

P = "official-statistics"


@st.composite
def serving(draw: st.DrawFn, table: str) -> Policy:
    """A policy of one table with a rule for P."""
    rule = draw(aggregate_rules((P, "other")) | aggregate_rules((P,)))
    return Policy((draw(tables(table)),), (rule,))


def policy(table: str = "t", **limits: object) -> Policy:
    rule = AggregateRule((P,), frozenset({Aggregate.COUNT, Aggregate.SUM}), 10)
    return Policy((Table(table, public=True),), (replace(rule, **limits),))  # type: ignore[arg-type]


def test_combine_takes_the_strictest_of_each_limit() -> None:
    budget = DpBudget(Decimal("0.5"), Decimal("0.1"), Decimal("1e-6"), 4, 9)
    other = DpBudget(Decimal("0.4"), Decimal("0.2"), Decimal("1e-7"), 5, 8)
    a = policy(
        "a", mode=Mode.DP, budget=budget, min_units=5, purposes=(P, "x", "y"),
        dominance=Dominance(2, Decimal("0.9"), Decimal(5)), max_queries_per_day=20,
    )  # fmt: skip
    b = policy(
        "b", mode=Mode.DP, budget=other, min_units=12, purposes=("y", P),
        dominance=Dominance(2, Decimal("0.8"), Decimal(4)),
        aggregates=frozenset({Aggregate.SUM, Aggregate.AVG}),
    )  # fmt: skip

    rule = combine([a, b], P).aggregate_rules[0]

    assert rule == AggregateRule(
        purposes=(P, "y"),
        aggregates=frozenset({Aggregate.SUM}),
        min_units=12,
        mode=Mode.DP,
        dominance=Dominance(2, Decimal("0.8"), Decimal(5)),
        max_queries_per_day=20,
        budget=DpBudget(Decimal("0.4"), Decimal("0.1"), Decimal("1e-7"), 4, 8),
    )


@given(budget=budgets)
def test_combine_dp_wins_over_safe_with_its_budget(budget: DpBudget) -> None:
    noisy, safe = policy("a", mode=Mode.DP, budget=budget), policy("b")

    for both in ([noisy, safe], [safe, noisy]):
        rule = combine(both, P).aggregate_rules[0]
        assert (rule.mode, rule.budget) == (Mode.DP, budget)


def met(a: Policy, b: Policy) -> Policy:
    try:
        return combine([a, b], P)
    except NothingRemains:
        assume(False)
        raise


@given(a=serving("a"), b=serving("b"))
def test_combine_is_as_strict_as_each_and_in_any_order(a: Policy, b: Policy) -> None:
    rule, swapped = met(a, b).aggregate_rules[0], met(b, a).aggregate_rules[0]

    for other in (a, b):
        # A budget that only a safe rule wrote down joins where the mode becomes dp.
        assert rule_covers(rule, other.aggregate_rules[0])
    assert rule_covers(rule, swapped)
    assert rule_covers(swapped, rule)


@given(a=serving("a"), b=serving("b"))
def test_combine_is_a_policy_that_loads(a: Policy, b: Policy) -> None:
    both = met(a, b)

    assert [table.name for table in both.tables] == ["a", "b"]
    assert load_policy(dump_policy(both)) == both


@given(a=serving("a"), b=serving("b"), data=st.data())
def test_combine_never_allows_what_one_refuses(
    a: Policy, b: Policy, data: st.DataObject
) -> None:
    both = met(a, b)
    shape = data.draw(shapes(a) | honest_shapes(a))
    own = decide(a, Request(P), shape)
    joined = decide(both, Request(P), shape)

    if own.verdict is Verdict.REFUSE:
        assert joined.verdict is Verdict.REFUSE
    if joined.verdict is Verdict.ALLOW:
        assert own.verdict is Verdict.ALLOW


@given(a=serving("a"))
def test_combine_of_one_is_its_own_rule(a: Policy) -> None:
    assert combine([a], P) == Policy(a.tables, a.aggregate_rules)
    assert combine([a, a], P) == combine([a], P)


def test_combine_without_policies_is_refused() -> None:
    with pytest.raises(NothingRemains):
        combine([], P)


def test_combine_purpose_that_one_does_not_serve_names_its_tables() -> None:
    with pytest.raises(NothingRemains) as caught:
        combine([policy("a"), policy("b", purposes=("other",))], P)

    assert "`b`" in caught.value.message
    assert caught.value.code == "policy_nothing_remains"
    assert caught.value.hint


def test_combine_public_table_without_rule_is_not_queryable() -> None:
    with pytest.raises(NothingRemains):
        combine([policy("a"), Policy((Table("b", public=True),))], P)


def test_combine_no_common_aggregate_names_both() -> None:
    with pytest.raises(NothingRemains) as caught:
        combine([policy("a"), policy("b", aggregates=frozenset({Aggregate.AVG}))], P)

    assert "count, sum" in caught.value.message
    assert "avg" in caught.value.message


@pytest.mark.parametrize("name", ["a", "A"])
def test_combine_table_described_twice_is_refused(name: str) -> None:
    other = Policy((Table(name, requester=True),), policy().rules)

    with pytest.raises(Contradiction) as caught:
        combine([policy("a"), other], P)

    assert caught.value.path == f"tables.{name}"


def test_combine_same_reference_table_in_both_stands_once() -> None:
    shared = Table("cities", public=True)
    a, b = policy("a"), policy("b")

    both = combine(
        [replace(a, tables=(*a.tables, shared)), replace(b, tables=(*b.tables, shared))], P
    )

    assert [table.name for table in both.tables] == ["a", "b", "cities"]


def test_combine_leaves_subsets_out() -> None:
    assert combine([example()], P).subset_rules == ()
