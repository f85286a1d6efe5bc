"""differences: a sentence for each change, with the effect that strictness gives it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given

from policies.codec import load_policy
from policies.difference import Difference, Effect, differences, loosens
from policies.document import Approval, Policy, Table
from policies.strictness import policy_covers
from tests.unit.policies.altered import pairs
from tests.unit.policies.policy_values import EXAMPLE, example, policies

SWAPPED = {
    Effect.LOOSENS: Effect.TIGHTENS,
    Effect.TIGHTENS: Effect.LOOSENS,
    Effect.NEUTRAL: Effect.NEUTRAL,
}

# Replace the first text by the second: what the sentences say, each with its effect.
CASES = {
    "measure": (
        "weight: {role: measure}",
        "weight: {role: hidden}",
        [("`weight` is hidden now; it was a measure.", "tightens")],
    ),
    "opened": (
        "name: {role: hidden}",
        "name: {role: measure, grid: 2}",
        [("`name` is no longer hidden: it is a measure in steps of 2 now.", "loosens")],
    ),
    "averaged": (
        "visit_date: {role: dimension, grain: month}",
        "visit_date: {role: dimension, grain: day}",
        [
            (
                "`visit_date` may now be told apart by day or coarser instead of by month",
                "loosens",
            )
        ],
    ),
    "week is no month": (
        "grain: month",
        "grain: week",
        [
            ("`visit_date` may now be told apart by week or coarser", "loosens"),
            ("`visit_date` may now be told apart by week or coarser", "tightens"),
        ],
    ),
    "finer grid": (
        "grid: 5000",
        "grid: 2500",
        [
            (
                "`income` may now be told apart in steps of 2500 instead of in steps of 5",
                "loosens",
            )
        ],
    ),
    "aggregated": (
        "diagnosis: {role: dimension, sensitive: true}",
        "diagnosis: {role: [dimension, measure]}",
        [
            ("`diagnosis` may now be aggregated", "loosens"),
            ("Groups in which everyone has the same `diagnosis` are no longer", "loosens"),
        ],
    ),
    "key": (
        "visit_id: {role: row_key}",
        "visit_id: {role: dimension}",
        [
            ("`visit_id` is now a dimension, before a row key.", "loosens"),
            ("`visit_id` is now a dimension, before a row key.", "tightens"),
        ],
    ),
    "scale": (
        "scale: 2}",
        "scale: 1}",
        [("`income` is read with 1 decimals, before with 2 decimals.", "tightens")],
    ),
    "clamp": (
        "clamp: [0, 120]",
        "clamp: [0, 110]",
        [("Under differential privacy `age` is cut to another range.", "neutral")],
    ),
    "values": (
        "city: {role: dimension, values: public}",
        "city: {role: dimension}",
        [("The values of `city` are no longer printed", "tightens")],
    ),
    "label": (
        "diagnosis: {role: dimension, sensitive: true}",
        "diagnosis: {role: label}",
        [("`diagnosis` is a label now.", "neutral")],
    ),
    "unnamed": (
        "      name: {role: hidden}\n",
        "",
        [("`name` is no longer named: still hidden.", "neutral")],
    ),
    "derived": (
        'expr: "weight / 2"',
        'expr: "weight / 3"',
        [("computed otherwise", "loosens"), ("computed otherwise", "tightens")],
    ),
    "table gone": (
        "  cities: {public: true}\n",
        "",
        [("`cities` may no longer be asked about.", "tightens")],
    ),
    "table opened": (
        "cities: {public: true}",
        "cities: {requester: true}",
        [
            ("a list that the requester brings", "loosens"),
            ("a list that the requester brings", "tightens"),
        ],
    ),
    "protected": (
        "cities: {public: true}",
        "cities: {units: [{domain: city, column: c}], columns: {c: {role: unit_key}}}",
        [("`cities` is protected now.", "tightens")],
    ),
    "protected and joined": (
        "cities: {public: true}",
        "cities: {units: [{domain: firm, column: c}], columns: {c: {role: unit_key}}}",
        [
            ("`cities` is protected now.", "tightens"),
            ("`cities` may now be joined on units.", "loosens"),
        ],
    ),
    "opened to all": (
        "runs:\n    units: row\n    columns:\n      torque: {role: measure}\n",
        "runs: {public: true}\n",
        [("`runs` is public now: nobody in it is protected.", "loosens")],
    ),
    "grouped": (
        "income: {role: measure, grid: 5000, scale: 2}",
        "income: {role: [dimension, measure], grid: 5000, scale: 2}",
        [("`income` may now be grouped and filtered by in steps of 5000.", "loosens")],
    ),
    "free": (
        "weight: {role: measure}",
        "weight: {role: [dimension, measure]}",
        [
            ("`weight` may now be grouped and filtered by.", "loosens"),
            ("may now be told apart value by value instead of not at all.", "loosens"),
        ],
    ),
    "derived clamp": (
        "clamp: [10, 80]",
        "clamp: [10, 90]",
        [("Under differential privacy `bmi` is cut to another range.", "neutral")],
    ),
    "units": (
        "  runs:\n    units: row\n    columns:\n",
        """\
  runs:
    units: [{domain: mill, column: m}]
    columns:
      m: {role: unit_key}
""",
        [
            ("Protected in `runs` is now each mill (by `m`), before each", "loosens"),
            ("Protected in `runs` is now each mill (by `m`), before each", "tightens"),
            ("`m` is no longer hidden: it is a unit key now.", "loosens"),
        ],
    ),
    "threshold": (
        "min_units: 10",
        "min_units: 20",
        [
            (
                "For official statistics: a group needs 20 units instead of 10.",
                "tightens",
            )
        ],
    ),
    "dominance": (
        "share: 0.90",
        "share: 0.80",
        [("make up 80 % or more of a total. A group is withheld", "tightens")],
    ),
    "aggregates": (
        "[count, count_distinct, avg]",
        "[count, sum]",
        [
            ("For official statistics: sums may now leave.", "loosens"),
            ("counts of different values and averages may no longer leave.", "tightens"),
        ],
    ),
    "cap gone": (
        "    max_queries_per_day: 100\n",
        "",
        [("queries a day are limited no more, before to 100.", "loosens")],
    ),
    "approval": (
        "approval: automatic",
        "approval: {reviewers: 2}",
        [("2 reviewers look before something leaves instead of nobody.", "tightens")],
    ),
    "mode": (
        "mode: dp",
        "mode: safe",
        [("protected by the mode safe instead of dp.", "loosens")],
    ),
    "budget": (
        "rho_total: 0.5",
        "rho_total: 0.6",
        [("the budget of noise is now: Answers carry noise", "loosens")],
    ),
    "purpose": (
        "[model-training, house-rule]",
        "[model-training, general-research]",
        [
            ("Aggregates may now leave for general research.", "loosens"),
            ("Aggregates may no longer leave for “house-rule”", "tightens"),
        ],
    ),
    "subset columns": (
        "columns: [id, age, failure]",
        "columns: [id, city, failure]",
        [
            ("Rows may now carry `city`.", "loosens"),
            ("Rows no longer carry `age`.", "tightens"),
        ],
    ),
    "subset terms": (
        "    row_filter: \"age >= 40\"\n    max_rows: 5000\n",
        "    max_rows: 6000\n",
        [
            ("Rows are chosen by no condition any more.", "loosens"),
            ("Rows of a package are limited to 6,000, before to 5,000.", "loosens"),
        ],
    ),
    "licence": (
        "licence: CDLA-Permissive-2.0",
        "licence: CC0-1.0",
        [
            ("under the licence CC0-1.0 instead of", "loosens"),
            ("under the licence CC0-1.0 instead of", "tightens"),
        ],
    ),
    "marked": (
        "    fingerprint: true\n",
        "",
        [("Rows are no longer marked", "loosens")],
    ),
    "any purpose": (
        "    purposes: [model-training]\n",
        "",
        [("Rows may now leave for any purpose.", "loosens")],
    ),
    "other purpose": (
        "    purposes: [model-training]\n",
        "    purposes: [house-rule]\n",
        [
            ("Rows may now leave for “house-rule”", "loosens"),
            ("Rows may no longer leave for model training.", "tightens"),
        ],
    ),
    "pseudonyms": (
        "pseudonymise: [id]",
        "pseudonymise: [id, age]",
        [("Rows now carry `age` as pseudonyms.", "tightens")],
    ),
    "no label": (
        "    label: failure\n",
        "",
        [("The label of rows is none.", "neutral")],
    ),
    "days": (
        "expires_after_days: 90",
        "expires_after_days: 30",
        [("Days of use are limited to 30, before to 90.", "tightens")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_differences_say_each_change_in_words(case: str) -> None:
    before, after, expected = CASES[case]
    assert before in EXAMPLE
    new = load_policy(EXAMPLE.replace(before, after, 1))

    found = differences(example(), new)

    assert len(found) == len(expected), found
    for change, (words, effect) in zip(found, expected, strict=True):
        assert words in change.sentence
        assert change.effect == effect
        assert change.path


def test_differences_of_a_rule_gone_name_its_purposes() -> None:
    found = differences(example(), replace(example(), rules=example().rules[:1]))

    assert [change.effect for change in found] == [Effect.TIGHTENS, Effect.TIGHTENS]
    assert "model training and “house-rule”" in found[0].sentence
    assert found[1].sentence.startswith("Single rows of `id`, `age` and `failure` may no")


def test_differences_path_is_in_the_new_document() -> None:
    new = load_policy(EXAMPLE.replace("min_units: 10", "min_units: 5"))

    assert [change.path for change in differences(example(), new)] == ["rules[0].min_units"]


def test_differences_of_an_opened_table_that_was_joined() -> None:
    tables = tuple(
        Table("visits", public=True) if table.name == "visits" else table
        for table in example().tables
    )

    found = differences(example(), replace(example(), tables=tables))

    assert [(change.sentence, change.effect) for change in found] == [
        ("`visits` is public now: nobody in it is protected.", Effect.LOOSENS),
        ("`visits` can no longer be joined on units.", Effect.TIGHTENS),
    ]


def test_differences_nobody_looks_any_more_and_only_one_purpose() -> None:
    old = replace(example(), rules=example().rules[2:])
    rule = replace(old.subset_rules[0], approval=Approval(0), purposes=())
    other = replace(rule, purposes=("model-training",))

    first = differences(old, replace(old, rules=(rule,)))
    second = differences(replace(old, rules=(rule,)), replace(old, rules=(other,)))

    assert [change.sentence for change in first] == [
        "Rows may now leave for any purpose.",
        "Nobody looks before something leaves instead of 2.",
    ]
    (only,) = second
    assert only.sentence == "Rows may leave only for model training."


def test_loosens_sees_one_loosening_among_others() -> None:
    tight = Difference("a", Effect.TIGHTENS, "")

    assert not loosens((tight,))
    assert loosens((tight, Difference("b", Effect.LOOSENS, "")))


@given(policy=policies())
def test_differences_of_a_policy_with_itself_are_none(policy: Policy) -> None:
    assert differences(policy, policy) == ()


@given(pair=pairs())
def test_differences_agree_with_strictness(pair: tuple[Policy, Policy]) -> None:
    old, new = pair

    found = differences(old, new)

    if not loosens(found):
        assert policy_covers(new, old)
    if policy_covers(new, old):
        assert not loosens(found)


@given(pair=pairs())
def test_differences_swapped_swap_loosening_and_tightening(
    pair: tuple[Policy, Policy],
) -> None:
    there = Counter(change.effect for change in differences(*pair))
    back = Counter(SWAPPED[change.effect] for change in differences(*reversed(pair)))

    assert there == back
