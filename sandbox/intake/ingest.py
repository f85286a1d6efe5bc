"""Job kind `profile`: an untrusted upload to a typed, profiled, encrypted staged table.

The upload was written by a stranger: everything here runs in a locked-down worker, and
what the engine says of it (it quotes values) is turned into a place and a sentence. It
comes a segment at a time and leaves a part at a time, so that its size is not bounded by
memory; nothing of it is written in clear but to files in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from sandbox.intake.csv_ingest import profile_csv
from sandbox.intake.parquet_ingest import profile_parquet
from sandbox.intake.upload import Images, Upload
from sandbox.protocol import Format, ProfileJob, ProfileOutcome


def profile_upload(
    job: ProfileJob, images: Images, outputs: Sequence[int], scratch: Sequence[int]
) -> ProfileOutcome:
    """Read the upload among `images`; its table lies encrypted in `outputs` afterwards.

    In the first ones of them, as many as it takes. `scratch` are descriptors of empty files
    in memory, an even number; at most half of them hold text at once, the others what it
    became. Raises UploadRejected with a code (`upload_*`) and, where one record is at
    fault, its line and column.
    """
    if len(scratch) < 2:
        raise ValueError("an upload needs scratch files in pairs")
    upload = Upload(images)
    read = profile_parquet if job.format is Format.PARQUET else profile_csv
    try:
        return read(job, upload, outputs, scratch)
    except duckdb.TransactionException as error:
        # Nobody else writes to this engine: a commit fails where memory ends.
        raise MemoryError from error
