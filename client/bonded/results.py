"""What left a node for this reader: controlled aggregates, labelled rows, their receipt."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bonded.errors import AnswerMalformed, IntegrityFailed
from bonded.transport import Json, Transport

if TYPE_CHECKING:
    import pandas

    from bonded.receipts import Receipt

# Types of a result column whose pandas type is not the one its JSON values suggest. The
# nullable ones keep a withheld count an integer instead of turning the column to floats.
_INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
)
_TIMES = ("DATE", "TIMESTAMP")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: its name and the engine's type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Result:
    """A controlled table that was released to its reader.

    In `rows` a withheld cell is None like a NULL; `withheld` (row, column) tells them
    apart. `partial` says that some figure was computed over a set with withheld cells.
    """

    release_id: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...] = field(repr=False)
    withheld: frozenset[tuple[int, int]] = field(repr=False)
    suppressed: int  # rows in which something is withheld
    partial: bool
    fingerprint: str
    dataset_version: str
    policy_digest: str
    content: bytes = field(repr=False)  # exactly as released: what the receipt speaks of
    _receipt: Callable[[], Receipt] = field(repr=False, compare=False)

    @property
    def receipt(self) -> Receipt:
        """The proof, fetched from the node, that this release stands in its log."""
        return self._receipt()

    @property
    def sha256(self) -> str:
        """The digest of the released bytes, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def is_withheld(self, row: int, column: str | int) -> bool:
        """Whether the cell was withheld (and not NULL)."""
        index = column if isinstance(column, int) else self._names.index(column)
        return (row, index) in self.withheld

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame; withheld cells are missing, `attrs["withheld"]` names them.

        Integers become Int64, decimals and doubles float64, dates datetime64, other
        values stay as they are.
        """
        import pandas as pd  # takes a second; most commands need none

        frame = pd.DataFrame(list(self.rows), columns=self._names, dtype="object")
        for column in self.columns:
            frame[column.name] = _typed(pd, frame[column.name], column.type)
        frame.attrs["withheld"] = sorted(self.withheld)
        frame.attrs["partial"] = self.partial
        frame.attrs["release"] = self.release_id
        return frame

    def save(self, path: str | os.PathLike[str]) -> Path:
        """The released bytes are in the file, as `bonded verify --result` wants them."""
        return _write_whole(Path(path), self.content)

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self.columns]


def _typed(pd: Any, values: pandas.Series, type_name: str) -> pandas.Series:
    kind = type_name.upper()
    if kind in _INTEGERS:
        return values.astype("Int64")
    if kind.startswith("DECIMAL") or kind in {"DOUBLE", "FLOAT", "HUGEINT", "UBIGINT"}:
        return pd.to_numeric(values).astype("float64")
    if kind.startswith(_TIMES):
        return pd.to_datetime(values, format="ISO8601")
    if kind == "BOOLEAN":
        return values.astype("boolean")
    return values


def parse_result(
    content: bytes, *, release_id: str, receipt: Callable[[], Receipt]
) -> Result:
    """The result that `content` encodes. Raises AnswerMalformed if it is none."""
    try:
        document = json.loads(content)
        columns = tuple(Column(str(c["name"]), str(c["type"])) for c in document["columns"])
        rows = tuple(tuple(row) for row in document["rows"])
        withheld = frozenset(
            (int(row), int(column)) for row, column in document["withheld"]
        )
        result = Result(
            release_id=release_id,
            columns=columns,
            rows=rows,
            withheld=withheld,
            suppressed=int(document["suppressed"]),
            partial=bool(document["partial"]),
            fingerprint=str(document["fingerprint"]),
            dataset_version=str(document["dataset_version"]),
            policy_digest=str(document["policy_digest"]),
            content=content,
            _receipt=receipt,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerMalformed(f"release {release_id} is no result of version 1") from error
    if any(len(row) != len(columns) for row in rows):
        raise AnswerMalformed(
            f"release {release_id} has rows of another width than its header"
        )
    return result


@dataclass(frozen=True, slots=True)
class Package:
    """Licensed labelled rows as a Parquet file at the node, open to this reader's token."""

    release_id: str
    url: str
    licence: str
    rows: int
    size_bytes: int
    sha256: str  # of the Parquet file
    _transport: Transport = field(repr=False, compare=False)
    _path: str = field(repr=False, compare=False)
    _headers: Mapping[str, str] = field(repr=False, compare=False)
    _receipt: Callable[[], Receipt] = field(repr=False, compare=False)

    @property
    def receipt(self) -> Receipt:
        """The proof, fetched from the node, that this release stands in its log."""
        return self._receipt()

    @property
    def storage_options(self) -> dict[str, str]:
        """The header that `pandas.read_parquet(package.url, storage_options=...)` needs."""
        return dict(self._headers)

    def download(self, path: str | os.PathLike[str]) -> Path:
        """The file is at `path`, whole and of the stated digest, or `path` is unchanged.

        Raises IntegrityFailed if the bytes received have another digest.
        """
        target = Path(path)
        if target.is_dir():
            target = target / f"{self.release_id}.parquet"
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        part = Path(name)
        try:
            with (
                os.fdopen(handle, "wb") as file,
                self._transport.stream(self._path) as answer,
            ):
                for chunk in answer.iter_bytes():
                    digest.update(chunk)
                    file.write(chunk)
            self._check(digest.hexdigest())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a data frame, after the digest was checked; licence in `attrs`."""
        import pandas as pd  # see Result.to_pandas

        with tempfile.TemporaryDirectory(prefix="bonded-") as folder:
            frame = pd.read_parquet(self.download(Path(folder) / "package.parquet"))
        frame.attrs["licence"] = self.licence
        frame.attrs["release"] = self.release_id
        return frame

    def _check(self, sha256: str) -> None:
        if sha256 != self.sha256:
            raise IntegrityFailed(
                f"the package's digest is {sha256[:12]}…, "
                f"the node stated {self.sha256[:12]}…",
                hint="download again; if it persists, tell the provider and the regulator",
            )


def parse_package(
    record: Json,
    *,
    transport: Transport,
    url: str,
    path: str,
    receipt: Callable[[], Receipt],
) -> Package:
    """The package that a release record describes."""
    rows, size, digest = record.get("rows"), record.get("size_bytes"), record.get("sha256")
    if not (isinstance(rows, int) and isinstance(size, int) and isinstance(digest, str)):
        raise AnswerMalformed("the release record lacks rows, size_bytes or sha256")
    return Package(
        release_id=str(record.get("id")),
        url=url,
        licence=str(record.get("licence") or ""),
        rows=rows,
        size_bytes=size,
        sha256=digest,
        _transport=transport,
        _path=path,
        _headers=transport.authorization,
        _receipt=receipt,
    )


def _write_whole(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def digest_header(headers: Mapping[str, str]) -> str | None:
    """The hex sha256 that a `Repr-Digest` header states (RFC 9530), or None."""
    for item in headers.get("Repr-Digest", "").split(","):
        algorithm, _, value = item.strip().partition("=")
        if algorithm == "sha-256" and value.startswith(":") and value.endswith(":"):
            return base64.b64decode(value[1:-1]).hex()
    return None
