"""A node seen by someone who builds models: search, ask, fetch, verify.

from bonded import Node

node = Node.connect()                        # settings of `bonded login`
ds = node.search("milling")[0]
ds.request(purpose="predictive-maintenance", legal_basis="contract", days=30)
result = ds.query("SELECT type, count(*) AS n FROM milling GROUP BY type",
                  purpose="predictive-maintenance")
result.to_pandas()
result.receipt.verify()
rows = ds.subset(accept_licence="CDLA-Permissive-2.0").to_pandas()
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from bonded.config import Config, load_config
from bonded.errors import (
    AnswerMalformed,
    BondedError,
    IntegrityFailed,
    LicenceNotAccepted,
    NoGrant,
    NotFound,
    QueryRefused,
    RunFailed,
    StillWaiting,
)
from bonded.records import (
    AccessRequest,
    DatasetInfo,
    Grant,
    QueryStatus,
    Rule,
    Verdict,
    parse_dataset,
    parse_grant,
    parse_query,
    parse_request,
    parse_verdict,
)
from bonded.results import Package, Result, digest_header, parse_package, parse_result
from bonded.transport import Json, Transport

if TYPE_CHECKING:
    from bonded.receipts import Receipt

AGGREGATE, SUBSET = "aggregate", "subset"
PAUSES_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0)


class Node:
    """One node, with one reader's token. Usable as a context manager."""

    def __init__(self, config: Config, *, transport: Transport | None = None) -> None:
        self.config = config
        self.transport = transport or Transport(config)
        self._verifier_key = config.verifier_key

    @classmethod
    def connect(cls, url: str | None = None, token: str | None = None) -> Node:
        """A node by arguments, then BONDED_URL and BONDED_TOKEN, then `bonded login`."""
        return cls(load_config(url=url, token=token))

    def close(self) -> None:
        """No connection is left open."""
        self.transport.close()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def me(self) -> Json:
        """Whose token this is, its scopes, and the holder's organisations."""
        return self.transport.get("me")

    def search(self, words: str = "", **filters: str) -> list[Dataset]:
        """The datasets on offer to this reader in which all `words` occur."""
        query = {"search": words or None, **filters}
        return [
            Dataset(self, parse_dataset(record))
            for record in self.transport.pages("datasets", query=query)
        ]

    def dataset(self, name: str) -> Dataset:
        """The dataset of that id, `organisation/slug`, or slug where only one has it."""
        if _is_uuid(name):
            return Dataset(self, parse_dataset(self.transport.get(f"datasets/{name}")))
        found = list(self.transport.pages("datasets", query={"name": name}))
        if len(found) != 1:
            names = ", ".join(parse_dataset(record).name for record in found)
            raise NotFound(
                f"{name} could be any of {names}"
                if found
                else f"no dataset is called {name}",
                hint="`bonded search` lists the names that you may see",
            )
        return Dataset(self, parse_dataset(found[0]))

    def requests(self) -> list[AccessRequest]:
        """The requests that this reader may see, newest first."""
        return [parse_request(record) for record in self.transport.pages("requests")]

    def grants(self, **filters: str) -> list[Grant]:
        """The grants that this reader may use or see, newest first."""
        return [
            parse_grant(record) for record in self.transport.pages("grants", query=filters)
        ]

    def queries(self) -> Iterator[QueryStatus]:
        """The submitted queries and subsets that this reader may see, newest first."""
        return (parse_query(record) for record in self.transport.pages("queries"))

    def status(self, query_id: str) -> QueryStatus:
        """Where a submitted query or subset stands."""
        return parse_query(self.transport.get(f"queries/{query_id}"))

    def wait(self, query_id: str, *, timeout_seconds: float = 120.0) -> QueryStatus:
        """The query's final state.

        Raises StillWaiting when the time is over, also for one that a reviewer must decide.
        """
        deadline = time.monotonic() + timeout_seconds
        for pause in _pauses():
            status = self.status(query_id)
            if status.is_final:
                return status
            if time.monotonic() + pause > deadline:
                raise StillWaiting(
                    f"query {query_id} is {status.state.replace('_', ' ')} "
                    f"after {timeout_seconds:g} s",
                    hint=f"it goes on at the node: `bonded status {query_id}`",
                )
            time.sleep(pause)
        raise AssertionError("pauses do not end")

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

    def __repr__(self) -> str:
        return f"Node({self.config.url!r})"


class Dataset:
    """A dataset at a node, and what this reader may do with it."""

    def __init__(self, node: Node, info: DatasetInfo) -> None:
        self.node = node
        self._info = info

    @property
    def info(self) -> DatasetInfo:
        """All that the node says of it to this reader; fetched when first needed."""
        if not self._info.columns:
            self._info = parse_dataset(self.node.transport.get(f"datasets/{self._info.id}"))
        return self._info

    @property
    def id(self) -> str:
        """The identifier at its node."""
        return self._info.id

    @property
    def name(self) -> str:
        """`organisation/slug`."""
        return self._info.name

    @property
    def title(self) -> str:
        """What its provider calls it."""
        return self._info.title

    @property
    def licence(self) -> str:
        """The SPDX name of the licence of its subset rule, else of its offer."""
        rule = next((rule for rule in self.rules if rule.kind == SUBSET), None)
        return rule.licence if rule else self.info.licence

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that this reader may know."""
        return tuple(column.name for column in self.info.columns)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What may leave, for which purposes."""
        return self.info.rules

    @property
    def policy(self) -> str:
        """The policy in plain sentences, one a line."""
        return "\n".join(self.info.policy)

    def grants(self) -> list[Grant]:
        """The grants in force on it that this reader's organisations hold."""
        found = self.node.grants(dataset=self.id, state="active", held="true")
        return [grant for grant in found if grant.is_active and grant.dataset == self.id]

    def request(
        self,
        *,
        purpose: str,
        legal_basis: str,
        kind: str = AGGREGATE,
        justification: str = "",
        columns: Sequence[str] = (),
        days: int = 30,
        accept_licence: str | None = None,
    ) -> AccessRequest:
        """A request lies at the node: decided at once, or waiting for reviewers."""
        record = self.node.transport.post(
            "requests",
            {
                "dataset": self.id,
                "kind": kind,
                "purpose": purpose,
                "legal_basis": legal_basis,
                "justification": justification,
                "columns": list(columns),
                "duration_days": days,
                "accept_licence": accept_licence or "",
            },
        )
        return parse_request(record)

    def check(self, sql: str, *, purpose: str) -> Verdict:
        """What the node would say of the query; nothing runs and nothing is charged."""
        body = {"dataset": self.id, "sql": sql, "purpose": purpose}
        return parse_verdict(self.node.transport.post("queries/check", body))

    def submit(self, sql: str, *, purpose: str | None = None) -> QueryStatus:
        """The query lies at the node under a grant for `purpose` and is being analysed."""
        grant = self._grant(AGGREGATE, purpose)
        body = {"grant": grant.id, "sql": sql, "purpose": grant.purpose}
        return parse_query(self.node.transport.post("queries", body))

    def query(
        self, sql: str, *, purpose: str | None = None, timeout_seconds: float = 120.0
    ) -> Result:
        """The controlled answer to `sql`.

        Raises NoGrant, QueryRefused with every reason, RunFailed, or StillWaiting (a
        reviewer decides, or the queue is long; the query goes on at the node).
        """
        submitted = self.submit(sql, purpose=purpose)
        released = self._released(submitted, timeout_seconds=timeout_seconds)
        if not isinstance(released, Result):
            raise AnswerMalformed("an aggregate query was answered by a package of rows")
        return released

    def subset(
        self,
        columns: Sequence[str] = (),
        *,
        accept_licence: str | None = None,
        purpose: str | None = None,
        timeout_seconds: float = 300.0,
    ) -> Package:
        """Licensed labelled rows; without `columns` all that the grant allows.

        `accept_licence` is the licence's SPDX name, written out by the one who accepts.
        Raises LicenceNotAccepted if it is absent or another, else as `query`.
        """
        grant = self._grant(SUBSET, purpose)
        licence = grant.licence or self.licence
        if accept_licence != licence:
            raise LicenceNotAccepted(
                f"these rows are under {licence}, "
                + (f"not {accept_licence}" if accept_licence else "which was not accepted"),
                hint=f'read its terms, then pass accept_licence="{licence}"',
            )
        body = {
            "grant": grant.id,
            "columns": list(columns),
            "accept_licence": accept_licence,
        }
        submitted = parse_query(self.node.transport.post("subsets", body))
        released = self._released(submitted, timeout_seconds=timeout_seconds)
        if not isinstance(released, Package):
            raise AnswerMalformed("a subset was answered by something other than rows")
        return released

    def _released(self, query: QueryStatus, *, timeout_seconds: float) -> Result | Package:
        return released(self.node, query, timeout_seconds=timeout_seconds)

    def _grant(self, kind: str, purpose: str | None) -> Grant:
        fitting = [
            grant
            for grant in self.grants()
            if grant.kind == kind and (purpose is None or grant.purpose == purpose)
        ]
        purposes = sorted({grant.purpose for grant in fitting})
        if not fitting:
            what = "its rows" if kind == SUBSET else "queries"
            raise NoGrant(
                f"no grant in force allows {what} of {self.name}"
                + (f" for {purpose}" if purpose else ""),
                hint=f"ask for one: `bonded request {self.name} --kind {kind} --purpose "
                f"{purpose or 'PURPOSE'} --legal-basis ...`",
            )
        if len(purposes) > 1:
            raise NoGrant(
                f"grants for several purposes are in force: {', '.join(purposes)}",
                hint="say which by `purpose`",
            )
        return max(fitting, key=lambda grant: grant.ends_at)

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {self.title!r})"


def released(node: Node, query: QueryStatus, *, timeout_seconds: float) -> Result | Package:
    """What a submitted query ends in. Raises QueryRefused, RunFailed or StillWaiting."""
    status = (
        query if query.is_final else node.wait(query.id, timeout_seconds=timeout_seconds)
    )
    if status.state == "refused":
        raise QueryRefused(status.reasons)
    if status.release is None or status.release_state != "available":
        raise _failure(status)
    return node.fetch(status.release)


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


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _text(record: Json, key: str) -> str | None:
    value = record.get(key)
    return value if isinstance(value, str) else None


def _pauses() -> Iterator[float]:
    yield from PAUSES_SECONDS
    while True:
        yield PAUSES_SECONDS[-1]
