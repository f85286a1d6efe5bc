"""A staged table whose rows stay together: its pages are taken over as they are.

Where there is one shard, or where each row is its own unit, no row has to be read to know
where it belongs. Then the pages that were staged are encrypted under the keys of the shards
and nothing is decoded: that is a tenth of the work of writing them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from sandbox.intake.staging import VaultFile
from sandbox.protocol import PartitionJob

# That of `staging.parquet_of`: what was staged fast is larger than it need be.
_KEPT_CODEC = "ZSTD"


class TakingOver:
    """Row groups of staged files to shards, in order; each shard is a range of them."""

    def __init__(
        self,
        job: PartitionJob,
        shards: Sequence[Sequence[tuple[VaultFile, list[str]]]],
    ) -> None:
        self._is_any_split_right = len(shards) == 1 or not job.units
        self._shards = shards
        self._all = max(1, sum(file.rows for file in job.source.files))
        self._seen = 0

    def can_take(self, path: str) -> bool:
        """Whether the staged table whose first file's image this is needs no reading.

        Row groups go to a shard as a whole, so each shard needs some.
        """
        if not self._is_any_split_right:
            return False
        metadata = pq.read_metadata(path)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        fewest = self._all // len(self._shards)
        return bool(groups) and all(
            (len(self._shards) == 1 or group.num_rows <= fewest)
            and all(
                group.column(i).compression == _KEPT_CODEC for i in range(group.num_columns)
            )
            for group in groups
        )

    def add(self, path: str) -> None:
        """Take the row groups of a staged file's image."""
        metadata = pq.read_metadata(path)
        groups: list[list[int]] = [[] for _ in self._shards]
        for position in range(metadata.num_row_groups):
            groups[self._shard()].append(position)
            self._seen += metadata.row_group(position).num_rows
        with Path(path).open("rb") as image:
            for files, taken in zip(self._shards, groups, strict=True):
                for file, columns in files:
                    file.add(image.fileno(), columns=columns, groups=taken)

    def finish(self) -> None:
        """Nothing is held back."""

    def _shard(self) -> int:
        """Where the row group belongs that comes next."""
        shards = len(self._shards)
        return min(self._seen * shards // self._all, shards - 1)
