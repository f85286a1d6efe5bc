"""Files in the vault: named, sealed while they stream in, unsealed while they stream out.

The web process writes uploads here and reads packages; datasets are written and read by the
sandbox alone. Nothing lies here in clear, and a half-written file never has its final name.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from exchange.errors import Invalid, NotFound, Unavailable
from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.sealing import SealReader, SealWriter
from sandbox.files.vault import NO_SPACE
from sandbox.protocol import StoredFile

CHUNK_BYTES = 256 * 1024
# No room: on the disk, in the quota, or under the process's own limit of a file's size.
_FULL = (*NO_SPACE, errno.EFBIG)
_NAME = re.compile(r"[a-z]+/[0-9a-f-]{36}/[a-z0-9][a-z0-9.-]*\Z")


@dataclass(frozen=True, slots=True)
class SealedUpload:
    """An upload as it lies in the vault, and what its clear bytes were."""

    file: StoredFile
    content_sha256: str
    content_bytes: int


def new_name(area: str, owner: uuid.UUID, what: str) -> str:
    """A name in the vault that no file has; its directory is there."""
    name = f"{area}/{owner}/{what}-{uuid.uuid4().hex[:12]}"
    path_of(name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return name


def path_of(name: str) -> Path:
    """The path of a vault name; raises Invalid for one that this module did not make."""
    if not _NAME.match(name):
        raise Invalid("a vault name has the form area/id/file", code="vault_name")
    return Path(settings.VAULT_DIR) / name


def seal(
    chunks: Iterable[bytes], *, name: str, key: bytes, limit_bytes: int | None = None
) -> SealedUpload:
    """The bytes of `chunks` lie sealed at `name`, on disk for good.

    Sealed under `key` in the context `name`. More than `limit_bytes`: Invalid
    `upload_too_large`. Where the disk has no room: Unavailable `upload_no_space`. After any
    error no file of that name or its part is left.
    """
    final = path_of(name)
    part = final.with_name(final.name + ".part")
    came = 0
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with SealWriter(file, key, name) as writer:
                for chunk in chunks:
                    if limit_bytes is not None:
                        _check_size(writer.size + len(chunk), limit_bytes)
                    came += len(chunk)
                    writer.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        part.rename(final)
        _sync_directory(final.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise _no_space(came) from error
        raise
    return SealedUpload(
        file=StoredFile(
            name=name, sha256=writer.sealed_sha256, size_bytes=writer.sealed_size
        ),
        content_sha256=writer.sha256,
        content_bytes=writer.size,
    )


def _no_space(came_bytes: int) -> Unavailable:
    return Unavailable(
        f"room for the whole upload was expected, the disk of the vault was full after "
        f"{came_bytes} bytes of it",
        code="upload_no_space",
        hint="Have the node's operator free space where the vault lies, then send the file "
        "again.",
    )


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise Invalid(
            f"the upload has more than {limit_bytes} bytes, the most that this node takes "
            "at once",
            code="upload_too_large",
            hint="Split it by period or site and upload several datasets, or compress it "
            "as Parquet.",
        )


def open_sealed(name: str, key: bytes) -> tuple[BinaryIO, SealReader]:
    """The open file and a reader of its clear bytes; the caller closes the file."""
    try:
        file = path_of(name).open("rb")
    except FileNotFoundError as error:
        raise NotFound(
            "the stored file is gone from the vault",
            code="vault_file_missing",
            hint="Restore the vault from its backup, or run the query again.",
        ) from error
    try:
        return file, SealReader(file, key, name)
    except (DistributionCorrupt, KeyUnusable):
        file.close()
        raise


def remove(*names: str) -> None:
    """None of these files is in the vault; a missing one is no error."""
    for name in names:
        path_of(name).unlink(missing_ok=True)


def remove_others(area: str, owner: uuid.UUID, keep: Iterable[str]) -> None:
    """Of the owner's files only those in `keep` are left: what lost attempts wrote goes."""
    kept = {path_of(name).name for name in keep}
    directory = Path(settings.VAULT_DIR) / area / str(owner)
    with suppress(FileNotFoundError):
        for path in directory.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)


def chunks_of(stream: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a readable file or of an iterable, in pieces that fit in memory."""
    read = getattr(stream, "read", None)
    if read is None:
        yield from stream
        return
    while chunk := read(CHUNK_BYTES):
        yield chunk


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
