"""Which handler does which kind of work. Apps register theirs in `AppConfig.ready()`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from exchange.errors import Refused
from exchange.operations.models import Operation


class Failure(Protocol):
    """What an error must tell: ExchangeError, SandboxError and their kin do."""

    code: str
    message: str
    hint: str


Run = Callable[[Operation], Operation | None] | Callable[[Operation], None]


@dataclass(frozen=True, slots=True)
class Handler:
    """`run` does the work and may call `services.completing` around its last transaction.

    It may return work that it enqueued without a ring: the same process goes on with that.
    `failed` moves the target where failed work leaves it; it runs in the transaction that
    marks the operation failed. `lease_seconds` None means the node's setting.
    """

    kind: str
    run: Run
    failed: Callable[[Operation, Failure], None] | None = None
    lease_seconds: float | None = None
    max_attempts: int = 3


handlers: dict[str, Handler] = {}


def register(
    kind: str,
    run: Run,
    *,
    failed: Callable[[Operation, Failure], None] | None = None,
    lease_seconds: float | None = None,
    max_attempts: int = 3,
) -> Handler:
    """Make `run` the handler of `kind`; a second one for the same kind is refused."""
    if kind in handlers and handlers[kind].run is not run:
        raise Refused(f"{kind} has a handler already", code="operation_kind_taken")
    handlers[kind] = Handler(kind, run, failed, lease_seconds, max_attempts)
    return handlers[kind]


def handler_of(kind: str) -> Handler:
    if kind not in handlers:
        raise Refused(f"no handler is registered for {kind}", code="operation_kind_unknown")
    return handlers[kind]
