"""Master keys: which there are, a new one, everything under the newest, old ones retired.

They never leave their provider; `MasterKey` rows say only that one was seen and when, so
that the log tells of every one, also of those that the provider's own operators made.

    killed after the provider rotated     the next wrap under the new key notes it
    killed between two organisations      `rewrap` goes on with those that are left
    killed after the provider retired     `retire_masters` records what is gone
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from exchange.audit.actors import Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.errors import Conflict
from exchange.keys import organisation_keys
from exchange.keys.choice import ProviderKind, kind_of, provider
from exchange.keys.models import MasterKey, OrganisationKey
from exchange.keys.notes import note_master


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How many organisation keys were brought under the current master key, `ref`."""

    ref: str
    keys: int


def rotate_master(*, by: Actor) -> Rewrapped:
    """A new master key stands, and every organisation key lies under it.

    No data key and no data is touched. Raises ProviderUnavailable; what was done until then
    holds, and `rewrap` does the rest.
    """
    ref = provider().rotate()
    with transaction.atomic():
        note_master(ref, by=by)
    return rewrap(by=by)


def rewrap(*, by: Actor) -> Rewrapped:
    """Every organisation key lies under the current master key of the chosen provider.

    One transaction for each key, outside which the provider is asked. Safe to run at any
    time, twice, and beside itself.
    """
    ref = provider().current
    with transaction.atomic():
        note_master(ref, by=by)
    return Rewrapped(ref, sum(_rewrap(key, by=by) for key in waiting_for_rewrap(ref)))


def waiting_for_rewrap(ref: str) -> list[OrganisationKey]:
    """The organisation keys that lie under another master key than `ref`."""
    live = OrganisationKey.objects.live().exclude(provider_ref=ref)
    return list(live.select_related("organisation").order_by("pk"))


def _rewrap(key: OrganisationKey, *, by: Actor) -> bool:
    clear = organisation_keys.open_key_of(key)
    context = organisation_keys.context_of(key.organisation, key.generation)
    wrapped = provider().wrap(clear, context=context)
    with transaction.atomic():
        note_master(wrapped.ref, by=by)
        # Compared with what was opened: a key that was destroyed or rewrapped meanwhile
        # must not come back.
        moved = (
            OrganisationKey.objects.live()
            .filter(pk=key.pk, provider_ref=key.provider_ref, wrapped=bytes(key.wrapped))
            .update(wrapped=wrapped.blob, provider_ref=wrapped.ref)
        )
        if moved:
            record(
                type=EventType.KEY_REWRAPPED,
                actor=by,
                subject=key.organisation,
                organisation=key.organisation.slug,
                generation=key.generation,
                provider=str(kind_of(wrapped.ref)),
                master_key=wrapped.ref,
            )
    return moved == 1


def retirable() -> tuple[str, ...]:
    """The master keys, oldest first, under which and before which nothing lies.

    A provider retires one with all older ones, so one that is in use keeps those after it:
    see `held_up_by`.
    """
    refs = provider().refs()[:-1]
    stop = held_up_by()
    return refs if stop is None else refs[: refs.index(stop)]


def held_up_by() -> str | None:
    """The oldest master key but the current one under which a key lies, until `rewrap`."""
    used = set(OrganisationKey.objects.live().values_list("provider_ref", flat=True))
    return next((ref for ref in provider().refs()[:-1] if ref in used), None)


def retire_masters(*, by: Actor) -> tuple[str, ...]:
    """The retirable master keys are gone from their provider, each recorded.

    A database backup from before the last rewrap cannot be read from then on.
    """
    refs = retirable()
    with transaction.atomic():
        for ref in refs:
            MasterKey.objects.get_or_create(ref=ref)  # one that nothing was ever put under
        gone = list(_unrecorded(refs))
        for master in gone:
            # Marked before it is asked whether it is in use: `note_master` refuses to let
            # anybody wrap under a marked one, and waits for this transaction to know.
            MasterKey.objects.filter(pk=master.pk).update(retired_at=timezone.now())
            if OrganisationKey.objects.live().filter(provider_ref=master.ref).exists():
                raise Conflict(
                    f"A key was wrapped under the master key {master.ref} just now.",
                    code="master_key_in_use",
                    hint="Run `manage.py keys rewrap`, then retire again.",
                )
            record(
                type=EventType.KEY_MASTER_RETIRED,
                actor=by,
                subject=("masterkey", str(master.pk)),
                provider=str(kind_of(master.ref)),
                master_key=master.ref,
            )
        if refs:
            # Last: what the record says cannot be undone. If the commit fails after it,
            # the next call finds the key gone and records that.
            provider().retire(refs[-1])
    return tuple(master.ref for master in gone)


def _unrecorded(refs: tuple[str, ...]) -> list[MasterKey]:
    """Of the chosen provider: those to retire now, and those that it has no longer."""
    kind, held = kind_of(provider().current), set(provider().refs()) - set(refs)
    rows = MasterKey.objects.filter(retired_at=None).select_for_update().order_by("pk")
    return [m for m in rows if kind_of(m.ref) is kind and m.ref not in held]


def other_providers_in_use() -> tuple[ProviderKind, ...]:
    """The providers, besides the chosen one, that still hold a key's master."""
    chosen = kind_of(provider().current)
    refs = OrganisationKey.objects.live().values_list("provider_ref", flat=True)
    return tuple(sorted({kind_of(ref) for ref in refs} - {chosen}))
