"""What earlier releases told of a dataset: handed to the next job, and added to by it.

It counts over all versions and over everyone who may collude, so over every consumer. The
text holds counts that no consumer saw, hence it is sealed under the provider's own key.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError

from exchange.catalogue.models import Dataset
from exchange.errors import Conflict
from exchange.keys import services as keys
from exchange.queries.models import HistoryEntry, Release
from sandbox.files.sealing import SealReader, SealWriter


class HistoryMoved(Conflict):
    """Another run released meanwhile; this one was controlled against less."""

    code = "history_moved"


@dataclass(frozen=True, slots=True)
class History:
    """The releases over some datasets as they were at one moment."""

    lengths: tuple[tuple[Dataset, int], ...]
    texts: tuple[str, ...]  # oldest first, each release once
    # By dataset: what opened its entries seals the next one. Derived once in a run.
    keys: Mapping[UUID, bytes] = field(repr=False)


def read_history(datasets: list[Dataset]) -> History:
    """What was released so far over any of these datasets."""
    lengths: list[tuple[Dataset, int]] = []
    by_release: dict[tuple[datetime, str], tuple[Dataset, int, bytes]] = {}
    opening = {dataset.pk: _key(dataset) for dataset in datasets}
    for dataset in datasets:
        # Columns, not rows: there may be thousands, and a run reads them all.
        entries = (
            HistoryEntry.objects.filter(dataset=dataset)
            .order_by("number")
            .values_list("number", "sealed", "release_id", "release__held_at")
        )
        length = 0
        for number, sealed, release_id, held_at in entries:
            length += 1
            moment = (held_at, str(release_id))
            by_release.setdefault(moment, (dataset, number, bytes(sealed)))
        lengths.append((dataset, length))
    texts = tuple(
        _open(dataset, number, sealed, opening[dataset.pk])
        for dataset, number, sealed in (by_release[moment] for moment in sorted(by_release))
    )
    return History(tuple(lengths), texts, opening)


def append_history(seen: History, release: Release, text: str) -> None:
    """The text is the next entry of each dataset; HistoryMoved if one came between.

    In the transaction of the release. Entries are numbered from 0 without a gap, and
    (dataset, number) is unique: that constraint is the comparison.
    """
    for dataset, length in seen.lengths:
        if HistoryEntry.objects.filter(dataset=dataset).count() != length:
            raise _moved()
        try:
            HistoryEntry.objects.create(
                dataset=dataset,
                number=length,
                release=release,
                sealed=_seal(dataset, length, text, seen.keys[dataset.pk]),
            )
        except IntegrityError as error:
            raise _moved() from error


def _moved() -> HistoryMoved:
    return HistoryMoved(
        "other results over this dataset were released while this one was computed",
        hint="Run it again; nothing was released.",
    )


def _key(dataset: Dataset) -> bytes:
    return keys.derive(dataset.organisation, f"history/1/{dataset.pk}")


def _seal(dataset: Dataset, number: int, text: str, key: bytes) -> bytes:
    buffer = io.BytesIO()
    with SealWriter(buffer, key, f"history/{dataset.pk}/{number}") as writer:
        writer.write(text.encode())
    return buffer.getvalue()


def _open(dataset: Dataset, number: int, sealed: bytes, key: bytes) -> str:
    reader = SealReader(io.BytesIO(sealed), key, f"history/{dataset.pk}/{number}")
    return reader.read_range(0, reader.size).decode()
