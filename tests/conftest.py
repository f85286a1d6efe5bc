"""Things with a lifetime that every suite shares."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from hypothesis import HealthCheck, settings

# Few examples, the same each time, in every run; many by `./bonded test --long`.
settings.register_profile(
    "quick", max_examples=50, derandomize=True, deadline=None, database=None
)
settings.register_profile(
    "long",
    max_examples=3000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("long" if os.environ.get("BONDED_TEST_LONG") else "quick")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Let a transactional test empty the tables: by DELETE, on PostgreSQL by TRUNCATE.

    The triggers against that are put back by the tests that show them at work.
    """
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table in ("auditevent", "treenode", "storedcheckpoint"):
                cursor.execute(
                    f"ALTER TABLE audit_{table} DISABLE TRIGGER audit_{table}_no_truncate"
                )
            return
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in cursor.fetchall():
            if name.endswith("_no_delete"):
                cursor.execute(f'DROP TRIGGER "{name}"')


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine answers: a test that would call anybody else fails."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        outward = self.family in {socket.AF_INET, socket.AF_INET6}
        if outward and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test reached out to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    """No test meets what another one cached."""
    yield
    cache.clear()
