"""Existence: which group keys may be printed though their cells are withheld.

Only those whose domain is public anyway (declared `values: public`, or a column of a
public table). All of them are printed then, the empty as well as the small, so that the
list itself tells nothing. Every other withheld key collapses into one uncounted row.
"""

from __future__ import annotations

import itertools

from policies.document import Policy
from sandbox.passes.folds import Fold
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block
from sandbox.plan.render import term_sql
from sandbox.plan.terms import Ref, Term
from sandbox.quoting import quoted

MAX_DOMAIN = 10_000


def printed_domain(
    block: Block, policy: Policy, rows: Rows
) -> list[tuple[object, ...]] | None:
    """Return every key of the block's groups where all of them are public, else None."""
    if not block.keys or not all(_is_public(term, policy) for term in block.keys):
        return None
    domains: list[list[object]] = []
    size = 1
    for term in block.keys:
        assert isinstance(term, Ref)
        answer = rows.ask(
            f"SELECT DISTINCT {term_sql(term)} FROM {quoted(term.table)} "
            f"WHERE {term_sql(term)} IS NOT NULL LIMIT {MAX_DOMAIN + 1}",
            Fold(1, enough=MAX_DOMAIN + 1),
        )
        domains.append([row[0] for row in answer.rows])
        size *= len(answer.rows)
        if size > MAX_DOMAIN:
            return None
    return list(itertools.product(*domains))


def _is_public(term: Term, policy: Policy) -> bool:
    if not isinstance(term, Ref):
        return False
    table = policy.table(term.table)
    if table is None:
        return False
    column = table.column(term.column)
    return table.public or (column is not None and column.values_public)
