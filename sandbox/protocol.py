"""The door: the messages that cross into the sandbox and back, frozen and versioned.

Three kinds of job go in, one outcome or refusal comes out. On the wire each is a frame:
4 bytes big-endian length, then canonical JSON `{"version", "type", "body"}` in UTF-8, with
bytes as base64. Keys travel in jobs only, over the daemon's Unix socket only; their `repr`
is blank so that no log line or traceback can show one. The codec is in `sandbox.codec`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

VERSION = 1
MAX_FRAME_BYTES = 64 * 1024 * 1024

# A value that may stand in a result cell; WITHHELD is not NULL (STYLE 27).
Scalar = str | int | float | bool | None


MAX_RESULT_ROWS = 200_000  # of one answer


class Format(StrEnum):
    """What an upload says it is."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use before it is stopped."""

    deadline_seconds: float = 60.0
    memory_bytes: int = 2 * 1024**3
    output_bytes: int = 32 * 1024**2
    threads: int = 2


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the vault: `name` is relative to its root, no `..`, digest of its bytes.

    `footer_sha256` is of the encrypted footer (`sandbox.files.chunk_digests`); where it is
    empty, nothing of the file is used before all of it was digested.
    """

    name: str
    sha256: str
    size_bytes: int
    rows: int = 0
    footer_sha256: str = ""


@dataclass(frozen=True, slots=True)
class SealedSource:
    """An upload, sealed by `sandbox.files.sealing` under `key` (32 bytes)."""

    file: StoredFile
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Columns that lie in files of their own, under a data key of their own.

    File i holds the same rows as shard i of its table, in the same row groups. The AAD
    prefix of file i is `version_id + "/" + name + "/" + str(i)` in UTF-8.
    """

    name: str
    columns: tuple[str, ...]
    files: tuple[StoredFile, ...]
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EncryptedTable:
    """One table of one dataset version: encrypted Parquet shards under one data key.

    The AAD prefix of shard i is `version_id + "/" + str(i)` in UTF-8. `groups` are columns
    that a policy cuts off: a job that needs none of them comes without their files and key.
    """

    table: str  # the name it has in SQL and in the policy
    version_id: str
    files: tuple[StoredFile, ...]
    key: bytes = field(repr=False)
    groups: tuple[ColumnGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class TableSchema:
    """Names and engine types (`BIGINT`, `DECIMAL(10,2)`, ...) of a table, in file order."""

    table: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How to read a CSV; None means: find out."""

    delimiter: str | None = None
    encoding: str | None = None
    header: bool = True


# A staged table goes on in its next file, if there is one, when a file has this size.
STAGED_FILE_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class ProfileJob:
    """Ingest, first half: read an untrusted upload, type it, profile it, stage it."""

    job_id: str
    source: SealedSource
    format: Format
    csv: CsvOptions
    version_id: str  # of the staged table
    outputs: tuple[str, ...]  # vault names for its files, as many as may be needed
    output_key: bytes = field(repr=False)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class GroupOutput:
    """Columns that a partition writes into files of their own, one per shard."""

    name: str
    columns: tuple[str, ...]
    outputs: tuple[str, ...]  # one vault name per shard
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PartitionJob:
    """Ingest, second half: distribute rows by keyed hash of the unit and encrypt them.

    All rows of one unit land in one shard. `units` empty means `units: row`. Columns of
    `groups` are in their files and not in the shards' own; at least one column is in none.
    """

    job_id: str
    source: EncryptedTable
    units: tuple[str, ...]
    shard_key: bytes = field(repr=False)
    version_id: str = ""
    outputs: tuple[str, ...] = ()  # one vault name per shard
    output_key: bytes = field(repr=False, default=b"")
    limits: Limits = field(default_factory=Limits)
    groups: tuple[GroupOutput, ...] = ()


@dataclass(frozen=True, slots=True)
class AnalyseJob:
    """Derive the shape of a query from its text; no rows are touched."""

    job_id: str
    sql: str
    purpose: str
    policy: str  # canonical JSON of policies.codec
    schemas: tuple[TableSchema, ...]
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ExecuteJob:
    """Analyse again, run, control what leaves; cells come back in the outcome.

    `history` is the opaque text of earlier releases (from outcomes), oldest first.
    `fingerprint` is what was approved: a plan with another fingerprint is refused.
    """

    job_id: str
    sql: str
    purpose: str
    policy: str
    tables: tuple[EncryptedTable, ...]
    schemas: tuple[TableSchema, ...]
    fingerprint: str
    history: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class SubsetJob:
    """Execute a subset rule: filtered, capped, licensed rows as a sealed package."""

    job_id: str
    policy: str
    rule_index: int  # of Policy.subset_rules
    columns: tuple[str, ...]  # a subset of the rule's, in output order
    table: EncryptedTable
    schema: TableSchema
    max_rows: int
    metadata: tuple[tuple[str, str], ...]  # licence, attribution, grant: into the footer
    output: str  # vault name of the package, sealed by sandbox.files.sealing
    output_key: bytes = field(repr=False)
    pseudonym_key: bytes = field(repr=False, default=b"")
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class RekeyJob:
    """Encrypt stored files anew under another key: the same pages, the same AAD prefixes.

    Done without a worker. `group` names the column group whose files they are, all of one
    version; empty: the table's own.
    """

    job_id: str
    version_id: str
    group: str
    files: tuple[StoredFile, ...]
    key: bytes = field(repr=False)
    outputs: tuple[str, ...]  # one vault name per file, in their order
    output_key: bytes = field(repr=False)
    limits: Limits = field(default_factory=Limits)


Job = ProfileJob | PartitionJob | AnalyseJob | ExecuteJob | SubsetJob | RekeyJob


@dataclass(frozen=True, slots=True)
class Metering:
    """What a run used."""

    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    bytes_scanned: int = 0
    wall_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What is known of a column; never a sample value. Ranges only of numbers and dates."""

    name: str
    type: str  # engine type
    null_share: float  # 0..1
    distinct: int  # approximate above 100,000
    minimum: str | None = None  # numbers and dates, coarsened to two significant digits
    maximum: str | None = None
    proposed_roles: tuple[str, ...] = ()
    proposed_grid: str | None = None
    reason: str = ""  # why these roles, in a sentence


@dataclass(frozen=True, slots=True)
class ProfileOutcome:
    """An upload was read and staged."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    staged: tuple[StoredFile, ...]  # of the job's outputs the first ones, none empty
    encoding: str | None = None
    delimiter: str | None = None
    warnings: tuple[str, ...] = ()
    metering: Metering = field(default_factory=Metering)


@dataclass(frozen=True, slots=True)
class PartitionOutcome:
    """A staged table was distributed and encrypted."""

    files: tuple[StoredFile, ...]
    rows: int
    units: int  # distinct units, or rows where each row is its own
    schema: TableSchema = field(default_factory=lambda: TableSchema("", ()))
    metering: Metering = field(default_factory=Metering)
    groups: tuple[tuple[StoredFile, ...], ...] = ()  # as the job's, each file by shard


@dataclass(frozen=True, slots=True)
class AnalyseOutcome:
    """The shape of a query as JSON of `policies.shape_codec`."""

    shape: str
    executed_sql: str = ""  # what would run, for the reviewer; empty where there is no plan
    metering: Metering = field(default_factory=Metering)


@dataclass(frozen=True, slots=True)
class ExecuteOutcome:
    """Controlled cells, and what was withheld.

    `rows[i][j]` is a scalar, or None where the value is NULL or withheld; `withheld[i]` is
    the tuple of column positions withheld in row i. `report` is for the provider only.
    """

    columns: tuple[tuple[str, str], ...]  # name, type
    rows: tuple[tuple[Scalar, ...], ...]
    withheld: tuple[tuple[int, ...], ...]
    suppressed: int  # rows in which something is withheld
    partial: bool
    fingerprint: str
    executed_sql: str
    history: str = ""  # to be handed to later jobs over the same tables
    report: tuple[tuple[str, int], ...] = ()  # (reason, cells)
    units_covered: int = 0
    metering: Metering = field(default_factory=Metering)


@dataclass(frozen=True, slots=True)
class SubsetOutcome:
    """A package was written and sealed."""

    package: StoredFile  # the sealed file: digest and size of the bytes on disk
    content_sha256: str  # of the Parquet file inside
    content_bytes: int
    rows: int
    columns: tuple[tuple[str, str], ...]
    metering: Metering = field(default_factory=Metering)


@dataclass(frozen=True, slots=True)
class RekeyOutcome:
    """Files were encrypted anew; they hold the same rows in the same pages."""

    files: tuple[StoredFile, ...]
    metering: Metering = field(default_factory=Metering)


@dataclass(frozen=True, slots=True)
class Refusal:
    """No outcome: a `SandboxError` by its code, to be raised again on the other side."""

    code: str
    message: str
    hint: str = ""
    line: int | None = None
    column: str | None = None
    reasons: tuple[tuple[str, str, str], ...] = ()  # code, message, hint
    metering: Metering | None = None  # what was used up to then, where it came so far


Outcome = (
    ProfileOutcome
    | PartitionOutcome
    | AnalyseOutcome
    | ExecuteOutcome
    | SubsetOutcome
    | RekeyOutcome
)
Message = Job | Outcome | Refusal
