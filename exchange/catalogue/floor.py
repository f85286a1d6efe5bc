"""The floor of this node: what its operator demands of every policy."""

from __future__ import annotations

from django.conf import settings

from policies.composing import line_numbers
from policies.document import Policy
from policies.floor import check_floor


def check_keeps_floor(policy: Policy, text: str) -> None:
    """Raise WeakerThanFloor, with the line in `text`, unless `policy` keeps to the floor.

    A node whose operator names no floor demands nothing.
    """
    if settings.POLICY_FLOOR is not None:
        check_floor(policy, settings.POLICY_FLOOR, lines=line_numbers(text))
