"""The sandbox forgets a version: an operation, so that it is done whatever dies when.

A daemon that is away holds nothing: images are in its memory only, and that went with it,
so a restart is as good as an answer. One that is there and fails is asked again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from exchange.catalogue import sandbox, vault
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.states import VersionState
from exchange.errors import Conflict
from exchange.keys.models import KeyState
from exchange.operations.models import Operation
from exchange.operations.services import enqueue, extend
from sandbox.errors import SandboxError, SandboxUnavailable

FORGET: Final = "catalogue.forget"
# Between one refusal and the next question: about a minute in all.
PAUSES_SECONDS: tuple[float, ...] = (0.2, 0.5, 1, 2, 4, 8, 16, 30)


def forget_soon(version: DatasetVersion) -> None:
    """In the caller's transaction: once it commits, the sandbox is told until it obeys."""
    with suppress(Conflict):  # `operation_unfinished`: it is being told already
        enqueue(FORGET, version.pk)


def forget(operation: Operation) -> None:
    """No image of the operation's version is in memory; files without a key are gone."""
    version = DatasetVersion.objects.select_related("data_key").get(pk=operation.target_id)
    for pause in (*PAUSES_SECONDS, None):
        try:
            sandbox.daemon().forget(str(version.pk))
            break
        except SandboxError as error:
            if _is_gone(error):
                break
            if pause is None:
                raise
        extend(operation, progress="the sandbox did not confirm; it is asked again")
        time.sleep(pause)
    key = version.data_key
    if version.state == VersionState.WITHDRAWN and (
        key is not None and key.state == KeyState.DESTROYED
    ):
        vault.remove_others("versions", version.pk, ())


def forget_withdrawn(versions: list[DatasetVersion]) -> None:
    """After a run that broke off: what it may have unsealed of them meanwhile is wiped.

    A job that was on its way when a version was withdrawn can reach the unsealer after it
    was told to forget.
    """
    ids = [version.pk for version in versions]
    for version in DatasetVersion.objects.filter(pk__in=ids, state=VersionState.WITHDRAWN):
        with suppress(SandboxError):
            sandbox.daemon().forget(str(version.pk))


def _is_gone(error: SandboxError) -> bool:
    # Nobody listens: the process ended. A daemon that is overloaded answers otherwise.
    return isinstance(error, SandboxUnavailable) and isinstance(
        error.__cause__, FileNotFoundError | ConnectionRefusedError
    )
