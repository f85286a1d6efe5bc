"""What earlier releases told of a dataset: handed to the next job, and added to by it.

It counts over all versions and over everyone who may collude, so over every consumer. The
text holds counts that no consumer saw, hence it is sealed under the provider's own key.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime

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


def read_history(datasets: list[Dataset]) -> History:
    """What was released so far over any of these datasets."""
    lengths: list[tuple[Dataset, int]] = []
    by_release: dict[tuple[datetime, str], tuple[Dataset, HistoryEntry]] = {}
    for dataset in datasets:
        entries = HistoryEntry.objects.filter(dataset=dataset).select_related("release")
        numbered = list(entries.order_by("number"))
        lengths.append((dataset, len(numbered)))
        for entry in numbered:
            moment = (entry.release.held_at, str(entry.release_id))
            by_release.setdefault(moment, (dataset, entry))
    texts = tuple(_open(*by_release[moment]) for moment in sorted(by_release))
    return History(tuple(lengths), texts)


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
                sealed=_seal(dataset, length, text),
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


def _seal(dataset: Dataset, number: int, text: str) -> bytes:
    buffer = io.BytesIO()
    with SealWriter(buffer, _key(dataset), f"history/{dataset.pk}/{number}") as writer:
        writer.write(text.encode())
    return buffer.getvalue()


def _open(dataset: Dataset, entry: HistoryEntry) -> str:
    context = f"history/{dataset.pk}/{entry.number}"
    reader = SealReader(io.BytesIO(bytes(entry.sealed)), _key(dataset), context)
    return reader.read_range(0, reader.size).decode()
