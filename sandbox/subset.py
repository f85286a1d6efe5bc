"""Job kind `execute`, for a subset rule: licensed labelled rows as a sealed package.

Which rows leave is decided by the rule alone: its filter, its columns, its cap. Where the
cap cuts, a keyed order chooses, the same for the same version and key, so that asking
again does not show other rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from policies.codec import load_policy
from policies.document import SubsetRule
from sandbox.engine import open_engine
from sandbox.errors import QueryRejected
from sandbox.files.parquet import plain_writer
from sandbox.files.sealing import SealWriter
from sandbox.protocol import StoredFile, SubsetJob, SubsetOutcome
from sandbox.quoting import quoted
from sandbox.row_filter import compile_filter

_BATCH_ROWS = 50_000
_PSEUDONYM_BYTES = 16


def write_package(
    job: SubsetJob, images: Mapping[str, Sequence[str]], output: int
) -> SubsetOutcome:
    """Write the rule's rows to `output`, sealed; nothing else of the table leaves.

    Raises QueryRejected where the job asks for more than its rule gives: a column that the
    rule does not name, more rows, or a feature that this node does not have.
    """
    rule = _rule_of(job)
    with contextlib.closing(open_engine(images, job.limits)) as connection:
        reader = _rows(job, rule, connection).to_arrow_reader(_BATCH_ROWS)
        schema = _schema(reader.schema, rule)
        with os.fdopen(os.dup(output), "wb") as target:
            with SealWriter(target, job.output_key, job.output) as sealed:
                writer = plain_writer(_Sink(sealed), schema, metadata=_metadata(job, rule))
                for batch in reader:
                    writer.write(_pseudonymised(batch, schema, rule, job.pseudonym_key))
                writer.close()
            package = StoredFile(job.output, sealed.sealed_sha256, sealed.sealed_size)
    types = dict(job.schema.columns)
    return SubsetOutcome(
        package=package,
        content_sha256=sealed.sha256,
        content_bytes=sealed.size,
        rows=writer.rows,
        columns=tuple(
            (name, "VARCHAR" if name in rule.pseudonymise else types[name])
            for name in job.columns
        ),
    )


def _rule_of(job: SubsetJob) -> SubsetRule:
    rules = load_policy(job.policy).subset_rules
    if not 0 <= job.rule_index < len(rules):
        raise QueryRejected("the job names a subset rule that its policy does not have")
    rule = rules[job.rule_index]
    beyond = [name for name in job.columns if name not in rule.columns]
    if beyond or not job.columns:
        raise QueryRejected(
            "the job asks for columns that its subset rule does not give",
            hint=f"The rule gives: {', '.join(rule.columns)}.",
            code="column_not_offered",
        )
    if not 1 <= job.max_rows <= rule.max_rows:
        raise QueryRejected(
            f"the job asks for {job.max_rows} rows, its rule gives {rule.max_rows}",
            code="cap_exceeded",
        )
    if rule.fingerprint:
        # A promise to mark rows per recipient must not be broken in silence.
        raise QueryRejected(
            "the rule promises rows marked for each recipient, which this node cannot do",
            hint="Ask the provider for a rule without `fingerprint`.",
            code="fingerprint_unavailable",
        )
    if rule.pseudonymise and len(job.pseudonym_key) != 32:
        raise QueryRejected("the job brings no key for its pseudonyms")
    return rule


def _rows(
    job: SubsetJob, rule: SubsetRule, connection: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    table = job.table.table
    condition = "TRUE"
    if rule.row_filter is not None:
        condition = compile_filter(rule.row_filter, table, job.schema.columns, connection)
    names = ", ".join(quoted(name) for name in job.columns)
    # The key is a value, never part of the text: SQL is shown and logged.
    return connection.sql(
        f"WITH fitting AS (SELECT {names}, row_number() OVER () AS bonded_row "
        f"FROM {quoted(table)} WHERE ({condition}) IS TRUE), "
        "chosen AS (SELECT * FROM fitting "
        "ORDER BY sha256($key || bonded_row::VARCHAR) LIMIT $most) "
        f"SELECT {names} FROM chosen ORDER BY bonded_row",
        params={"key": _order_key(job), "most": job.max_rows},
    )


def _order_key(job: SubsetJob) -> str:
    material = job.pseudonym_key or job.table.version_id.encode()
    return hmac.new(material, b"bonded subset order", hashlib.sha256).hexdigest()


def _schema(schema: pa.Schema, rule: SubsetRule) -> pa.Schema:
    return pa.schema(
        [
            pa.field(
                field.name, pa.string() if field.name in rule.pseudonymise else field.type
            )
            for field in schema
        ]
    )


def _pseudonymised(
    batch: pa.RecordBatch, schema: pa.Schema, rule: SubsetRule, key: bytes
) -> pa.RecordBatch:
    arrays = [
        _pseudonyms(column, key, field.name) if field.name in rule.pseudonymise else column
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _pseudonyms(column: pa.Array, key: bytes, name: str) -> pa.Array:
    # Bound to the column's name, so that equal values of two columns do not match.
    known: dict[Any, str | None] = {None: None}
    found = []
    for value in column.to_pylist():
        if value not in known:
            message = f"{name}\x00{value}".encode()
            digest = hmac.new(key, message, hashlib.sha256).digest()[:_PSEUDONYM_BYTES]
            known[value] = digest.hex()
        found.append(known[value])
    return pa.array(found, pa.string())


def _metadata(job: SubsetJob, rule: SubsetRule) -> list[tuple[str, str]]:
    label = [("bonded.label", rule.label)] if rule.label is not None else []
    return [*job.metadata, *label]


class _Sink:
    """A sealed file as the Parquet writer wants to see it: it only appends."""

    def __init__(self, sealed: SealWriter) -> None:
        self._sealed = sealed
        self.closed = False

    def write(self, data: Any) -> int:
        return self._sealed.write(bytes(data))

    def tell(self) -> int:
        return self._sealed.size

    def flush(self) -> None:
        """The seal writes its chunks as they fill."""

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
