"""Runs over one dataset take turns: who runs beside another is controlled against less.

An answer that was controlled against a history which has grown meanwhile is computed again
(`HistoryMoved`). Of runs side by side only one would count, so they wait for each other
instead. That is speed and nothing else: it is `append_history` that compares.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from django.conf import settings

from exchange.catalogue.models import Dataset

_POLL_SECONDS = 0.003


@contextmanager
def turn_over(datasets: Iterable[Dataset], *, wait_seconds: float) -> Iterator[None]:
    """Within it no other run of this node has its turn over any of these datasets.

    Locks on files: all of a node's runs go through the one sandbox of its machine, and a
    killed process lets go of them. After `wait_seconds` it goes ahead without its turn.
    """
    directory = settings.RUN_DIR / "turns"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    until = time.monotonic() + wait_seconds
    with ExitStack() as held:
        # In one order everywhere, so that no two runs wait for each other.
        for name in sorted({str(dataset.pk) for dataset in datasets}):
            lock = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            held.callback(os.close, lock)
            if not _locked(lock, until):
                break
        yield


def _locked(lock: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True
