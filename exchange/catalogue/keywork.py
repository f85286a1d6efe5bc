"""Rotation of an organisation's key as work in the background, asked for by people."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from exchange.audit.actors import NODE
from exchange.errors import Conflict
from exchange.keys.models import OrganisationKey
from exchange.keys.organisation_keys import destroyed
from exchange.keys.permissions import check_may_manage_keys
from exchange.keys.rotation import rotate_organisation
from exchange.operations.models import Operation
from exchange.operations.services import enqueue, extend
from exchange.parties.models import Organisation, User

ROTATE: Final = "keys.rotate"


def rotate_soon(*, organisation: Organisation, by: User) -> Operation:
    """The organisation's key will be replaced; its data keys move, its data stays.

    Conflict `key_not_issued`, `organisation_keys_destroyed`, `operation_unfinished`.
    """
    check_may_manage_keys(by, organisation)
    keys = OrganisationKey.objects.filter(organisation=organisation)
    if not keys.exists():
        raise Conflict("The organisation has no key to rotate.", code="key_not_issued")
    if not keys.live().exists():
        raise destroyed()
    with transaction.atomic():
        return enqueue(ROTATE, organisation.public_id)


def rotate(operation: Operation) -> None:
    """The operation's organisation has a new key; killed, it goes on where it stood."""
    organisation = Organisation.objects.get(public_id=operation.target_id)
    rotate_organisation(
        organisation=organisation,
        by=NODE,
        told=lambda moved: extend(operation, progress=f"{moved} data keys moved"),
    )
