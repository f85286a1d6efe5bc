"""decide: every reason at once, and never more under a stricter policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.composing import line_numbers
from policies.decision import Decision, Request, Verdict, decide, rule_for
from policies.document import Aggregate, Approval, Column, Mode, Policy, Role
from policies.shape import ColumnUse, Finding, JoinUse, Place, QueryShape, Usage
from tests.unit.policies.policy_values import (
    EXAMPLE,
    aggregate_rules,
    example,
    honest_shapes,
    policies,
    shapes,
)

PLAN = "f" * 64
SAFE = Request("official-statistics")


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def test_decide_plain_question_is_allowed_with_its_rule() -> None:
    shape = QueryShape(
        tables=("patients",),
        uses=(ColumnUse("patients", "city", Usage.GROUP_KEY),),
        aggregates=("count",),
        fingerprint=PLAN,
    )

    decision = decide(example(), SAFE, shape)

    assert decision == Decision(Verdict.ALLOW, (), example().aggregate_rules[0])


def test_decide_lists_every_reason_once() -> None:
    use = ColumnUse("patients", "name", Usage.ROW_OUTPUT)
    shape = QueryShape(
        uses=(use, use, ColumnUse("nowhere", "x", Usage.GROUP_KEY, Place(1, 1, 2))),
        aggregates=("kurtosis",),
        findings=(Finding("sql_syntax", "broken", "mend it"),),
    )

    decision = decide(example(), SAFE, shape)

    assert decision.verdict is Verdict.REFUSE
    assert codes(decision) == [
        "sql_syntax", "column_hidden", "unknown_table", "aggregate_not_allowed",
    ]  # fmt: skip
    assert all(reason.hint for reason in decision.reasons)


def test_decide_finding_without_a_hint_still_gets_a_way_forward() -> None:
    shape = QueryShape(
        findings=(Finding("function_form", "no"), Finding("x_y", "no", "so"))
    )

    reasons = decide(example(), SAFE, shape).reasons

    assert [bool(reason.hint) for reason in reasons] == [True, True]
    assert reasons[1].hint == "so"


def test_decide_table_without_a_used_column_must_be_known() -> None:
    decision = decide(example(), SAFE, QueryShape(tables=("nowhere",), fingerprint=PLAN))

    assert codes(decision) == ["unknown_table"]


def test_decide_no_plan_is_refused() -> None:
    assert codes(decide(example(), SAFE, QueryShape())) == ["query_not_understood"]


def test_decide_public_table_is_free() -> None:
    shape = QueryShape(
        uses=(ColumnUse("cities", "mayor", Usage.ROW_OUTPUT),), fingerprint=PLAN
    )

    assert decide(example(), SAFE, shape).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("purpose", "code"),
    [("espionage", "purpose_not_allowed"), ("model-training", "mode_unavailable")],
)
def test_decide_purpose_decides_the_rule(purpose: str, code: str) -> None:
    decision = decide(example(), Request(purpose), QueryShape(fingerprint=PLAN))

    assert codes(decision) == [code]


def test_decide_policy_without_rules_refuses() -> None:
    policy = Policy(example().tables)

    decision = decide(policy, SAFE, QueryShape(fingerprint=PLAN))

    assert codes(decision) == ["no_rule"]
    assert decision.rule is None


@pytest.mark.parametrize(("reviewers", "words"), [(1, "one reviewer"), (3, "3 reviewers")])
def test_decide_reviewed_rule_waits(reviewers: int, words: str) -> None:
    policy = example()
    rule = replace(policy.aggregate_rules[0], approval=Approval(reviewers))

    decision = decide(replace(policy, rules=(rule,)), SAFE, QueryShape(fingerprint=PLAN))

    assert decision.verdict is Verdict.REVIEW
    assert codes(decision) == ["needs_review"]
    assert words in decision.reasons[0].message


JOINS = [
    (("patients", "id", "visits", "patient_id"), []),
    (("patients", "city", "cities", "name"), []),
    (("patients", "id", "visits", "payer"), ["join_not_on_units"]),
    (("patients", "city", "visits", "patient_id"), ["join_not_on_units"]),
    (("patients", "id", "runs", "torque"), ["join_not_on_units"]),
    (("patients", "id", "my_list", "id"), ["requester_table_unavailable"]),
    (("my_list", "id", "patients", "id"), ["requester_table_unavailable"]),
    (("nowhere", "id", "patients", "id"), []),  # the table itself is refused by its uses
]


@pytest.mark.parametrize(("join", "expected"), JOINS)
def test_decide_joins(join: tuple[str, str, str, str], expected: list[str]) -> None:
    shape = QueryShape(joins=(JoinUse(*join, "inner"),), fingerprint=PLAN)

    decision = decide(example(), SAFE, shape)

    assert codes(decision) == expected
    assert all(reason.hint for reason in decision.reasons)


def test_decide_join_of_unjoinable_tables_says_so() -> None:
    shape = QueryShape(
        joins=(JoinUse("patients", "id", "runs", "torque", "inner"),), fingerprint=PLAN
    )

    assert "share no unit domain" in decide(example(), SAFE, shape).reasons[0].hint


def test_rule_for_finds_the_one_that_serves() -> None:
    policy = example()

    assert rule_for(policy, "house-rule") == policy.aggregate_rules[1]
    assert rule_for(policy, "nothing") is None


RANK = {Verdict.REFUSE: 0, Verdict.REVIEW: 1, Verdict.ALLOW: 2}


LIGHT = [Approval(0), Approval(1)]


@st.composite
def asked(draw: st.DrawFn) -> tuple[Policy, Request, QueryShape]:
    """A policy that has a rule for the purpose asked, and a query."""
    policy = draw(policies())
    rule = draw(aggregate_rules(("official-statistics",)))
    if draw(st.booleans()):
        return replace(policy, rules=(rule,)), SAFE, draw(shapes(policy))
    rule = replace(rule, mode=Mode.SAFE, approval=draw(st.sampled_from(LIGHT)))
    policy = replace(policy, rules=(rule,))
    return policy, SAFE, draw(honest_shapes(policy))


def _hide(policy: Policy, hidden: set[str]) -> Policy:
    def column(old: Column) -> Column:
        if old.name not in hidden or old.has(Role.UNIT_KEY):
            return old
        return Column(old.name, frozenset({Role.HIDDEN}))

    return replace(
        policy,
        tables=tuple(
            replace(table, columns=tuple(map(column, table.columns)))
            for table in policy.tables
        ),
    )


@given(case=asked(), data=st.data())
def test_decide_hiding_columns_never_allows_more(
    case: tuple[Policy, Request, QueryShape], data: st.DataObject
) -> None:
    policy, request, shape = case
    every = sorted({c.name for t in policy.tables for c in t.columns})
    hidden = data.draw(st.sets(st.sampled_from(every))) if every else set()

    strict, loose = (
        decide(_hide(policy, hidden), request, shape),
        decide(policy, request, shape),
    )

    assert RANK[strict.verdict] <= RANK[loose.verdict]


@given(
    case=asked(),
    kept=st.frozensets(st.sampled_from(Aggregate), min_size=1),
    reviewers=st.integers(0, 5),
    serves=st.sampled_from([("official-statistics",), ("other",)]),
)
def test_decide_stricter_rule_never_allows_more(
    case: tuple[Policy, Request, QueryShape],
    kept: frozenset[Aggregate],
    reviewers: int,
    serves: tuple[str, ...],
) -> None:
    policy, request, shape = case
    rule = policy.aggregate_rules[0]
    stricter = replace(
        rule,
        aggregates=rule.aggregates & kept,
        approval=Approval(rule.approval.reviewers + reviewers),
        purposes=serves,
    )

    strict = decide(replace(policy, rules=(stricter,)), request, shape)

    assert RANK[strict.verdict] <= RANK[decide(policy, request, shape).verdict]


@given(case=asked())
def test_decide_refusal_has_reasons_and_each_a_way_forward(
    case: tuple[Policy, Request, QueryShape],
) -> None:
    decision = decide(*case)

    assert bool(decision.reasons) == (decision.verdict is not Verdict.ALLOW)
    assert all(
        reason.code and reason.message and reason.hint for reason in decision.reasons
    )


ASKED = QueryShape(
    tables=("patients", "visits", "nowhere"),
    uses=(
        ColumnUse("patients", "income", Usage.RANGE, on_grid=False),
        ColumnUse("patients", "name", Usage.GROUP_KEY),
        ColumnUse("patients", "unnamed", Usage.GROUP_KEY),
    ),
    joins=(JoinUse("patients", "city", "visits", "patient_id", "inner"),),
    aggregates=("sum",),
    fingerprint=PLAN,
)


def test_decide_with_lines_names_the_line_of_each_reason() -> None:
    text = EXAMPLE.splitlines()

    decision = decide(example(), SAFE, ASKED, lines=line_numbers(EXAMPLE))

    lines = {
        reason.policy_path: text[(reason.policy_line or 0) - 1].strip()
        for reason in decision.reasons
    }
    assert lines == {
        "tables": "tables:",
        "tables.patients.columns.income": "income: {role: measure, grid: 5000, scale: 2}",
        "tables.patients.columns.name": "name: {role: hidden}",
        "tables.patients.columns.unnamed": "columns:",
        "tables.patients.units": "units: [{domain: person, column: id}]",
        "rules[0].aggregates": "aggregates: [count, count_distinct, avg]",
    }


def test_decide_without_lines_names_paths_only() -> None:
    assert {r.policy_line for r in decide(example(), SAFE, ASKED).reasons} == {None}


@pytest.mark.parametrize(
    ("use", "hint"),
    [
        (
            ColumnUse("patients", "name", Usage.GROUP_KEY),
            "Leave it out. You may use: age, city, diagnosis, failure, id, income, ",
        ),
        (
            ColumnUse("patients", "age", Usage.COUNT_DISTINCT, aggregate="count_distinct"),
            "Count rows instead: count(*), or take avg(age).",
        ),
        (
            ColumnUse("patients", "visit_date", Usage.AGGREGATE, aggregate="sum"),
            "Group by it: SELECT date_trunc('month', visit_date), count(*) FROM patients ",
        ),
        (
            ColumnUse("patients", "income", Usage.GROUP_KEY),
            "Use bins: floor(income / 5000) * 5000, or a multiple of 5000.",
        ),
        (
            ColumnUse("patients", "income", Usage.RANGE, on_grid=False),
            "Use `income < c` or `income >= c`, c a multiple of 5000.",
        ),
        (
            ColumnUse("patients", "visit_date", Usage.RANGE, on_grid=False),
            "Use `visit_date >= d` or `visit_date < d`, d the first day of a month.",
        ),
        (ColumnUse("patients", "visit_id", Usage.ROW_OUTPUT), "for example count(*)"),
    ],
)
def test_decide_hint_names_columns_and_grids_of_the_policy(
    use: ColumnUse, hint: str
) -> None:
    (reason,) = decide(example(), SAFE, QueryShape(uses=(use,), fingerprint=PLAN)).reasons

    assert hint in reason.hint


def test_decide_join_of_a_hidden_column_without_its_use_is_refused() -> None:
    shape = QueryShape(
        joins=(JoinUse("patients", "name", "cities", "mayor", "inner"),), fingerprint=PLAN
    )

    used = replace(shape, uses=(ColumnUse("patients", "name", Usage.JOIN_KEY),))

    assert codes(decide(example(), SAFE, shape)) == ["column_hidden"]
    assert codes(decide(example(), SAFE, used)) == ["column_hidden"]


def test_decide_join_of_a_key_with_a_public_table_names_dimensions() -> None:
    shape = QueryShape(
        joins=(JoinUse("cities", "x", "patients", "id", "inner"),), fingerprint=PLAN
    )
    bare = QueryShape(
        joins=(JoinUse("cities", "x", "visits", "payer", "inner"),), fingerprint=PLAN
    )

    hints = [decide(example(), SAFE, asked).reasons[0].hint for asked in (shape, bare)]

    assert hints[0] == "Join on a dimension of `patients`: city, diagnosis, failure."
    assert hints[1].startswith("`visits` has no plain dimension")
