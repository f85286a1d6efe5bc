"""Master keys in the transit engine of HashiCorp Vault or OpenBao, over HTTP.

The node's key is one derived AES-256-GCM key of the engine: with `derived` every request
must carry a context, from which the key that is used is derived, so that a wrapped key
opens in its own place only. A master key is a version of that key; retiring raises the
lowest version that decrypts and trims what lies below. Source: the engine's HTTP API; the
tests run against an OpenBao server where its program is installed, and a fake that agrees.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import hvac
import requests
from hvac import exceptions as vault

from exchange.keys.credentials import read_credential
from exchange.keys.provider import (
    KEY_BYTES,
    MasterKeyInUse,
    MasterKeyMissing,
    ProviderDenied,
    ProviderMisconfigured,
    ProviderSealed,
    ProviderUnavailable,
    Wrapped,
    check_length,
    does_not_open,
    no_such_master,
)

T = TypeVar("T")

ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 0.2
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+=*)\Z")
_SEALED_BYTES: Final = 12 + KEY_BYTES + 16

# Its debug lines would carry addresses of requests; nothing else of ours logs there.
logging.getLogger("urllib3").setLevel(logging.WARNING)


class RequestRejected(ProviderMisconfigured):
    """The engine does not take what was asked; of a decryption: it does not open."""


@dataclass(frozen=True, slots=True)
class TransitSettings:
    """Where the engine answers, which key is the node's, and how the node proves itself.

    Either `token_file`, which an agent may rewrite, or both files of an AppRole.
    `ca_file` None: the public authorities. There is no way to turn verification off.
    """

    url: str
    key: str = "bonded"
    mount: str = "transit"
    namespace: str = ""
    token_file: Path | None = None
    role_id_file: Path | None = None
    secret_id_file: Path | None = None
    ca_file: Path | None = None
    timeout_seconds: float = 3.0


class TransitKeys:
    """The versions of one derived key of a transit engine.

    Nothing is asked before the first call, so that a node starts while its provider is
    away. A credential that is refused is read anew and tried once more: tokens expire.
    """

    def __init__(self, settings: TransitSettings) -> None:
        self._settings = settings
        self._local = threading.local()  # a requests session is for one thread

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.mount}/{self._settings.key})"

    @property
    def current(self) -> str:
        return self._ref(int(self._described()["latest_version"]))

    def refs(self) -> tuple[str, ...]:
        about = self._described()
        lowest = max(int(about["min_decryption_version"]), 1)
        return tuple(
            self._ref(number) for number in range(lowest, int(about["latest_version"]) + 1)
        )

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped:
        check_length(key)
        text = base64.b64encode(key).decode()
        place = base64.b64encode(context).decode()

        def encrypt(client: hvac.Client) -> Any:
            return client.secrets.transit.encrypt_data(
                self._settings.key,
                plaintext=text,
                context=place,
                mount_point=self._settings.mount,
            )

        found = _CIPHERTEXT.match(str(_data(self._asked(encrypt)).get("ciphertext")))
        if found is None:
            raise _not_understood()
        return Wrapped(blob=_decoded(found[2]), ref=self._ref(int(found[1])))

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        version = self._version(wrapped.ref)
        # The engine would say no as well; bytes that cannot be ours do not leave the node.
        if len(wrapped.blob) != _SEALED_BYTES:
            raise does_not_open()
        text = f"vault:v{version}:{base64.b64encode(wrapped.blob).decode()}"
        place = base64.b64encode(context).decode()

        def decrypt(client: hvac.Client) -> Any:
            return client.secrets.transit.decrypt_data(
                self._settings.key,
                ciphertext=text,
                context=place,
                mount_point=self._settings.mount,
            )

        try:
            answer = self._asked(decrypt)
        except RequestRejected:
            raise does_not_open() from None
        return _decoded(str(_data(answer).get("plaintext")))

    def rotate(self) -> str:
        self._asked(
            lambda client: client.secrets.transit.rotate_key(
                self._settings.key, mount_point=self._settings.mount
            ),
            # Sent twice it would rotate twice; an answer that was lost is asked for below.
            attempts=1,
        )
        return self.current

    def retire(self, ref: str) -> None:
        version, about = self._version(ref), self._described()
        if version >= int(about["latest_version"]):
            raise MasterKeyInUse(
                "This is the current master key.", hint="Rotate the master key first."
            )
        if version < int(about["min_decryption_version"]):
            raise no_such_master(ref)
        # Trimming asks for both. One by one: hvac refuses the two being equal, which the
        # engine takes; and encryption first, for it must never lie below decryption.
        lowest = {
            "min_encryption_version": version + 1,
            "min_decryption_version": version + 1,
        }
        if int(about["min_encryption_version"]) > version:
            del lowest["min_encryption_version"]
        for name, value in lowest.items():
            self._configure(**{name: value})
        self._asked(
            lambda client: client.secrets.transit.trim_key(
                self._settings.key,
                min_version=version + 1,
                mount_point=self._settings.mount,
            )
        )

    def _configure(self, **settings: int) -> None:
        self._asked(
            lambda client: client.secrets.transit.update_key_configuration(
                self._settings.key, mount_point=self._settings.mount, **settings
            )
        )

    def _described(self) -> dict[str, Any]:
        """What the engine says of the key. Raises unless it is of the kind we need."""
        about = _data(
            self._asked(
                lambda client: client.secrets.transit.read_key(
                    self._settings.key, mount_point=self._settings.mount
                )
            )
        )
        if about.get("derived") is not True or about.get("type") != "aes256-gcm96":
            raise ProviderMisconfigured(
                "The transit key is not a derived aes256-gcm96 key.",
                hint="Make one with `derived=true`; the kind of a key never changes.",
            )
        if about.get("exportable") or about.get("allow_plaintext_backup"):
            raise ProviderMisconfigured(
                "The transit key can be exported, so it is no key that stays inside.",
                hint="Make one without `exportable` and `allow_plaintext_backup`.",
            )
        return about

    def _ref(self, version: int) -> str:
        return f"transit/{self._settings.mount}/{self._settings.key}/{version}"

    def _version(self, ref: str) -> int:
        start, _, version = ref.rpartition("/")
        if f"{start}/" != self._ref(0)[:-1] or not version.isdigit():
            raise no_such_master(ref)
        return int(version)

    def _asked(self, ask: Callable[[hvac.Client], T], *, attempts: int = ATTEMPTS) -> T:
        for left in reversed(range(attempts)):
            try:
                with _translated():
                    return self._with_credential(ask)
            except ProviderDenied:
                raise
            except ProviderUnavailable as error:
                # Sealed, missing and misconfigured do not mend within a second.
                if not left or type(error) is not ProviderUnavailable:
                    raise
                time.sleep(PAUSE_SECONDS)
        raise AssertionError("attempts is at least 1")

    def _with_credential(self, ask: Callable[[hvac.Client], T]) -> T:
        # A connection is for one thread of one process: a forked child makes its own.
        pid, kept = getattr(self._local, "kept", (0, None))
        if kept is not None and pid == os.getpid():
            try:
                return ask(kept)
            except (vault.Forbidden, vault.Unauthorized):
                self._local.kept = (0, None)
        client = self._signed_in()
        self._local.kept = (os.getpid(), client)
        return ask(client)

    def _signed_in(self) -> hvac.Client:
        place = self._settings
        # Nothing of the environment: a proxy or another token there is not the operator's
        # word on this node's keys.
        session = requests.Session()
        session.trust_env = False
        session.verify = str(place.ca_file) if place.ca_file is not None else True
        client = hvac.Client(
            url=place.url,
            token="",
            namespace=place.namespace or None,
            timeout=cast("Any", place.timeout_seconds),
            session=session,
            allow_redirects=False,  # a redirect would take the token elsewhere
        )
        if place.token_file is not None:
            client.token = read_credential(
                place.token_file,
                what="the provider's token",
                setting="BONDED_TRANSIT_TOKEN_FILE",
            )
            return client
        if place.role_id_file is None or place.secret_id_file is None:
            raise ProviderMisconfigured(
                "The node was given neither a token nor an AppRole.",
                hint="Set BONDED_TRANSIT_TOKEN_FILE, or BONDED_TRANSIT_ROLE_ID_FILE and "
                "BONDED_TRANSIT_SECRET_ID_FILE.",
            )
        client.auth.approle.login(
            role_id=read_credential(
                place.role_id_file,
                what="the AppRole's id",
                setting="BONDED_TRANSIT_ROLE_ID_FILE",
            ),
            secret_id=read_credential(
                place.secret_id_file,
                what="the AppRole's secret id",
                setting="BONDED_TRANSIT_SECRET_ID_FILE",
            ),
        )
        return client


@contextmanager
def _translated() -> Iterator[None]:
    """What goes wrong on the way leaves as our errors.

    Without a cause: that of `requests` holds the request, and with it token and key.
    """
    try:
        yield
    except (vault.Forbidden, vault.Unauthorized):
        raise ProviderDenied(
            "The key provider does not let the node use its key.",
            hint="Renew the node's token or AppRole, and give its policy the paths that "
            "docs/operators.md lists.",
        ) from None
    except vault.InvalidRequest as error:
        raise _of_bad_request(error) from None
    except vault.InvalidPath:
        raise _missing() from None
    except (vault.VaultDown, vault.VaultNotInitialized):
        raise ProviderSealed(
            "The key provider is sealed.",
            hint="Its operators unseal it; the node goes on by itself then.",
        ) from None
    except requests.exceptions.SSLError:
        raise ProviderMisconfigured(
            "The key provider's certificate does not hold.",
            hint="Name its authority in BONDED_TRANSIT_CA_FILE, and its host as the "
            "certificate does.",
        ) from None
    except (requests.exceptions.RequestException, OSError):
        raise ProviderUnavailable(
            "The key provider does not answer.",
            hint="Look at its address and its network; the node asks again at the next "
            "need.",
        ) from None
    except vault.VaultError as error:
        raise ProviderUnavailable(
            f"The key provider failed ({type(error).__name__}).",
            hint="See the provider's own log; the node asks again at the next need.",
        ) from None


def _of_bad_request(error: vault.InvalidRequest) -> ProviderUnavailable:
    """What a 400 means: the engine tells a missing key from anything else by its words."""
    said = " ".join(str(text) for text in (error.errors or ()))
    if "key not found" in said or "soft deleted" in said or "soft-deleted" in said:
        return _missing()
    if "invalid role" in said or "invalid secret id" in said:
        return ProviderDenied(
            "The key provider does not know the node's AppRole.",
            hint="Hand the node a fresh secret id.",
        )
    return RequestRejected(
        "The key provider rejects what the node asked of its key.",
        hint="Look whether the key is as docs/operators.md says.",
    )


def _missing() -> MasterKeyMissing:
    return MasterKeyMissing(
        "The key provider has no such key.",
        hint="Correct BONDED_TRANSIT_KEY and BONDED_TRANSIT_MOUNT. A key that was deleted "
        "there is gone with all it wrapped, unless the provider has a backup.",
    )


def _not_understood() -> ProviderUnavailable:
    return ProviderUnavailable(
        "The key provider's answer is not understood.",
        hint="Look whether BONDED_TRANSIT_URL names a Vault or OpenBao server.",
    )


def _data(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise _not_understood()
    return cast("dict[str, Any]", answer["data"])


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _not_understood() from None
