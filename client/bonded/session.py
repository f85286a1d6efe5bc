"""A connection to one node: waiting for what was submitted, fetching what was released."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Self

from bonded.config import Config
from bonded.errors import (
    BondedError,
    IntegrityFailed,
    QueryRefused,
    RunFailed,
    StillWaiting,
)
from bonded.records import QueryStatus, parse_query
from bonded.results import Package, Result, digest_header, parse_package, parse_result
from bonded.transport import Json, Transport

if TYPE_CHECKING:
    from bonded.receipts import Receipt

SUBSET = "subset"
PAUSES_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0)


class Session:
    """One reader at one node. Usable as a context manager."""

    def __init__(self, config: Config, *, transport: Transport | None = None) -> None:
        self.config = config
        self.transport = transport or Transport(config)
        self._verifier_key = config.verifier_key

    def close(self) -> None:
        """No connection is left open."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self, query_id: str) -> QueryStatus:
        """Where a submitted query or subset stands."""
        return parse_query(self.transport.get(f"queries/{query_id}"))

    def _status(self, query_id: str, *, wait_seconds: float) -> QueryStatus:
        record = self.transport.get(f"queries/{query_id}", wait_seconds=wait_seconds)
        return parse_query(record)

    def wait(self, query_id: str, *, timeout_seconds: float = 120.0) -> QueryStatus:
        """The query's final state.

        Raises StillWaiting when the time is over, also for one that a reviewer must decide.
        """
        deadline = time.monotonic() + timeout_seconds
        for pause in _pauses():
            asked_at = time.monotonic()
            left = max(0.0, deadline - asked_at)
            status = self._status(query_id, wait_seconds=left)
            if status.is_final:
                return status
            # A node that has waited with its answer needs no pause on top.
            pause = max(0.0, pause - (time.monotonic() - asked_at))
            if time.monotonic() + pause > deadline:
                raise StillWaiting(
                    f"query {query_id} is {status.state.replace('_', ' ')} "
                    f"after {timeout_seconds:g} s",
                    hint=f"it goes on at the node: `bonded status {query_id}`",
                )
            time.sleep(pause)
        raise AssertionError("pauses do not end")

    def released(self, query: QueryStatus, *, timeout_seconds: float) -> Result | Package:
        """What a submitted query ends in.

        Raises QueryRefused, RunFailed or StillWaiting.
        """
        status = (
            query
            if query.is_final
            else self.wait(query.id, timeout_seconds=timeout_seconds)
        )
        if status.state == "refused":
            raise QueryRefused(status.reasons)
        if status.release is None or status.release_state != "available":
            raise _failure(status)
        return self.fetch(status.release)

    def fetch(self, release_id: str) -> Result | Package:
        """What a release holds: a Result of aggregates or a Package of rows.

        Raises IntegrityFailed if the bytes are not those whose digest the node stated.
        """
        record = self.transport.get(f"releases/{release_id}")
        path = f"releases/{release_id}/content"
        if record.get("kind") == SUBSET:
            url = f"{self.config.url}/api/v1/{path}"
            receipt = partial(self.receipt, release_id, _text(record, "sha256"))
            return parse_package(
                record, transport=self.transport, url=url, path=path, receipt=receipt
            )
        content, headers = self.transport.content(path)
        digest = hashlib.sha256(content).hexdigest()
        for stated in (digest_header(headers), record.get("sha256")):
            if stated is not None and stated != digest:
                raise IntegrityFailed(
                    f"release {release_id} arrived with another digest than stated",
                    hint="fetch it again; if it persists, tell the provider",
                )
        receipt = partial(self.receipt, release_id, digest)
        return parse_result(content, release_id=release_id, receipt=receipt)

    def receipt(self, release_id: str, content_sha256: str | None = None) -> Receipt:
        """The proof of a release, tied to the content of that digest where one is given."""
        from bonded.receipts import Receipt  # loads cryptography

        data, _ = self.transport.content(f"releases/{release_id}/receipt")
        return Receipt(
            data, verifier_key=self.verifier_key(), content_sha256=content_sha256
        )

    def verifier_key(self) -> str:
        """The key of the node's log: the one pinned at login, else what the node shows."""
        if not self._verifier_key:
            self._verifier_key = self.transport.text("log/key").strip()
        return self._verifier_key


def _failure(status: QueryStatus) -> BondedError:
    if status.error is not None:
        error = status.error
        return RunFailed(error.message, hint=error.hint, code=error.code)
    if status.release_state == "shredded":
        return RunFailed(
            f"the result of query {status.id} is past its retention and was shredded",
            hint="submit the query again",
            code="release_shredded",
        )
    return RunFailed(f"query {status.id} ended as {status.state.replace('_', ' ')}")


def _text(record: Json, key: str) -> str | None:
    value = record.get(key)
    return value if isinstance(value, str) else None


def _pauses() -> Iterator[float]:
    yield from PAUSES_SECONDS
    while True:
        yield PAUSES_SECONDS[-1]
