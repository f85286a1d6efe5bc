"""What a node says of its datasets, requests, grants and queries, as frozen values.

The codec is tolerant in one direction only: a field that is not needed here may come and
go, a field that is needed and absent or of another type is AnswerMalformed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bonded.errors import AnswerMalformed, Reason
from bonded.transport import Json

T = TypeVar("T")


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
    organisation = _mapping(record, "organisation")
    offer = _mapping(record, "offer") if record.get("offer") else {}
    return DatasetInfo(
        id=_text(record, "id"),
        name=f"{_text(organisation, 'slug')}/{_text(record, 'slug')}",
        title=_text(record, "title"),
        description=_optional_text(record, "description"),
        table=_text(record, "table"),
        organisation=_text(organisation, "name"),
        licence=_optional_text(offer, "licence"),
        keywords=_texts(record, "keywords"),
        rows=_optional_int(offer, "rows"),
        version=_optional_int(offer, "version_number"),
        offer=_optional_text(offer, "id") or None,
        policy_id=_optional_text(offer, "policy") or None,
        columns=tuple(map(_column, _records(record, "columns"))),
        rules=tuple(map(_rule, _records(record, "rules"))),
        policy=_texts(record, "policy_words"),
        terms=_optional_text(offer, "terms"),
    )


def parse_learnings(record: Json) -> tuple[Learning, ...]:
    """What each audience can learn from the column that `record` explains."""
    return tuple(
        Learning(
            kind=_text(item, "kind"),
            audience=_text(item, "audience"),
            sentences=_texts(item, "sentences"),
            not_protected=_texts(item, "not_protected"),
        )
        for item in _records(record, "audiences")
    )


def parse_request(record: Json) -> AccessRequest:
    """The access request that `record` describes."""
    notes = [_optional_text(decision, "note") for decision in _records(record, "decisions")]
    return AccessRequest(
        id=_text(record, "id"),
        dataset=_text(record, "dataset"),
        state=_text(record, "state"),
        kind=_optional_text(record, "kind"),
        purpose=_optional_text(record, "purpose"),
        grant=_optional_text(record, "grant") or None,
        notes=tuple(note for note in notes if note),
    )


def parse_grant(record: Json) -> Grant:
    """The grant that `record` describes."""
    return Grant(
        id=_text(record, "id"),
        dataset=_text(record, "dataset"),
        dataset_name=_text(record, "dataset_name"),
        kind=_text(record, "kind"),
        purpose=_text(record, "purpose"),
        state=_text(record, "state"),
        ends_at=_optional_text(record, "ends_at"),
        licence=_optional_text(record, "licence"),
    )


def parse_verdict(record: Json) -> Verdict:
    """The verdict that `record` describes."""
    return Verdict(
        verdict=_text(record, "verdict"),
        reasons=parse_reasons(record),
        fingerprint=_optional_text(record, "fingerprint"),
        executed_sql=_optional_text(record, "executed_sql"),
    )


def parse_query(record: Json) -> QueryStatus:
    """The query that `record` describes."""
    error = _mapping(record, "error") if record.get("error") else None
    release = _mapping(record, "release") if record.get("release") else {}
    return QueryStatus(
        id=_text(record, "id"),
        dataset=_optional_text(record, "dataset_name"),
        kind=_optional_text(record, "kind"),
        state=_text(record, "state"),
        purpose=_optional_text(record, "purpose"),
        reasons=parse_reasons(record),
        release=_optional_text(release, "id") or None,
        release_state=_optional_text(release, "state"),
        error=_reason(error) if error else None,
        note=_optional_text(record, "progress"),
    )


def parse_reasons(record: Json) -> tuple[Reason, ...]:
    """The reasons that `record` lists, in order."""
    return tuple(map(_reason, _records(record, "reasons")))


def _reason(record: Json) -> Reason:
    return Reason(
        code=_text(record, "code"),
        message=_text(record, "message"),
        hint=_optional_text(record, "hint"),
        line=_optional_int(record, "line"),
        column=_optional_int(record, "column"),
        policy_line=_optional_int(record, "policy_line"),
    )


def _column(record: Json) -> ColumnInfo:
    return ColumnInfo(
        name=_text(record, "name"),
        type=_text(record, "type"),
        roles=_texts(record, "roles"),
        description=_optional_text(record, "description"),
        limits=_optional_text(record, "limits"),
    )


def _rule(record: Json) -> Rule:
    return Rule(
        kind=_text(record, "kind"),
        purposes=_texts(record, "purposes"),
        reviewers=_optional_int(record, "reviewers") or 0,
        licence=_optional_text(record, "licence"),
        columns=_texts(record, "columns"),
        label=_optional_text(record, "label"),
        max_rows=_optional_int(record, "max_rows"),
        min_units=_optional_int(record, "min_units"),
        aggregates=_texts(record, "aggregates"),
        mode=_optional_text(record, "mode"),
    )


def _text(record: Json, key: str) -> str:
    return _of_type(record, key, str)


def _optional_text(record: Json, key: str) -> str:
    return "" if record.get(key) is None else _of_type(record, key, str)


def _optional_int(record: Json, key: str) -> int | None:
    return None if record.get(key) is None else _of_type(record, key, int)


def _mapping(record: Json, key: str) -> Json:
    return _of_type(record, key, dict)


def _records(record: Json, key: str) -> Sequence[Json]:
    if record.get(key) is None:
        return ()
    return [_checked(key, item, dict) for item in _of_type(record, key, list)]


def _texts(record: Json, key: str) -> tuple[str, ...]:
    if record.get(key) is None:
        return ()
    return tuple(_checked(key, item, str) for item in _of_type(record, key, list))


def _of_type(record: Json, key: str, kind: type[T]) -> T:
    return _checked(key, record.get(key), kind)


def _checked(key: str, value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise AnswerMalformed(
            f"field `{key}` should be {kind.__name__}, the node sent {type(value).__name__}"
        )
    return value
