"""The keys of cells outside the engine: as they name a cell, and as values of a statement.

Two statements over the same groups are laid side by side by their keys. That holds only of
keys that leave the engine unchanged, alone do so, and are taken back by it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Sequence

from sandbox.passes.folds import comparable

Name = tuple[object, ...]

# Types whose values go out of the engine and in again unchanged, nearly all.
_UNCHANGED = re.compile(
    r"(BOOLEAN|U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|VARCHAR|DOUBLE|DATE|TIMESTAMP|"
    r"DECIMAL\(\d+,\d+\))"
)


def name_of(keys: Sequence[object]) -> Name:
    """Return keys as a name, equal for one group: NaN is one key, as in the engine."""
    return tuple(map(comparable, keys))


def name_groups(types: Sequence[str], names: Collection[Name]) -> bool:
    """Whether each name is that of one group, and is taken back by the engine as its keys.

    `types` are the engine's, of each key.
    """
    return (
        all(map(_UNCHANGED.fullmatch, types))
        and len(set(names)) == len(names)
        and not any(_may_be_infinite(value) for name in names for value in name)
    )


def _may_be_infinite(value: object) -> bool:
    # An infinite date comes out as the first or the last that there is.
    if not isinstance(value, datetime.date):
        return False
    return value.year in (datetime.MINYEAR, datetime.MAXYEAR)
