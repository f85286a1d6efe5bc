"""A first query that the policy allows, so that the editor never begins empty."""

from __future__ import annotations

from policies.document import Aggregate, Column, Policy, Role


def example_query(policy: Policy, table_name: str) -> str:
    """Count by the first dimension, with an average where the policy admits one."""
    table = policy.table(table_name)
    assert table is not None, "a grant's policy names its dataset's table"
    families = {name for rule in policy.aggregate_rules for name in rule.aggregates}
    key = next((c for c in table.columns if _groups_as_it_stands(c)), None)
    measure = next((c for c in table.columns if c.has(Role.MEASURE)), None)
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
    return name if plain else '"' + name.replace('"', '""') + '"'
