"""A shard that a job asks for: its files, open, and what proves them the recorded ones."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field

from sandbox.errors import DistributionCorrupt
from sandbox.files.image_memory import Image, Wish
from sandbox.files.pme import Layout, Part, aad_prefix
from sandbox.files.verified import VerifiedFiles, identity_of
from sandbox.needs import Need
from sandbox.protocol import EncryptedTable, StoredFile


@dataclass(slots=True)
class Shard:
    """The files of a shard, and the image to be made of them."""

    wish: Wish
    files: list[tuple[StoredFile, Part]] = field(default_factory=list)
    layout: Layout | None = None

    def lay_out(self, columns: frozenset[str] | None) -> None:
        """Know the image of these columns; opens the footers, raises as `Layout` does."""
        self.layout = Layout([part for _, part in self.files], columns)
        self.wish.columns, self.wish.size_bytes = columns, self.layout.size_bytes

    def checks(
        self, image: Image, files: VerifiedFiles, executor: Executor
    ) -> list[Callable[[], None]]:
        """Have whole files digested where `image` needs it; return what waits for them.

        An image that is yet to be made needs it of each file that no recorded footer pins:
        the others are digested chunk by chunk while they are read. One that is there needs
        it of each file that changed since, or is recorded with another footer: that is not
        what was checked then.
        """
        return [
            files.check(part.descriptor, file, executor)
            for place, (file, part) in enumerate(self.files)
            if not self._is_sure(image, place)
        ]

    def _is_sure(self, image: Image, place: int) -> bool:
        if image.wish is self.wish:
            assert self.layout is not None, "an image to be made was laid out"
            return self.layout.pinned[place]
        digest = self.files[place][0].sha256
        return image.wish.made_of.get(digest) == self.wish.made_of[digest]


@contextlib.contextmanager
def open_shard(
    files: VerifiedFiles, table: EncryptedTable, need: Need, shard: int
) -> Iterator[Shard]:
    """The shard of a table, its files open; raises DistributionCorrupt as `opened` does."""
    opened = Shard(wish_for(table, need, shard))
    with contextlib.ExitStack() as stack:
        for file, key, prefix, columns in _files(table, shard):
            descriptor = stack.enter_context(files.opened(file))
            agreed = files.agreed(descriptor, file)
            part = Part(descriptor, key, prefix, columns, file.footer_sha256, agreed)
            opened.files.append((file, part))
            made_of = (identity_of(descriptor), file.footer_sha256)
            opened.wish.made_of[file.sha256] = made_of
        yield opened


def wish_for(table: EncryptedTable, need: Need, shard: int) -> Wish:
    """Return what a job wishes that needs these columns of a shard."""
    keys = {
        file.sha256: hashlib.sha256(key).digest() for file, key, *_ in _files(table, shard)
    }
    return Wish(table.version_id, shard, keys, need, need.needed)


def _files(
    table: EncryptedTable, shard: int
) -> list[tuple[StoredFile, bytes, bytes, frozenset[str] | None]]:
    """What a shard's image is made of: file, key, AAD prefix, columns if they are known."""
    if not 0 <= shard < len(table.files) or any(
        len(group.files) != len(table.files) for group in table.groups
    ):
        raise DistributionCorrupt("a table has another number of files than it should")
    own = (table.files[shard], table.key, aad_prefix(table.version_id, shard), None)
    return [
        own,
        *(
            (
                group.files[shard],
                group.key,
                aad_prefix(table.version_id, shard, group.name),
                frozenset(group.columns),
            )
            for group in table.groups
        ),
    ]
