"""The worlds that corpora are asked of: tables by seed, and the policy over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from policies.codec import load_policy
from policies.document import Policy
from sandbox.simulate import Simulator
from tests.attacks import clinic, plant, world


def _ships(folder: Path, *, planted: bool) -> dict[str, Path]:
    assert planted, "the ships have their targets always"
    return world.write_tables(folder)


def _written(
    make: Callable[..., dict[str, pa.Table]], folder: Path, *, planted: bool
) -> dict[str, Path]:
    files = {}
    for name, table in make(planted=planted).items():
        files[name] = folder / f"{name}.parquet"
        pq.write_table(table, files[name])
    return files


@dataclass(frozen=True, slots=True)
class World:
    """Tables and a policy; `planted` holds the targets of attacks, `calm` does not."""

    name: str
    policy_file: str
    make: Callable[..., dict[str, Path]]

    @property
    def policy(self) -> Policy:
        """The policy over the tables."""
        text = (world.CORPUS / self.policy_file).read_text(encoding="utf-8")
        return load_policy(text)

    def files(self, folder: Path, *, planted: bool) -> dict[str, Path]:
        """Write the tables as Parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.make(folder, planted=planted)


WORLDS = {
    item.name: item
    for item in (
        World(
            "clinic",
            "clinic.yaml",
            lambda folder, *, planted: _written(clinic.tables, folder, planted=planted),
        ),
        World(
            "plant",
            "plant.yaml",
            lambda folder, *, planted: _written(plant.tables, folder, planted=planted),
        ),
        World("ships", "policy.yaml", _ships),
    )
}


@dataclass(frozen=True, slots=True)
class Stand:
    """A world set up: the simulator, and plain engines that know of no protection."""

    simulator: Simulator
    plain: duckdb.DuckDBPyConnection
    shuffled: duckdb.DuckDBPyConnection


def stand(name: str, folder: Path, *, planted: bool) -> Stand:
    """Set one world up in `folder`."""
    found = WORLDS[name]
    files = found.files(folder, planted=planted)
    policy = found.policy
    return Stand(
        Simulator(policy, files),
        _plain(policy, files, order=""),
        _plain(policy, files, order="ORDER BY hash(rowid)"),
    )


def schemas(files: dict[str, Path]) -> dict[str, list[tuple[str, str]]]:
    """Return the columns and engine types of each table."""
    connection = duckdb.connect()
    return {
        name: [
            (row[0], row[1])
            for row in connection.execute(f"DESCRIBE FROM '{path}'").fetchall()
        ]
        for name, path in files.items()
    }


def _plain(
    policy: Policy, files: dict[str, Path], *, order: str
) -> duckdb.DuckDBPyConnection:
    """Open an engine over what takes part: rows of nobody and no-numbers are left out."""
    connection = duckdb.connect()
    for name, path in files.items():
        connection.execute(f"CREATE TABLE raw AS FROM '{path}'")
        shown = ", ".join(_columns(policy, name, connection))
        kept = " AND ".join(_someone(policy, name)) or "TRUE"
        connection.execute(
            f"CREATE TABLE {name} AS SELECT {shown} FROM raw WHERE {kept} {order}"
        )
        connection.execute("DROP TABLE raw")
    return connection


def _columns(
    policy: Policy, name: str, connection: duckdb.DuckDBPyConnection
) -> Iterator[str]:
    table = policy.table(name)
    assert table is not None
    for column, kind, *_ in connection.execute("DESCRIBE raw").fetchall():
        is_number = kind in ("DOUBLE", "FLOAT")
        yield (
            f"CASE WHEN isfinite({column}) THEN {column} END AS {column}"
            if is_number and table.is_protected
            else column
        )
    for derived in table.derived:
        yield f"({derived.expr}) AS {derived.name}"


def _someone(policy: Policy, name: str) -> Iterator[str]:
    table = policy.table(name)
    assert table is not None
    for unit in table.units:
        yield f"{unit.column} IS NOT NULL"
