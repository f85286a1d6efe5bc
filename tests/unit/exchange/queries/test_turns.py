"""Runs over one dataset take turns; over others they do not wait."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from exchange.queries.turns import turn_over

A, B = SimpleNamespace(pk="a"), SimpleNamespace(pk="b")


@pytest.fixture(autouse=True)
def _own_directory(settings: Any, tmp_path: Any) -> None:
    settings.RUN_DIR = tmp_path


def _try_beside(datasets: list[Any], wait_seconds: float) -> float:
    """Seconds until a run in another thread had its turn."""
    began, took = time.monotonic(), []

    def take() -> None:
        with turn_over(datasets, wait_seconds=wait_seconds):
            took.append(time.monotonic() - began)

    other = threading.Thread(target=take)
    other.start()
    other.join()
    return took[0]


def test_a_run_waits_while_another_has_its_turn_over_the_dataset() -> None:
    order: list[str] = []

    def second() -> None:
        with turn_over([B, A], wait_seconds=30):
            order.append("second")

    with turn_over([A, B], wait_seconds=30):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_runs_over_other_datasets_do_not_wait() -> None:
    with turn_over([A], wait_seconds=30):
        assert _try_beside([B], 30) < 10


def test_a_run_goes_ahead_when_it_waited_long_enough() -> None:
    with turn_over([A], wait_seconds=30):
        assert _try_beside([A], 0.3) >= 0.3


def test_a_turn_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), turn_over([A], wait_seconds=1):
        raise ValueError("broken")
    assert _try_beside([A], 30) < 10
