"""Of the processes that share the tests, none takes another's messages."""

from __future__ import annotations

import pytest

from tests.environment import broker_of


@pytest.mark.parametrize(
    ("given", "worker", "own"),
    [
        ("redis://127.0.0.1:6379/0", None, "redis://127.0.0.1:6379/0"),
        ("redis://127.0.0.1:6379/0", "gw0", "redis://127.0.0.1:6379/1"),
        ("redis://127.0.0.1:6379/0", "gw1", "redis://127.0.0.1:6379/2"),
        ("rediss://user:word@cache/3", "gw1", "rediss://user:word@cache/5"),
        ("redis://127.0.0.1:6379", "gw0", "redis://127.0.0.1:6379/1"),
        ("memory://", "gw1", "memory://"),
    ],
)
def test_each_process_has_a_broker_of_its_own(
    given: str, worker: str | None, own: str
) -> None:
    assert broker_of(given, worker) == own
