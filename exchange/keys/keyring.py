"""Master keys in one JSON file, mode 0600, in clear or under a passphrase.

Format 1 holds them in clear. Format 2 holds each as `seal_key(master)` under a key that
scrypt (RFC 7914) derives from a passphrase, bound to the master key's ref. The passphrase
lies in a file of its own, so that a copy of the keyring alone opens nothing; it is never an
argument of a command, where other users of the machine would see it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from exchange.keys.credentials import read_credential
from exchange.keys.provider import (
    KEY_BYTES,
    KeyUnusable,
    ProviderMisconfigured,
    ProviderUnavailable,
    Wrapped,
    check_may_retire,
    no_such_master,
    older_and,
    open_key,
    seal_key,
)
from exchange.private_files import replace, write_new

CLEAR: Final = "bonded-keyring/1"
LOCKED: Final = "bonded-keyring/2"
# About 0.4 s and 128 MiB for whoever tries a passphrase.
SCRYPT_N: Final = 2**17
_SCRYPT_R, _SCRYPT_P = 8, 1
_MAX_SCRYPT_N = 2**20  # a keyring that asks for more would stop the node, not open
MIN_PASSPHRASE_CHARACTERS: Final = 16


class KeyringUnusable(ProviderUnavailable):
    """The keyring file is missing, malformed, or open to others."""

    code = "keyring_unusable"


class PassphraseMissing(ProviderUnavailable):
    """The keyring is locked, and the node was told no passphrase."""

    code = "keyring_passphrase_missing"


class PassphraseWrong(ProviderUnavailable):
    """The keyring is locked under another passphrase."""

    code = "keyring_passphrase_wrong"


@dataclass(frozen=True, slots=True)
class _Lock:
    """What the file says of its lock, and the key that opens it."""

    salt: bytes
    n: int
    key: bytes

    def __repr__(self) -> str:
        return f"_Lock(n={self.n})"


@dataclass(frozen=True, slots=True)
class _Keyring:
    keys: dict[str, bytes]
    current: str
    lock: _Lock | None

    def __repr__(self) -> str:
        return f"_Keyring({len(self.keys)} master keys)"


class FileKeyring:
    """The keyring at `path`; every process sees what another one has rotated.

    `passphrase` is needed for a locked keyring and not used for one in clear. Raises
    KeyringUnusable, PassphraseMissing or PassphraseWrong.
    """

    def __init__(self, path: Path, *, passphrase: str = "") -> None:
        self._path = path
        self._passphrase = passphrase
        self._held = self._read()

    @classmethod
    def create(
        cls, path: Path, *, passphrase: str = "", scrypt_n: int = SCRYPT_N
    ) -> FileKeyring:
        """Write a keyring with one fresh key. Raises FileExistsError if there is one."""
        ref = secrets.token_hex(8)
        lock = _new_lock(passphrase, scrypt_n) if passphrase else None
        keyring = _Keyring({ref: secrets.token_bytes(KEY_BYTES)}, ref, lock)
        write_new(path, _dump(keyring))
        return cls(path, passphrase=passphrase)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._held.keys)} master keys)"

    @property
    def is_locked(self) -> bool:
        """Whether the file needs a passphrase."""
        return self._held.lock is not None

    @property
    def current(self) -> str:
        self._held = self._read()
        return self._held.current

    def refs(self) -> tuple[str, ...]:
        self._held = self._read()
        return tuple(self._held.keys)

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped:
        # Read anew: under a master key that was retired meanwhile it would be lost.
        self._held = self._read()
        held = self._held
        blob = seal_key(key, under=held.keys[held.current], context=context)
        return Wrapped(blob=blob, ref=held.current)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        if wrapped.ref not in self._held.keys:
            # Another process may have rotated since this one read the file.
            self._held = self._read()
        master = self._held.keys.get(wrapped.ref)
        if master is None:
            raise no_such_master(wrapped.ref)
        return open_key(wrapped.blob, under=master, context=context)

    def rotate(self) -> str:
        ref = secrets.token_hex(8)
        with self._alone():
            held = self._read()
            fresh = {**held.keys, ref: secrets.token_bytes(KEY_BYTES)}
            self._write(_Keyring(fresh, ref, held.lock))
        return ref

    def retire(self, ref: str) -> None:
        with self._alone():
            check_may_retire(self, ref)
            gone = older_and(self, ref)
            held = self._held
            kept = {r: key for r, key in held.keys.items() if r not in gone}
            self._write(_Keyring(kept, held.current, held.lock))

    def lock(self, passphrase: str, *, scrypt_n: int = SCRYPT_N) -> None:
        """The file needs `passphrase` from now on, with a fresh salt.

        What it held before may still lie in free blocks of the disk and in backups: rotate
        the master key afterwards and retire the old ones.
        """
        lock = _new_lock(passphrase, scrypt_n)
        with self._alone():
            held = self._read()
            self._passphrase = passphrase
            self._write(_Keyring(held.keys, held.current, lock))

    def unlock(self) -> None:
        """The file needs no passphrase from now on."""
        with self._alone():
            held = self._read()
            self._write(_Keyring(held.keys, held.current, None))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Of two that rotate at once, one would write the file without the other's key, and
        # what lies under that would be lost. The directory is locked: the file is replaced.
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _write(self, keyring: _Keyring) -> None:
        replace(self._path, _dump(keyring))
        self._held = keyring

    def _read(self) -> _Keyring:
        known = getattr(self, "_held", None)
        return _read(self._path, self._passphrase, known.lock if known else None)


def read_passphrase(path: Path) -> str:
    """The passphrase in `path`. Raises ProviderMisconfigured, also for a short one."""
    passphrase = read_credential(
        path, what="the keyring's passphrase", setting="BONDED_KEYRING_PASSPHRASE_FILE"
    )
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise ProviderMisconfigured(
            f"The passphrase has {len(passphrase)} characters; it needs "
            f"{MIN_PASSPHRASE_CHARACTERS}.",
            hint="Let a password manager make one.",
        )
    return passphrase


def _new_lock(passphrase: str, n: int) -> _Lock:
    salt = secrets.token_bytes(16)
    return _Lock(salt, n, _derive(passphrase, salt, n))


def _derive(passphrase: str, salt: bytes, n: int) -> bytes:
    scrypt = Scrypt(salt=salt, length=KEY_BYTES, n=n, r=_SCRYPT_R, p=_SCRYPT_P)
    return scrypt.derive(passphrase.encode())


def _context(ref: str) -> bytes:
    return f"{LOCKED}\x00{ref}".encode()


def _dump(keyring: _Keyring) -> str:
    lock = keyring.lock
    document: dict[str, Any] = {"format": CLEAR, "current": keyring.current}
    encoded = keyring.keys
    if lock is not None:
        document["format"] = LOCKED
        document["scrypt"] = {"n": lock.n, "salt": base64.b64encode(lock.salt).decode()}
        encoded = {
            ref: seal_key(key, under=lock.key, context=_context(ref))
            for ref, key in keyring.keys.items()
        }
    document["keys"] = {ref: base64.b64encode(b).decode() for ref, b in encoded.items()}
    return json.dumps(document)


def _read(path: Path, passphrase: str, known: _Lock | None) -> _Keyring:
    try:
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise KeyringUnusable(
                f"The keyring's mode is {mode:o}, expected 600: others could read it.",
                hint="Set the mode to 600; rotate the master key if somebody may have.",
            )
        document = json.loads(path.read_text(encoding="ascii"))
        if document["format"] not in (CLEAR, LOCKED):
            raise KeyringUnusable("The keyring is of a format this version does not know.")
        keys = {r: base64.b64decode(k, validate=True) for r, k in document["keys"].items()}
        current, lock = document["current"], None
        if document["format"] == LOCKED:
            salt = base64.b64decode(document["scrypt"]["salt"], validate=True)
            lock = _opened_lock(salt, int(document["scrypt"]["n"]), passphrase, known)
            keys = {ref: _open_master(blob, lock, ref) for ref, blob in keys.items()}
    except FileNotFoundError as error:
        raise KeyringUnusable(
            "The node has no keyring.", hint="Run `manage.py setup`."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise KeyringUnusable(
            "The keyring cannot be read.", hint="Restore it from a backup."
        ) from error
    if current not in keys or any(len(key) != KEY_BYTES for key in keys.values()):
        raise KeyringUnusable("The keyring's keys do not fit its format.")
    return _Keyring(keys, current, lock)


def _opened_lock(salt: bytes, n: int, passphrase: str, known: _Lock | None) -> _Lock:
    # Derived once in a process: it takes time on purpose.
    if known is not None and (known.salt, known.n) == (salt, n):
        return known
    if not passphrase:
        raise PassphraseMissing(
            "The keyring is locked, and this process was told no passphrase.",
            hint="Name a file that holds it in BONDED_KEYRING_PASSPHRASE_FILE.",
        )
    if not 2 <= n <= _MAX_SCRYPT_N:
        raise KeyringUnusable(f"The keyring's scrypt cost is {n}, at most {_MAX_SCRYPT_N}.")
    return _Lock(salt, n, _derive(passphrase, salt, n))


def _open_master(blob: bytes, lock: _Lock, ref: str) -> bytes:
    try:
        return open_key(blob, under=lock.key, context=_context(ref))
    except KeyUnusable as error:
        raise PassphraseWrong(
            "The keyring does not open with this passphrase.",
            hint="Correct the passphrase file; if it is right, restore the keyring.",
        ) from error
