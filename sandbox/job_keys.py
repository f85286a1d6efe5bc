"""Data keys of a job on their way to the unsealer: nobody in between can read them.

The unsealer has a key pair of its own, made when it starts and nowhere written. Whoever
sends a job encrypts each data key to it (HPKE, RFC 9180, base mode: X25519, HKDF-SHA256,
AES-256-GCM), so that the door, which reads jobs and passes them on, holds none in clear.
Every field of a job that is bytes is a key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from sandbox.errors import KeyUnusable, ProtocolError
from sandbox.protocol import Job

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_INFO = b"bonded/job-key/1"
# Another unsealer answers than the one whose key it was: the daemon was started anew.
STALE = "transport_key_unknown"

J = TypeVar("J", bound=Job)


class TransportKey:
    """The unsealer's key pair; it lives as long as the process."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()

    @property
    def public(self) -> bytes:
        """What senders encrypt to."""
        return self._private.public_key().public_bytes_raw()

    def try_out(self) -> None:
        """Have everything loaded that `open` needs: later no file may be opened."""
        self.open(_SUITE.encrypt(bytes(32), self._private.public_key(), _INFO))

    def open(self, sealed: bytes) -> bytes:
        """Return a key in clear. Raises KeyUnusable if it was not sealed to this pair."""
        try:
            return _SUITE.decrypt(sealed, self._private, _INFO)
        except (InvalidTag, ValueError) as error:
            raise KeyUnusable(
                "a job's key was not encrypted to this sandbox",
                hint="Send the job again; the sandbox was started anew meanwhile.",
                code=STALE,
            ) from error


def seal_keys(job: J, public: bytes) -> J:
    """Return the job with each of its keys encrypted to the unsealer of `public`."""
    recipient = X25519PublicKey.from_public_bytes(public)
    return with_keys(
        job, [key and _SUITE.encrypt(key, recipient, _INFO) for key in keys_in(job)]
    )


def keys_in(job: Job) -> list[bytes]:
    """Return every key of a job in the order of its fields; where there is none, b""."""
    return list(_walk(job))


def with_keys(job: J, keys: Sequence[bytes]) -> J:
    """Return the job with these keys in the place of those that `keys_in` gives.

    Raises ProtocolError if they are not as many.
    """
    rest = iter(keys)
    if len(keys) != len(keys_in(job)):
        raise ProtocolError(f"{len(keys)} keys came for a job with {len(keys_in(job))}")
    replaced: J = _replace(job, rest)
    return replaced


def _walk(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _walk(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _walk(getattr(value, field.name))


def _replace(value: Any, keys: Iterator[bytes]) -> Any:
    if isinstance(value, bytes):
        return next(keys)
    if isinstance(value, tuple):
        return tuple(_replace(item, keys) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: _replace(getattr(value, field.name), keys)
            for field in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **changes)
    return value
