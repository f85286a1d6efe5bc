"""`./bonded demo` takes a free port by itself, and a port asked for by its word."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[4]
HOST = "127.0.0.1"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # Or a bonded.pyc-like file would be left beside the script.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("bonded_script", str(ROOT / "bonded"))
    spec = spec_from_loader("bonded_script", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        yield taken


def test_free_port_goes_on_from_a_taken_one_and_says_so(
    script: ModuleType, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = listener.getsockname()[1]

    found = script.free_port(HOST, taken)

    assert found > taken
    assert f"port {taken} is taken; the demo takes {found}" in capsys.readouterr().out


def test_free_port_keeps_a_free_one_and_says_nothing(
    script: ModuleType, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    port = listener.getsockname()[1]
    listener.close()

    assert script.free_port(HOST, port) == port
    assert capsys.readouterr().out == ""


def test_demo_for_other_machines_is_refused(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its passwords are printed in the documents."""
    with pytest.raises(SystemExit):
        script.run_demo("0.0.0.0", None)

    assert "passwords are public" in capsys.readouterr().err
