"""Whether the row of withheld groups is printed: never by whether somebody is there.

`... WHERE flag = 'Malta' AND insurer = 'Obscura' GROUP BY flag` must look the same with one
ship and with none. So the row is printed whenever a key is missing that could be there:
one that the query's own text names, or one that the same groups have without the filter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping

from policies.document import Policy
from sandbox.passes.folds import Fold
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block
from sandbox.plan.joint_rows import Source, belongs_sql, joint_from
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import (
    All,
    Always,
    Apply,
    Choose,
    Compare,
    Kind,
    Literal,
    Missing,
    Negate,
    Predicate,
    Term,
    Truth,
    Within,
    members_in,
    refs_of,
)
from sandbox.plan.view_columns import extended
from sandbox.plan.views import by_name
from sandbox.quoting import quoted
from sandbox.stages.unfiltered import Unfiltered
from sandbox.stages.unit_rows import samples_of

Keys = tuple[object, ...]
MAX_KEYS = 200_000
_FEW = 2_000  # combinations of keys
# `regexp_extract(city, '^Tinyville$')` has a key of its own for one city, as CASE has.
_NAMES_VALUES = frozenset({"regexp_extract", "regexp_replace", "instr", "replace"})


def may_lack(
    block: Block,
    shown: Collection[Keys],
    policy: Policy,
    rows: Rows,
) -> bool:
    """Whether some key that could be there is not among `shown`, empty or small."""
    twin = Unfiltered(block)
    filtered = block.where != Always(value=True) or twin.differs
    if filtered and not shown:
        return True
    if twin.differs and not _covers(twin, block, shown, policy, rows):
        return True
    for index, term in enumerate(block.keys):
        named = _named(term)
        if named is None or not named <= {keys[index] for keys in shown}:
            return True
    own, other = _conjuncts(block)
    for conjunct in own:
        if _asked_for(conjunct, block, shown):
            return True
    return bool(other) and not _are_all(shown, block, own, policy, rows)


def _covers(
    twin: Unfiltered,
    block: Block,
    shown: Collection[Keys],
    policy: Policy,
    rows: Rows,
) -> bool:
    """Whether each group that the filters inside views could leave out is shown.

    What a key that is computed within a unit would be without the filter is not known.
    """
    if len(twin.shown) < len(block.keys):
        return False
    rows.materialise(twin.views, policy)
    known = extended(policy, twin.views)
    own, _ = _conjuncts(twin.block)
    return _are_all(shown, twin.block, own, known, rows)


def _named(term: Term) -> set[object] | None:
    """Return the values that the text gives a key (none for a column); None: unknown."""
    match term:
        case Choose(branches=branches, otherwise=otherwise):
            results = [*(result for _, result in branches), otherwise]
            if all(isinstance(result, Literal) for result in results):
                return {result.value for result in results if isinstance(result, Literal)}
            return None
        case Truth() | Apply(kind=Kind.BOOLEAN):
            return {True, False}
        case Apply(function=function) if function in _NAMES_VALUES:
            return None
        case Apply(function="least" | "greatest", arguments=arguments):
            bounds: set[object] = {
                item.value for item in arguments if isinstance(item, Literal)
            }
            rest = [item for item in arguments if not isinstance(item, Literal)]
            return None if any(_named(item) != set() for item in rest) else bounds
        case Apply(arguments=arguments):
            # A condition inside a function would be a name in disguise.
            return None if any(_named(item) != set() for item in arguments) else set()
        case Literal():
            return set()
        case _:
            return set()


def _conjuncts(block: Block) -> tuple[list[Predicate], list[Predicate]]:
    """Split the filter: plain conditions on the group keys themselves, and the rest."""
    where = block.where
    items = where.items if isinstance(where, All) else (where,)
    refs = {ref for term in block.keys for ref in refs_of(term)}
    own: list[Predicate] = []
    other: list[Predicate] = []
    for item in items:
        if item == Always(value=True):
            continue
        plain = isinstance(item, (Compare, Within)) or (
            isinstance(item, Negate) and isinstance(item.item, (Within, Missing))
        )
        (own if plain and refs_of(item) <= refs else other).append(item)
    return own, other


def _asked_for(conjunct: Predicate, block: Block, shown: Collection[Keys]) -> bool:
    match conjunct:
        case Compare(operator="=", term=term, constant=constant):
            constants: tuple[Literal, ...] = (constant,)
        case Within(term=term, constants=constants):
            pass
        case _:
            return False
    if term not in block.keys:
        return True  # a condition on a part of a key: which keys it names is not known
    index = block.keys.index(term)
    texts = {str(keys[index]) for keys in shown}
    return any(str(constant.value) not in texts for constant in constants)


def _are_all(
    shown: Collection[Keys],
    block: Block,
    own: list[Predicate],
    policy: Policy,
    rows: Rows,
) -> bool:
    """Whether the rows that satisfy `own` have no other keys than those shown."""
    where: Predicate = All(tuple(own)) if own else Always(value=True)
    source = Source(block.tables, block.joins, where, block.optional)
    every = _product_of_keys(block, own, policy, rows)
    if every is not None and every <= set(shown):
        return True
    if rows.facts is not None:
        # Of many keys one that is not shown is soon found.
        for instead in samples_of(block, policy, rows.facts)[:1]:
            if not _keys_of(source, block, policy, rows, instead) <= set(shown):
                return False
    return _keys_of(source, block, policy, rows, {}) <= set(shown)


def _product_of_keys(
    block: Block, own: list[Predicate], policy: Policy, rows: Rows
) -> set[Keys] | None:
    """Return all combinations of what each key is in its own table; None: they are many.

    Every joined row has one of them, so that nothing need be joined where all are shown.
    """
    # Of a table joined outwards a row may be missing; of a view rows are dear to make.
    views = by_name(block.views)
    columns: list[list[object]] = []
    for term in block.keys:
        tables = {ref.table for ref in refs_of(term)}
        name = tables.pop() if len(tables) == 1 else ""
        if policy.table(name) is None or name in views or name in block.optional:
            return None
        conditions = [
            predicate_sql(item)
            for item in own
            if {ref.table for ref in refs_of(item)} == {name} and not members_in(item)
        ]
        where = f" WHERE {' AND '.join(f'({c})' for c in conditions)}" if conditions else ""
        answer = rows.ask(
            f"SELECT DISTINCT {term_sql(term)} FROM {quoted(name)}{where} LIMIT {_FEW + 1}",
            Fold(1, enough=_FEW + 1),
        )
        columns.append([row[0] for row in answer.rows])
    if math.prod(map(len, columns)) > _FEW:
        return None
    return set(itertools.product(*columns))


def _keys_of(
    source: Source, block: Block, policy: Policy, rows: Rows, instead: Mapping[str, str]
) -> set[Keys]:
    named = [term_sql(unit.ref) for unit in block.units if unit.ref is not None]
    known = f" AND ({' OR '.join(f'{n} IS NOT NULL' for n in named)})" if named else ""
    keys = ", ".join(term_sql(term) for term in block.keys)
    # No more than so many keys are shown: one more, and some are not.
    fold = Fold(len(block.keys), enough=MAX_KEYS + 1)
    answer = rows.ask(
        f"SELECT DISTINCT {keys} FROM {joint_from([source], policy, instead)} "
        f"WHERE {belongs_sql(source)}{known} LIMIT {MAX_KEYS + 1}",
        fold,
    )
    return set(answer.rows)
