"""A form upload touches the disk sealed only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadhandler import StopUpload
from django.test import RequestFactory

from exchange.web.uploads import SealedUpload, SealedUploadHandler

ROWS = b"id,city\n" + b"1,Tinyville\n" * 20_000


@pytest.fixture
def handler(tmp_path: Path, settings: Any) -> Iterator[SealedUploadHandler]:
    settings.VAULT_DIR = tmp_path / "vault"
    handler = SealedUploadHandler(RequestFactory().post("/"))
    handler.new_file("file", "rows.csv", "text/csv", None)
    yield handler
    handler.file.close()


def _take(handler: SealedUploadHandler, content: bytes) -> SealedUpload:
    for start in range(0, len(content), handler.chunk_size):
        handler.receive_data_chunk(content[start : start + handler.chunk_size], start)
    return handler.file_complete(len(content))


def test_upload_comes_back_as_it_was(handler: SealedUploadHandler) -> None:
    upload = _take(handler, ROWS)

    assert b"".join(upload) == ROWS
    assert (upload.name, upload.size) == ("rows.csv", len(ROWS))


def test_upload_is_on_disk_sealed_and_nameless(
    handler: SealedUploadHandler, tmp_path: Path
) -> None:
    upload = _take(handler, ROWS)

    assert upload.file is not None
    stored = os.pread(upload.file.fileno(), 10_000_000, 0)
    assert len(stored) >= len(ROWS)
    assert b"Tinyville" not in stored
    assert list((tmp_path / "vault").iterdir()) == []


def test_upload_over_the_limit_stops(handler: SealedUploadHandler, settings: Any) -> None:
    settings.BONDED_UPLOAD_BYTES = 10

    with pytest.raises(StopUpload):
        handler.receive_data_chunk(b"x" * 11, 0)

    assert handler.request is not None
    assert handler.request.META["bonded.upload_too_large"]
