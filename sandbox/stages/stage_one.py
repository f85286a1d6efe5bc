"""Stage 1 as SQL of our own: per cell, only atoms (DESIGN section 5).

An atom is a count, or a sum of a bare measure in an exact type; beside it stand what
disclosure control needs to judge the cell: distinct units, the largest contributions,
extremes, and the units outside the filter. The engine sees nothing but this text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.document import AggregateRule, Policy
from sandbox.disclosure.suppression import HIGHER_POWERS
from sandbox.passes.folds import Fold, Merge
from sandbox.plan.block import Aggregate, Block, Unit
from sandbox.plan.joint_rows import read_sql
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import Always, Ref
from sandbox.stages.atom_columns import AtomColumns, scales_of
from sandbox.stages.contrasts import contrast_inside_sql, contrast_sql, tracks_outside

MAX_CELLS = 200_000


# Buckets for each unit that a cell must have: with fewer, too many units share one.
_BUCKETS_PER_UNIT = 3
_MOST_BUCKETS = 1024


@dataclass(frozen=True, slots=True)
class Statement:
    """One pass of stage 1 for one unit; columns are described by `names`."""

    sql: str
    unit: Unit
    names: tuple[str, ...]
    scales: tuple[int, ...]  # of each atom of the block, the decimals of its whole sums
    fold: Fold


def stage_one_sql(block: Block, policy: Policy) -> str:
    """Return the first pass as text, for reviewers and the log."""
    unit = block.units[0]
    return statement(block, policy, unit, buckets=buckets_of(block, unit, policy)).sql


def counts_units(block: Block) -> bool:
    """Whether an answer is the very number of units that stage 1 counts."""
    counted = None if block.hidden else block.units[0].ref
    return counted is not None and any(
        item.function == "count_distinct" and item.pieces == (counted,)
        for item in block.aggregates
    )


def buckets_of(block: Block, unit: Unit, policy: Policy) -> int | None:
    """Return into how many buckets the units of the first pass go; None: into none.

    A bucket holds all rows of its units. So there are at least as many units as buckets
    with rows, nobody contributes more than his bucket, and there is nobody where there is
    no bucket: what is safe by buckets is safe by units, at a fraction of the groups.
    """
    if unit.ref is None or counts_units(block):
        return None
    least = max((rule.min_units for rule in policy.aggregate_rules), default=1)
    if any(atom.degree > 2 for atom in block.measured):
        least *= HIGHER_POWERS
    wanted = _BUCKETS_PER_UNIT * least
    return wanted if wanted <= _MOST_BUCKETS else None


def statement(
    block: Block,
    policy: Policy,
    unit: Unit,
    *,
    top: int | None = None,
    buckets: int | None = None,
    only: Sequence[str] = (),
    inside: str | None = None,
) -> Statement:
    """Return the pass of stage 1 for one unit.

    `top` largest contributions are kept, which costs several times the rest; None keeps
    the largest alone, which proves most cells safe. With `buckets` units are not told
    apart within a bucket. With `only`, the engine's types of the keys, the cells are those
    whose keys stand in as many lists, which are the values of the statement. `inside` are
    rows to read instead, all of them in the filter: then nobody is counted outside.
    """
    tracked = tracks_outside(block, policy) and inside is None
    keys = [f"k{i}" for i in range(len(block.keys))]
    hidden = [f"h{i}" for i in range(len(block.hidden))]
    atoms = AtomColumns.of(block)
    group = ", ".join((*keys, *hidden))
    contrasts = range(len(contrast_sql(block.where)))
    names = [*keys, *hidden, "units", "n", "outside", "top_n"]
    # One largest contribution is a value, several are a list.
    largest = Merge.MAX if top is None else Merge.LARGEST
    merges = [Merge.SUM, Merge.SUM, Merge.SUM, largest]
    cells = [
        *keys,
        *hidden,
        "count(*) FILTER (r > 0 AND known) AS units",
        "coalesce(sum(r), 0) AS n",
        "count(*) FILTER (o > 0 AND known) AS outside",
        f"{_largest('r', top)} FILTER (r > 0 AND known) AS top_n",
    ]
    names += [f"x{j}" for j in contrasts]
    merges += [Merge.SUM for _ in contrasts]
    cells += [f"count(*) FILTER (x{j} > 0 AND known) AS x{j}" for j in contrasts]
    found = atoms.per_cell(_largest("{}", top))
    names += [name for name, _, _ in found]
    cells += [f"{expression} AS {name}" for name, expression, _ in found]
    merges += [largest if merge is Merge.LARGEST else merge for *_, merge in found]
    base = base_sql(block, policy, unit, buckets=buckets) if inside is None else inside
    if only:
        base = _only_sql(base, [*keys, *hidden], only)
    sql = (
        f"WITH base AS ({base}), "
        f"per_unit AS ({_per_unit(block, unit, atoms, tracked=tracked)}) "
        f"SELECT {', '.join(cells)} FROM per_unit"
    )
    return Statement(
        sql + (f" GROUP BY {group}" if group else ""),
        unit,
        tuple(names),
        scales_of(block, policy),
        Fold(len(keys) + len(hidden), tuple(merges), top=top or 1, limit=MAX_CELLS),
    )


def _only_sql(base: str, keys: Sequence[str], types: Sequence[str]) -> str:
    listed = ", ".join(
        f"unnest(?::{type_}[]) AS {key}" for key, type_ in zip(keys, types, strict=True)
    )
    same = " AND ".join(f"b.{key} IS NOT DISTINCT FROM few.{key}" for key in keys)
    return f"SELECT b.* FROM ({base}) AS b SEMI JOIN (SELECT {listed}) AS few ON {same}"


def _largest(column: str, top: int | None) -> str:
    return f"max({column})" if top is None else f"max({column}, {top})"


def base_sql(
    block: Block,
    policy: Policy,
    unit: Unit,
    *,
    more: tuple[str, ...] = (),
    buckets: int | None = None,
    inside: bool = False,
    every: bool = False,
    instead: Mapping[str, str] | None = None,
) -> str:
    """Return the joined rows with keys k, hidden keys h, unit u, filter i, measures m.

    `more` columns stand after these. With `buckets` u is that of the unit. With `inside`
    only rows come that satisfy the filter; with `every` the filter is not looked at: i
    holds of every row, and nothing is said of alternatives. Tables in `instead` are read
    from there.
    """
    outside = tracks_outside(block, policy) and not (inside or every)
    columns = [f"{term_sql(term)} AS k{i}" for i, term in enumerate(block.keys)]
    columns += [f"{term_sql(term)} AS h{i}" for i, term in enumerate(block.hidden)]
    columns += [
        f"{_unit_sql(unit, buckets)} AS u",
        f"{f'(({predicate_sql(block.where)}) IS TRUE)' if outside else 'TRUE'} AS i",
    ]
    contrasts = contrast_sql if outside else contrast_inside_sql
    columns += [
        f"{text} AS x{j}" for j, text in enumerate([] if every else contrasts(block.where))
    ]
    columns += [*AtomColumns.of(block).base(policy), *more]
    is_filtered = not (outside or every)
    return joined_sql(block, columns, is_filtered=is_filtered, instead=instead)


def joined_sql(
    block: Block,
    columns: Sequence[str],
    *,
    is_filtered: bool,
    more: Sequence[str] = (),
    instead: Mapping[str, str] | None = None,
) -> str:
    """Return columns of the joined rows that are somebody's and satisfy `more` conditions.

    Those alone that satisfy the filter, if it `is_filtered`; a table that is named in
    `instead` is read from the relation there.
    """
    conditions = list(more)
    if is_filtered and block.where != Always(value=True):
        conditions.append(predicate_sql(block.where))
    named = [term_sql(item.ref) for item in block.units if item.ref is not None]
    if named:
        # Rows without a unit are nobody's, and protect nobody: they are left out.
        conditions.append(" OR ".join(f"{name} IS NOT NULL" for name in named))
    where = " AND ".join(f"({condition})" for condition in conditions)
    return f"SELECT {', '.join(columns)} FROM {from_sql(block, instead)}" + (
        f" WHERE {where}" if where else ""
    )


def _unit_sql(unit: Unit, buckets: int | None) -> str:
    if unit.ref is None:
        return "NULL"
    name = term_sql(unit.ref)
    return name if buckets is None else bucket_sql(name, buckets)


def bucket_sql(name: str, buckets: int) -> str:
    """Return the bucket of a unit; who is nobody is in none."""
    return f"CASE WHEN {name} IS NOT NULL THEN hash({name}) % {buckets} END"


def from_sql(block: Block, instead: Mapping[str, str] | None = None) -> str:
    """Return FROM with its joins; each table after the first joins those before it.

    Optional ones come last: a row stays where it has no partner there. A table named in
    `instead` is read from the relation there.
    """
    first, *pending = sorted(block.tables, key=lambda name: name in block.optional)
    done = [first]
    text = read_sql(first, instead)
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
                text += f" {word} {read_sql(name, instead)} ON {' AND '.join(conditions)}"
                done.append(name)
                pending.remove(name)
                break
        else:
            raise AssertionError("a table without a join was planned")
    return text


def _per_unit(block: Block, unit: Unit, atoms: AtomColumns, *, tracked: bool) -> str:
    keys = [f"k{i}" for i in range(len(block.keys))]
    keys += [f"h{i}" for i in range(len(block.hidden))]
    contrasts = range(len(contrast_sql(block.where)))
    if unit.ref is None:
        columns = [*keys, "TRUE AS known", "i::INTEGER AS r", "(NOT i)::INTEGER AS o"]
        columns += [f"x{j}::INTEGER AS x{j}" for j in contrasts]
        return f"SELECT {', '.join((*columns, *atoms.per_row()))} FROM base"
    columns = [
        *keys,
        "u IS NOT NULL AS known",
        "count(*) FILTER (i) AS r" if tracked else "count(*) AS r",
        "count(*) FILTER (NOT i) AS o" if tracked else "0 AS o",
    ]
    columns += [f"count(*) FILTER (x{j}) AS x{j}" for j in contrasts]
    # Where no row outside the filter is read, every row is inside.
    columns += atoms.per_unit(tracked=tracked)
    return f"SELECT {', '.join(columns)} FROM base GROUP BY {', '.join((*keys, 'u'))}"


def top_needed(rule: AggregateRule) -> int:
    """Return how many largest contributions the dominance rules look at."""
    return max(rule.dominance.n or 0, 2)


def taken_sql(aggregate: Aggregate) -> str:
    """Return the condition on base rows that an aggregate takes them."""
    if aggregate.hidden is None:
        return "i"
    codes = [str(i) for i, piece in enumerate(aggregate.pieces) if piece is not None]
    return f"i AND h{aggregate.hidden} IN ({', '.join(codes)})"


def names_unit(block: Block, policy: Policy, ref: Ref) -> bool:
    """Whether a column names who is protected, by itself or by what it is joined with."""
    same = {ref}
    for _ in block.joins:
        same |= {r for join in block.joins if same & set(join) for r in join}
    table = policy.table(ref.table)
    own = set() if table is None else {unit.column for unit in table.units}
    return ref.column in own or bool(same & {unit.ref for unit in block.units})


def distinct_sql(block: Block, policy: Policy, index: int) -> str:
    """Return per visible cell the distinct units that an aggregate counts, as column d.

    Of a column that names no unit, nothing: its values must pass one by one.
    """
    aggregate = block.aggregates[index]
    ref = next(piece for piece in aggregate.pieces if isinstance(piece, Ref))
    keys = ", ".join(f"k{i}" for i in range(len(block.keys)))
    counted = f"count(DISTINCT u) FILTER ({taken_sql(aggregate)})"
    if not names_unit(block, policy, ref):
        counted = "CAST(NULL AS BIGINT)"
    return (
        f"SELECT {keys + ', ' if keys else ''}{counted} AS d "
        f"FROM ({base_sql(block, policy, Unit('', ref))}) AS base"
        + (f" GROUP BY {keys}" if keys else "")
    )
