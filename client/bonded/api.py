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

from collections.abc import Iterator, Sequence
from itertools import islice
from uuid import UUID

from bonded.config import load_config
from bonded.errors import AnswerMalformed, LicenceNotAccepted, NoGrant, NotFound
from bonded.records import (
    AccessRequest,
    DatasetInfo,
    Grant,
    Learning,
    QueryStatus,
    Rule,
    Verdict,
    parse_dataset,
    parse_grant,
    parse_learnings,
    parse_query,
    parse_request,
    parse_verdict,
)
from bonded.results import Package, Result
from bonded.session import SUBSET, Session
from bonded.transport import Json

AGGREGATE = "aggregate"


class Node(Session):
    """One node, with one reader's token. Usable as a context manager."""

    @classmethod
    def connect(cls, url: str | None = None, token: str | None = None) -> Node:
        """A node by arguments, then BONDED_URL and BONDED_TOKEN, then `bonded login`."""
        return cls(load_config(url=url, token=token))

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

    def cancel(self, query_id: str) -> QueryStatus:
        """A query under way is ended at the node, its job killed."""
        return parse_query(self.transport.post(f"queries/{query_id}/cancel"))

    def events(self, *, limit: int = 50, **filters: str | None) -> list[Json]:
        """The newest audit events that this reader may see and all filters let through."""
        return list(islice(self.transport.pages("audit/events", query=filters), limit))

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
    def listed(self) -> DatasetInfo:
        """What the node has said of it so far, without asking again."""
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

    def explain(self, column: str) -> tuple[Learning, ...]:
        """What can be learned from a column, by each audience; none: nothing.

        Raises NotFound where the dataset is not on offer.
        """
        policy = self.info.policy_id
        if policy is None:
            raise NotFound(
                f"{self.name} is not on offer, so no policy says what may be learned",
                hint="`bonded show` says what is there",
            )
        path = f"policies/{policy}/explain"
        return parse_learnings(self.node.transport.get(path, query={"column": column}))

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

    def submit(
        self, sql: str, *, purpose: str | None = None, wait_seconds: float = 0
    ) -> QueryStatus:
        """The query lies at the node under a grant for `purpose`.

        It is being analysed, or, with `wait_seconds`, has come as far as it could by then.
        """
        grant = self._grant(AGGREGATE, purpose)
        body = {"grant": grant.id, "sql": sql, "purpose": grant.purpose}
        record = self.node.transport.post("queries", body, wait_seconds=wait_seconds)
        return parse_query(record)

    def query(
        self, sql: str, *, purpose: str | None = None, timeout_seconds: float = 120.0
    ) -> Result:
        """The controlled answer to `sql`.

        Raises NoGrant, QueryRefused with every reason, RunFailed, or StillWaiting (a
        reviewer decides, or the queue is long; the query goes on at the node).
        """
        submitted = self.submit(sql, purpose=purpose, wait_seconds=timeout_seconds)
        released = self.node.released(submitted, timeout_seconds=timeout_seconds)
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
        submitted = parse_query(
            self.node.transport.post("subsets", body, wait_seconds=timeout_seconds)
        )
        released = self.node.released(submitted, timeout_seconds=timeout_seconds)
        if not isinstance(released, Package):
            raise AnswerMalformed("a subset was answered by something other than rows")
        return released

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


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
