"""An image of encrypted Parquet that a test holds as bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor

from sandbox.files.pme import Part, unseal_image


@contextlib.contextmanager
def stored(data: bytes) -> Iterator[int]:
    """A descriptor of a file with these bytes."""
    descriptor = os.memfd_create("stored")
    try:
        os.pwrite(descriptor, data, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def image(
    data: bytes, *, key: bytes, prefix: bytes, columns: Set[str] | None = None
) -> int:
    """The descriptor of the image, for the caller to close."""
    wanted = None if columns is None else frozenset(columns)
    with stored(data) as file, ThreadPoolExecutor(2) as executor:
        return unseal_image([Part(file, key, prefix)], wanted, executor)
