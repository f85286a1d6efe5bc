"""What `manage.py keys status` tells: states and names, never a key."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from exchange.errors import ExchangeError
from exchange.keys import masters
from exchange.keys.choice import ProviderKind, kind_of, provider
from exchange.keys.keyring import FileKeyring
from exchange.keys.models import MasterKey, OrganisationKey
from exchange.keys.provider import check_works
from exchange.keys.selectors import OrganisationKeyState, organisation_key_state
from exchange.parties.models import Organisation


def describe() -> dict[str, Any]:
    """The provider, the master keys it has, each organisation's key, and what is undone.

    `problem` is "" while the provider serves, `unfinished` whether a rotation is to be gone
    on with, `lines` the same as sentences.
    """
    kind = ProviderKind(settings.BONDED_KEY_PROVIDER)
    about: dict[str, Any] = {
        "provider": str(kind),
        "keyring_locked": None,
        "problem": "",
        "master_keys": [],
        "organisations": [],
        "unfinished": False,
    }
    try:
        check_works(provider())
        current, refs = provider().current, provider().refs()
        holder = provider()
        if isinstance(holder, FileKeyring):
            about["keyring_locked"] = holder.is_locked
        about["master_keys"] = [_master(ref, is_current=ref == current) for ref in refs]
        about["unfinished"] = bool(masters.waiting_for_rewrap(current))
    except ExchangeError as error:
        about["problem"] = f"{error.code}: {error.message} {error.hint}".strip()
    states = [
        organisation_key_state(organisation)
        for organisation in Organisation.objects.order_by("slug")
    ]
    held = [state for state in states if state.state]
    about["organisations"] = [_organisation(state) for state in held]
    about["unfinished"] |= any(state.is_rotating for state in held)
    about["lines"] = list(_lines(about))
    return about


def _master(ref: str, *, is_current: bool) -> dict[str, Any]:
    noted = MasterKey.objects.filter(ref=ref).first()
    under = OrganisationKey.objects.live().filter(provider_ref=ref)
    return {
        "ref": ref,
        "current": is_current,
        "noted_at": noted.noted_at.isoformat(timespec="seconds") if noted else None,
        "organisation_keys": under.count(),
    }


def _organisation(state: OrganisationKeyState) -> dict[str, Any]:
    made = state.created_at
    return {
        "organisation": state.organisation.slug,
        "state": "rotating" if state.is_rotating else state.state,
        "generation": state.generation,
        "created_at": made.isoformat(timespec="seconds") if made else None,
        "provider": str(kind_of(state.master_key)),
        "master_key": state.master_key,
        "data_keys_active": state.active,
        "data_keys_destroyed": state.destroyed,
    }


def _lines(about: dict[str, Any]) -> list[str]:
    locked = {True: ", locked by a passphrase", False: ", not locked", None: ""}
    lines = [f"provider: {about['provider']}{locked[about['keyring_locked']]}"]
    lines += [
        f"master key {master['ref']}: {master['organisation_keys']} organisation keys"
        + (", current" if master["current"] else "")
        for master in about["master_keys"]
    ]
    lines += [
        f"{one['organisation']}: {one['state']}, generation {one['generation']}, "
        f"under {one['master_key']}, {one['data_keys_active']} data keys"
        for one in about["organisations"]
    ]
    return lines
