"""The demo's policies fit its data, and its people come into demo nodes only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from exchange.demo import machining, policies, port_calls
from exchange.demo.people import ACCOUNTS, PASSWORD, accounts_table, ensure_people
from exchange.demo.waiting import NotDone, wait_until
from exchange.operations.models import Operation
from exchange.parties.models import Membership, User
from policies.codec import load_policy
from policies.schema_check import check_against

_TYPES = {
    "started_on": "DATE", "arrived_on": "DATE", "spindle_rpm": "BIGINT",
    "tool_wear_min": "BIGINT", "gross_tonnage": "BIGINT", "failure": "BIGINT",
    "delayed": "BIGINT", "torque_nm": "DECIMAL(18,1)", "temperature_k": "DECIMAL(18,1)",
    "waiting_hours": "DECIMAL(18,1)", "berth_hours": "DECIMAL(18,1)",
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "text", "columns"),
    [
        ("machining", policies.MACHINING, machining.COLUMNS),
        ("port_calls", policies.PORT_CALLS, port_calls.COLUMNS),
    ],
)
def test_policy_fits_and_names_every_column(
    table: str, text: str, columns: tuple[str, ...]
) -> None:
    policy = load_policy(text)

    check_against(policy, table, [(name, _TYPES.get(name, "VARCHAR")) for name in columns])

    described = policy.table(table)
    assert described is not None
    assert {column.name for column in described.columns} == set(columns)
    assert all(rule.min_units == 10 for rule in policy.aggregate_rules)


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["development", "production"])
def test_seed_refuses_outside_the_demo(mode: str, settings: Any) -> None:
    settings.BONDED_MODE = mode

    with pytest.raises(CommandError, match="not_a_demo"):
        call_command("demo_seed")

    assert not User.objects.filter(username__in=[a.username for a in ACCOUNTS]).exists()


@pytest.mark.django_db
def test_people_stand_once_and_can_sign_in() -> None:
    ensure_people()
    ensure_people()

    assert Membership.objects.count() == len(ACCOUNTS)
    assert all(
        User.objects.get(username=a.username).check_password(PASSWORD) for a in ACCOUNTS
    )
    assert all(a.username in accounts_table() for a in ACCOUNTS)


@pytest.mark.django_db
def test_wait_ends_at_once_when_the_node_has_stopped(settings: Any, tmp_path: Path) -> None:
    settings.RUN_DIR = tmp_path
    row = Operation.objects.create(kind="demo.none", target_id="1", state="pending")

    with pytest.raises(NotDone) as caught:
        wait_until(row, {"done"}, what="the work")

    assert caught.value.code == "demo_node_stopped"
