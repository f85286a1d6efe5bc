"""Who may rotate and destroy an organisation's keys, and who may see their states."""

from __future__ import annotations

from exchange.audit.actors import Actor
from exchange.errors import Forbidden
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import (
    Person,
    can_administer,
    can_manage_datasets,
    check_can_administer,
    sees_all_evidence,
)


def check_may_manage_keys(by: Actor, organisation: Organisation) -> None:
    """A steward or an administrator may; so may the node itself, by its operator's command.

    Raises Forbidden (`may_not_manage_keys`).
    """
    if isinstance(by, User) and not may_manage_keys(by, organisation):
        raise Forbidden(
            f"You may not rotate or destroy keys of {organisation.name}.",
            code="may_not_manage_keys",
            hint=f"Ask a data steward or an administrator of {organisation.name}.",
        )


def may_manage_keys(user: Person, organisation: Organisation) -> bool:
    return can_manage_datasets(user, organisation) or can_administer(user, organisation)


def check_may_end_keys(by: Actor, organisation: Organisation) -> None:
    """Only an administrator, or the operator, destroys the organisation's own key."""
    if isinstance(by, User):
        check_can_administer(by, organisation)


def may_see_keys(user: Person, organisation: Organisation) -> bool:
    """Their states, never a byte: those who manage them, and a regulator."""
    return may_manage_keys(user, organisation) or sees_all_evidence(user)
