"""Stage 1 as SQL of our own: per cell, only atoms (DESIGN section 5).

An atom is a count, or a sum of a bare measure in an exact type; beside it stand what
disclosure control needs to judge the cell: distinct units, the largest contributions,
extremes, and the units outside the filter. The engine sees nothing but this text.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from policies.document import AggregateRule, Policy
from sandbox.plan.block import Block, Unit
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import Always, Kind, Ref
from sandbox.quoting import quoted
from sandbox.stages.contrasts import contrast_sql, tracks_outside

DEFAULT_SCALE = 6  # decimals kept of a DOUBLE whose policy names none
# Doubles from here on would overflow exact sums; they count as missing.
DOUBLE_LIMIT = Decimal(10) ** 18


@dataclass(frozen=True, slots=True)
class Statement:
    """One pass of stage 1 for one unit; columns are described by `names`."""

    sql: str
    unit: Unit
    names: tuple[str, ...]


def stage_one_sql(block: Block, policy: Policy) -> str:
    """Return the first pass as text, for reviewers and the log."""
    return statement(block, policy, block.units[0]).sql


def statement(
    block: Block, policy: Policy, unit: Unit, *, top: int | None = None
) -> Statement:
    """Return the pass of stage 1 for one unit.

    `top` largest contributions are kept, which costs several times the rest; None keeps
    the largest alone, which proves most cells safe.
    """
    keys = [f"k{i}" for i in range(len(block.keys))]
    hidden = [f"h{i}" for i in range(len(block.hidden))]
    measures = range(len(block.measured))
    group = ", ".join((*keys, *hidden))
    summed = [ref in block.summed for ref in block.measured]
    contrasts = range(len(contrast_sql(block.where)))
    names = [*keys, *hidden, "units", "n", "outside", "top_n"]
    cells = [
        *keys,
        *hidden,
        "count(*) FILTER (r > 0 AND known) AS units",
        "coalesce(sum(r), 0) AS n",
        "count(*) FILTER (o > 0 AND known) AS outside",
        f"{_largest('r', top)} FILTER (r > 0 AND known) AS top_n",
    ]
    names += [f"x{j}" for j in contrasts]
    cells += [f"count(*) FILTER (x{j} > 0 AND known) AS x{j}" for j in contrasts]
    for j in measures:
        found = [
            (f"m{j}_n", f"coalesce(sum(n{j}), 0)"),
            (f"m{j}_units", f"count(*) FILTER (n{j} > 0 AND known)"),
            (f"m{j}_gaps", f"count(*) FILTER (r > n{j} AND known)"),
            (f"m{j}_top_n", f"{_largest(f'n{j}', top)} FILTER (n{j} > 0 AND known)"),
        ]
        if summed[j]:
            found += [
                (f"m{j}_sum", f"sum(s{j})"),
                (f"m{j}_abs", f"sum(a{j})"),
                (f"m{j}_top", f"{_largest(f'a{j}', top)} FILTER (n{j} > 0 AND known)"),
                (f"m{j}_low", f"min(lo{j})"),
                (f"m{j}_high", f"max(hi{j})"),
            ]
        names += [name for name, _ in found]
        cells += [f"{expression} AS {name}" for name, expression in found]
    sql = (
        f"WITH base AS ({base_sql(block, policy, unit)}), "
        f"per_unit AS ({_per_unit(unit, [*keys, *hidden], summed, len(contrasts))}) "
        f"SELECT {', '.join(cells)} FROM per_unit"
    )
    return Statement(sql + (f" GROUP BY {group}" if group else ""), unit, tuple(names))


def _largest(column: str, top: int | None) -> str:
    return f"max({column})" if top is None else f"max({column}, {top})"


def base_sql(block: Block, policy: Policy, unit: Unit) -> str:
    """Return the joined rows with keys k, hidden keys h, unit u, filter i, measures m."""
    outside = tracks_outside(block, policy)
    columns = [f"{term_sql(term)} AS k{i}" for i, term in enumerate(block.keys)]
    columns += [f"{term_sql(term)} AS h{i}" for i, term in enumerate(block.hidden)]
    columns += [
        f"{'NULL' if unit.ref is None else term_sql(unit.ref)} AS u",
        f"{f'(({predicate_sql(block.where)}) IS TRUE)' if outside else 'TRUE'} AS i",
    ]
    columns += [f"{text} AS x{j}" for j, text in enumerate(contrast_sql(block.where))]
    for j, ref in enumerate(block.measured):
        exact = exact_sql(ref, policy)
        # What a sum leaves out (NaN, infinity) is no value for a count either, or the two
        # counts of one column would tell how many such values there are.
        taken = exact if ref in block.summed else f"{_present_sql(ref, exact)} IS NOT NULL"
        columns.append(f"{taken} AS m{j}")
    conditions = (
        [] if outside or block.where == Always(value=True) else [predicate_sql(block.where)]
    )
    named = [term_sql(item.ref) for item in block.units if item.ref is not None]
    if named:
        # Rows without a unit are nobody's, and protect nobody: they are left out.
        conditions.append(" OR ".join(f"{name} IS NOT NULL" for name in named))
    where = " AND ".join(f"({condition})" for condition in conditions)
    return f"SELECT {', '.join(columns)} FROM {from_sql(block)}" + (
        f" WHERE {where}" if where else ""
    )


def from_sql(block: Block) -> str:
    """Return FROM with its joins; each table after the first joins those before it.

    Optional ones come last: a row stays where it has no partner there.
    """
    first, *pending = sorted(block.tables, key=lambda name: name in block.optional)
    done = [first]
    text = quoted(first)
    while pending:
        for name in pending:
            conditions = [
                f"{term_sql(a)} = {term_sql(b)}"
                for a, b in block.joins
                if (a.table == name and b.table in done)
                or (b.table == name and a.table in done)
            ]
            if conditions:
                word = "LEFT JOIN" if name in block.optional else "JOIN"
                text += f" {word} {quoted(name)} ON {' AND '.join(conditions)}"
                done.append(name)
                pending.remove(name)
                break
        else:
            raise AssertionError("a table without a join was planned")
    return text


def _per_unit(unit: Unit, keys: list[str], summed: list[bool], contrasts: int) -> str:
    if unit.ref is None:
        return _per_row(keys, summed, contrasts)
    columns = [
        *keys,
        "u IS NOT NULL AS known",
        "count(*) FILTER (i) AS r",
        "count(*) FILTER (NOT i) AS o",
    ]
    columns += [f"count(*) FILTER (x{j}) AS x{j}" for j in range(contrasts)]
    for j, is_summed in enumerate(summed):
        if is_summed:
            columns += [
                f"count(m{j}) FILTER (i) AS n{j}",
                f"sum(m{j}) FILTER (i) AS s{j}",
                f"sum(abs(m{j})) FILTER (i) AS a{j}",
                f"min(m{j}) FILTER (i) AS lo{j}",
                f"max(m{j}) FILTER (i) AS hi{j}",
            ]
        else:
            columns.append(f"count(*) FILTER (i AND m{j}) AS n{j}")
    return f"SELECT {', '.join(columns)} FROM base GROUP BY {', '.join((*keys, 'u'))}"


def _per_row(keys: list[str], summed: list[bool], contrasts: int) -> str:
    # Each row is its own unit: no grouping is needed to know what a unit contributes.
    columns = [*keys, "TRUE AS known", "i::INTEGER AS r", "(NOT i)::INTEGER AS o"]
    columns += [f"x{j}::INTEGER AS x{j}" for j in range(contrasts)]
    for j, is_summed in enumerate(summed):
        if is_summed:
            columns.append(f"(i AND m{j} IS NOT NULL)::INTEGER AS n{j}")
            for name, value in (("s", "{}"), ("a", "abs({})"), ("lo", "{}"), ("hi", "{}")):
                columns.append(f"CASE WHEN i THEN {value.format(f'm{j}')} END AS {name}{j}")
        else:
            columns.append(f"(i AND m{j})::INTEGER AS n{j}")
    return f"SELECT {', '.join(columns)} FROM base"


def exact_sql(ref: Ref, policy: Policy) -> str:
    """Return a measure in a type whose sums are exact and cannot overflow on real data."""
    text = term_sql(ref)
    if ref.kind is Kind.INTEGER:
        return f"CAST({text} AS HUGEINT)"
    if ref.kind is Kind.DECIMAL:
        return f"CAST({text} AS DECIMAL(38,{ref.scale or 0}))"
    return (
        f"CASE WHEN isfinite({text}) AND abs({text}) < {DOUBLE_LIMIT} "
        f"THEN CAST({text} AS DECIMAL(38,{scale_of(ref, policy)})) END"
    )


def _present_sql(ref: Ref, exact: str) -> str:
    return f"({exact})" if ref.kind is Kind.DOUBLE else term_sql(ref)


def scale_of(ref: Ref, policy: Policy) -> int:
    """Return how many decimals of a DOUBLE measure its sums keep."""
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    scale = None if column is None else column.scale
    return DEFAULT_SCALE if scale is None else scale


def top_needed(rule: AggregateRule) -> int:
    """Return how many largest contributions the dominance rules look at."""
    return max(rule.dominance.n or 0, 2)


def distinct_sql(block: Block, policy: Policy, index: int) -> str:
    """Return per visible cell the distinct units that an aggregate counts, as column d."""
    aggregate = block.aggregates[index]
    ref = next(piece for piece in aggregate.pieces if isinstance(piece, Ref))
    keys = ", ".join(f"k{i}" for i in range(len(block.keys)))
    unit = Unit("", ref)
    condition = "i"
    if aggregate.hidden is not None:
        codes = [str(i) for i, piece in enumerate(aggregate.pieces) if piece is not None]
        condition = f"i AND h{aggregate.hidden} IN ({', '.join(codes)})"
    return (
        f"SELECT {keys + ', ' if keys else ''}count(DISTINCT u) FILTER ({condition}) AS d "
        f"FROM ({base_sql(block, policy, unit)}) AS base"
        + (f" GROUP BY {keys}" if keys else "")
    )
