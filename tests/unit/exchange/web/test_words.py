"""Words of rules and states in the situations that the walk does not reach."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exchange.agreements.models import Grant
from exchange.web.rules import purpose_choices, purpose_words, rule_cards, rules_of_kind
from exchange.web.statuses import grant_status
from policies.codec import load_policy
from policies.document import SubsetRule

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def _grant(**fields: Any) -> Grant:
    values = {"revoked_at": None, "starts_at": NOW - DAY, "ends_at": NOW + DAY}
    version = SimpleNamespace(state=fields.pop("version_state", "published"))
    return cast(Grant, SimpleNamespace(version=version, **values | fields))


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "Active"),
        ({"revoked_at": NOW}, "Revoked"),
        ({"ends_at": NOW}, "Ended"),
        ({"starts_at": NOW + DAY}, "Not yet begun"),
        ({"version_state": "withdrawn"}, "Data withdrawn"),
    ],
)
def test_grant_status_follows_time_and_revocation(
    fields: dict[str, Any], label: str
) -> None:
    assert str(grant_status(_grant(**fields), NOW).label) == label


POLICY = load_policy(
    """\
version: 1
tables:
  runs:
    units: row
    columns:
      machine: {role: dimension}
      failure: {role: label}
rules:
  - kind: subset
    columns: [machine, failure]
    label: failure
    row_filter: "machine = 'L'"
    pseudonymise: [machine]
    purposes: [model-training, tea-leaves]
    licence: CC0-1.0
    max_rows: 5000
    approval: {reviewers: 1}
"""
)


def test_rule_cards_of_a_subset_say_every_term() -> None:
    (card,) = rule_cards(POLICY, licence="")

    facts = dict(card["facts"])
    assert facts["Purposes"] == "Model training, tea-leaves"
    assert facts["Only rows where"] == "machine = 'L'"
    assert facts["Pseudonymised"] == "machine"
    assert facts["At most"] == "5,000 rows"
    assert facts["Approval"] == "Decided by 1 named reviewer of the provider"
    assert card["licence"] == "CC0-1.0"


def test_purpose_words_of_an_own_purpose_is_the_purpose() -> None:
    assert purpose_words("tea-leaves") == "tea-leaves"


def test_purpose_choices_of_a_rule_without_purposes_are_all_we_know() -> None:
    rule = SubsetRule(columns=("a",), licence="CC0-1.0", max_rows=1)

    assert len(purpose_choices([rule])) > 5


def test_rules_of_an_unknown_kind_are_none() -> None:
    assert rules_of_kind(POLICY, "everything") == []
