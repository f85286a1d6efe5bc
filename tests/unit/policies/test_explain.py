"""What can be learned from a column, and what a query asks, in words that hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import Request, Verdict, decide
from policies.disclosed import KEPT, disclosed
from policies.document import Aggregate, Dominance, Policy
from policies.errors import UnknownTerm
from policies.explain import explain_column
from policies.query_words import explain_query
from policies.resolution import is_hidden
from policies.rule_words import DP_LIMITS, SAFE_LIMITS, SUBSET_LIMITS
from policies.shape import ColumnUse, JoinUse, QueryShape, Usage
from policies.words import describe
from tests.unit.policies.policy_values import (
    aggregate_rules,
    example,
    honest_shapes,
    policies,
    shapes,
)

COLUMNS = {
    "id": "How many different `id` stand behind a group, over groups of at least 10 diff",
    "visit_id": "Nothing by itself",
    "city": "Which values `city` can have: their list is public.",
    "age": "Averages of `age`, over groups of at least 10 different units.",
    "income": "Comparisons only with multiples of 5000.",
    "weight": "No comparisons",
    "visit_date": "Comparisons only with the first day of a month or longer period.",
    "diagnosis": "How many different values `diagnosis` has in a group.",
    "failure": "Comparisons with any value.",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_explain_column_says_what_statistics_learn(column: str) -> None:
    learned = explain_column(example(), "patients", column)[0]

    assert learned.audience == "For official statistics"
    assert learned.path == "rules[0]"
    assert any(line.startswith(COLUMNS[column]) for line in learned.sentences)
    assert learned.not_protected[-1].startswith("It is not proof against recons")
    assert learned.not_protected[-1][1:] in SAFE_LIMITS


def test_explain_column_counts_the_audiences() -> None:
    statistics, models, rows = explain_column(example(), "patients", "age")

    assert models.audience.startswith("For model training and “house-rule”")
    assert models.not_protected == (DP_LIMITS,)
    assert rows.kind == "subset"
    assert rows.sentences[0].startswith("Each value of `age` in up to 5,000 rows")
    assert rows.not_protected[0].startswith("The recipient holds single rows.")
    assert rows.not_protected[0][1:] in SUBSET_LIMITS
    assert statistics.kind == "aggregate"


def test_explain_column_pseudonym_label_and_filter() -> None:
    key = explain_column(example(), "patients", "id")[-1]
    label = explain_column(example(), "patients", "failure")[-1]
    rule = replace(example().subset_rules[0], columns=("failure",), pseudonymise=())
    filtered = replace(example(), rules=(rule,))

    assert "which rows belong together, not whose" in key.sentences[0]
    assert label.sentences[-1].startswith("It is the label")
    assert (
        "meets the condition `age >= 40`"
        in (explain_column(filtered, "patients", "age")[0].sentences[0])
    )


@pytest.mark.parametrize("column", ["name", "not there"])
def test_explain_column_hidden_teaches_nothing(column: str) -> None:
    assert explain_column(example(), "patients", column) == ()


def test_explain_column_of_free_tables_and_unknown_ones() -> None:
    assert "freely" in explain_column(example(), "cities", "mayor")[0].sentences[0]
    with pytest.raises(UnknownTerm):
        explain_column(example(), "nowhere", "x")


def test_explain_column_of_a_rule_that_admits_counts_only() -> None:
    rule = replace(example().aggregate_rules[0], aggregates=frozenset({Aggregate.COUNT}))

    found = explain_column(replace(example(), rules=(rule,)), "patients", "income")

    assert found[0].sentences[0].startswith("No sums or averages of `income`")


def test_explain_column_rows_of_another_table_teach_nothing_of_it() -> None:
    rows = replace(example(), rules=example().rules[2:])

    assert explain_column(rows, "visits", "cost") == ()
    assert explain_column(rows, "patients", "city") == ()


def test_explain_column_says_which_limits_are_missing() -> None:
    rule = replace(example().aggregate_rules[0], min_units=1, dominance=Dominance())
    policy = replace(example(), rules=(rule,))

    money = " ".join(explain_column(policy, "patients", "income")[0].not_protected)
    city = " ".join(explain_column(policy, "patients", "city")[0].not_protected)

    assert "no threshold" in money
    assert "no dominance limit" in money
    assert "not marked sensitive" in city


@given(policy=policies())
def test_explain_column_of_any_policy_fits_the_decision(policy: Policy) -> None:
    for table in policy.tables:
        for column in table.columns:
            learned = explain_column(policy, table.name, column.name)
            if is_hidden(column):
                assert all(item.kind == "subset" for item in learned)
            for item in learned:
                assert item.audience
                assert all(item.sentences)


SHAPE = QueryShape(
    tables=("patients", "visits"),
    uses=(
        ColumnUse("patients", "city", Usage.GROUP_KEY),
        ColumnUse("patients", "age", Usage.GROUP_BIN, detail="10"),
        ColumnUse("patients", "diagnosis", Usage.EQUALITY),
        ColumnUse("visits", "cost", Usage.AGGREGATE, aggregate="avg"),
        ColumnUse("patients", "id", Usage.COUNT_DISTINCT, aggregate="count_distinct"),
    ),
    joins=(JoinUse("patients", "id", "visits", "patient_id", "inner"),),
    aggregates=("avg", "count", "count_distinct"),
    outputs=("city", "n", "mean"),
    fingerprint="f" * 64,
)


UNSEEN = (
    "It cannot show a single firm or a single person, nor a group of fewer units than the "
    "rule asks for."
)


def test_explain_query_for_a_reviewer() -> None:
    assert explain_query(example(), SHAPE) == (
        "It reads `patients` and `visits`.",
        "It joins `patients.id` with `visits.patient_id`.",
        "It groups by `city` and `age` (in bins of 10).",
        "It chooses rows by `diagnosis`.",
        "It takes averages of `cost`.",
        "It counts the different values of `id`.",
        "It takes counts of rows.",
        "What leaves are the columns `city`, `n` and `mean`.",
        UNSEEN,
        "Sensitive in it: `diagnosis`.",
    )


def test_explain_query_of_public_tables() -> None:
    found = explain_query(example(), QueryShape(tables=("cities",)))

    assert found[-1] == "It reads public tables only; nobody in them is protected."


@given(policy=policies(), data=st.data())
def test_explain_query_of_any_shape_is_whole_sentences(
    policy: Policy, data: st.DataObject
) -> None:
    for sentence in explain_query(policy, data.draw(shapes(policy))):
        assert sentence.endswith(".")


def test_disclosed_names_nothing_hidden() -> None:
    policy = example()
    rule = replace(policy.subset_rules[0], row_filter="name = 'x' AND age >= 40")

    shown = disclosed(replace(policy, rules=(rule,)))

    patients = shown.table("patients")
    assert patients is not None
    assert patients.column("name") is None
    assert shown.subset_rules[0].row_filter == KEPT
    assert "a condition which the provider keeps" in " ".join(describe(shown, "patients"))
    assert patients.derived[0].expr == "weight / 2"


@pytest.mark.parametrize(
    ("condition", "is_kept"),
    [
        ("age >= 40", False),
        ("age >= 40 AND city IN ('name', 'it''s')", False),
        ('"age" IS NOT NULL', False),
        ("secret = 1", True),
        ('"secret" = 1', True),
        ("NAME = 'x'", True),
        ("upper(city) = 'A'", True),  # a function is a name that nobody knows
        ("age > 1 -- name", True),
        ("city = 'unclosed", True),
    ],
)
def test_disclosed_keeps_conditions_that_may_name_hidden_columns(
    condition: str, *, is_kept: bool
) -> None:
    rule = replace(example().subset_rules[0], row_filter=condition)

    shown = disclosed(replace(example(), rules=(rule,)))

    assert (shown.subset_rules[0].row_filter == KEPT) is is_kept


@given(policy=policies(), data=st.data())
def test_disclosed_decides_as_the_policy_does(policy: Policy, data: st.DataObject) -> None:
    rule = data.draw(aggregate_rules(("official-statistics",)))
    policy = replace(policy, rules=(rule,))
    shape = data.draw(shapes(policy) | honest_shapes(policy))
    request = Request("official-statistics")

    shown, whole = (decide(p, request, shape) for p in (disclosed(policy), policy))

    assert shown.verdict is whole.verdict
    if whole.verdict is Verdict.REFUSE:
        assert [r.code for r in shown.reasons] == [r.code for r in whole.reasons]
