"""What the exchange needs of whoever holds the node's master keys, and how it may fail.

The implementations: `keyring` (one file, the default of a small node), `transit`
(HashiCorp Vault, OpenBao), `hardware` (PKCS#11). All run through
`tests.unit.exchange.keys.provider_contract`; `choice` says which one a node uses.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exchange.errors import Conflict, Unavailable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class KeyUnusable(Unavailable):
    """A wrapped key does not open: another context or master key, or altered bytes."""

    code = "key_unusable"


class ProviderUnavailable(Unavailable):
    """Nobody answers, or not in time. What was asked may be asked again."""

    code = "key_provider_unreachable"


class ProviderSealed(ProviderUnavailable):
    """The provider answers, and holds its own keys locked."""

    code = "key_provider_sealed"


class ProviderDenied(ProviderUnavailable):
    """The provider does not take the node's credential, or not for this."""

    code = "key_provider_denied"


class MasterKeyMissing(ProviderUnavailable):
    """The provider answers, and has no master key of this node."""

    code = "master_key_missing"


class ProviderMisconfigured(ProviderUnavailable):
    """The settings cannot work: a file is missing, or the key is of an unfit kind."""

    code = "key_provider_misconfigured"


class MasterKeyInUse(Conflict):
    """The master key that was to be retired is the current one, or opens something."""

    code = "master_key_in_use"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A key that only its provider opens; `ref` names the master key it needs."""

    blob: bytes
    ref: str


class KeyProvider(Protocol):
    """Wraps keys under master keys that never leave it.

    Owed by every implementation: `unwrap(wrap(k, c), c) == k` for 32-byte keys, also after
    any number of `rotate()`; KeyUnusable for another context, an altered blob or an unknown
    ref; two wraps of one key differ; `rotate()` is durable before it returns, and from then
    on `current` names the new master key, in every process; `refs()` lists the master keys
    that still open something, oldest first, `current` last; after `retire(ref)` what lies
    under that one or an older one does not open any more (KeyUnusable), and the current one
    is refused (MasterKeyInUse). Refs are at most 128 characters and unique among providers.
    Whatever else goes wrong is a ProviderUnavailable with its code, within seconds, and the
    next call tries anew. Safe to share between threads and to use after a fork. No key, no
    credential in any message, log line or repr.
    """

    @property
    def current(self) -> str: ...

    def refs(self) -> tuple[str, ...]: ...

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped: ...

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes: ...

    def rotate(self) -> str: ...

    def retire(self, ref: str) -> None: ...


def check_works(provider: KeyProvider) -> None:
    """Raise what stops `provider` from wrapping a key and opening it again, if anything."""
    probe, context = secrets.token_bytes(KEY_BYTES), b"bonded/check/1"
    if provider.unwrap(provider.wrap(probe, context=context), context=context) != probe:
        raise KeyUnusable("The key provider returns another key than it was given.")


def seal_key(key: bytes, *, under: bytes, context: bytes) -> bytes:
    """Return nonce ‖ AES-256-GCM(key) with `context` as associated data."""
    check_length(key)
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(under).encrypt(nonce, key, context)


def open_key(blob: bytes, *, under: bytes, context: bytes) -> bytes:
    """Undo `seal_key`. Raises KeyUnusable for any other blob, wrapping key or context."""
    try:
        return AESGCM(under).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise does_not_open() from error


def check_length(key: bytes) -> None:
    """Raise KeyUnusable unless `key` has the length of our keys."""
    if len(key) != KEY_BYTES:
        raise KeyUnusable(f"a key to wrap has {len(key)} bytes, expected {KEY_BYTES}")


def does_not_open() -> KeyUnusable:
    return KeyUnusable(
        "A wrapped key does not open in the place it was presented for.",
        hint="Restore the key provider and the database from the same backup.",
    )


def no_such_master(ref: str) -> KeyUnusable:
    return KeyUnusable(
        f"The key provider has no master key {ref}.",
        hint="It was retired, or belongs to another provider or node: see "
        "`manage.py keys status`.",
    )


class MemoryKeyring:
    """Master keys that end with the process."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._current = ""
        self.rotate()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._keys)} master keys)"

    @property
    def current(self) -> str:
        return self._current

    def refs(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped:
        blob = seal_key(key, under=self._keys[self._current], context=context)
        return Wrapped(blob=blob, ref=self._current)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        master = self._keys.get(wrapped.ref)
        if master is None:
            raise no_such_master(wrapped.ref)
        return open_key(wrapped.blob, under=master, context=context)

    def rotate(self) -> str:
        ref = secrets.token_hex(8)
        self._keys[ref] = secrets.token_bytes(KEY_BYTES)
        self._current = ref
        return ref

    def retire(self, ref: str) -> None:
        check_may_retire(self, ref)
        for older in older_and(self, ref):
            del self._keys[older]


def check_may_retire(provider: KeyProvider, ref: str) -> None:
    """Raise MasterKeyInUse for the current master key, KeyUnusable for an unknown one."""
    if ref == provider.current:
        raise MasterKeyInUse(
            "This is the current master key.", hint="Rotate the master key first."
        )
    if ref not in provider.refs():
        raise no_such_master(ref)


def older_and(provider: KeyProvider, ref: str) -> tuple[str, ...]:
    """The refs up to and with `ref`, oldest first."""
    refs = provider.refs()
    return refs[: refs.index(ref) + 1]
