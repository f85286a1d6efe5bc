"""Stage 2: what is computed over controlled cells, in an engine that holds nothing else.

The protected tables are not even registered there. A withheld value enters as NULL with a
flag beside it, and every output that it reaches is withheld whatever the expression makes
of the NULL: `coalesce(avg(x), 0)` of a withheld average is withheld, not 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from types import TracebackType

import duckdb
import pyarrow as pa

from sandbox.engine import let_go, open_engine
from sandbox.errors import QueryRejected
from sandbox.plan.results import Relation
from sandbox.plan.scalars import scalar
from sandbox.protocol import MAX_RESULT_ROWS, Limits, Scalar
from sandbox.quoting import quoted
from sandbox.stages.result_sql import ordered_sql


@dataclass(frozen=True, slots=True)
class Row:
    """One visible cell as it enters stage 2; None in `withheld[i]` positions."""

    keys: tuple[object, ...]
    values: tuple[int | float | Decimal | None, ...]
    withheld: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The result: rows, and for each the positions of withheld outputs."""

    types: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    withheld: tuple[tuple[int, ...], ...]


class StageTwo:
    """An engine of its own for one plan: cells in, relations out."""

    def __init__(self, limits: Limits) -> None:
        # Over cells, of which there are few, a second thread only costs.
        self._connection = open_engine({}, replace(limits, threads=1))

    def __enter__(self) -> StageTwo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        let_go(self._connection)

    def load(
        self,
        block: int,
        rows: Sequence[Row],
        key_types: Sequence[str],
        value_types: Sequence[str],
    ) -> None:
        """Register the controlled cells of a block."""
        arrays: dict[str, pa.Array] = {}
        casts: list[str] = []
        for index, name in enumerate(key_types):
            arrays[f"k{index}"] = pa.array([row.keys[index] for row in rows])
            casts.append(f"CAST(k{index} AS {name}) AS k{index}")
        for index, name in enumerate(value_types):
            values = [row.values[index] for row in rows]
            arrays[f"a{index}"] = (
                pa.array([None if v is None else float(v) for v in values], pa.float64())
                if name == "DOUBLE"
                else pa.array([None if v is None else str(v) for v in values], pa.string())
            )
            flags = [row.withheld[index] for row in rows]
            arrays[f"w{index}"] = pa.array(flags, pa.bool_())
            casts += [f"CAST(a{index} AS {name}) AS a{index}", f"w{index}"]
        arrays["ordinal"] = pa.array(range(len(rows)), pa.int64())
        casts.append("ordinal")
        self._load(f"cells_{block}", pa.table(arrays), casts)

    def load_public(self, name: str, rows: pa.Table) -> None:
        """Register a public table."""
        self._load(name, rows, ["*"])

    def _load(self, name: str, rows: pa.Table, casts: list[str]) -> None:
        self._connection.register("incoming", rows)
        self._connection.execute(
            f"CREATE TABLE {quoted(name)} AS SELECT {', '.join(casts)} FROM incoming"
        )
        self._connection.unregister("incoming")

    def compute(self, relation: Relation) -> Table:
        """Return the rows of a relation over what was loaded, in its order.

        Raises QueryRejected where an expression does not fit the types it meets, or the
        relation has more rows than leave at once.
        """
        try:
            cursor = self._connection.execute(ordered_sql(relation))
            types = tuple(str(item[1]) for item in cursor.description[::2])
            found = cursor.fetchmany(MAX_RESULT_ROWS + 1)
        except duckdb.Error as error:
            # The engine's own text may quote values: it is looked at, and goes no further.
            if "More than one row" in str(error):
                raise QueryRejected(
                    "a subquery that stands for one value gives several rows",
                    hint="Aggregate it to one row, or add LIMIT 1 after ORDER BY.",
                    code="reentry_not_scalar",
                ) from error
            raise QueryRejected(
                "an expression over the results does not fit the types of its values",
                hint="Check casts and functions in the outer part of the query.",
                code="result_types",
            ) from error
        if len(found) > MAX_RESULT_ROWS:
            raise QueryRejected(
                f"the result has more than {MAX_RESULT_ROWS} rows",
                hint="Join results on a key, or limit them.",
                code="result_too_large",
            )
        out: list[tuple[Scalar, ...]] = []
        masks: list[tuple[int, ...]] = []
        for row in found:
            flags = tuple(i for i, flag in enumerate(row[1::2]) if flag)
            out.append(
                tuple(None if i in flags else scalar(v) for i, v in enumerate(row[::2]))
            )
            masks.append(flags)
        return Table(types, tuple(out), tuple(masks))
