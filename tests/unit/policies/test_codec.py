"""Documents in, values out, canonical JSON back; every malformed one refused by name."""

# ruff: noqa: E501  # one document a line reads better than one that is cut up

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given

from policies.codec import dump_policy, lay_out_policy, load_policy, policy_digest
from policies.composing import MAX_DOCUMENT_CHARACTERS, line_numbers
from policies.document import Aggregate, Approval, Grain, Mode, Policy, Role
from policies.errors import PolicyError, PolicySyntaxError, UnknownTerm
from tests.unit.policies.policy_values import EXAMPLE, example, policies

COLUMN = "version: 1\ntables:\n  t:\n    units: row\n    columns:\n      c: {%s}\n"
RULE = "version: 1\ntables:\n  t: {public: true}\nrules:\n  - kind: aggregate\n%s"
AGGREGATE = "    min_units: 10\n    aggregates: [count]\n    purposes: [p]\n    approval: automatic\n"


def test_load_policy_reads_every_part_of_the_example() -> None:
    policy = example()

    patients = policy.table("patients")
    assert patients is not None
    age, visit_date = patients.column("age"), patients.column("visit_date")
    assert age is not None
    assert visit_date is not None
    assert age.roles == {Role.DIMENSION, Role.MEASURE}
    assert age.grid == 5
    assert age.clamp == (Decimal(0), Decimal(120))
    assert visit_date.grain is Grain.MONTH
    assert [column.name for column in patients.columns if column.sensitive] == [
        "diagnosis",
        "failure",
    ]  # a label is sensitive, whether it says so or not
    assert patients.derived[0].expr == "weight / 2"
    safe, noisy = policy.aggregate_rules
    assert safe.mode is Mode.SAFE
    assert safe.dominance.share == Decimal("0.9")
    assert noisy.approval == Approval(2)
    assert noisy.budget is not None
    assert noisy.budget.delta == Decimal("0.000001")
    assert policy.subset_rules[0].pseudonymise == ("id",)


@given(policy=policies())
def test_dump_policy_load_policy_of_it_is_equal(policy: Policy) -> None:
    assert load_policy(dump_policy(policy)) == policy


@given(policy=policies())
def test_dump_policy_is_canonical_and_is_json(policy: Policy) -> None:
    text = dump_policy(policy)

    assert dump_policy(load_policy(text)) == text
    assert json.loads(text)["version"] == 1


@given(policy=policies())
def test_lay_out_policy_load_policy_of_it_is_equal(policy: Policy) -> None:
    assert load_policy(lay_out_policy(policy)) == policy


def test_lay_out_policy_has_a_line_for_each_column() -> None:
    text = lay_out_policy(example())

    assert text.startswith('{\n  "version": 1,\n  "tables": {\n')
    assert '        "weight": {"role": "measure"}\n' in text
    assert line_numbers(text)["rules[2].max_rows"] > line_numbers(text)["rules[1]"]


def test_policy_digest_ignores_layout_and_order_and_sees_every_limit() -> None:
    policy = example()
    document = json.loads(dump_policy(policy))
    shuffled = json.dumps(dict(reversed(document.items())), indent=3)
    altered = EXAMPLE.replace("min_units: 10", "min_units: 11")

    assert policy_digest(load_policy(shuffled)) == policy_digest(policy)
    assert policy_digest(load_policy(altered)) != policy_digest(policy)
    assert len(policy_digest(policy)) == 64


@pytest.mark.parametrize(
    "name", ["a\u2028b", "\x7f", "\x85", "\ufeff", "😀", "名 字", "a.b: #c"]
)
def test_dump_policy_keeps_names_that_yaml_would_fold(name: str) -> None:
    text = COLUMN.replace(
        "c: {%s}", json.dumps(name, ensure_ascii=name != "😀") + ": {role: label}"
    )

    policy = load_policy(text)

    assert policy.tables[0].columns[0].name == name
    assert load_policy(dump_policy(policy)) == policy


@pytest.mark.parametrize(
    "text",
    [
        "0.1",
        "1e-30",
        "123456789012345678.123456789",
        "0.30000000000000004",
        "1_000.5",
        "-0",
        ".5",
    ],
)
def test_dump_policy_keeps_numbers_exactly(text: str) -> None:
    policy = load_policy(COLUMN % f"role: measure, clamp: [{text}, 1e30]")

    assert load_policy(dump_policy(policy)) == policy


def test_load_policy_approval_absent_means_one_reviewer() -> None:
    policy = load_policy(RULE % AGGREGATE.replace("    approval: automatic\n", ""))

    assert policy.aggregate_rules[0].approval == Approval(1)


def test_load_policy_without_rules_lets_nothing_out() -> None:
    policy = load_policy(COLUMN % "role: hidden")

    assert policy.rules == ()
    assert load_policy(dump_policy(policy)) == policy


def test_line_numbers_name_keys_and_elements() -> None:
    lines = line_numbers(EXAMPLE)

    assert lines["tables.patients"] == 3
    assert lines["tables.patients.columns.age.grid"] == 10
    assert lines["rules[2].columns[1]"] == 1 + EXAMPLE.splitlines().index(
        "    columns: [id, age, failure]"
    )
    assert lines[""] == 1


SYNTAX = {
    "empty": ("", 1, "empty"),
    "only a comment": ("# nothing\n", 1, "empty"),
    "text": ("hello", 1, "must be a mapping, text came"),
    "a list": ("- 1\n", 1, "must be a mapping, a list came"),
    "tab indentation": ("version: 1\n\ttables: {}\n", 2, "cannot start any token"),
    "unclosed bracket": ('{"version": 1, "tables": {', 1, "expected"),
    "bad indentation": ("version: 1\n tables: {}\n", 2, "mapping values are not allowed"),
    "two documents": ("version: 1\n---\nversion: 1\n", 2, "single document"),
    "NUL": ("version: 1\n\x00", 2, "may hold"),
    "BOM inside": ("version: 1\n\ufffe", 2, "may hold"),
    "escape without a character": ('"\\UFFFFFFFF": 1', None, "names no character"),
    "anchor": ("version: &a 1\n", 1, "anchors and aliases"),
    "anchored mapping": ("version: 1\ntables: &a\n  t: {public: true}\n", 2, "anchors"),
    "alias": ("version: 1\ntables: *a\n", 2, "anchors and aliases"),
    "merge of an alias": ("version: 1\n<<: *a\n", 2, "anchors and aliases"),
    "python tag": ("version: !!python/object/apply:os.system [x]\n", 1, "tag of its own"),
    "own tag": ("version: 1\ntables: !t {}\n", 2, "tag of its own"),
    "tagged key": ("!t version: 1\n", 1, "key that is not plain text"),
    "binary": ("version: 1\ntables: !!binary aGk=\n", 2, "tag of its own"),
    "deep list": ("[" * 100_000, 1, "more than 32 levels"),
    "deep mapping": ("{a: " * 50_000, 1, "more than 32 levels"),
    "deep block": ("- " * 50_000, 1, "more than 32 levels"),
    "key that is a list": ("? [a]\n: 1\n", 1, "key that is not plain text"),
    "empty key": ("'': 1\n", 1, "1 to 128 printable"),
    "long key": ("k" * 129 + ": 1\n", 1, "1 to 128 printable"),
    "control in key": ('"a\\nb": 1\n', 1, "1 to 128 printable"),
    "double key": ("version: 1\nversion: 1\n", 2, "stands twice"),
    "no tables": ("version: 1\n", 1, "lacks `tables`"),
    "tables empty": ("version: 1\ntables: {}\n", 2, "names no table"),
    "tables nothing": ("version: 1\ntables:\n", 2, "must be a mapping, nothing came"),
    "table name": ("version: 1\ntables:\n  a.b: {public: true}\n", 3, "no table name"),
    "public and requester": (
        "version: 1\ntables:\n  t: {public: true, requester: true}\n", 3, "at once",
    ),
    "flag that is text": ("version: 1\ntables:\n  t: {public: 'true'}\n", 3, "true or false"),
    "no units": ("version: 1\ntables:\n  t: {columns: {}}\n", 3, "lacks `units`"),
    "units empty": ("version: 1\ntables:\n  t: {units: [], columns: {}}\n", 3, "is empty"),
    "unit without domain": (
        "version: 1\ntables:\n  t: {units: [{column: c}], columns: {}}\n", 3, "lacks `domain`",
    ),
    "unit column name": (
        'version: 1\ntables:\n  t: {units: [{domain: d, column: "\\n"}], columns: {}}\n',
        3,
        "printable",
    ),
    "no role": (COLUMN % "grid: 5", 6, "lacks `role`"),
    "roles empty": (COLUMN % "role: []", 6, "one or more different roles"),
    "role twice": (COLUMN % "role: [label, label]", 6, "one or more different roles"),
    "role nothing": (COLUMN % "role: null", 6, "must be text, nothing came"),
    "role half a character": (COLUMN % 'role: "\\ud800"', 6, "half a character"),
    "grid zero": (COLUMN % "role: measure, grid: 0", 6, "greater than 0"),
    "grid text": (COLUMN % "role: measure, grid: five", 6, "text came"),
    "grid date": (COLUMN % "role: measure, grid: 2020-01-01", 6, "a date came"),
    "grid octal": (COLUMN % "role: measure, grid: 010", 6, "plain decimal digits"),
    "grid sexagesimal": (COLUMN % "role: measure, grid: 1:30", 6, "plain decimal digits"),
    "grid hexadecimal": (COLUMN % "role: measure, grid: 0x10", 6, "plain decimal digits"),
    "grid NaN": (COLUMN % "role: measure, grid: .nan", 6, "plain decimal digits"),
    "grid infinite": (COLUMN % "role: measure, grid: .inf", 6, "plain decimal digits"),
    "grid other digits": (COLUMN % "role: measure, grid: ٣", 6, "plain decimal digits"),
    "grid huge": (COLUMN % "role: measure, grid: 1e31", 6, "1e-30 to 1e30"),
    "grid exponent bomb": (COLUMN % "role: measure, grid: 1e999999999", 6, "plain decimal"),
    "grid digit bomb": (COLUMN % f"role: measure, grid: {'9' * 5000}", 6, "plain decimal"),
    "grid tiny": (COLUMN % "role: measure, grid: 1e-31", 6, "1e-30 to 1e30"),
    "clamp of one": (COLUMN % "role: measure, clamp: [1]", 6, "[low, high]"),
    "clamp reversed": (COLUMN % "role: measure, clamp: [2, 1]", 6, "[low, high]"),
    "clamp no list": (COLUMN % "role: measure, clamp: 3", 6, "must be a list"),
    "scale too large": (COLUMN % "role: measure, scale: 13", 6, "at most 12"),
    "scale negative": (COLUMN % "role: measure, scale: -1", 6, "at least 0"),
    "scale fraction": (COLUMN % "role: measure, scale: 1.5", 6, "whole number"),
    "rules no list": ("version: 1\ntables:\n  t: {public: true}\nrules: {}\n", 4, "a list"),
    "rule without kind": (
        "version: 1\ntables:\n  t: {public: true}\nrules:\n  - min_units: 3\n", 5, "lacks `kind`",
    ),
    "no purposes": (
        RULE % AGGREGATE.replace("    purposes: [p]\n", ""), 5, "lacks `purposes`"
    ),
    "purposes empty": (RULE % AGGREGATE.replace("[p]", "[]"), 8, "different names"),
    "purpose twice": (RULE % AGGREGATE.replace("[p]", "[p, p]"), 8, "different names"),
    "min_units zero": (RULE % AGGREGATE.replace("10", "0"), 6, "at least 1"),
    "min_units huge": (RULE % AGGREGATE.replace("10", "1e20"), 6, "at most"),
    "reviewers zero": (
        RULE % AGGREGATE.replace("automatic", "{reviewers: 0}"), 9, "at least 1"
    ),
    "n without share": (RULE % (AGGREGATE + "    dominance: {n: 1}\n"), 10, "together"),
    "share without n": (RULE % (AGGREGATE + "    dominance: {share: 1}\n"), 10, "together"),
    "share zero": (
        RULE % (AGGREGATE + "    dominance: {n: 1, share: 0}\n"), 10, "greater than 0"
    ),
    "share above one": (
        RULE % (AGGREGATE + "    dominance: {n: 1, share: 1.1}\n"), 10, "at most 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SYNTAX)
def test_load_policy_malformed_names_line_and_fault(case: str) -> None:
    text, line, fault = SYNTAX[case]

    with pytest.raises(PolicySyntaxError) as caught:
        load_policy(text)

    assert type(caught.value) is PolicySyntaxError
    assert caught.value.line == line
    assert fault in caught.value.message


UNKNOWN = {
    "no version": ("tables: {}\n", 1, "version"),
    "other version": ("version: 2\ntables: {}\n", 1, "version"),
    "key": ("version: 1\ntables:\n  t: {public: true}\nrule: []\n", 4, "rule"),
    "units word": ("version: 1\ntables:\n  t: {units: rows, columns: {}}\n", 3, "tables.t.units"),
    "units of a public table": (
        "version: 1\ntables:\n  t: {public: true, units: row}\n", 3, "tables.t.units",
    ),
    "role": (COLUMN % "role: secret", 6, "tables.t.columns.c.role"),
    "second role": (COLUMN % "role: [label, secret]", 6, "tables.t.columns.c.role[1]"),
    "values": (COLUMN % "role: dimension, values: open", 6, "tables.t.columns.c.values"),
    "grain": (COLUMN % "role: dimension, grain: hour", 6, "tables.t.columns.c.grain"),
    "column key": (COLUMN % "role: dimension, mask: x", 6, "tables.t.columns.c.mask"),
    "kind": ("version: 1\ntables:\n  t: {public: true}\nrules: [{kind: row}]\n", 4, "rules[0].kind"),
    "mode": (RULE % (AGGREGATE + "    mode: open\n"), 10, "rules[0].mode"),
    "aggregate": (RULE % AGGREGATE.replace("[count]", "[max]"), 7, "rules[0].aggregates[0]"),
    "approval": (RULE % AGGREGATE.replace("automatic", "never"), 9, "rules[0].approval"),
    "approval key": (
        RULE % AGGREGATE.replace("automatic", "{people: 1}"), 9, "rules[0].approval.people",
    ),
    "budget key": (
        RULE % (AGGREGATE + "    budget: {epsilon: 1}\n"), 10, "rules[0].budget.epsilon",
    ),
    "control in a word": (COLUMN % 'role: "a\\nb"', 6, "tables.t.columns.c.role"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_load_policy_unknown_term_names_line_path_and_known_words(case: str) -> None:
    text, line, path = UNKNOWN[case]

    with pytest.raises(UnknownTerm) as caught:
        load_policy(text)

    assert (caught.value.line, caught.value.path) == (line, path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"line {line}, column {caught.value.column}: ")


def test_load_policy_too_long_is_refused_unread() -> None:
    with pytest.raises(PolicySyntaxError) as caught:
        load_policy("#" * (MAX_DOCUMENT_CHARACTERS + 1))

    assert caught.value.line is None
    assert str(MAX_DOCUMENT_CHARACTERS) in str(caught.value)


def test_load_policy_long_term_is_cut_in_the_message() -> None:
    with pytest.raises(UnknownTerm) as caught:
        load_policy(COLUMN % f"role: {'x' * 5000}")

    assert len(caught.value.message) < 200


def test_load_policy_every_aggregate_is_known() -> None:
    words = ", ".join(Aggregate)

    policy = load_policy(RULE % AGGREGATE.replace("[count]", f"[{words}]"))

    assert policy.aggregate_rules[0].aggregates == set(Aggregate)


def test_policy_error_without_line_is_its_message() -> None:
    assert str(PolicyError("no")) == "no"


PLACES = {
    "key": ("version: 1\ntables:\n  t:\n    unit: row\n", 4, 5),
    "value": (COLUMN % "role: measure, grid: five", 6, 26),
    "tab": ("version: 1\n\ttables: {}\n", 2, 1),
    "control character": ("version: 1\nab\x00", 2, 3),
    "contradiction": (COLUMN % "role: [hidden, measure]", 6, 7),
    "double key": ("{version: 1, version: 1}", 1, 14),
    "empty": ("", 1, 1),
    "version": ("tables: {}\nversion: 9\n", 2, 1),
}


@pytest.mark.parametrize("case", PLACES)
def test_load_policy_fault_names_line_and_column(case: str) -> None:
    text, line, column = PLACES[case]

    with pytest.raises(PolicyError) as caught:
        load_policy(text)

    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (COLUMN % "role: lable", "label"),
        (COLUMN % "role: measure, gird: 5", "grid"),
        (COLUMN % "role: Measure", "measure"),
        (RULE % AGGREGATE.replace("min_units", "minunits"), "min_units"),
        ("version: 1\ntables: {}\nrule: []\n", "rules"),
    ],
)
def test_load_policy_misspelt_term_suggests_the_near_one(text: str, meant: str) -> None:
    with pytest.raises(UnknownTerm) as caught:
        load_policy(text)

    assert caught.value.hint.startswith(f"Did you mean `{meant}`? ")


def test_load_policy_term_like_none_suggests_none() -> None:
    with pytest.raises(UnknownTerm) as caught:
        load_policy(COLUMN % "role: xyzzy")

    assert caught.value.hint.startswith("Version 1 knows here: ")


BOMBS = {
    "one megabyte": "a: " + "b" * 2**20,
    "one megabyte of comment": "# " + "x" * 2**20,
    "billion laughs": "a: &a [x]\n" + "b: &b [*a, *a]\n" * 1000,
    "quarter megabyte of brackets": "[" * (MAX_DOCUMENT_CHARACTERS - 1),
    "long number": COLUMN % f"role: measure, grid: {'1' * 200_000}",
    "minus infinity": COLUMN % "role: measure, clamp: [-.inf, 1]",
    "not a number": COLUMN % "role: measure, clamp: [.nan, 1]",
}


@pytest.mark.parametrize("case", BOMBS)
def test_load_policy_bomb_is_refused_with_a_short_message(case: str) -> None:
    with pytest.raises(PolicySyntaxError) as caught:
        load_policy(BOMBS[case])

    assert len(str(caught.value)) < 300
    assert caught.value.hint
