"""A version that its policy cuts by column: two groups under data keys of their own.

`name` is hidden from every query; `torque` only chooses the rows of a subset.
"""

from __future__ import annotations

from exchange.agreements.models import Grant
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.services import partition_version, publish, set_policy
from tests.factories.walk import (
    RUNS,
    House,
    asked,
    policy_text,
    profiled,
    registered,
    work_done,
)

NAMED = "\n".join(
    f"{line},{'name' if not number else f'n{number}'}"
    for number, line in enumerate(RUNS.splitlines())
)
CUT = (
    policy_text()
    .replace(
        "torque: {role: measure, grid: 5}",
        "torque: {role: hidden}\n      name: {role: hidden}",
    )
    .replace("[type, torque, failure]", "[type, failure]\n    row_filter: torque >= 10")
)


def cut_version(house: House) -> DatasetVersion:
    version = profiled(house, registered(house), NAMED)
    policy = set_policy(dataset=version.dataset, text=CUT, by=house.steward)
    partition_version(version=version, policy_version=policy, by=house.steward)
    work_done(version)
    version.refresh_from_db()
    return version


def grant_on(house: House, version: DatasetVersion, *, text: str = CUT, kind: str) -> Grant:
    policy = set_policy(dataset=version.dataset, text=text, by=house.steward)
    offer = publish(
        version=version, policy_version=policy, licence="CC-BY-4.0", by=house.steward
    )
    return asked(house, offer, kind=kind).grant
