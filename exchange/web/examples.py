"""A first query that the policy allows, so that the editor never begins empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from policies.document import Aggregate, Column, Policy, Role

_RESERVED_WORDS: Final = (
    "all analyse analyze and any array as asc asymmetric both case cast check collate "
    "column constraint create default deferrable desc describe distinct do else end "
    "except false fetch for foreign from grant group having in initially intersect into "
    "lambda lateral leading limit not null offset on only or order pivot pivot_longer "
    "pivot_wider placing primary qualify references returning select show some summarize "
    "symmetric table then to trailing true union unique unpivot using variadic when where "
    "window with "
)
RESERVED: Final = frozenset(_RESERVED_WORDS.split())


def example_query(policy: Policy, table_name: str, order: Sequence[str] = ()) -> str:
    """Count by the first dimension, with an average where the policy admits one.

    `order` has the columns as the file has them: a stored policy names them by alphabet.
    """
    table = policy.table(table_name)
    assert table is not None, "a grant's policy names its dataset's table"
    place = {name: at for at, name in enumerate(order)}
    columns = sorted(table.columns, key=lambda c: place.get(c.name, len(place)))
    families = {name for rule in policy.aggregate_rules for name in rule.aggregates}
    keys = [c for c in columns if _groups_as_it_stands(c)]
    # A sensitive key would withhold the groups that are of one value: a poor first sight.
    key = next((c for c in keys if not c.sensitive), keys[0] if keys else None)
    measure = next((c for c in columns if c.has(Role.MEASURE)), None)
    outputs = [f"  {_quoted(key.name)}," if key is not None else ""]
    outputs.append(
        "  count(*) AS n" if Aggregate.COUNT in families or measure is None else ""
    )
    if measure is not None and Aggregate.AVG in families:
        if outputs[-1]:
            outputs[-1] += ","
        outputs.append(
            f"  avg({_quoted(measure.name)}) AS {_quoted('avg_' + measure.name)}"
        )
    lines = ["SELECT", *filter(None, outputs), f"FROM {_quoted(table_name)}"]
    if key is not None:
        lines += [f"GROUP BY {_quoted(key.name)}", f"ORDER BY {_quoted(key.name)}"]
    return "\n".join(lines)


def _groups_as_it_stands(column: Column) -> bool:
    return (
        (column.has(Role.DIMENSION) or column.has(Role.LABEL))
        and column.grid is None
        and column.grain is None
    )


def _quoted(name: str) -> str:
    plain = name.isidentifier() and name.isascii() and name == name.lower()
    plain = plain and name not in RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'
