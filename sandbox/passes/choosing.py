"""Into how many parts: as few as fit, or a refusal that says what does not.

Shards go by a keyed hash of the unit, modulo their number, and their numbers are powers of
two: so shard i of n and the shards j of m with j = i (mod n) hold rows of the same units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.errors import ResourceExceeded

Wanted = Mapping[str, Sequence[int]]  # by table, the shards to open


@dataclass(frozen=True, slots=True)
class Division:
    """Which shards are open in which part."""

    parts: tuple[Wanted, ...]
    # Protected tables of fewer shards: open whole, and of each part only its own units.
    spread: tuple[str, ...] = ()


def everything(sizes: Mapping[str, Sequence[int]], names: Iterable[str]) -> Division:
    """Return all shards of the tables as one part."""
    return Division(({name: range(len(sizes[name])) for name in names},))


def divided(
    sizes: Mapping[str, Sequence[int]],
    *,
    partitioned: Sequence[str],
    whole: Sequence[str],
    budget_bytes: int,
    spreads: bool,
) -> Division:
    """Return the fewest parts of `partitioned` that fit, with `whole` tables in each.

    With `spreads`, a partitioned table of too few shards may be open whole as well, each of
    its units in one part. Raises ResourceExceeded (`needs_more_memory`) where none fit.
    """
    counts = {name: len(sizes[name]) for name in partitioned}
    always = sum(sum(sizes[name]) for name in whole)
    if always >= budget_bytes:
        raise needs_more_memory("the public tables that it reads do not fit at once")
    most = max(counts.values(), default=1)
    for number in range(2, most + 1):
        cut = [name for name, count in counts.items() if count % number == 0]
        spread = [name for name in partitioned if name not in cut]
        if not cut or (spread and not spreads):
            continue
        parts = [
            {name: range(part, counts[name], number) for name in cut}
            for part in range(number)
        ]
        held = always + sum(sum(sizes[name]) for name in spread)
        largest = max(
            sum(sizes[name][shard] for name, shards in part.items() for shard in shards)
            for part in parts
        )
        if held + largest <= budget_bytes:
            rest = {name: range(len(sizes[name])) for name in (*whole, *spread)}
            return Division(tuple({**part, **rest} for part in parts), tuple(spread))
    raise needs_more_memory("the smallest parts of its tables do not fit at once")


def needs_more_memory(why: str) -> ResourceExceeded:
    """Return the refusal of what cannot be computed within the memory there is."""
    return ResourceExceeded(
        f"the query needs more memory than the node gives it: {why}",
        hint="Use fewer columns or tables, join protected tables on the column that names "
        "who is protected, or have the node's operator raise the limit.",
        code="needs_more_memory",
    )
