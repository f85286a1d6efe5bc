"""A change between two policies: a sentence, its effect, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Effect(StrEnum):
    """What a change does to what can be learned."""

    LOOSENS = "loosens"
    TIGHTENS = "tightens"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Difference:
    """One change in words; `path` is in the new document, in the old where it is gone."""

    sentence: str
    effect: Effect
    path: str


def changed(
    path: str, sentence: str, *, new_covers: bool, old_covers: bool
) -> Iterator[Difference]:
    """Yield the change with the effect that the order of the two sides gives it.

    Where neither side covers the other, something may be learned that could not, and
    something no more: both are said, so that no loosening hides behind a tightening.
    """
    if new_covers and old_covers:
        yield Difference(sentence, Effect.NEUTRAL, path)
    elif new_covers:
        yield Difference(sentence, Effect.TIGHTENS, path)
    elif old_covers:
        yield Difference(sentence, Effect.LOOSENS, path)
    else:
        yield Difference(f"{sentence} Some of it is new.", Effect.LOOSENS, path)
        yield Difference(f"{sentence} Some of it is gone.", Effect.TIGHTENS, path)
