"""The end of an organisation's keys: all that lay under them is unreadable for ever."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from exchange.audit.actors import Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.keys.models import DataKey, KeyState, OrganisationKey
from exchange.keys.organisation_keys import destroyed
from exchange.parties.models import Organisation


def destroy_organisation_keys(*, organisation: Organisation, by: Actor) -> int:
    """No key of the organisation opens anything any more; how many data keys that were.

    The data keys lose their bytes as well: a copy of an organisation key elsewhere, in an
    old backup of the provider, opens nothing of this database. One transaction, recorded.
    Raises Conflict (`organisation_keys_destroyed`) where there is no key to destroy.
    """
    now = timezone.now()
    gone = {"state": KeyState.DESTROYED, "wrapped": b"", "destroyed_at": now}
    with transaction.atomic():
        keys = OrganisationKey.objects.live().filter(organisation=organisation)
        generations = list(keys.select_for_update().values_list("generation", flat=True))
        if not generations:
            raise destroyed()
        keys.update(**gone)
        count = DataKey.objects.filter(
            organisation_key__organisation=organisation, state=KeyState.ACTIVE
        ).update(**gone)
        record(
            type=EventType.KEY_DESTROYED,
            actor=by,
            subject=organisation,
            organisation=organisation.slug,
            purpose="organisation",
            generation=max(generations),
            data_keys=count,
        )
    return count
