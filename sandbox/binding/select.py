"""A query, bound: its staged plan together with every fact that a policy may judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.document import Policy
from policies.shape import QueryShape, Usage
from sandbox.binding.context import Context, Environment
from sandbox.binding.facts import Facts, TooManySteps, place_of
from sandbox.binding.items import ResultItem, RowsItem
from sandbox.binding.names import as_ref
from sandbox.binding.outputs import output_names
from sandbox.binding.query import QueryBinder
from sandbox.binding.small_groups import refuse_small_groups
from sandbox.binding.view_uses import judge_views
from sandbox.plan.plan import Plan
from sandbox.plan.result_walks import blocks_in
from sandbox.plan.terms import Ref
from sandbox.sql import syntax

MAX_OUTPUTS = 200


@dataclass(frozen=True, slots=True)
class Analysis:
    """What came of a query: its shape, and its plan where one could be made."""

    shape: QueryShape
    plan: Plan | None


def bind(
    query: syntax.Query, policy: Policy, schemas: Mapping[str, Sequence[tuple[str, str]]]
) -> Analysis:
    """Derive shape and plan; the plan is None where anything was not understood."""
    facts = Facts(policy)
    context = Context(facts, schemas)
    names: tuple[str, ...] = output_names(query)
    plan = None
    try:
        if len(names) > MAX_OUTPUTS:
            facts.refuse(
                "query_too_complex",
                f"the query has {len(names)} outputs, at most {MAX_OUTPUTS}",
                "Ask for less in one query.",
            )
        else:
            item = QueryBinder(context).query(query, Environment())
            plan = _plan(context, item, query)
            names = item.names if isinstance(item, ResultItem) else names
    except TooManySteps:
        facts.refuse(
            "query_too_complex",
            "the query unfolds to more parts than are bound",
            "Use each query of WITH fewer times.",
        )
    except RecursionError:
        facts.refuse(
            "query_too_complex", "the query is nested too deeply", "Ask for less at once."
        )
    judge_views(facts)
    if facts.findings:
        plan = None
    shape = QueryShape(
        tables=tuple(
            sorted(
                {use.table for use in facts.uses}
                | {name for group in facts.froms for name in group}
            )
        ),
        uses=tuple(dict.fromkeys(facts.uses)),
        joins=tuple(dict.fromkeys(facts.joins)),
        aggregates=tuple(sorted(facts.families)),
        findings=tuple(dict.fromkeys(facts.findings)),
        fingerprint="" if plan is None else plan.fingerprint,
        outputs=names,
        froms=tuple(dict.fromkeys(facts.froms)),
    )
    return Analysis(shape, plan)


def _plan(
    context: Context, item: RowsItem | ResultItem | None, query: syntax.Query
) -> Plan | None:
    facts = context.facts
    if isinstance(item, RowsItem):
        _refuse_rows(context, item, query)
        return None
    if item is None:
        return None
    if len(item.names) > MAX_OUTPUTS:
        facts.refuse(
            "query_too_complex",
            f"the query has {len(item.names)} outputs, at most {MAX_OUTPUTS}",
            "Ask for less in one query.",
        )
        return None
    if not blocks_in(item.relation):
        refuse_no_protected_table(facts, reads_tables=bool(facts.froms))
        return None
    plan = Plan(tuple(context.blocks), item.relation, tuple(context.parameters))
    refuse_small_groups(plan, facts)
    return plan


def _refuse_rows(context: Context, item: RowsItem, query: syntax.Query) -> None:
    facts = context.facts
    protected = [
        table
        for name in item.tables
        if (table := facts.policy.table(name)) is not None and not table.public
    ]
    if not protected:
        if not facts.findings:
            refuse_no_protected_table(facts, reads_tables=bool(item.tables))
        return
    outputs = query.outputs if isinstance(query, syntax.Select) else ()
    stars = [o.expression for o in outputs if isinstance(o.expression, syntax.Star)]
    if stars:
        facts.refuse(
            "row_level_output",
            "`*` would let rows leave as they are",
            "Name dimensions and aggregates: SELECT d, count(*) FROM ... GROUP BY d; "
            "labelled rows leave only as a licensed subset.",
            stars[0].place,
        )
        return
    place = place_of(outputs[0].expression) if outputs else None
    noted = False
    for name in item.tables:
        view = facts.views.get(name)
        for _, column in () if view is None or view.keys is None else view.units:
            # Groups by unit keys that nothing aggregates further are persons.
            found = None if view is None else view.column(column)
            if found is not None and isinstance(found.value, Ref):
                facts.use(found.value, Usage.GROUP_KEY, None)
                noted = True
    for meaning in item.columns.values():
        ref = as_ref(meaning)
        if ref is not None and not facts.is_public(ref) and facts.may_name(ref):
            facts.use(ref, Usage.ROW_OUTPUT, place)
            noted = True
    if not noted:
        facts.refuse(
            "row_level_output",
            "the query has neither an aggregate nor GROUP BY",
            "Add an aggregate, for example count(*).",
        )


def refuse_no_protected_table(facts: Facts, *, reads_tables: bool) -> None:
    """Say that a query reads nothing that this path answers."""
    if facts.findings:
        return
    if reads_tables:
        facts.refuse(
            "no_protected_table",
            "the query reads public tables only, which the dataset page offers whole",
            "Download them there.",
        )
    else:
        facts.refuse(
            "no_table",
            "the query reads no table",
            "Add FROM with a table of the policy.",
        )
