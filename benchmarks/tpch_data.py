"""TPC-H tables, generated here: as plain Parquet by DuckDB, and in a vault by the product.

Both hold the same rows. The generator is `tpchgen-cli`, an optional package; nothing is
downloaded. A vault is kept as long as the code that writes it stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

import sandbox
from benchmarks.apart import apart
from benchmarks.options import Options
from sandbox.files.chunk_digests import footer_sha256
from sandbox.intake.staging import parquet_of, staged_parquet
from sandbox.needs import Need
from sandbox.protocol import EncryptedTable, Limits, PartitionJob, StoredFile, TableSchema
from sandbox.quoting import text_literal

# Each table and its units under `tpch_policy.yaml`: one says to which shard a row goes. An
# order's row has two, and so but one shard, as in the product.
UNITS: dict[str, tuple[str, ...]] = {
    "region": (),
    "nation": (),
    "supplier": (),
    "customer": ("c_custkey",),
    "part": (),
    "partsupp": (),
    "orders": ("o_custkey", "o_orderkey"),
    "lineitem": ("l_orderkey",),
}
# Of generated, public rows: these keys protect nothing.
_KEY = hashlib.sha256(b"benchmark data key").digest()
_SHARD_KEY = hashlib.sha256(b"benchmark shard key").digest()
_ROWS_PER_SHARD, _MOST_SHARDS = 500_000, 64
_AS_USERS_DO = "FORMAT parquet, CODEC zstd, COMPRESSION_LEVEL 1"
_SCRATCH_FILES = 3  # as a worker is given for this


@dataclass(frozen=True, slots=True)
class Tpch:
    """The tables at one scale factor."""

    scale: float
    plain: dict[str, str]
    encoded: dict[str, str]  # plain Parquet with the encodings that the vault's files have
    vault: Path
    tables: dict[str, EncryptedTable]
    schemas: dict[str, TableSchema]
    write_seconds: float  # that distributing and encrypting all rows took

    def mentioned(self, sql: str) -> dict[str, Need]:
        """Return for each table that `sql` names the columns that it names.

        A table none of whose columns is named needs the first one.
        """
        words = set(re.findall(r"[a-z0-9_]+", sql.lower()))
        needs = {}
        for table, schema in self.schemas.items():
            if table in words:
                names = [name for name, _ in schema.columns]
                needed = frozenset(words & set(names)) or frozenset(names[:1])
                needs[table] = Need(needed, None)
        return needs


def prepare(options: Options, folder: Path, scale: float | None = None) -> Tpch:
    """Generate what is not in `folder` yet, and say what lies there."""
    scale = scale if scale is not None else options.scale or 1.0
    root = folder / f"tpch-{scale:g}"
    plain = root / "plain"
    if not (plain / "done").exists():
        _generate(root, plain, scale)
    paths = {table: str(plain / f"{table}.parquet") for table in UNITS}
    encoded = root / f"encoded-{_writer()}"
    if not (encoded / "done").exists():
        for stale in root.glob("encoded-*"):
            shutil.rmtree(stale)
        encoded.mkdir()
        for table, path in paths.items():
            target = encoded / f"{table}.parquet"
            written = parquet_of(pq.read_metadata(path).num_rows)
            apart(lambda s=path, t=target, w=written: _copy(Path(s), t, w))
        (encoded / "done").touch()
    vault = root / f"vault-{_writer()}"
    if not (vault / "tables.json").exists():
        for stale in root.glob("vault-*"):
            shutil.rmtree(stale)
        vault.mkdir(parents=True)
        written = {
            table: apart(lambda t=table: _encrypt(vault, t, paths)) for table in UNITS
        }
        described = {table: found[:2] for table, found in written.items()}
        taken = sum(found[2] for found in written.values())
        (vault / "tables.json").write_text(json.dumps([described, taken]))
        say(f"wrote the vault at scale {scale:g} in {taken:.0f} s")
    described, taken = json.loads((vault / "tables.json").read_text())
    return Tpch(
        scale,
        paths,
        {table: str(encoded / f"{table}.parquet") for table in UNITS},
        vault,
        {
            table: EncryptedTable(
                table, f"tpch-{table}", tuple(StoredFile(*file) for file in files), _KEY
            )
            for table, (files, _) in described.items()
        },
        {
            table: TableSchema(table, tuple((name, kind) for name, kind in columns))
            for table, (_, columns) in described.items()
        },
        taken,
    )


def generator() -> str:
    """Return where `tpchgen-cli` is; SystemExit if it is not installed."""
    beside = Path(sys.executable).with_name("tpchgen-cli")
    found = str(beside) if beside.exists() else shutil.which("tpchgen-cli")
    if found is None:
        raise SystemExit(
            "this benchmark generates its data with tpchgen-cli, which is not installed:"
            " pip install tpchgen-cli"
        )
    return found


def shards_for(rows: int) -> int:
    """Return how many shards a table of that size has: a power of two, at most 64."""
    most = min(max(1, rows // _ROWS_PER_SHARD), _MOST_SHARDS)
    return 1 << (most.bit_length() - 1)


def _generate(root: Path, plain: Path, scale: float) -> None:
    started = time.perf_counter()
    made = root / "generated"
    made.mkdir(parents=True, exist_ok=True)
    plain.mkdir(exist_ok=True)
    subprocess.run(
        [
            generator(), "parquet", "--scale-factor", f"{scale:g}",
            "--output-dir", str(made), "--overwrite", "--quiet", "--num-threads", "2",
        ],
        check=True,
    )  # fmt: skip
    for table in UNITS:
        apart(lambda t=table: _copy(made / f"{t}.parquet", plain / f"{t}.parquet"))
    shutil.rmtree(made)
    (plain / "done").touch()
    say(f"generated scale {scale:g} in {time.perf_counter() - started:.0f} s")


def _copy(source: Path, target: Path, options: str = _AS_USERS_DO) -> None:
    """Write plain Parquet as DuckDB does, with the codec of the vault."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute(
        f"COPY (SELECT * FROM read_parquet({text_literal(str(source))}))"
        f" TO {text_literal(str(target))} ({options})"
    )
    connection.close()


class _OneFile:
    """A staged table of one plain file, as a worker has its image."""

    def __init__(self, table: str, path: str) -> None:
        self._descriptor = os.memfd_create("image")
        with (
            Path(path).open("rb") as plain,
            open(self._descriptor, "wb", closefd=False) as f,
        ):
            shutil.copyfileobj(plain, f)
        self.tables = {table: (Path(path).stat().st_size,)}

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return the path under which this process has it open."""
        path = f"/proc/self/fd/{self._descriptor}"
        return {table: [path for _ in files] for table, files in wanted.items()}


def _encrypt(vault: Path, table: str, plain: dict[str, str]) -> object:
    """Write one table's shards as the product's own ingest does, from what it stages."""
    from sandbox.intake.partition import partition

    connection = duckdb.connect()
    path = text_literal(plain[table])
    rows = connection.execute(f"SELECT count(*) FROM read_parquet({path})").fetchall()[0][0]
    connection.close()
    shards = shards_for(rows) if len(UNITS[table]) < 2 else 1
    names = tuple(f"{table}/{index}" for index in range(shards))
    (vault / table).mkdir()
    outputs = [os.open(vault / name, os.O_RDWR | os.O_CREAT, 0o600) for name in names]
    job = PartitionJob(
        job_id="benchmark",
        source=EncryptedTable(table, "plain", (StoredFile("", "", 0, rows),), _KEY),
        units=UNITS[table],
        shard_key=_SHARD_KEY,
        version_id=f"tpch-{table}",
        outputs=names,
        output_key=_KEY,
        limits=Limits(memory_bytes=4 * 1024**3),
    )
    scratch = [os.memfd_create("scratch") for _ in range(_SCRATCH_FILES)]
    staged = vault / f"{table}-staged.parquet"
    _copy(Path(plain[table]), staged, staged_parquet(rows, rows))
    source = _OneFile(table, str(staged))
    staged.unlink()
    started = time.perf_counter()
    outcome = partition(job, source, outputs, scratch)
    taken = time.perf_counter() - started
    files = []
    for name, file in zip(names, outcome.files, strict=True):
        with (vault / name).open("rb") as stored:
            digest = hashlib.file_digest(stored, "sha256").hexdigest()
            footer = footer_sha256(stored.fileno())
        files.append((name, digest, (vault / name).stat().st_size, file.rows, footer))
    return files, outcome.schema.columns, taken


def _writer() -> str:
    """Digest of the code that writes shards: another writer, another vault."""
    root = Path(sandbox.__file__).parent
    digest = hashlib.sha256(Path(__file__).read_bytes())
    written_by = (
        "files/parquet.py", "files/pme_writer.py", "files/chunk_digests.py", "intake/*.py",
    )  # fmt: skip
    for path in sorted(found for name in written_by for found in root.glob(name)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def say(text: str) -> None:
    """Tell who waits what is being done."""
    print(text, file=sys.stderr, flush=True)
