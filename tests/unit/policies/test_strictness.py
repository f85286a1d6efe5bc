"""The order of limits, checked against the rules of dominance on real groups."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.codec import load_policy
from policies.decision import Request, Verdict, decide
from policies.document import (
    Aggregate,
    AggregateRule,
    Approval,
    Dominance,
    DpBudget,
    Mode,
    Policy,
    SubsetRule,
)
from policies.shape import QueryShape
from policies.strictness import (
    dominance_covers,
    policy_covers,
    rule_covers,
    strictest_dominance,
    subset_covers,
    table_covers,
)
from tests.unit.policies.altered import altered, pairs
from tests.unit.policies.policy_values import (
    aggregate_rules,
    dominances,
    honest_shapes,
    policies,
    shapes,
)

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


@given(policy=policies())
def test_policy_covers_itself(policy: Policy) -> None:
    assert policy_covers(policy, policy)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Policy, Policy, Request, QueryShape]:
    """Two policies near one another, both with rules, and a query."""
    first = draw(policies())
    rule = draw(aggregate_rules((PURPOSE,)))
    light = replace(
        rule, mode=Mode.SAFE, approval=Approval(draw(st.integers(0, 1))), budget=None
    )
    first = replace(first, rules=(light,))
    second = draw(altered(first))
    asker = draw(st.sampled_from([first, second]))
    shape = draw(shapes(asker) | honest_shapes(first))
    return first, second, Request(PURPOSE), shape


PURPOSE = "official-statistics"
RANK = {Verdict.REFUSE: 0, Verdict.REVIEW: 1, Verdict.ALLOW: 2}


@given(case=asked())
def test_policy_covers_means_that_nothing_more_is_allowed(
    case: tuple[Policy, Policy, Request, QueryShape],
) -> None:
    """A stricter policy never allows more: whatever is asked, of whichever column."""
    first, second, request, shape = case

    for strict, loose in ((first, second), (second, first)):
        if policy_covers(strict, loose):
            ours, theirs = decide(strict, request, shape), decide(loose, request, shape)
            assert RANK[ours.verdict] <= RANK[theirs.verdict]


@given(pair=pairs(), third=st.data())
def test_policy_covers_is_transitive(
    pair: tuple[Policy, Policy], third: st.DataObject
) -> None:
    a, b = pair
    c = third.draw(altered(b))

    if policy_covers(a, b) and policy_covers(b, c):
        assert policy_covers(a, c)


SUBSET = SubsetRule(
    columns=("a", "b"),
    licence="CC0-1.0",
    max_rows=10,
    row_filter="a > 1",
    purposes=("p",),
    pseudonymise=("a",),
    fingerprint=True,
    approval=Approval(1),
    expires_after_days=9,
)
WIDER: dict[str, dict[str, Any]] = {
    "columns": {"columns": ("a", "b", "c")},
    "in clear": {"pseudonymise": ()},
    "all rows": {"row_filter": None},
    "other rows": {"row_filter": "a > 0"},
    "more rows": {"max_rows": 11},
    "other licence": {"licence": "CC-BY-4.0"},
    "any purpose": {"purposes": ()},
    "other purpose": {"purposes": ("p", "q")},
    "unmarked": {"fingerprint": False},
    "unseen": {"approval": Approval(0)},
    "longer": {"expires_after_days": None},
}


@pytest.mark.parametrize("case", WIDER)
def test_subset_covers_sees_each_term_that_is_looser(case: str) -> None:
    assert not subset_covers(replace(SUBSET, **WIDER[case]), SUBSET)


def test_subset_covers_fewer_columns_for_one_purpose() -> None:
    narrow = replace(SUBSET, columns=("b",), pseudonymise=(), max_rows=3)

    assert subset_covers(narrow, SUBSET)
    assert subset_covers(SUBSET, replace(SUBSET, purposes=(), row_filter=None))


@pytest.mark.parametrize(
    ("a", "b", "covers"),
    [
        ("hidden", "hidden", True),
        ("hidden", "measure", True),
        ("measure", "hidden", False),
        ("row_key", "row_key", True),
        ("row_key", "dimension", False),
        ("dimension", "row_key", False),
        ("measure", "measure, grid: 5", True),
        ("measure, grid: 5", "measure", False),
        ("measure, grid: 10", "measure, grid: 5", True),
        ("measure, grid: 5", "measure, grid: 10", False),
        ("measure, grid: 7", "measure, grid: 5", False),
        ("measure, grid: 1e30", "measure, grid: 1e-30", True),
        ("dimension, grid: 5", "dimension", True),
        ("dimension", "dimension, grid: 5", False),
        ("dimension", "label", False),  # a label withholds where all agree
        ("label", "dimension", True),
        ("dimension, grain: year", "dimension, grain: month", True),
        ("dimension, grain: month", "dimension, grain: week", False),
        ("dimension, grain: week", "dimension, grain: month", False),
        ("dimension, grain: week", "dimension, grid: 1", False),
        ("measure, scale: 1", "measure, scale: 2", True),
        ("measure, scale: 2", "measure, scale: 1", False),
        ("measure, scale: 1", "measure", False),
        ("dimension, values: public", "dimension", False),
        ("[dimension, measure]", "dimension", False),
        ("measure, clamp: [0, 1]", "measure", True),
    ],
)
def test_column_covers(a: str, b: str, covers: bool) -> None:  # a table
    text = "{version: 1, tables: {t: {units: row, columns: {c: {role: %s}}}}}"

    strict, loose = load_policy(text % a), load_policy(text % b)

    assert policy_covers(strict, loose) is covers


def test_policy_covers_of_public_and_missing_tables() -> None:
    both, one = (
        load_policy("{version: 1, tables: {a: {public: true}, b: {public: true}}}"),
        load_policy("{version: 1, tables: {a: {public: true}}}"),
    )

    assert table_covers(one, both, "b")
    assert policy_covers(one, both)
    assert not policy_covers(both, one)


def test_policy_covers_reads_rows_of_the_same_table_only() -> None:
    text = (
        "{version: 1, tables: {%s: {units: row, columns: {c: {role: label}}}, "
        "z: {public: true}}, rules: [{kind: subset, columns: [c], licence: CC0-1.0, "
        "max_rows: 5}]}"
    )

    assert not policy_covers(load_policy(text % "a"), load_policy(text % "b"))
