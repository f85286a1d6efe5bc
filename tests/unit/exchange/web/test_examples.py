"""The query that an editor begins with: the analyser takes it, the policy allows it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from exchange.web.examples import example_query
from policies.codec import dump_policy, load_policy
from policies.decision import Request, Verdict, decide
from policies.shape_codec import shape_from_json
from policies.templates import Template, starting_policies
from sandbox import analyse
from sandbox.protocol import AnalyseJob, TableSchema
from tests.factories import walk


@dataclass(frozen=True)
class Profiled:
    name: str
    type: str
    proposed_roles: tuple[str, ...]
    proposed_grid: str | None = None
    reason: str = ""


def _verdict(text: str, table: str, columns: tuple[tuple[str, str], ...]) -> Verdict:
    policy = load_policy(text)
    purpose = policy.aggregate_rules[0].purposes[0]
    job = AnalyseJob(
        job_id="1",
        sql=example_query(policy, table),
        purpose=purpose,
        policy=dump_policy(policy),
        schemas=(TableSchema(table, columns),),
    )
    shape = shape_from_json(analyse.run(job).shape)
    return decide(policy, Request(purpose), shape).verdict


RUNS = (("id", "BIGINT"), ("type", "VARCHAR"), ("torque", "BIGINT"), ("failure", "BIGINT"))


def test_example_of_the_walk_is_allowed() -> None:
    assert _verdict(walk.policy_text(), "runs", RUNS) is Verdict.ALLOW


@pytest.mark.parametrize(
    "columns",
    [
        (
            Profiled("order", "VARCHAR", ("dimension",)),
            Profiled("Tool wear", "DOUBLE", ("measure",), "5"),
        ),
        (Profiled("torque", "DOUBLE", ("measure",), "5"),),
        (
            Profiled("failure", "BOOLEAN", ("label",)),
            Profiled("day", "DATE", ("dimension",)),
        ),
        (
            Profiled("id", "BIGINT", ("unit_key",)),
            Profiled("city", "VARCHAR", ("dimension",)),
        ),
    ],
    ids=["reserved and odd names", "a measure alone", "a label alone", "units"],
)
def test_example_of_each_starting_policy_is_allowed(columns: tuple[Profiled, ...]) -> None:
    schema = tuple((column.name, column.type) for column in columns)
    texts = starting_policies(table="grant_runs", columns=columns)

    verdicts = {name: _verdict(text, "grant_runs", schema) for name, text in texts.items()}

    reviewed = {str(Template.REVIEWED_STATISTICS): Verdict.REVIEW}
    assert verdicts == {name: reviewed.get(name, Verdict.ALLOW) for name in texts}


def test_example_takes_the_columns_in_the_order_of_the_file() -> None:
    policy = load_policy(
        walk.policy_text().replace("torque:", "speed: {role: dimension}\n      torque:")
    )

    query = example_query(policy, "runs", ["speed", "type"])

    assert "GROUP BY speed" in query
