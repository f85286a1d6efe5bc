"""Quantiles as the histograms that they tell: compared with earlier answers, and recorded.

A quantile is interpolated over the bins of a grid, so two levels within one bin tell how
many rows it has. The bins are therefore cells of a block of their own: what they are about
may not differ by few from what left before, and later answers are compared with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from policies.document import Policy
from sandbox.plan.block import Aggregate, Block, canonical_block
from sandbox.plan.terms import Bin, Ref


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """The block of the bins of one measure, and which quantiles of `block` tell of them."""

    block: Block
    visible: tuple[int, ...]  # the places of the keys of the block whose quantiles they are
    quantiles: frozenset[int]


def histograms(block: Block, policy: Policy) -> Iterator[Histogram]:
    """Yield a histogram for each measure of whose rows quantiles are asked."""
    found: dict[Aggregate, set[int]] = {}
    for index, item in enumerate(block.aggregates):
        if item.function == "quantile":
            counted = dataclasses.replace(item, function="count", level=None)
            found.setdefault(counted, set()).add(index)
    for counted, indices in found.items():
        ref = next(piece for piece in counted.pieces if isinstance(piece, Ref))
        table = policy.table(ref.table)
        column = None if table is None else table.column(ref.column)
        if column is None or column.grid is None:
            continue
        own = Bin(ref, column.grid, index_only=True, truncating=False)
        wider = dataclasses.replace(block, keys=(*block.keys, own), aggregates=(counted,))
        made, keys, _ = canonical_block(wider)
        visible = tuple(keys[i] for i in range(len(block.keys)))
        yield Histogram(made, visible, frozenset(indices))
