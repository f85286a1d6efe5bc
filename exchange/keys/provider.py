"""Who holds the node's master keys, and wraps what must not lie about in clear.

`KeyProvider` is what the exchange needs of a KMS. Two stand here: a keyring in one file
(0600, the default of a small node) and one in memory (tests, the simulator's kin). All run
through `tests.unit.exchange.keys.provider_contract`.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exchange.errors import Unavailable
from exchange.private_files import replace, write_new

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class KeyUnusable(Unavailable):
    """A wrapped key does not open: another context or master key, or altered bytes."""

    code = "key_unusable"


class KeyringUnusable(Unavailable):
    """The keyring file is missing, malformed, or open to others."""

    code = "keyring_unusable"


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
    on `current` names the new master key; no key in any message, log line or repr.
    """

    @property
    def current(self) -> str: ...

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped: ...

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes: ...

    def rotate(self) -> str: ...


def seal_key(key: bytes, *, under: bytes, context: bytes) -> bytes:
    """Return nonce ‖ AES-256-GCM(key) with `context` as associated data."""
    if len(key) != KEY_BYTES:
        raise KeyUnusable(f"a key to wrap has {len(key)} bytes, expected {KEY_BYTES}")
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(under).encrypt(nonce, key, context)


def open_key(blob: bytes, *, under: bytes, context: bytes) -> bytes:
    """Undo `seal_key`. Raises KeyUnusable for any other blob, wrapping key or context."""
    try:
        return AESGCM(under).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise KeyUnusable(
            "A wrapped key does not open in the place it was presented for.",
            hint="Restore the keyring and the database from the same backup.",
        ) from error


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

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped:
        blob = seal_key(key, under=self._keys[self._current], context=context)
        return Wrapped(blob=blob, ref=self._current)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        master = self._keys.get(wrapped.ref)
        if master is None:
            raise KeyUnusable(f"the keyring has no master key {wrapped.ref}")
        return open_key(wrapped.blob, under=master, context=context)

    def rotate(self) -> str:
        ref = secrets.token_hex(8)
        self._keys[ref] = secrets.token_bytes(KEY_BYTES)
        self._current = ref
        return ref


class FileKeyring:
    """Master keys in one JSON file, mode 0600, replaced atomically at rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys, self._current = _read_keyring(path)

    @classmethod
    def create(cls, path: Path) -> FileKeyring:
        """Write a keyring with one fresh key. Raises FileExistsError if there is one."""
        ref = secrets.token_hex(8)
        write_new(path, _dump_keyring({ref: secrets.token_bytes(KEY_BYTES)}, ref))
        return cls(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._keys)} master keys)"

    @property
    def current(self) -> str:
        return self._current

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped:
        blob = seal_key(key, under=self._keys[self._current], context=context)
        return Wrapped(blob=blob, ref=self._current)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        if wrapped.ref not in self._keys:
            # Another process may have rotated since this one read the file.
            self._keys, self._current = _read_keyring(self._path)
        master = self._keys.get(wrapped.ref)
        if master is None:
            raise KeyUnusable(f"the keyring has no master key {wrapped.ref}")
        return open_key(wrapped.blob, under=master, context=context)

    def rotate(self) -> str:
        keys, _ = _read_keyring(self._path)
        ref = secrets.token_hex(8)
        keys[ref] = secrets.token_bytes(KEY_BYTES)
        replace(self._path, _dump_keyring(keys, ref))
        self._keys, self._current = keys, ref
        return ref


def _dump_keyring(keys: dict[str, bytes], current: str) -> str:
    encoded = {ref: base64.b64encode(key).decode() for ref, key in keys.items()}
    return json.dumps({"format": "bonded-keyring/1", "current": current, "keys": encoded})


def _read_keyring(path: Path) -> tuple[dict[str, bytes], str]:
    try:
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise KeyringUnusable(
                f"The keyring's mode is {mode:o}, expected 600: others could read it.",
                hint="Set the mode to 600; rotate the master key if somebody may have.",
            )
        document = json.loads(path.read_text(encoding="ascii"))
        if document["format"] != "bonded-keyring/1":
            raise KeyringUnusable("The keyring is of a format this version does not know.")
        keys = {r: base64.b64decode(k, validate=True) for r, k in document["keys"].items()}
        current = document["current"]
    except FileNotFoundError as error:
        raise KeyringUnusable(
            "The node has no keyring.", hint="Run `manage.py setup`."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyringUnusable(
            "The keyring cannot be read.", hint="Restore it from a backup."
        ) from error
    if current not in keys or any(len(key) != KEY_BYTES for key in keys.values()):
        raise KeyringUnusable("The keyring's keys do not fit its format.")
    return keys, current
