"""Nudges: heard here and in other processes, lost without harm, never before the commit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from exchange import nudges
from exchange.operations.waiting import Waiters, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
ELSEWHERE = """
import os, django
django.setup()
from exchange.nudges import nudge
nudge("query-7")
"""


def test_nudge_is_heard_once_its_transaction_commits() -> None:
    with nudges.listening("a") as ear:
        ear.wait(0)
        with transaction.atomic():
            nudges.nudge("a")
            assert not ear.wait(0.05)

        assert ear.wait(1)


def test_nudge_of_what_rolled_back_is_never_sent() -> None:
    def act() -> None:
        nudges.nudge("a")
        raise RuntimeError("the act fails")

    with nudges.listening("a") as ear:
        ear.wait(0)
        with pytest.raises(RuntimeError), transaction.atomic():
            act()

        assert not ear.wait(0.05)


def test_only_the_topics_one_listens_to_are_heard() -> None:
    with nudges.listening("a", "b") as ear:
        ear.wait(0)
        nudges.nudge("c")
        assert not ear.wait(0.05)
        nudges.nudge("c", "b")
        assert ear.wait(1)


def test_nudge_of_another_process_is_heard() -> None:
    with nudges.listening("query-7") as ear:
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            check=True,
        )

        assert ear.wait(5)


def test_socket_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    line = nudges._Datagrams(tmp_path)
    received = line.receive()
    assert next(received) == ""
    (listener,) = tmp_path.iterdir()
    dead = tmp_path / "dead"
    dead.touch()

    line.send("a b")

    assert next(received) == "a b"
    assert list(tmp_path.iterdir()) == [listener]
    received.close()  # type: ignore[attr-defined]  # a generator
    assert list(tmp_path.iterdir()) == []


def test_broken_line_is_taken_up_again_and_wakes_everybody() -> None:
    class Broken:
        times = 0

        def send(self, text: str) -> None:
            raise ConnectionError(text)

        def receive(self) -> Any:
            self.times += 1
            yield ""
            if self.times == 1:
                raise ConnectionError
            time.sleep(60)

    line = Broken()
    hub, ear = nudges._Hub(line), nudges.Ear()
    hub.add(ear, ("a",))

    # What was said in between may be missed: look.
    until = time.monotonic() + 5
    while line.times < 2 and time.monotonic() < until:
        ear.wait(0)
        time.sleep(0.01)
    assert ear.wait(3)


def test_wait_ends_with_the_nudge_and_asks_no_oftener() -> None:
    asked: list[float] = []
    is_there = threading.Event()

    def reached() -> bool:
        asked.append(time.monotonic())
        return is_there.is_set()

    def later() -> None:
        is_there.set()
        nudges.nudge("a")
        connection.close()  # this thread's own

    timer = threading.Timer(0.2, later)
    timer.start()
    started = time.monotonic()

    assert wait_until(reached, "a", seconds=10)

    timer.join()
    assert time.monotonic() - started < 0.9  # the nudge, not the look once a second
    assert len(asked) <= 3


def test_wait_sees_what_no_nudge_told() -> None:
    is_there = threading.Event()
    threading.Timer(0.1, is_there.set).start()

    assert wait_until(is_there.is_set, "a", seconds=5)


def test_wait_ends_with_its_time() -> None:
    started = time.monotonic()

    assert not wait_until(lambda: False, "a", seconds=0.2)

    assert 0.15 < time.monotonic() - started < 2


def test_no_more_wait_than_there_are_places() -> None:
    two = Waiters(2)
    with two.place() as first, two.place() as second, two.place() as third:
        assert (first, second, third) == (True, True, False)
    with two.place() as again:
        assert again
    with Waiters(0).place() as none:
        assert not none
