"""A transit engine in a thread: the endpoints that the node uses, answers and faults.

It speaks HTTP, keeps versions of a key, and says no in the words of an OpenBao 2.7 server;
`test_transit.TestWire` sends both the same requests and compares. Faults are set by the
test: `sealed`, `failing` (a status for every request), `slow_seconds`.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Fault(Exception):
    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status, errors)
        self.status, self.errors = status, list(errors)


class TransitKey:
    """One key of the engine and its versions."""

    def __init__(self, *, derived: bool = True, exportable: bool = False) -> None:
        self.derived, self.exportable = derived, exportable
        self.versions = {1: secrets.token_bytes(32)}
        self.lowest, self.lowest_encryption, self.available = 1, 0, 0

    @property
    def latest(self) -> int:
        return max(self.versions)

    def described(self) -> dict[str, Any]:
        return {
            "type": "aes256-gcm96",
            "derived": self.derived,
            "exportable": self.exportable,
            "allow_plaintext_backup": False,
            "latest_version": self.latest,
            "min_decryption_version": self.lowest,
            "min_encryption_version": self.lowest_encryption,
            "min_available_version": self.available,
            "keys": {str(n): 1 for n in self.versions if n >= self.lowest},
        }

    def encrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        nonce = secrets.token_bytes(12)
        clear = base64.b64decode(body["plaintext"])
        sealed = nonce + self._cipher(self.latest, body).encrypt(nonce, clear, None)
        text = f"vault:v{self.latest}:{base64.b64encode(sealed).decode()}"
        return {"ciphertext": text, "key_version": self.latest}

    def decrypt(self, body: dict[str, Any]) -> dict[str, Any]:
        text = str(body.get("ciphertext", ""))
        if not text.startswith("vault:v"):
            raise Fault(400, "invalid ciphertext: no prefix")
        number, _, encoded = text.removeprefix("vault:v").partition(":")
        version = int(number)
        if version > self.latest:
            raise Fault(400, "invalid ciphertext: version is too new")
        if version < self.lowest:
            raise Fault(
                400, "ciphertext or signature version is disallowed by policy (too old)"
            )
        sealed = base64.b64decode(encoded)
        if len(sealed) < 12 + 16:
            raise Fault(400, "invalid ciphertext length")
        try:
            clear = self._cipher(version, body).decrypt(sealed[:12], sealed[12:], None)
        except InvalidTag:
            raise Fault(400, "cipher: message authentication failed") from None
        return {"plaintext": base64.b64encode(clear).decode()}

    def configure(self, body: dict[str, Any]) -> dict[str, Any]:
        self.lowest = int(body.get("min_decryption_version") or self.lowest)
        self.lowest_encryption = int(
            body.get("min_encryption_version") or self.lowest_encryption
        )
        return self.described()

    def trim(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.lowest_encryption:
            raise Fault(
                400,
                "minimum available version cannot be set when minimum encryption version "
                "is not set",
            )
        self.available = int(body["min_available_version"])
        self.versions = {n: k for n, k in self.versions.items() if n >= self.available}
        return self.described()

    def _cipher(self, version: int, body: dict[str, Any]) -> AESGCM:
        if self.derived and not body.get("context"):
            raise Fault(
                400,
                "missing 'context' for key derivation; the key was created using a derived "
                "key, which means additional, per-request information must be included in "
                "order to perform operations with the key",
            )
        info = base64.b64decode(body.get("context") or "")
        kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info)
        return AESGCM(kdf.derive(self.versions[version]))


class TransitFake:
    """The server. `token` is the one that is let in; an AppRole login gives a fresh one."""

    def __init__(self) -> None:
        self.keys = {"bonded": TransitKey()}
        self.token = "s.fake-" + secrets.token_hex(8)
        self.role_id, self.secret_id = "role-1", "secret-" + secrets.token_hex(4)
        self.sealed = False
        self.failing = 0
        self.slow_seconds = 0.0
        self.asked = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.answer(self)

            do_POST = do_PUT = do_GET  # noqa: N815 - the base class's names

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        time.sleep(self.slow_seconds)
        body = json.loads(
            request.rfile.read(int(request.headers.get("Content-Length") or 0)) or b"{}"
        )
        try:
            status, content = 200, self._act(request, body)
        except Fault as fault:
            status, content = fault.status, {"errors": fault.errors}
        text = json.dumps(content).encode()
        try:
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(text)))
            request.end_headers()
            request.wfile.write(text)
        except OSError:
            pass  # the client had no patience

    def _act(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> dict[str, Any]:
        if self.sealed:
            raise Fault(503, "Vault is sealed")
        if self.failing:
            raise Fault(self.failing, "internal error")
        path = request.path.removeprefix("/v1/")
        if path == "auth/approle/login":
            if (body.get("role_id"), body.get("secret_id")) != (
                self.role_id,
                self.secret_id,
            ):
                raise Fault(400, "invalid role or secret ID")
            self.token = "s.fake-" + secrets.token_hex(8)
            return {"auth": {"client_token": self.token, "lease_duration": 60}}
        if request.headers.get("X-Vault-Token") != self.token:
            raise Fault(403, "permission denied")
        return {"data": self._transit(request.command, path.split("/")[1:], body)}

    def _transit(
        self, method: str, path: list[str], body: dict[str, Any]
    ) -> dict[str, Any]:
        act, name, *more = path
        key = self.keys.get(name)
        if act == "keys" and method == "GET":
            if key is None:
                raise Fault(404)
            return key.described()
        if key is None:
            raise Fault(400, "encryption key not found")
        if act == "encrypt":
            return key.encrypt(body)
        if act == "decrypt":
            return key.decrypt(body)
        if more == ["rotate"]:
            key.versions[key.latest + 1] = secrets.token_bytes(32)
            return key.described()
        if more == ["config"]:
            return key.configure(body)
        if more == ["trim"]:
            return key.trim(body)
        raise Fault(404)
