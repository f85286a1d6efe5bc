"""Plain sentences: complete, honest, and in step with what the decision does."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given

from policies.codec import load_policy
from policies.decision import Request, Verdict, decide
from policies.document import Aggregate, Policy
from policies.errors import UnknownTerm
from policies.phrases import listed, plain, times
from policies.rule_words import (
    DP_LIMITS,
    SAFE_LIMITS,
    SUBSET_LIMITS,
    aggregate_sentences,
    subset_sentences,
)
from policies.shape import ColumnUse, QueryShape, Usage
from policies.words import describe, describe_column
from tests.unit.policies.policy_values import example, policies

COLUMNS = {
    "id": "`id` says which person a row is about",
    "visit_id": "`visit_id` keeps the rows of one record together",
    "name": "`name` is hidden: no query may refer to it.",
    "not there": "`not there` is hidden: no query may refer to it.",
    "city": "`city`: queries may group and filter by it as it stands. Its values are",
    "age": "`age`: queries may group by it in bins of 5 or a multiple of that, aggregate "
    "it and compare it with multiples of 5. Under differential privacy, values are cut to "
    "the range from 0 to 120.",
    "income": "`income`: queries may aggregate it and compare it with multiples of 5000. "
    "It is read with 2 decimals.",
    "weight": "`weight`: queries may aggregate it.",
    "visit_date": "`visit_date`: queries may group and filter by it, cut to the month",
    "diagnosis": "`diagnosis`: queries may group and filter by it as it stands. It is "
    "sensitive:",
    "failure": "`failure`: queries may group and filter by it as it stands. It is the",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_describe_column_by_role(column: str) -> None:
    assert describe_column(example(), "patients", column).startswith(COLUMNS[column])


def test_describe_column_clamp_is_silent_where_no_rule_adds_noise() -> None:
    policy = example()

    safe = replace(policy, rules=policy.rules[:1])

    assert "differential" not in describe_column(safe, "patients", "age")


def test_describe_column_of_free_tables() -> None:
    assert "freely" in describe_column(example(), "cities", "mayor")
    assert "requester" in describe_column(example(), "my_list", "id")


def test_describe_protected_table_in_order() -> None:
    sentences = describe(example(), "patients")

    text = " ".join(sentences)
    assert (
        sentences[0] == "Protected is each person: rows with the same `id` are about one."
    )
    assert "at least 10 units" in text
    assert "the 2 largest units make up 90 % or more" in text
    assert "to within 10 %" in text
    assert "At most 100 queries per day run." in text
    assert "approval is automatic" in text
    assert "groups of one may be shown" in text
    assert "There is no dominance limit" in text
    assert "“house-rule” (a purpose that only the provider has defined)" in text
    assert "rho 0.5, each 0.05, with delta 0.000001" in text
    assert "2 named reviewers of the provider look at each query first" in text
    assert "at most 5,000 rows of the columns `id`, `age` and `failure`" in text
    assert "`age >= 40`" in text
    assert "In place of `id` the rows carry keyed pseudonyms." in text
    assert "This node cannot mark rows yet." in text
    assert "ends after 90 days" in text
    assert "Columns that are not named here are hidden." in sentences


def test_describe_says_what_no_rule_protects_against() -> None:
    sentences = describe(example(), "patients")

    assert {SAFE_LIMITS, DP_LIMITS, SUBSET_LIMITS} <= set(sentences)


def test_describe_subset_stands_only_at_its_own_table() -> None:
    assert SUBSET_LIMITS not in describe(example(), "visits")


def test_describe_units() -> None:
    assert "protects the rows, not them" in describe(example(), "runs")[0]
    assert "hold for each of them" in describe(example(), "visits")[2]


def test_describe_free_tables_in_one_sentence() -> None:
    assert len(describe(example(), "cities")) == 1
    assert len(describe(example(), "my_list")) == 1


def test_describe_without_rules_says_that_nothing_leaves() -> None:
    policy = replace(example(), rules=())

    assert describe(policy, "runs")[-1].startswith("Nothing may leave")


@pytest.mark.parametrize("function", [describe, lambda p, t: describe_column(p, t, "c")])
def test_describe_unknown_table_is_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(UnknownTerm) as caught:
        function(example(), "nowhere")

    assert "patients" in caught.value.hint


def test_describe_dp_and_derived_say_what_the_decision_does() -> None:
    policy, plan = example(), "f" * 64
    noisy = decide(policy, Request("model-training"), QueryShape(fingerprint=plan))
    use = ColumnUse("patients", "bmi", Usage.AGGREGATE, aggregate="avg")
    derived = decide(
        policy, Request("official-statistics"), QueryShape(uses=(use,), fingerprint=plan)
    )

    assert noisy.verdict is Verdict.REFUSE
    assert derived.verdict is Verdict.ALLOW
    assert "refuses every query" in DP_LIMITS
    assert any(
        "`bmi`" in line and "may be aggregated" in line
        for line in describe(policy, "patients")
    )


def test_aggregate_sentences_name_every_aggregate() -> None:
    rule = replace(example().aggregate_rules[0], aggregates=frozenset(Aggregate))

    text = " ".join(aggregate_sentences(rule))

    for word in ("counts", "sums", "kurtosis", "quantiles", "linear regressions"):
        assert word in text


def test_aggregate_sentences_one_of_a_kind() -> None:
    text = " ".join(
        aggregate_sentences(
            load_policy(
                "{version: 1, tables: {t: {public: true}}, rules: [{kind: aggregate, "
                "min_units: 5, aggregates: [count], purposes: [general-research], "
                "dominance: {n: 1, share: 0.5}, max_queries_per_day: 1}]}"
            ).aggregate_rules[0]
        )
    )

    assert "the largest unit makes up 50 % or more" in text
    assert "At most one query per day" in text
    assert "One named reviewer of the provider looks at each query first." in text
    assert "general research" in text


def test_aggregate_sentences_dp_without_budget_still_says_its_limits() -> None:
    rule = replace(example().aggregate_rules[1], budget=None)

    assert list(aggregate_sentences(rule))[-1] == DP_LIMITS


def test_subset_sentences_least_rule() -> None:
    rule = replace(
        example().subset_rules[0],
        label=None, row_filter=None, purposes=(), pseudonymise=(), fingerprint=False,
        licence="House-1", expires_after_days=None, max_rows=1,
    )  # fmt: skip

    sentences = list(subset_sentences(rule))

    assert sentences[0].startswith("Single rows may leave for any purpose: at most one row")
    assert sentences[1] == "The recipient must accept the licence House-1."
    assert sentences[-1] == SUBSET_LIMITS
    assert len(sentences) == 4


@given(policy=policies())
def test_describe_names_every_column_of_every_policy(policy: Policy) -> None:
    for table in policy.tables:
        sentences = describe(policy, table.name)

        assert all(sentences)
        for column in table.columns:
            assert any(line.startswith(f"`{column.name}`") for line in sentences)


@pytest.mark.parametrize(
    ("number", "text"),
    [("90.00", "90"), ("5E+3", "5000"), ("1E-6", "0.000001"), ("-0", "0"), ("0.50", "0.5")],
)
def test_plain(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


def test_listed_and_times() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert times(1, "row", "rows") == "one row"
    assert times(5000, "row", "rows") == "5,000 rows"
