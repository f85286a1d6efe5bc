"""What a node says of its datasets, requests, grants and queries, as frozen values.

The codec is tolerant in one direction only: a field that is not needed here may come and
go, a field that is needed and absent or of another type is AnswerMalformed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bonded.errors import Reason
from bonded.fields import (
    mapping_of,
    optional_int,
    optional_text,
    records_of,
    text_of,
    texts_of,
)
from bonded.transport import Json


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column as this reader may know it."""

    name: str
    type: str
    roles: tuple[str, ...] = ()
    description: str = ""
    limits: str = ""  # grid or grain, in words


@dataclass(frozen=True, slots=True)
class Rule:
    """What may leave, for which purposes, and who decides."""

    kind: str  # aggregate | subset
    purposes: tuple[str, ...]
    reviewers: int
    licence: str = ""  # subset
    columns: tuple[str, ...] = ()  # subset
    label: str = ""  # subset
    max_rows: int | None = None  # subset
    min_units: int | None = None  # aggregate
    aggregates: tuple[str, ...] = ()  # aggregate
    mode: str = ""  # aggregate


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset as this reader may know it; columns and rules only where it was opened."""

    id: str
    name: str  # organisation/slug
    title: str
    description: str
    table: str  # its name in SQL
    organisation: str
    licence: str
    keywords: tuple[str, ...] = ()
    rows: int | None = None
    version: int | None = None  # the one on offer
    offer: str | None = None
    policy_id: str | None = None  # of the version on offer
    columns: tuple[ColumnInfo, ...] = ()
    rules: tuple[Rule, ...] = ()
    policy: tuple[str, ...] = ()  # in words
    terms: str = ""


@dataclass(frozen=True, slots=True)
class Learning:
    """What one audience can learn from a column, and what is left open."""

    kind: str  # aggregate | subset | public
    audience: str
    sentences: tuple[str, ...]
    not_protected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request for access and where it stands."""

    id: str
    dataset: str
    state: str
    kind: str
    purpose: str
    grant: str | None = None
    notes: tuple[str, ...] = ()  # what reviewers wrote


@dataclass(frozen=True, slots=True)
class Grant:
    """What one organisation may run on one dataset version until `ends_at`."""

    id: str
    dataset: str  # its id
    dataset_name: str
    kind: str
    purpose: str
    state: str
    ends_at: str
    licence: str = ""

    @property
    def is_active(self) -> bool:
        """Whether the node called it in force when it was read."""
        return self.state == "active"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the node says of a query before it runs."""

    verdict: str  # allow | review | refuse
    reasons: tuple[Reason, ...] = ()
    fingerprint: str = ""
    executed_sql: str = ""

    @property
    def is_allowed(self) -> bool:
        """Whether the query would run without asking anyone."""
        return self.verdict == "allow"


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """A submitted query or subset and where it stands."""

    id: str
    dataset: str
    kind: str
    state: str
    purpose: str
    reasons: tuple[Reason, ...] = ()
    release: str | None = None
    release_state: str = ""
    error: Reason | None = None
    note: str = ""
    retry_after_seconds: float = field(default=0.5, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it will change no more by itself."""
        return self.state in {"refused", "failed", "shredded"} or (
            self.release is not None and self.release_state not in {"", "held"}
        )


def parse_dataset(record: Json) -> DatasetInfo:
    """The dataset that `record` describes."""
    organisation = mapping_of(record, "organisation")
    offer = mapping_of(record, "offer") if record.get("offer") else {}
    return DatasetInfo(
        id=text_of(record, "id"),
        name=f"{text_of(organisation, 'slug')}/{text_of(record, 'slug')}",
        title=text_of(record, "title"),
        description=optional_text(record, "description"),
        table=text_of(record, "table"),
        organisation=text_of(organisation, "name"),
        licence=optional_text(offer, "licence"),
        keywords=texts_of(record, "keywords"),
        rows=optional_int(offer, "rows"),
        version=optional_int(offer, "version_number"),
        offer=optional_text(offer, "id") or None,
        policy_id=optional_text(offer, "policy") or None,
        columns=tuple(map(_column, records_of(record, "columns"))),
        rules=tuple(map(_rule, records_of(record, "rules"))),
        policy=texts_of(record, "policy_words"),
        terms=optional_text(offer, "terms"),
    )


def parse_learnings(record: Json) -> tuple[Learning, ...]:
    """What each audience can learn from the column that `record` explains."""
    return tuple(
        Learning(
            kind=text_of(item, "kind"),
            audience=text_of(item, "audience"),
            sentences=texts_of(item, "sentences"),
            not_protected=texts_of(item, "not_protected"),
        )
        for item in records_of(record, "audiences")
    )


def parse_request(record: Json) -> AccessRequest:
    """The access request that `record` describes."""
    notes = [
        optional_text(decision, "note") for decision in records_of(record, "decisions")
    ]
    return AccessRequest(
        id=text_of(record, "id"),
        dataset=text_of(record, "dataset"),
        state=text_of(record, "state"),
        kind=optional_text(record, "kind"),
        purpose=optional_text(record, "purpose"),
        grant=optional_text(record, "grant") or None,
        notes=tuple(note for note in notes if note),
    )


def parse_grant(record: Json) -> Grant:
    """The grant that `record` describes."""
    return Grant(
        id=text_of(record, "id"),
        dataset=text_of(record, "dataset"),
        dataset_name=text_of(record, "dataset_name"),
        kind=text_of(record, "kind"),
        purpose=text_of(record, "purpose"),
        state=text_of(record, "state"),
        ends_at=optional_text(record, "ends_at"),
        licence=optional_text(record, "licence"),
    )


def parse_verdict(record: Json) -> Verdict:
    """The verdict that `record` describes."""
    return Verdict(
        verdict=text_of(record, "verdict"),
        reasons=parse_reasons(record),
        fingerprint=optional_text(record, "fingerprint"),
        executed_sql=optional_text(record, "executed_sql"),
    )


def parse_query(record: Json) -> QueryStatus:
    """The query that `record` describes."""
    error = mapping_of(record, "error") if record.get("error") else None
    release = mapping_of(record, "release") if record.get("release") else {}
    return QueryStatus(
        id=text_of(record, "id"),
        dataset=optional_text(record, "dataset_name"),
        kind=optional_text(record, "kind"),
        state=text_of(record, "state"),
        purpose=optional_text(record, "purpose"),
        reasons=parse_reasons(record),
        release=optional_text(release, "id") or None,
        release_state=optional_text(release, "state"),
        error=_reason(error) if error else None,
        note=optional_text(record, "progress"),
    )


def parse_reasons(record: Json) -> tuple[Reason, ...]:
    """The reasons that `record` lists, in order."""
    return tuple(map(_reason, records_of(record, "reasons")))


def _reason(record: Json) -> Reason:
    return Reason(
        code=text_of(record, "code"),
        message=text_of(record, "message"),
        hint=optional_text(record, "hint"),
        line=optional_int(record, "line"),
        column=optional_int(record, "column"),
        policy_line=optional_int(record, "policy_line"),
    )


def _column(record: Json) -> ColumnInfo:
    return ColumnInfo(
        name=text_of(record, "name"),
        type=text_of(record, "type"),
        roles=texts_of(record, "roles"),
        description=optional_text(record, "description"),
        limits=optional_text(record, "limits"),
    )


def _rule(record: Json) -> Rule:
    return Rule(
        kind=text_of(record, "kind"),
        purposes=texts_of(record, "purposes"),
        reviewers=optional_int(record, "reviewers") or 0,
        licence=optional_text(record, "licence"),
        columns=texts_of(record, "columns"),
        label=optional_text(record, "label"),
        max_rows=optional_int(record, "max_rows"),
        min_units=optional_int(record, "min_units"),
        aggregates=texts_of(record, "aggregates"),
        mode=optional_text(record, "mode"),
    )
