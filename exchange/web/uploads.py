"""Form uploads without a clear byte on disk.

Django would spool a large upload into a temporary file in clear. This handler seals each
chunk as it arrives, under a key that lives as long as the request, into a file that has no
name; the service then reads it back, chunk by chunk, and seals it under the version's key.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload

from sandbox.files.sealing import SealReader, SealWriter

CONTEXT = "bonded-form-upload"


class SealedUpload(UploadedFile):  # type: ignore[type-arg]  # generic in the stubs only
    """An upload as a stream; closing it destroys the only way to its bytes."""

    def __init__(self, file: IO[bytes], key: bytes, **about: Any) -> None:
        super().__init__(file=file, **about)
        self._reader = SealReader(file, key, CONTEXT)

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:  # noqa: ARG002 - sealed chunks have a size
        return iter(self._reader)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._reader)


class SealedUploadHandler(FileUploadHandler):
    """Takes every file of the form; one over the node's limit is cut off and marked."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        settings.VAULT_DIR.mkdir(parents=True, exist_ok=True)
        self._key = secrets.token_bytes(32)
        # Django closes `file` of a handler when the form breaks off.
        self.file = tempfile.TemporaryFile(dir=settings.VAULT_DIR)  # noqa: SIM115 - Django closes it with the upload
        self._writer = SealWriter(self.file, self._key, CONTEXT)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > settings.BONDED_UPLOAD_BYTES:
            if self.request is not None:
                self.request.META["bonded.upload_too_large"] = True
            raise StopUpload(connection_reset=False)
        self._writer.write(raw_data)

    def file_complete(self, file_size: int) -> SealedUpload:
        self._writer.close()
        return SealedUpload(
            self.file,
            self._key,
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
        )
