"""Tables of a world, cut into shards by their unit as the vault keeps them, and read so."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from policies.document import Policy
from sandbox.engine import open_engine
from sandbox.passes.choosing import Division, everything
from sandbox.passes.holding import OpenInParts
from sandbox.protocol import Limits

LIMITS = Limits(memory_bytes=4 * 1024**3)
_KEY = "5a" * 32
_FIRST_NUMBER = 100


class FileImages:
    """A double of the worker's image source, over plain files.

    As the real one: what was opened before is closed, and no path names two images.
    """

    def __init__(self, shards: Mapping[str, Sequence[Path]], budget_bytes: int = 0) -> None:
        self._shards = shards
        self._next = _FIRST_NUMBER
        self._open: list[int] = []
        self.tables = {
            name: tuple(path.stat().st_size for path in paths)
            for name, paths in shards.items()
        }
        self.budget_bytes = budget_bytes
        self.rounds: list[Mapping[str, Sequence[int]]] = []
        self.most_bytes = 0

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return fresh paths of these; the earlier ones are gone."""
        self.close()
        self.rounds.append(wanted)
        found = {
            name: [self._opened(self._shards[name][shard]) for shard in shards]
            for name, shards in wanted.items()
        }
        held = sum(os.fstat(number).st_size for number in self._open)
        self.most_bytes = max(self.most_bytes, held)
        return found

    def close(self) -> None:
        """Close whatever is open."""
        for number in self._open:
            os.close(number)
        self._open = []

    def _opened(self, path: Path) -> str:
        image = os.memfd_create("image", os.MFD_CLOEXEC)
        with path.open("rb") as source:
            while piece := source.read(2**20):
                os.write(image, piece)
        moved = fcntl.fcntl(image, fcntl.F_DUPFD_CLOEXEC, self._next)
        os.close(image)
        self._next = moved + 1
        self._open.append(moved)
        return f"/proc/self/fd/{moved}"


def cut(
    files: Mapping[str, Path], policy: Policy, shards: Mapping[str, int], folder: Path
) -> dict[str, list[Path]]:
    """Write each table as so many shards, by the hash that partitioning uses."""
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    found: dict[str, list[Path]] = {}
    for name, path in files.items():
        table = policy.table(name)
        assert table is not None
        count = shards.get(name, 1) if table.is_protected and len(table.units) < 2 else 1
        unit = f"{table.units[0].column}" if table.units else "file_row_number"
        keyed = f"sha256('{_KEY}' || CAST({unit} AS VARCHAR))"
        shard = f"coalesce(CAST('0x' || left({keyed}, 12) AS BIGINT) % {count}, 0)"
        for index in range(count):
            target = folder / f"{name}-{index}.parquet"
            connection.execute(
                f"COPY (SELECT * EXCLUDE (file_row_number) FROM "
                f"read_parquet('{path}', file_row_number=true) WHERE {shard} = {index}) "
                f"TO '{target}' (FORMAT parquet)"
            )
            found.setdefault(name, []).append(target)
    return found


class Forced(OpenInParts):
    """Everything protected in so many parts, whatever would fit."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        policy: Policy,
        source: FileImages,
        number: int,
    ) -> None:
        super().__init__(connection, policy, source)
        self._number, self._sizes = number, source.tables

    def _divided(
        self, *, partitioned: Sequence[str], whole: Sequence[str], spreads: bool
    ) -> Division:
        number = self._number
        counts = {name: len(self._sizes[name]) for name in partitioned}
        large = [name for name in partitioned if counts[name] % number == 0]
        small = [name for name in partitioned if name not in large]
        assert spreads or not small
        if not large:
            return everything(self._sizes, (*partitioned, *whole))
        rest = {name: range(len(self._sizes[name])) for name in (*whole, *small)}
        return Division(
            tuple(
                {**{name: range(part, counts[name], number) for name in large}, **rest}
                for part in range(number)
            ),
            tuple(small),
        )


def engine() -> duckdb.DuckDBPyConnection:
    """Return an engine that may open what the double opens."""
    return open_engine({}, LIMITS, any_descriptor=True)
