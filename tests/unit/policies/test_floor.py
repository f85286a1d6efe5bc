"""The operator's floor: what is weaker is refused with line, limit and way forward."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.codec import load_policy
from policies.composing import line_numbers
from policies.document import Aggregate, AggregateRule, Approval, Dominance, Mode, Policy
from policies.errors import (
    Contradiction,
    PolicySyntaxError,
    UnknownTerm,
    WeakerThanFloor,
)
from policies.floor import Floor, SubsetFloor, check_floor, floor_faults, load_floor
from policies.strictness import rule_covers
from tests.unit.policies.policy_values import EXAMPLE, example, policies

FLOOR = """\
version: 1
min_units: 5
dominance: {n: 1, share: 0.80, p_percent: 10}
reviewers: 1
aggregates: [count, sum, avg]
purposes: [official-statistics, model-training]
modes: [safe]
max_queries_per_day: 50
budget: {rho_total: 0.5, rho_per_consumer: 0.01, delta: 1.0e-7}
subset: {reviewers: 3, max_rows: 100, licences: [CC-BY-4.0], expires_after_days: 30}
"""


def test_load_floor_reads_every_key() -> None:
    floor = load_floor(FLOOR)

    assert floor.min_units == 5
    assert floor.dominance == Dominance(1, Decimal("0.8"), Decimal(10))
    assert floor.reviewers == 1
    assert floor.aggregates == frozenset({Aggregate.COUNT, Aggregate.SUM, Aggregate.AVG})
    assert floor.purposes == frozenset({"official-statistics", "model-training"})
    assert floor.modes == frozenset({Mode.SAFE})
    assert floor.max_queries_per_day == 50
    assert floor.budget is not None
    assert floor.budget.delta == Decimal("1e-7")
    assert floor.subset == SubsetFloor(3, 100, frozenset({"CC-BY-4.0"}), 30)


@pytest.mark.parametrize("text", ["{}", "version: 1", '{"version": 1}', "subset: {}"])
def test_load_floor_that_demands_nothing_lets_everything_pass(text: str) -> None:
    floor = load_floor(text)

    assert floor == Floor()
    check_floor(example(), floor)


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        ("", PolicySyntaxError, 1),
        ("- min_units", PolicySyntaxError, 1),
        ("min_units: 0", PolicySyntaxError, 1),
        ("reviewers: 21", PolicySyntaxError, 1),
        ("dominance: {n: 1}", PolicySyntaxError, 1),
        ("min_units: 1\nmin_units: 2", PolicySyntaxError, 2),
        ("version: 2", UnknownTerm, 1),
        ("min_unit: 5", UnknownTerm, 1),
        ("version: 1\nmodes: [open]", UnknownTerm, 2),
        ("aggregates: [max]", UnknownTerm, 1),
        ("budget: {max_groups_per_unit: 1}", UnknownTerm, 1),
        ("subset: {rows: 1}", UnknownTerm, 1),
        ("min_units: &a 5", PolicySyntaxError, 1),
    ],
)
def test_load_floor_malformed_names_its_line(
    text: str, error: type[Exception], line: int
) -> None:
    with pytest.raises(error) as caught:
        load_floor(text)

    assert getattr(caught.value, "line", None) == line


# Of the example's rules: 1 is safe, 2 is dp, 3 is a subset.
WEAK = {
    "min_units: 5": ["rules[1].min_units"],
    "dominance: {n: 1, share: 0.90}": ["rules[1].dominance"],
    "dominance: {n: 1, share: 0.89}": ["rules[0].dominance", "rules[1].dominance"],
    "dominance: {p_percent: 11}": ["rules[0].dominance", "rules[1].dominance"],
    "reviewers: 1": ["rules[0].approval"],
    "reviewers: 3": ["rules[0].approval", "rules[1].approval", "rules[2].approval"],
    "aggregates: [count, avg]": ["rules[0].aggregates", "rules[1].aggregates"],
    "purposes: [official-statistics, model-training]": ["rules[1].purposes"],
    "modes: [dp]": ["rules[0].mode"],
    "max_queries_per_day: 100": ["rules[1].max_queries_per_day"],
    "max_queries_per_day: 99": [
        "rules[0].max_queries_per_day", "rules[1].max_queries_per_day",
    ],
    "budget: {rho_total: 0.5, rho_per_consumer: 0.05, delta: 1.0e-6}": [],
    "budget: {rho_total: 0.4, rho_per_consumer: 0.04, delta: 1.0e-7}": [
        "rules[1].budget", "rules[1].budget", "rules[1].budget",
    ],
    "subset: {reviewers: 3}": ["rules[2].approval"],
    "subset: {max_rows: 4999}": ["rules[2].max_rows"],
    "subset: {licences: [CC-BY-4.0]}": ["rules[2].licence"],
    "subset: {expires_after_days: 89}": ["rules[2].expires_after_days"],
    "subset: {expires_after_days: 90, max_rows: 5000, reviewers: 2}": [],
}  # fmt: skip


@pytest.mark.parametrize("text", WEAK)
def test_floor_faults_name_each_weak_limit(text: str) -> None:
    lines = line_numbers(EXAMPLE)

    faults = floor_faults(example(), load_floor(text), lines=lines)

    assert [fault.path for fault in faults] == WEAK[text]
    for fault in faults:
        assert fault.line == lines.get(fault.path, lines[fault.path.partition(".")[0]])
        assert fault.hint
        assert "floor" in fault.message


@pytest.mark.parametrize("text", [text for text, paths in WEAK.items() if paths])
def test_check_floor_raises_a_contradiction_with_its_code(text: str) -> None:
    with pytest.raises(Contradiction) as caught:
        check_floor(example(), load_floor(text))

    assert isinstance(caught.value, WeakerThanFloor)
    assert caught.value.code == "policy_weaker_than_floor"


def test_floor_faults_subset_for_any_purpose_is_weaker_than_a_list() -> None:
    policy = example()
    subset = replace(policy.subset_rules[0], purposes=())

    faults = floor_faults(
        replace(policy, rules=(subset,)), load_floor("purposes: [model-training]")
    )

    assert [fault.path for fault in faults] == ["rules[0].purposes"]
    assert "any purpose" in faults[0].message


def test_floor_faults_hint_states_dominance_as_a_policy_writes_it() -> None:
    floor = load_floor("dominance: {n: 1, share: 0.4, p_percent: 50}")

    hint = floor_faults(example(), floor)[0].hint

    assert "{n: 1, share: 0.4, p_percent: 50}" in hint


@given(policy=policies(), units=st.integers(1, 1000), reviewers=st.integers(0, 20))
def test_check_floor_what_passes_is_no_weaker(
    policy: Policy, units: int, reviewers: int
) -> None:
    floor = Floor(min_units=units, reviewers=reviewers)
    faults = floor_faults(policy, floor)

    for index, rule in enumerate(policy.rules):
        weak = any(fault.path.startswith(f"rules[{index}].") for fault in faults)
        below = rule.approval.reviewers < reviewers
        if isinstance(rule, AggregateRule):
            raised = replace(rule, min_units=units, approval=Approval(reviewers))
            below = not rule_covers(rule, replace(raised, budget=rule.budget))
        assert weak == below


def test_load_floor_corrected_policy_passes() -> None:
    text = EXAMPLE.replace("approval: automatic", "approval: {reviewers: 1}")

    check_floor(load_policy(text), load_floor("reviewers: 1"))
