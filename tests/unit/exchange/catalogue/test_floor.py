"""What the node's operator demands of every policy: BONDED_POLICY_FLOOR."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.audit.models import AuditEvent
from exchange.catalogue.models import Offer, PolicyVersion
from exchange.catalogue.services import publish
from policies.errors import WeakerThanFloor
from policies.floor import load_floor
from tests.factories.walk import (
    House,
    policy_text,
    profiled,
    ready,
    registered,
    with_policy,
)

pytestmark = pytest.mark.django_db

CAP = next(
    number
    for number, line in enumerate(policy_text(cap=7).splitlines(), start=1)
    if "max_queries_per_day" in line
)


def test_set_policy_weaker_than_the_floor_is_refused_with_its_line(
    house: House, settings: Any
) -> None:
    settings.POLICY_FLOOR = load_floor("max_queries_per_day: 6")
    dataset = registered(house)
    profiled(house, dataset)

    with pytest.raises(WeakerThanFloor, match="max_queries_per_day") as caught:
        with_policy(house, dataset, cap=7)

    assert caught.value.line == CAP
    assert caught.value.hint == "Set `max_queries_per_day: 6` or less."
    assert not PolicyVersion.objects.exists()
    assert not AuditEvent.objects.filter(type="policy:published").exists()


def test_set_policy_at_the_floor_stands(house: House, settings: Any) -> None:
    settings.POLICY_FLOOR = load_floor("max_queries_per_day: 7")
    dataset = registered(house)
    profiled(house, dataset)

    assert with_policy(house, dataset, cap=7).number == 1


def test_publish_of_a_policy_older_than_the_floor_is_refused(
    house: House, settings: Any
) -> None:
    version, policy = ready(house, cap=7)
    settings.POLICY_FLOOR = load_floor("max_queries_per_day: 6")

    with pytest.raises(WeakerThanFloor):
        publish(version=version, policy_version=policy, licence="CC0-1.0", by=house.steward)

    assert not Offer.objects.exists()
