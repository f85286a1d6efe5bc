"""The effective policy: at least as strict as each part, whatever the order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.checks import subset_table
from policies.codec import dump_policy, load_policy
from policies.document import Dominance, Policy
from policies.effective import effective_aggregates, effective_subset
from policies.errors import NothingRemains
from policies.meet import combine
from policies.strictness import policy_covers, rule_covers, subset_covers
from tests.unit.policies.policy_values import aggregate_rules, example, policies, tables

P = "official-statistics"


@st.composite
def serving(draw: st.DrawFn, table: str) -> Policy:
    rule = draw(aggregate_rules((P, "other")) | aggregate_rules((P,)))
    return Policy((draw(tables(table)),), (rule,))


def met(*parts: Policy) -> Policy:
    try:
        return effective_aggregates(parts, P)
    except NothingRemains:
        assume(False)
        raise


@given(a=serving("a"), b=serving("b"))
def test_effective_aggregates_is_as_strict_as_each_part(a: Policy, b: Policy) -> None:
    both = met(a, b)

    for part in (a, b):
        own = effective_aggregates([part], P)
        assert rule_covers(both.aggregate_rules[0], own.aggregate_rules[0])
        assert policy_covers(own, part)


@given(a=serving("a"), b=serving("b"))
def test_effective_aggregates_is_commutative_in_what_it_lets_out(
    a: Policy, b: Policy
) -> None:
    there, back = met(a, b), met(b, a)

    assert policy_covers(there, back)
    assert policy_covers(back, there)


def _without_pairs(policy: Policy) -> Policy:
    # One (n, k) pair cannot say "either of two": meeting three of which none covers another
    # may end in different pairs, each of them strict enough (see `strictest_dominance`).
    rules = tuple(
        replace(rule, dominance=Dominance(p_percent=rule.dominance.p_percent))
        for rule in policy.aggregate_rules
    )
    return replace(policy, rules=rules)


@given(a=serving("a"), b=serving("b"), c=serving("c"))
def test_effective_aggregates_is_associative(a: Policy, b: Policy, c: Policy) -> None:
    a, b, c = map(_without_pairs, (a, b, c))
    whole = met(a, b, c)

    assert met(met(a, b), c) == whole
    assert met(a, met(b, c)) == whole


@given(a=serving("a"), b=serving("b"), c=serving("c"))
def test_effective_aggregates_grouped_otherwise_is_still_as_strict_as_each(
    a: Policy, b: Policy, c: Policy
) -> None:
    grouped = met(a, met(b, c))

    for part in (a, b, c):
        own = effective_aggregates([part], P).aggregate_rules[0]
        assert rule_covers(grouped.aggregate_rules[0], own)


@given(a=serving("a"))
def test_effective_aggregates_is_idempotent(a: Policy) -> None:
    once = effective_aggregates([a], P)

    assert effective_aggregates([a, a], P) == once
    assert effective_aggregates([once], P) == once
    assert combine([once], P) == once
    assert load_policy(dump_policy(once)) == once


def test_effective_subset_is_the_rule_for_one_purpose_and_its_columns() -> None:
    whole = example()

    found = effective_subset(
        whole, rule_index=0, purpose="model-training", columns=["age", "id"]
    )

    (rule,) = found.subset_rules
    assert rule.columns == ("id", "age")
    assert rule.label is None
    assert rule.pseudonymise == ("id",)
    assert subset_covers(rule, whole.subset_rules[0])
    assert load_policy(dump_policy(found)) == found


@given(policy=policies(), data=st.data())
def test_effective_subset_is_as_strict_as_its_policy(
    policy: Policy, data: st.DataObject
) -> None:
    # Most drawn policies have no subset rule: drawing again for each would be all the work.
    policy = policy if policy.subset_rules else example()
    rule = policy.subset_rules[0]
    purpose = data.draw(st.sampled_from(rule.purposes or (P,)))
    columns = data.draw(st.lists(st.sampled_from(rule.columns), unique=True))

    found = effective_subset(policy, rule_index=0, purpose=purpose, columns=columns)

    assert policy_covers(found, policy)
    assert subset_table(found, found.subset_rules[0]) is not None


@pytest.mark.parametrize(("index", "columns"), [(1, []), (-1, []), (0, ["city"])])
def test_effective_subset_of_nothing_is_refused(index: int, columns: list[str]) -> None:
    with pytest.raises(NothingRemains):
        effective_subset(example(), rule_index=index, purpose=P, columns=columns)
