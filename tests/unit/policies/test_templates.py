"""Starting policies: whatever the profile says, the text is a policy that fits the data."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies.codec import load_policy
from policies.document import AggregateRule, Grain, Policy, Role, SubsetRule
from policies.errors import Contradiction, PolicySyntaxError
from policies.schema_check import check_against
from policies.templates import (
    TEMPLATES,
    Template,
    starting_policies,
    starting_policy,
)
from policies.vocabulary import PURPOSES, find_licence
from sandbox.protocol import ColumnProfile


@dataclass(frozen=True)
class Profiled:
    name: str
    type: str = "VARCHAR"
    proposed_roles: tuple[str, ...] = ("dimension",)
    proposed_grid: str | None = None
    reason: str = "few values"


MILLING = (
    Profiled("machine_id", "VARCHAR", ("unit_key",)),
    Profiled("type"),
    Profiled("torque [Nm]", "DOUBLE", ("measure",), "0.5"),
    Profiled("wear", "BIGINT", ("dimension", "measure"), "5"),
    Profiled("started", "TIMESTAMP", ("dimension",)),
    Profiled("failure", "BOOLEAN", ("label",), None, "named failure\nand two values"),
)


def only(columns: tuple[Profiled, ...], name: str) -> object:
    policy = load_policy(starting_policy(Template.STATISTICS, table="t", columns=columns))
    column = policy.tables[0].column(name)
    return (
        None if column is None else (column.roles, column.grid, column.scale, column.grain)
    )


def test_starting_policies_of_a_labelled_profile() -> None:
    texts = starting_policies(table="milling", columns=MILLING)

    assert list(texts) == ["statistics", "reviewed-statistics", "labelled-subset"]
    read = {name: load_policy(text) for name, text in texts.items()}
    assert [type(rule) for rule in read["statistics"].rules] == [AggregateRule]
    assert read["statistics"].aggregate_rules[0].approval.is_automatic
    assert not read["reviewed-statistics"].aggregate_rules[0].approval.is_automatic
    subset = read["labelled-subset"].subset_rules[0]
    assert subset.label == "failure"
    assert subset.columns == ("type", "torque [Nm]", "wear", "started", "failure")
    assert not subset.approval.is_automatic
    assert find_licence(subset.licence) is not None


def test_starting_policy_states_columns_as_they_fit() -> None:
    assert only(MILLING, "machine_id") == ({Role.UNIT_KEY}, None, None, None)
    assert only(MILLING, "torque [Nm]") == ({Role.MEASURE}, 0.5, 4, None)
    assert only(MILLING, "wear") == ({Role.DIMENSION, Role.MEASURE}, 5, None, None)
    assert only(MILLING, "started") == ({Role.DIMENSION}, None, None, Grain.MONTH)
    assert only(MILLING, "failure") == ({Role.LABEL}, None, None, None)


@pytest.mark.parametrize(
    ("column", "roles"),
    [
        (Profiled("a", "BLOB", ("dimension",)), {Role.HIDDEN}),
        (Profiled("a", "VARCHAR", ()), {Role.HIDDEN}),
        (Profiled("a", "VARCHAR", ("secret",)), {Role.HIDDEN}),
        (Profiled("a", "VARCHAR", ("measure",)), {Role.HIDDEN}),
        (Profiled("a", "VARCHAR", ("measure", "dimension")), {Role.DIMENSION}),
        (Profiled("a", "BIGINT", ("measure", "hidden")), {Role.HIDDEN}),
        (Profiled("a", "BIGINT", ("row_key", "dimension")), {Role.ROW_KEY}),
    ],
)
def test_starting_policy_proposal_that_does_not_fit_starts_hidden(
    column: Profiled, roles: set[Role]
) -> None:
    found = only((column,), "a")

    assert isinstance(found, tuple)
    assert found[0] == roles


@pytest.mark.parametrize("grid", ["", "x", "0", "-5", "NaN", "Infinity", "1e40", None])
def test_starting_policy_grid_that_is_none_is_left_out(grid: str | None) -> None:
    column = Profiled("a", "DOUBLE", ("measure",), grid)

    assert only((column,), "a") == ({Role.MEASURE}, None, 3, None)


def test_starting_policy_grid_on_text_is_left_out() -> None:
    assert only((Profiled("a", "VARCHAR", ("dimension",), "5"),), "a") == (
        {Role.DIMENSION}, None, None, None,
    )  # fmt: skip


def test_starting_policy_second_key_starts_hidden() -> None:
    columns = (MILLING[0], Profiled("operator", "VARCHAR", ("unit_key",)))

    policy = load_policy(starting_policy(Template.STATISTICS, table="t", columns=columns))

    assert [unit.column for unit in policy.tables[0].units] == ["machine_id"]
    assert only(columns, "operator") == ({Role.HIDDEN}, None, None, None)


def test_starting_policy_name_that_cannot_stand_is_left_out_in_a_comment() -> None:
    columns = (Profiled("a"), Profiled("A"), Profiled("x" * 129), Profiled("b\nc"))

    text = starting_policy(Template.LABELLED_SUBSET, table="t", columns=columns)

    policy = load_policy(text)
    assert [column.name for column in policy.tables[0].columns] == ["a"]
    assert policy.subset_rules[0].columns == ("a",)
    assert text.count("left out") == 3


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("id", "unit"),
        ("Person_ID", "person"),
        ("vessel_no", "vessel"),
        ("imo", "imo"),
        ("_id", "_id"),
    ],
)
def test_starting_policy_domain_comes_from_the_key(name: str, domain: str) -> None:
    columns = (Profiled(name, "BIGINT", ("unit_key",)),)

    policy = load_policy(starting_policy(Template.STATISTICS, table="t", columns=columns))

    assert policy.tables[0].units[0].domain == domain


def test_starting_policy_subset_of_nothing_is_refused_and_not_offered() -> None:
    columns = (Profiled("a", "VARCHAR", ("hidden",)),)

    assert "labelled-subset" not in starting_policies(table="t", columns=columns)
    with pytest.raises(Contradiction):
        starting_policy(Template.LABELLED_SUBSET, table="t", columns=columns)


def test_starting_policy_subset_without_label_says_how_to_name_one() -> None:
    text = starting_policy(Template.LABELLED_SUBSET, table="t", columns=(Profiled("a"),))

    assert load_policy(text).subset_rules[0].label is None
    assert "# Name the column that models learn to predict" in text


@pytest.mark.parametrize("table", ["", "1a", "a-b", "a.b", "main.t", "a" * 64, "a\n"])
def test_starting_policy_table_name_that_is_no_bare_name_is_refused(table: str) -> None:
    with pytest.raises(PolicySyntaxError):
        starting_policy(Template.STATISTICS, table=table, columns=())


def test_starting_policy_takes_purposes_and_licence() -> None:
    text = starting_policy(
        Template.LABELLED_SUBSET,
        table="t",
        columns=(Profiled("a"),),
        purposes=["house rule: 1"],
        licence="no",
    )

    rule, subset = load_policy(text).rules
    assert isinstance(subset, SubsetRule)
    assert rule.purposes == subset.purposes == ("house rule: 1",)
    assert subset.licence == "no"


def test_starting_policy_reads_profiles_of_the_sandbox() -> None:
    column = ColumnProfile("a", "BIGINT", 0.0, 5, proposed_roles=("dimension",))

    load_policy(starting_policy(Template.STATISTICS, table="t", columns=(column,)))


def test_starting_policy_comments_explain_each_line_to_a_steward() -> None:
    text = starting_policy(Template.LABELLED_SUBSET, table="milling", columns=MILLING)

    assert "# BOOLEAN; named failure and two values\n" in text
    for word in ("min_units", "dominance", "approval", "units", "columns"):
        written = [line.lstrip() for line in text.splitlines()]
        at = next(i for i, line in enumerate(written) if line.startswith(word))
        assert written[at - 1].startswith("#")
    assert max(map(len, text.splitlines())) <= 92


def test_templates_each_has_a_card() -> None:
    assert [card.template for card in TEMPLATES] == list(Template)
    assert all(card.title and card.sentence.endswith(".") for card in TEMPLATES)


def test_starting_policy_purposes_are_of_the_vocabulary() -> None:
    text = starting_policy(Template.STATISTICS, table="t", columns=())

    known = {str(term.purpose) for term in PURPOSES}
    assert set(load_policy(text).aggregate_rules[0].purposes) <= known


profiled = st.builds(
    Profiled,
    name=st.text(max_size=12),
    type=st.sampled_from(
        ["BIGINT", "DOUBLE", "VARCHAR", "DATE", "BOOLEAN", "DECIMAL(9,2)", "X[]"]
    ),
    proposed_roles=st.lists(st.sampled_from([*Role, "x"]), max_size=3).map(
        lambda roles: tuple(map(str, roles))
    ),
    proposed_grid=st.none() | st.sampled_from(["5", "0.25", "1e-20", "x"]),
    reason=st.text(max_size=20),
)


@given(columns=st.lists(profiled, max_size=6, unique_by=lambda column: column.name))
def test_starting_policies_always_load_and_fit_the_data(columns: list[Profiled]) -> None:
    for text in starting_policies(table="t", columns=columns).values():
        policy: Policy = load_policy(text)

        check_against(policy, "t", [(column.name, column.type) for column in columns])
        assert yaml.safe_load(text)["version"] == 1
