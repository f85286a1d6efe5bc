"""The rows of a block that satisfy its filter, read once for all that is asked of them.

Where they are few, as behind a filter that chooses, joining and filtering costs far more
than what is then asked: so they are kept in the engine's memory until the block is
controlled.
"""

from __future__ import annotations

import duckdb

from policies.document import Policy
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.exact import exact_sql
from sandbox.plan.render import term_sql
from sandbox.quoting import quoted
from sandbox.stages.atom_columns import AtomColumns
from sandbox.stages.contrasts import contrast_inside_sql
from sandbox.stages.stage_one import base_sql, bucket_sql, joined_sql

FEW_ROWS = 500_000
# No table of a policy has a line break in its name.
_KEPT = "\nrows inside the filter"


class Inside:
    """The rows inside a block's filter, as the base of statements."""

    def __init__(self, block: Block, policy: Policy, rows: Rows) -> None:
        self._block, self._policy, self._rows = block, policy, rows
        self._are_few = False

    def keep(self, rows: int | None = None) -> None:
        """Keep them if they are few: `rows`, or as many as turn out while they are kept.

        Requires that the rows' tables are all open.
        """
        if rows is not None and rows > FEW_ROWS:
            return
        try:
            self._rows.keep(_KEPT, f"{self._every_sql()} LIMIT {FEW_ROWS + 1}")
        except (duckdb.OutOfRangeException, duckdb.OutOfMemoryException):
            return  # who reads them again says what is wrong with them
        counted = self._rows.ask(
            f"SELECT count(*) FROM {quoted(_KEPT)}", Fold(0, (Merge.SUM,))
        )
        self._are_few = counted.rows[0][0] <= FEW_ROWS  # type: ignore[operator]  # a count
        if not self._are_few:
            self._rows.keep(_KEPT, "SELECT 1")  # their memory is needed for more

    @property
    def are_few(self) -> bool:
        """Whether each of them may be looked at; False where it is not known."""
        return self._are_few

    def base_sql(self, unit: Unit, *, buckets: int | None = None) -> str:
        """Return the rows with keys k, hidden keys h, unit u and measures m; i holds.

        With `buckets` u is that of the unit.
        """
        if not self._are_few:
            return base_sql(self._block, self._policy, unit, buckets=buckets, inside=True)
        name = "NULL"
        if unit.ref is not None:
            name = f"u{self._block.units.index(unit)}"
            name = name if buckets is None else bucket_sql(name, buckets)
        return f"SELECT *, {name} AS u, TRUE AS i FROM {quoted(_KEPT)}"

    @property
    def kept_sql(self) -> str:
        """Return all columns of the kept rows: k, h, m, and u with the number of each unit.

        Requires that they are few.
        """
        return f"SELECT * FROM {quoted(_KEPT)}"

    def _every_sql(self) -> str:
        block = self._block
        units = enumerate(block.units)
        columns = [f"{term_sql(term)} AS k{i}" for i, term in enumerate(block.keys)]
        columns += [f"{term_sql(term)} AS h{i}" for i, term in enumerate(block.hidden)]
        columns += [
            f"{term_sql(unit.ref)} AS u{i}" for i, unit in units if unit.ref is not None
        ]
        contrasts = enumerate(contrast_inside_sql(block.where))
        columns += [f"{text} AS x{j}" for j, text in contrasts]
        columns += AtomColumns.of(block).base(self._policy, exact_sql)
        return joined_sql(block, columns or ["1"], is_filtered=True)
