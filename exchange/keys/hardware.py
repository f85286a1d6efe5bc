"""Master keys in a hardware module behind PKCS#11, which never hands them out.

Each master key is an AES-256 object, sensitive and not extractable, of one label; its
CKA_ID is a 4-byte generation and 4 random bytes, so that the highest is the current one and
two that rotate at once make two keys, not one. Wrapping is AES-GCM inside the module
(PKCS#11 v3.0 section 6.13) with our context as associated data.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11 import exceptions as p11

from exchange.keys.credentials import read_credential
from exchange.keys.provider import (
    NONCE_BYTES,
    MasterKeyMissing,
    ProviderDenied,
    ProviderMisconfigured,
    ProviderUnavailable,
    Wrapped,
    check_length,
    check_may_retire,
    does_not_open,
    no_such_master,
    older_and,
)

TAG_BITS: Final = 128
_WRAPPED_BYTES: Final = NONCE_BYTES + 32 + TAG_BITS // 8
# What a session that has died answers; a fresh one may do.
_LOST: Final = (
    p11.SessionClosed,
    p11.SessionHandleInvalid,
    p11.UserNotLoggedIn,
    p11.DeviceRemoved,
    p11.DeviceError,
    p11.TokenNotPresent,
    p11.ObjectHandleInvalid,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HardwareSettings:
    """Where the module is, and which token and label hold this node's master keys."""

    module: Path
    token: str
    pin_file: Path
    label: str = "bonded"


class HardwareKeys:
    """The master keys of one label in one PKCS#11 token.

    Nothing is opened before the first call. A module keeps its state in the process, so
    calls take turns, and a forked child starts the module anew.
    """

    def __init__(self, settings: HardwareSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._session: Any = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.token}, {self._settings.label})"

    @property
    def current(self) -> str:
        refs = self.refs()
        if not refs:
            raise MasterKeyMissing(
                f"The token has no key labelled {self._settings.label}.",
                hint="Run `manage.py setup`, or restore the token from its backup.",
            )
        return refs[-1]

    def refs(self) -> tuple[str, ...]:
        def listed(session: Any) -> tuple[str, ...]:
            found = session.get_objects(self._template())
            return tuple(self._ref(i) for i in sorted(bytes(key.id) for key in found))

        return self._asked(listed)

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped:
        check_length(key)
        ref, nonce = self.current, secrets.token_bytes(NONCE_BYTES)

        def wrapped(session: Any) -> bytes:
            master = self._master(session, ref)
            sealed: bytes = master.encrypt(
                key,
                mechanism=Mechanism.AES_GCM,
                mechanism_param=GCMParams(nonce, context, TAG_BITS),
            )
            return sealed

        return Wrapped(blob=nonce + self._asked(wrapped), ref=ref)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        blob = wrapped.blob
        # A module may take a short text for one without a tag, or answer with a crash.
        if len(blob) != _WRAPPED_BYTES:
            raise does_not_open()

        def unwrapped(session: Any) -> bytes:
            master = self._master(session, wrapped.ref)
            try:
                clear: bytes = master.decrypt(
                    blob[NONCE_BYTES:],
                    mechanism=Mechanism.AES_GCM,
                    mechanism_param=GCMParams(blob[:NONCE_BYTES], context, TAG_BITS),
                )
            except (
                p11.EncryptedDataInvalid,
                p11.EncryptedDataLenRange,
                p11.GeneralError,  # what SoftHSM says of a tag that does not fit
                p11.FunctionFailed,
            ):
                raise does_not_open() from None
            return clear

        return self._asked(unwrapped)

    def rotate(self) -> str:
        def rotated(session: Any) -> str:
            ids = [bytes(key.id) for key in session.get_objects(self._template())]
            generation = struct.unpack(">I", max(ids)[:4])[0] + 1 if ids else 1
            made = struct.pack(">I", generation) + secrets.token_bytes(4)
            session.generate_key(
                KeyType.AES,
                256,
                id=made,
                label=self._settings.label,
                store=True,
                template={
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.PRIVATE: True,
                    Attribute.MODIFIABLE: False,
                },
            )
            return self._ref(made)

        return self._asked(rotated)

    def retire(self, ref: str) -> None:
        with self._lock:
            check_may_retire(self, ref)
            for older in older_and(self, ref):
                self._destroy(older)

    def _destroy(self, ref: str) -> None:
        self._asked(lambda session: self._master(session, ref).destroy())

    def _ref(self, key_id: bytes) -> str:
        return f"pkcs11/{self._settings.label}/{key_id.hex()}"

    def _template(self, **more: Any) -> dict[Any, Any]:
        return {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.LABEL: self._settings.label,
            **more,
        }

    def _master(self, session: Any, ref: str) -> Any:
        start = f"pkcs11/{self._settings.label}/"
        try:
            key_id = bytes.fromhex(ref.removeprefix(start))
        except ValueError:
            raise no_such_master(ref) from None
        if not ref.startswith(start):
            raise no_such_master(ref)
        template = self._template() | {Attribute.ID: key_id}
        found = list(session.get_objects(template))
        if not found:
            raise no_such_master(ref)
        return found[0]

    def _asked(self, ask: Callable[[Any], T]) -> T:
        with self._lock, _translated():
            try:
                return ask(self._opened())
            except _LOST:
                self._session = None
                return ask(self._opened())

    def _opened(self) -> Any:
        if self._session is not None and self._pid == os.getpid():
            return self._session
        library = _library(self._settings.module, forked=self._pid not in (0, os.getpid()))
        self._session, self._pid = None, os.getpid()
        token = library.get_token(token_label=self._settings.token)
        pin = self._pin()
        try:
            session = token.open(user_pin=pin, rw=True)
        except p11.UserAlreadyLoggedIn:
            # Login holds for all of a process's sessions: another one here has done it.
            session = token.open(rw=True)
        self._session = session
        return session

    def _pin(self) -> str:
        return read_credential(
            self._settings.pin_file,
            what="the token's PIN",
            setting="BONDED_PKCS11_PIN_FILE",
        )


def _library(module: Path, *, forked: bool) -> Any:
    try:
        library = pkcs11.lib(str(module))
        if forked:
            # Handles of the parent mean nothing here (PKCS#11 section 5.1.6, on fork).
            library.reinitialize()
    except (RuntimeError, OSError):
        raise ProviderMisconfigured(
            "The PKCS#11 module cannot be loaded.",
            hint="Correct BONDED_PKCS11_MODULE: the path of the vendor's library.",
        ) from None
    return library


@contextmanager
def _translated() -> Iterator[None]:
    """What the module raises leaves as our errors; its own texts may name sessions only."""
    try:
        yield
    except (p11.PinIncorrect, p11.PinInvalid, p11.PinLenRange):
        raise ProviderDenied(
            "The token does not take the PIN.",
            hint="Correct the PIN file before the token locks itself.",
        ) from None
    except (p11.PinLocked, p11.PinExpired, p11.UserPinNotInitialized):
        raise ProviderDenied(
            "The token's PIN is locked, expired or not set.",
            hint="Let its security officer reset the PIN, then correct the PIN file.",
        ) from None
    except (p11.NoSuchToken, p11.MultipleTokensReturned):
        raise ProviderUnavailable(
            "The module shows no token, or more than one, of the label that was set.",
            hint="Connect the device; correct BONDED_PKCS11_TOKEN.",
        ) from None
    except p11.MechanismInvalid:
        raise ProviderMisconfigured(
            "The module has no AES-GCM.", hint="Use a module with CKM_AES_GCM."
        ) from None
    except p11.PKCS11Error as error:
        raise ProviderUnavailable(
            f"The PKCS#11 module failed ({type(error).__name__}).",
            hint="See the device's own log; the node asks again at the next need.",
        ) from None
