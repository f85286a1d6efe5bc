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
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from policies.codec import load_policy
from policies.document import SubsetRule
from sandbox.engine import open_engine
from sandbox.errors import QueryRejected
from sandbox.files.parquet import plain_writer
from sandbox.files.sealing import SealWriter
from sandbox.passes.choosing import needs_more_memory
from sandbox.passes.holding import ImageSource
from sandbox.protocol import StoredFile, SubsetJob, SubsetOutcome
from sandbox.quoting import quoted, text_literal
from sandbox.row_filter import compile_filter

_BATCH_ROWS = 50_000
_PSEUDONYM_BYTES = 16


def write_package(job: SubsetJob, source: ImageSource, output: int) -> SubsetOutcome:
    """Write the rule's rows to `output`, sealed; nothing else of the table leaves.

    Shards are read one after another, twice where the cap cuts: what is in memory is one
    of them, and the places of the rows that are chosen.
    Raises QueryRejected where the job asks for more than its rule gives: a column that the
    rule does not name, more rows, or a feature that this node does not have; and
    ResourceExceeded (`needs_more_memory`) where a shard alone does not fit.
    """
    rule = _rule_of(job)
    largest = max(source.tables[job.table.table], default=0)
    if largest > source.budget_bytes:
        raise needs_more_memory("the smallest parts of its table do not fit at once")
    with contextlib.closing(open_engine({}, job.limits, any_descriptor=True)) as connection:
        shards = _Shards(job, rule, source, connection)
        shards.choose()
        with os.fdopen(os.dup(output), "wb") as target:
            with SealWriter(target, job.output_key, job.output) as sealed:
                writer = None
                for reader in shards.chosen():
                    schema = _schema(reader.schema, rule)
                    if writer is None:
                        metadata = _metadata(job, rule)
                        writer = plain_writer(_Sink(sealed), schema, metadata=metadata)
                    for batch in reader:
                        writer.write(_pseudonymised(batch, schema, rule, job.pseudonym_key))
                assert writer is not None
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


class _Shards:
    """The rows of a rule, shard by shard.

    A row is named by its shard and its number there: that is the same however the table is
    read, so the keyed order of these names chooses the same rows each time.
    """

    def __init__(
        self,
        job: SubsetJob,
        rule: SubsetRule,
        source: ImageSource,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self._job, self._source, self._connection = job, source, connection
        self._table = job.table.table
        self._count = len(source.tables[self._table])
        self._every = sum(source.tables[self._table]) <= source.budget_bytes
        self._paths: list[str] = []
        self._names = ", ".join(quoted(name) for name in job.columns)
        self._condition = "TRUE"
        if rule.row_filter is not None:
            self._condition = compile_filter(
                rule.row_filter, self._table, job.schema.columns, connection
            )

    def choose(self) -> None:
        """Keep the places of the rows that leave: the first in the keyed order."""
        self._connection.execute(
            "CREATE TABLE chosen (shard INTEGER, place BIGINT, turn VARCHAR)"
        )
        for shard in range(self._count):
            # The key is a value, never part of the text: SQL is shown and logged.
            self._connection.execute(
                f"INSERT INTO chosen SELECT {shard}, bonded_row, "
                f"sha256($key || '{shard}/' || bonded_row::VARCHAR) AS turn "
                f"FROM {self._rows(shard)} WHERE ({self._condition}) IS TRUE "
                "ORDER BY turn LIMIT $most",
                {"key": _order_key(self._job), "most": self._job.max_rows},
            )
            self._connection.execute(
                "CREATE OR REPLACE TABLE chosen AS "
                f"SELECT * FROM chosen ORDER BY turn LIMIT {int(self._job.max_rows)}"
            )

    def chosen(self) -> Iterator[pa.RecordBatchReader]:
        """Yield the chosen rows of each shard, in their order."""
        for shard in range(self._count):
            yield self._connection.sql(
                f"SELECT {self._names} FROM {self._rows(shard)} WHERE bonded_row IN "
                f"(SELECT place FROM chosen WHERE shard = {shard}) ORDER BY bonded_row"
            ).to_arrow_reader(_BATCH_ROWS)

    def _rows(self, shard: int) -> str:
        """Return one shard with its rows numbered, under the table's name."""
        if self._every:
            if not self._paths:
                self._paths = self._source.open({self._table: range(self._count)})[
                    self._table
                ]
            path = self._paths[shard]
        else:
            ((path,),) = self._source.open({self._table: [shard]}).values()
        return (
            f"(SELECT * RENAME (file_row_number AS bonded_row) FROM "
            f"read_parquet({text_literal(path)}, file_row_number = true)) "
            f"AS {quoted(self._table)}"
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
