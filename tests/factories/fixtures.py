"""Fixtures of the walk: the vault of the test, the fake daemon behind the door, a house."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exchange.catalogue import sandbox
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import House, make_house

__all__ = ["daemon", "house"]


@pytest.fixture
def daemon(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    settings.VAULT_DIR = tmp_path / "vault"
    settings.VAULT_DIR.mkdir()
    fake = FakeDaemon(settings.VAULT_DIR)
    monkeypatch.setattr(sandbox, "daemon", lambda: fake)
    monkeypatch.setattr(sandbox, "WAIT_SECONDS", 0.0)
    return fake


@pytest.fixture
def house(db: None, daemon: FakeDaemon) -> House:
    return make_house()
