"""Job kind `subset`: licensed rows, filtered, capped and pseudonymised, as a sealed package.

Which rows a cap keeps is decided by a keyed hash of the row, so that the same grant gets
the same rows again and nobody can steer the choice.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from policies.codec import load_policy
from policies.document import SubsetRule
from sandbox.engine import literal, open_engine, quote
from sandbox.errors import ProtocolError, QueryRejected
from sandbox.parquet import plain_writer
from sandbox.protocol import StoredFile, SubsetJob, SubsetOutcome
from sandbox.row_filter import compile_filter
from sandbox.sealing import SealWriter

_BATCH_ROWS = 50_000
_PSEUDONYM_CHARACTERS = 24


def write_package(
    job: SubsetJob, images: Mapping[str, Sequence[str]], output: int
) -> SubsetOutcome:
    """Write the rule's rows, sealed, to `output`; the content is plain Parquet.

    Raises QueryRejected if the job asks for more than the rule gives.
    """
    rule = _rule_of(job)
    with contextlib.closing(open_engine(images, job.limits)) as connection:
        statement = _statement(job, rule, connection)
        reader = connection.sql(statement).to_arrow_reader(_BATCH_ROWS)
        described = {name: kind for name, kind in job.schema.columns}
        hidden = frozenset(rule.pseudonymise) & frozenset(job.columns)
        schema = pa.schema(
            pa.field(field.name, pa.string()) if field.name in hidden else field
            for field in reader.schema
        )
        with os.fdopen(os.dup(output), "wb") as target:
            seal = SealWriter(target, job.output_key, job.output)
            writer = plain_writer(_Sink(seal), schema, metadata=job.metadata)
            for batch in _pseudonymised(reader, schema, hidden, job.pseudonym_key):
                writer.write(batch)
            writer.close()
            seal.close()
    return SubsetOutcome(
        package=StoredFile(job.output, "", 0, writer.rows),  # measured by the door
        content_sha256=seal.sha256,
        content_bytes=seal.size,
        rows=writer.rows,
        columns=tuple(
            (name, "VARCHAR" if name in hidden else described[name]) for name in job.columns
        ),
    )


class _Sink:
    """What pyarrow writes to: the sealed file's writer as a file that cannot seek."""

    closed = False

    def __init__(self, seal: SealWriter) -> None:
        self._seal = seal

    def write(self, data: bytes) -> int:
        return self._seal.write(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    def tell(self) -> int:
        return self._seal.size

    def close(self) -> None:
        """The seal is closed by who opened it, and only when all went well."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _rule_of(job: SubsetJob) -> SubsetRule:
    rules = load_policy(job.policy).subset_rules
    if not 0 <= job.rule_index < len(rules):
        raise QueryRejected("the job names a subset rule that its policy does not have")
    rule = rules[job.rule_index]
    # The job was made outside: the worker trusts the policy, and its own reading of it.
    beyond = [name for name in job.columns if name not in rule.columns]
    if beyond or not job.columns or len(set(job.columns)) != len(job.columns):
        raise QueryRejected(
            "the job asks for columns that the subset rule does not give",
            hint="Ask for columns of the rule, each once.",
        )
    absent = set(job.columns) - {name for name, _ in job.schema.columns}
    if absent:
        raise QueryRejected("the subset rule names a column that the table does not have")
    if rule.pseudonymise and len(job.pseudonym_key) < 32:
        raise ProtocolError("a rule that pseudonymises needs a key of 32 bytes")
    return rule


def _statement(
    job: SubsetJob, rule: SubsetRule, connection: duckdb.DuckDBPyConnection
) -> str:
    columns = ", ".join(quote(name) for name in job.columns)
    condition = "TRUE"
    if rule.row_filter:
        condition = compile_filter(rule.row_filter, job.schema, connection)
    table = quote(job.table.table)
    cap = max(0, min(job.max_rows, rule.max_rows))
    # A key of its own for the order, whose hash never leaves; ties are equal rows.
    key = hashlib.sha256(b"bonded subset order" + job.pseudonym_key).hexdigest()
    texts = ", ".join(f"coalesce(CAST({quote(n)} AS VARCHAR), '')" for n in job.columns)
    order = f"sha256(concat_ws(chr(31), {literal(key)}, {texts}))"
    return (
        f"SELECT {columns} FROM (SELECT * FROM {table} WHERE {condition})"
        f" ORDER BY {order} LIMIT {cap}"
    )


def _pseudonymised(
    reader: pa.RecordBatchReader, schema: pa.Schema, hidden: frozenset[str], key: bytes
) -> Iterator[pa.RecordBatch]:
    """The batches with each value of the hidden columns replaced by its keyed pseudonym."""
    for batch in reader:
        arrays = [
            pa.array(
                [pseudonym(value, name, key) for value in column.to_pylist()], pa.string()
            )
            if name in hidden
            else column
            for name, column in zip(schema.names, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def pseudonym(value: object, column: str, key: bytes) -> str | None:
    """Return the pseudonym of a value: equal for equal values of a column, else unrelated."""
    if value is None:
        return None
    text = f"{column}\x00{value}".encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:_PSEUDONYM_CHARACTERS]
