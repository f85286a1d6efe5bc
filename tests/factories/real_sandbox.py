"""Fixtures of the walk with a real sandbox daemon behind the exchange's door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.catalogue import sandbox
from sandbox.launcher import Daemon
from tests.factories.walk import House, make_house
from tests.unit.sandbox.daemon_fixture import serving

__all__ = ["house", "node"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Path]]:
    """The daemon and its vault."""
    with serving(tmp_path_factory.mktemp("sandbox"), workers=1) as served:
        yield served.client, served.vault


@pytest.fixture
def house(
    db: None, node: tuple[Daemon, Path], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> House:
    daemon, vault = node
    settings.VAULT_DIR = vault
    monkeypatch.setattr(sandbox, "daemon", lambda: daemon)
    return make_house()
