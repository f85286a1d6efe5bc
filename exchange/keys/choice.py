"""Which provider a node uses, by its settings; and which one an older key needs.

A ref says whose it is, so that a node that changes its provider still opens what lies under
the earlier one, until `manage.py keys rewrap` has brought everything over.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import assert_never

from django.conf import settings

from exchange.keys.hardware import HardwareKeys, HardwareSettings
from exchange.keys.keyring import FileKeyring, read_passphrase
from exchange.keys.provider import KeyProvider, ProviderMisconfigured
from exchange.keys.transit import TransitKeys, TransitSettings


class ProviderKind(StrEnum):
    FILE = "file"
    TRANSIT = "transit"
    PKCS11 = "pkcs11"


def kind_of(ref: str) -> ProviderKind:
    """Whose master key `ref` names; those of the keyring have no slash."""
    kind, slash, _ = ref.partition("/")
    known = slash and kind in {str(kind) for kind in ProviderKind}
    return ProviderKind(kind) if known else ProviderKind.FILE


def provider() -> KeyProvider:
    """Return the provider that the node wraps under."""
    return provider_of(ProviderKind(settings.BONDED_KEY_PROVIDER))


def provider_for(ref: str) -> KeyProvider:
    """Return the provider that opens what lies under `ref`."""
    return provider_of(kind_of(ref))


@cache
def provider_of(kind: ProviderKind) -> KeyProvider:
    """Return the one provider of that kind in this process.

    Raises ProviderMisconfigured where the node was never told of it. What raises is not
    kept: a node whose keyring is put right goes on without a restart.
    """
    match kind:
        case ProviderKind.FILE:
            return file_keyring()
        case ProviderKind.TRANSIT:
            return TransitKeys(_transit())
        case ProviderKind.PKCS11:
            return HardwareKeys(_hardware())
    assert_never(kind)


def file_keyring() -> FileKeyring:
    """Read the keyring file anew, with the passphrase that the settings name."""
    place = settings.BONDED_KEYRING_PASSPHRASE_FILE
    passphrase = read_passphrase(place) if place is not None else ""
    return FileKeyring(settings.KEYRING_FILE, passphrase=passphrase)


def _transit() -> TransitSettings:
    if not settings.BONDED_TRANSIT_URL:
        raise ProviderMisconfigured(
            "The node was not told where its transit engine answers.",
            hint="Set BONDED_TRANSIT_URL.",
        )
    return TransitSettings(
        url=settings.BONDED_TRANSIT_URL,
        key=settings.BONDED_TRANSIT_KEY,
        mount=settings.BONDED_TRANSIT_MOUNT,
        namespace=settings.BONDED_TRANSIT_NAMESPACE,
        token_file=settings.BONDED_TRANSIT_TOKEN_FILE,
        role_id_file=settings.BONDED_TRANSIT_ROLE_ID_FILE,
        secret_id_file=settings.BONDED_TRANSIT_SECRET_ID_FILE,
        ca_file=settings.BONDED_TRANSIT_CA_FILE,
        timeout_seconds=settings.BONDED_TRANSIT_TIMEOUT_SECONDS,
    )


def _hardware() -> HardwareSettings:
    module, pin_file = settings.BONDED_PKCS11_MODULE, settings.BONDED_PKCS11_PIN_FILE
    if module is None or pin_file is None:
        raise ProviderMisconfigured(
            "The node was not told of its PKCS#11 module, or not where its PIN is.",
            hint="Set BONDED_PKCS11_MODULE and BONDED_PKCS11_PIN_FILE.",
        )
    return HardwareSettings(
        module=module,
        token=settings.BONDED_PKCS11_TOKEN,
        pin_file=pin_file,
        label=settings.BONDED_PKCS11_LABEL,
    )
