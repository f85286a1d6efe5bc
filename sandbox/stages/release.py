"""Run a plan and release what may leave: each block is controlled, then stage 2 computes.

No value of a withheld cell is handed from the one to the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from policies.document import AggregateRule, Policy
from sandbox.history.entry import join_entries
from sandbox.passes.holding import AllOpen, Holding
from sandbox.plan.plan import Plan
from sandbox.plan.results import Cells, Selected
from sandbox.plan.view_columns import extended
from sandbox.protocol import Limits, Scalar
from sandbox.stages.controlling import Controlled, control, shown_sql
from sandbox.stages.reentry import filled, needed_before, public_in
from sandbox.stages.stage_two import StageTwo


@dataclass(frozen=True, slots=True)
class Released:
    """What left, and for the provider why the rest did not."""

    types: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    withheld: tuple[tuple[int, ...], ...]
    suppressed: int
    partial: bool
    report: tuple[tuple[str, int], ...]
    history: str
    executed_sql: str
    units_covered: int


def release(
    plan: Plan,
    policy: Policy,
    rule: AggregateRule,
    connection: duckdb.DuckDBPyConnection,
    *,
    history: Sequence[str],
    limits: Limits,
) -> Released:
    """Return the controlled result of `plan` over the tables of `connection`.

    Raises what `release_held` raises.
    """
    holding = AllOpen(connection, policy)
    return release_held(plan, policy, rule, holding, history=history, limits=limits)


def release_held(
    plan: Plan,
    policy: Policy,
    rule: AggregateRule,
    holding: Holding,
    *,
    history: Sequence[str],
    limits: Limits,
) -> Released:
    """Return the controlled result of `plan` over the tables of `holding`.

    Blocks run one after another, coarse ones first, and each is compared with those before
    it as with earlier releases: a total beside its parts tells what one part withholds.
    Raises QueryRejected where a result that re-enters is withheld, and ResourceExceeded
    (`needs_more_memory`) where what is asked cannot be read in parts that fit.
    """
    done: dict[int, Controlled] = {}
    with StageTwo(limits) as stage_two:
        for name in public_in(plan):
            stage_two.load_public(name, holding.public(name))
        for number in _run_order(plan):
            block = filled(plan, plan.blocks[number], stage_two.compute)
            past = [*history, *(text for item in done.values() for text in item.history)]
            found = control(block, policy, rule, holding, history=past)
            done[number] = found
            stage_two.load(number, found.rows, found.key_types, found.value_types)
        table = stage_two.compute(plan.result)
    rows, withheld = list(table.rows), list(table.withheld)
    hidden = sum(item.withheld for item in done.values())
    collapsed = sum(item.collapsed for item in done.values())
    if _shows_the_collapsed(plan, done):
        rows.append(tuple(None for _ in table.types))
        withheld.append(tuple(range(len(table.types))))
        collapsed -= 1
    suppressed = sum(1 for mask in withheld if mask) + collapsed
    report: Counter[str] = Counter()
    for item in done.values():
        report.update(item.report)
    return Released(
        types=table.types,
        rows=tuple(rows),
        withheld=tuple(withheld),
        suppressed=suppressed,
        partial=bool(hidden) or any(item.leaves_out for item in done.values()),
        report=tuple(sorted((str(ground), count) for ground, count in report.items())),
        history=join_entries(
            plan.fingerprint, [text for item in done.values() for text in item.history]
        ),
        executed_sql=";\n".join(done[number].sql for number in sorted(done)),
        units_covered=max((item.units_covered for item in done.values()), default=0),
    )


def plan_sql(plan: Plan | None, policy: Policy) -> str:
    """Return the first pass of each block as text, for reviewers and the log."""
    if plan is None:
        return ""
    return ";\n".join(
        shown_sql(block, extended(policy, block.views)) for block in plan.blocks
    )


def _run_order(plan: Plan) -> list[int]:
    """Return the blocks in the order to run them: what re-enters first, then by keys."""
    order: list[int] = []
    pending = sorted(
        range(len(plan.blocks)),
        key=lambda n: (len(plan.blocks[n].keys) + len(plan.blocks[n].hidden), n),
    )
    while pending:
        ready = next(n for n in pending if needed_before(plan, n) <= set(order))
        order.append(ready)
        pending.remove(ready)
    return order


def _shows_the_collapsed(plan: Plan, done: dict[int, Controlled]) -> bool:
    """Whether withheld groups stand as a row of their own at the end.

    Only where each cell is a row: a filter or limit chooses among rows, and the collapsed
    one is none to choose.
    """
    result = plan.result
    while isinstance(result, Selected) and result.only_projects:
        result = result.source
    return isinstance(result, Cells) and done[result.block].collapsed
