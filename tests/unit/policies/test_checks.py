"""Parts of a policy that cannot hold together, each with its line and way forward."""

# ruff: noqa: E501  # one document a line reads better than one that is cut up

from __future__ import annotations

import pytest

from policies.checks import subset_table
from policies.codec import load_policy
from policies.errors import Contradiction
from tests.unit.policies.policy_values import example

TABLE = """\
version: 1
tables:
  t:
    units: %s
    columns:
%s
"""
SUBSET = """\
version: 1
tables:
  t:
    units: [{domain: d, column: id}]
    columns:
      id: {role: unit_key}
      name: {role: hidden}
      a: {role: measure}
      b: {role: label}
  u:
    units: row
    columns:
      a: {role: measure}
rules:
  - kind: subset
    columns: %s
    licence: CC-BY-4.0
    max_rows: 10
%s
"""
RULES = """\
version: 1
tables:
  t: {public: true}
rules:
  - {kind: aggregate, min_units: 3, aggregates: %s, purposes: [p, q]%s}
  - {kind: aggregate, min_units: 3, aggregates: [count], purposes: %s}
"""

CONTRADICTIONS = {
    "tables but for case": (
        "version: 1\ntables:\n  T: {public: true}\n  t: {public: true}\n", 4, "letter case",
    ),
    "columns but for case": (
        TABLE % ("row", "      A: {role: hidden}\n      a: {role: measure}"), 7, "letter case",
    ),
    "columns but for mixed case": (
        TABLE % ("row", "      Ab: {role: hidden}\n      aB: {role: measure}"), 7, "letter case",
    ),
    "derived but for case": (
        TABLE % ("row", "      A: {role: hidden}\n    derived:\n      x: {expr: a}\n      X: {expr: b}"),
        8,
        "letter case",
    ),
    "derived named as a column": (
        TABLE % ("row", "      A: {role: hidden}\n    derived:\n      a: {expr: a}"),
        8,
        "at once",
    ),
    "unit column absent": (
        TABLE % ("[{domain: d, column: id}]", "      a: {role: measure}"), 4, "lacks the role",
    ),
    "unit column of another role": (
        TABLE % ("[{domain: d, column: a}]", "      a: {role: measure}"), 4, "lacks the role",
    ),
    "unit column twice": (
        TABLE
        % (
            "[{domain: d, column: a}, {domain: e, column: a}]",
            "      a: {role: unit_key}",
        ),
        4,
        "two units",
    ),
    "unit key that is no unit": (
        TABLE % ("row", "      a: {role: unit_key}"), 6, "does not name",
    ),
    "hidden and more": (
        TABLE % ("row", "      a: {role: [hidden, measure]}"), 6, "is hidden and more",
    ),
    "row key and more": (
        TABLE % ("row", "      a: {role: [dimension, row_key]}"), 6, "is row_key and more",
    ),
    "grain and grid": (
        TABLE % ("row", "      a: {role: dimension, grid: 5, grain: day}"), 6, "has a grain",
    ),
    "grain of a measure": (
        TABLE % ("row", "      a: {role: measure, grain: day}"), 6, "has a grain",
    ),
    "public values of a measure": (
        TABLE % ("row", "      a: {role: measure, values: public}"), 6, "no dimension",
    ),
    "public values of a sensitive column": (
        TABLE % ("row", "      a: {role: dimension, values: public, sensitive: true}"),
        6,
        "sensitive",
    ),
    "two rules for a purpose": (RULES % ("[count]", "", "[r, q]"), 6, "numbers 1 and 2"),
    "rule without aggregates": (RULES % ("[]", "", "[r]"), 5, "no aggregate"),
    "dp without budget": (RULES % ("[count]", ", mode: dp", "[r]"), 5, "no budget"),
    "subset of an absent column": (SUBSET % ("[c]", ""), 16, "exactly one protected table"),
    "subset of two tables": (SUBSET % ("[a]", ""), 16, "exactly one protected table"),
    "subset of a hidden column": (SUBSET % ("[a, name]", ""), 16, "hidden"),
    "subset of a bare unit key": (SUBSET % ("[id]", ""), 16, "in clear"),
    "pseudonym not delivered": (
        SUBSET % ("[b]", "    pseudonymise: [id]"), 19, "not delivered",
    ),
    "label not delivered": (SUBSET % ("[a, b]", "    label: id"), 19, "not among"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_load_policy_contradiction_names_line_fault_and_way(case: str) -> None:
    text, line, fault = CONTRADICTIONS[case]

    with pytest.raises(Contradiction) as caught:
        load_policy(text)

    assert caught.value.code == "policy_contradiction"
    assert caught.value.line == line
    assert fault in caught.value.message
    assert caught.value.hint
    assert caught.value.path


def test_subset_table_is_the_one_that_has_all_columns() -> None:
    policy = example()

    table = subset_table(policy, policy.subset_rules[0])

    assert table == policy.table("patients")
