"""ODRL 2.2: there and back is identity, and what the profile does not know is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from policies.codec import load_policy
from policies.composing import MAX_DOCUMENT_CHARACTERS
from policies.document import Policy
from policies.errors import Contradiction, PolicyError, PolicySyntaxError, UnknownTerm
from policies.odrl.items import MAX_ODRL_CHARACTERS
from policies.odrl.reading import from_odrl
from policies.odrl.terms import ODRL_CONTEXT
from policies.odrl.writing import to_odrl
from tests.unit.policies.policy_values import example, policies

Json = dict[str, Any]


@given(policy=policies())
def test_from_odrl_of_to_odrl_is_the_same_policy(policy: Policy) -> None:
    assert from_odrl(to_odrl(policy)) == policy


@given(policy=policies())
def test_to_odrl_equal_policies_give_equal_text(policy: Policy) -> None:
    text = to_odrl(policy)

    assert to_odrl(from_odrl(text)) == text
    # Another writer may escape and lay out as it likes.
    assert from_odrl(json.dumps(json.loads(text), indent="\t")) == policy


def document() -> Json:
    found: Json = json.loads(to_odrl(example()))
    return found


def permissions(action: str) -> list[Json]:
    return [rule for rule in document()["permission"] if rule["action"] == action]


def test_to_odrl_says_each_part_in_its_place() -> None:
    aggregate, noisy = permissions("bonded:aggregate")
    (subset,) = permissions("extract")

    assert document()["@type"] == "Set"
    assert document()["profile"] == "urn:bonded:odrl:1"
    assert document()["prohibition"] == [
        {
            "target": {
                "@type": "Asset",
                "bonded:table": "patients",
                "bonded:column": "name",
            },
            "action": "use",
        }
    ]
    assert {
        "leftOperand": "purpose",
        "operator": "isAnyOf",
        "rightOperand": [{"@id": "urn:bonded:purpose:official-statistics"}],
    } in aggregate["constraint"]
    assert {
        "leftOperand": "bonded:minUnits",
        "operator": "gteq",
        "rightOperand": 10,
    } in aggregate["constraint"]
    assert {
        "leftOperand": "bonded:dominanceShare",
        "operator": "lt",
        "rightOperand": {"@value": "0.9", "@type": "xsd:decimal"},
    } in aggregate["constraint"]
    assert "duty" not in aggregate  # approval is automatic
    assert noisy["duty"][0]["action"] == "obtainConsent"
    assert {
        "leftOperand": "elapsedTime",
        "operator": "lteq",
        "rightOperand": {"@value": "P90D", "@type": "xsd:duration"},
    } in subset["constraint"]
    assert [duty["action"] for duty in subset["duty"]] == [
        "bonded:acceptLicence", "obtainConsent", "bonded:pseudonymise", "watermark",
    ]  # fmt: skip


def test_to_odrl_with_an_assigner_is_an_offer() -> None:
    found = json.loads(to_odrl(example(), assigner="https://mill.example/"))

    assert (found["@type"], found["assigner"]) == ("Offer", "https://mill.example/")
    assert from_odrl(json.dumps(found)) == example()


def test_from_odrl_takes_full_addresses_and_single_values() -> None:
    text = to_odrl(example())
    text = text.replace('"isAnyOf"', '{"@id": "http://www.w3.org/ns/odrl/2/isAnyOf"}')
    text = text.replace('"bonded:minUnits"', '"urn:bonded:odrl:1#minUnits"')
    text = text.replace('"extract"', '"odrl:extract"')
    found = json.loads(text)
    found["prohibition"] = found["prohibition"][0]

    assert from_odrl(json.dumps(found)) == example()


def test_from_odrl_reads_a_purpose_by_its_duo_address() -> None:
    text = to_odrl(example()).replace(
        "urn:bonded:purpose:official-statistics",
        "http://purl.obolibrary.org/obo/DUO_0000042",
    )

    assert from_odrl(text).aggregate_rules[0].purposes == ("general-research",)


AGGREGATE = next(
    index
    for index, rule in enumerate(document()["permission"])
    if rule["action"] == "bonded:aggregate"
)
EXTRACT = len(document()["permission"]) - 1
AT = f"$.permission[{AGGREGATE}]"


def put(*steps: str | int, value: Any) -> Callable[[Json], None]:
    def change(found: Json) -> None:
        part: Any = found
        for step in steps[:-1]:
            part = part[step]
        part[steps[-1]] = value

    return change


def drop(*steps: str | int) -> Callable[[Json], None]:
    def change(found: Json) -> None:
        part: Any = found
        for step in steps[:-1]:
            part = part[step]
        del part[steps[-1]]

    return change


RULE = ("permission", AGGREGATE)
SUBSET = ("permission", EXTRACT)
FAULTS: dict[str, tuple[Callable[[Json], None], type[PolicyError], str, str]] = {
    "other context": (
        put("@context", 0, value="https://evil.example/context"),
        PolicySyntaxError,
        "$[\"@context\"][0]",
        "fetches none",
    ),
    "altered inline context": (
        put("@context", 1, value={"bonded": "urn:bonded:odrl:2#"}),
        PolicySyntaxError,
        "$[\"@context\"][1]",
        "fetches none",
    ),
    "no context": (drop("@context"), PolicySyntaxError, "$", "lacks `@context`"),
    "agreement": (
        put("@type", value="Agreement"), UnknownTerm, "$[\"@type\"]", "Agreement",
    ),
    "profile": (put("profile", value="urn:other"), UnknownTerm, "$.profile", "urn:other"),
    "conflict": (put("conflict", value="perm"), UnknownTerm, "$.conflict", "perm"),
    "obligation": (put("obligation", value=[]), UnknownTerm, "$.obligation", "obligation"),
    "inherited": (
        put("inheritFrom", value="x"), UnknownTerm, "$.inheritFrom", "inheritFrom",
    ),
    "action": (
        put(*RULE, "action", value="sell"), UnknownTerm, f"{AT}.action", "sell",
    ),
    "near action": (
        put(*RULE, "action", value="bonded:agregate"),
        UnknownTerm,
        f"{AT}.action",
        "Did you mean `bonded:aggregate`?",
    ),
    "operand": (
        put(*RULE, "constraint", 0, "leftOperand", value="spatial"),
        UnknownTerm,
        f"{AT}.constraint[0].leftOperand",
        "spatial",
    ),
    "operator": (
        put(*RULE, "constraint", 2, "operator", value="lteq"),
        UnknownTerm,
        f"{AT}.constraint[2].operator",
        "lteq",
    ),
    "logical constraint": (
        put(*RULE, "constraint", 0, value={"and": []}),
        UnknownTerm,
        f"{AT}.constraint[0].and",
        "and",
    ),
    "unit of a constraint": (
        put(*RULE, "constraint", 0, "unit", value="x"),
        UnknownTerm,
        f"{AT}.constraint[0].unit",
        "unit",
    ),
    "purpose": (
        put(*RULE, "constraint", 0, "rightOperand", value=[{"@id": "urn:x"}]),
        UnknownTerm,
        f"{AT}.constraint[0].rightOperand[0]",
        "urn:x",
    ),
    "number": (
        put(*RULE, "constraint", 2, "rightOperand", value="ten"),
        PolicySyntaxError,
        f"{AT}.constraint[2].rightOperand",
        "must be a whole number, text came",
    ),
    "number type": (
        put(
            *RULE, "constraint", 5, "rightOperand",
            value={"@value": "1", "@type": "xsd:double"},
        ),
        PolicySyntaxError,
        f"{AT}.constraint[5].rightOperand",
        "xsd:decimal",
    ),
    "number digits": (
        put(
            *RULE, "constraint", 5, "rightOperand",
            value={"@value": "1e9", "@type": "xsd:decimal"},
        ),
        PolicySyntaxError,
        f"{AT}.constraint[5].rightOperand",
        "plain digits",
    ),
    "number nothing": (
        put(*RULE, "constraint", 5, "rightOperand", value=None),
        PolicySyntaxError,
        f"{AT}.constraint[5].rightOperand",
        "nothing came",
    ),
    "twice": (
        put(
            *RULE, "constraint", 1,
            value={"leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": []},
        ),
        PolicySyntaxError,
        f"{AT}.constraint[1].leftOperand",
        "twice",
    ),
    "duty": (
        put(*RULE, "duty", value=[{"action": "compensate"}]),
        UnknownTerm,
        f"{AT}.duty[0].action",
        "compensate",
    ),
    "empty duty": (
        put(*RULE, "duty", value=[{"action": "obtainConsent"}]),
        PolicySyntaxError,
        f"{AT}.duty[0]",
        "how far",
    ),
    "duty twice": (
        put(*SUBSET, "duty", 1, value={"action": "watermark"}),
        PolicySyntaxError,
        f"$.permission[{EXTRACT}].duty[3].action",
        "twice",
    ),
    "rule type": (
        put(*RULE, "@type", value="Prohibition"),
        UnknownTerm,
        f"{AT}[\"@type\"]",
        "Prohibition",
    ),
    "tables of a rule": (
        drop(*RULE, "target", 0),
        PolicySyntaxError,
        f"{AT}.target",
        "other tables",
    ),
    "table of a subset": (
        put(*SUBSET, "target", "bonded:table", value="visits"),
        PolicySyntaxError,
        f"$.permission[{EXTRACT}].target",
        "other tables",
    ),
    "days": (
        put(*SUBSET, "constraint", 4, "rightOperand", value="P3M"),
        PolicySyntaxError,
        f"$.permission[{EXTRACT}].constraint[4].rightOperand",
        "whole days",
    ),
    "hidden by another action": (
        put("prohibition", 0, "action", value="derive"),
        UnknownTerm,
        "$.prohibition[0].action",
        "derive",
    ),
    "hidden of no table": (
        put("prohibition", 0, "target", "bonded:table", value="cities"),
        PolicySyntaxError,
        "$.prohibition[0].target[\"bonded:table\"]",
        "names no table",
    ),
    "hidden and described": (
        put("prohibition", 0, "target", "bonded:column", value="age"),
        PolicySyntaxError,
        "$.prohibition[0].target[\"bonded:column\"]",
        "described twice",
    ),
    "no threshold": (drop(*RULE, "constraint", 2), PolicySyntaxError, AT, "min_units"),
    "table name": (
        put("permission", 0, "target", "bonded:table", value="a b"),
        PolicySyntaxError,
        "$.permission[0]",
        "table name",
    ),
    "permission that is text": (
        put("permission", value="use"), PolicySyntaxError, "$.permission", "an object",
    ),
    "name that is a number": (
        put("permission", 0, "target", "bonded:table", value=5),
        PolicySyntaxError,
        "$.permission[0].target[\"bonded:table\"]",
        "a number came",
    ),
    "empty name": (
        put("prohibition", 0, "target", "bonded:column", value=""),
        PolicySyntaxError,
        "$.prohibition[0].target[\"bonded:column\"]",
        "1 to 128",
    ),
    "half a character": (
        put("prohibition", 0, "target", "bonded:column", value="\ud800"),
        PolicySyntaxError,
        "$.prohibition[0].target[\"bonded:column\"]",
        "half a character",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_from_odrl_unknown_is_refused_with_its_json_path(case: str) -> None:
    change, kind, path, words = FAULTS[case]
    found = document()
    change(found)

    with pytest.raises(PolicyError) as caught:
        from_odrl(json.dumps(found))

    assert type(caught.value) is kind
    assert caught.value.path == path
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint


def constraint(column: str, operand: str, value: Any) -> Callable[[Json], None]:
    def change(found: Json) -> None:
        for rule in found["permission"]:
            if isinstance(rule["target"], dict) and (
                rule["target"].get("bonded:column") == column
            ):
                for part in rule["constraint"]:
                    if part["leftOperand"] == operand:
                        part["rightOperand"] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (constraint("failure", "bonded:role", ["lable"]), "lable"),
        (constraint("diagnosis", "bonded:sensitive", "yes"), "true or false"),
        (constraint("age", "bonded:clampLow", 500), "low below high"),
        (constraint("visit_date", "bonded:grain", "hour"), "hour"),
    ],
)
def test_from_odrl_of_a_wrong_column_names_its_permission(
    change: Callable[[Json], None], words: str
) -> None:
    found = document()
    change(found)

    with pytest.raises(PolicyError) as caught:
        from_odrl(json.dumps(found))

    assert caught.value.path.startswith("$.permission[")
    assert words in caught.value.message


def test_from_odrl_contradiction_stays_one() -> None:
    found = document()
    for rule in found["permission"]:
        if rule["action"] == "bonded:aggregate":
            rule["constraint"][0]["rightOperand"] = ["p"]

    with pytest.raises(Contradiction, match="serve the purpose `p`") as caught:
        from_odrl(json.dumps(found))

    assert caught.value.path.startswith("$.permission[")


def test_from_odrl_one_end_of_a_clamp_is_refused() -> None:
    found = document()
    for rule in found["permission"]:
        if (
            isinstance(rule["target"], dict)
            and rule["target"].get("bonded:column") == "age"
        ):
            rule["constraint"] = [
                part
                for part in rule["constraint"]
                if part["leftOperand"] != "bonded:clampLow"
            ]

    with pytest.raises(PolicySyntaxError, match="one end of a clamp"):
        from_odrl(json.dumps(found))


BROKEN = {
    "no JSON": "version: 1",
    "twice": '{"@type": "Set", "@type": "Offer"}',
    "NaN": '{"permission": NaN}',
    "digits": '{"permission": 1' + "0" * 5000 + "}",
    "deep": "[" * 100_000,
    "a list": "[]",
    "long": '"' + "x" * MAX_ODRL_CHARACTERS + '"',
    "table twice": json.dumps(
        {
            "@context": ODRL_CONTEXT,
            "@type": "Set",
            "profile": "urn:bonded:odrl:1",
            "permission": [{"target": {"bonded:table": "t"}, "action": "use"}] * 2,
        }
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_from_odrl_broken_text_is_refused_by_name(case: str) -> None:
    with pytest.raises(PolicySyntaxError) as caught:
        from_odrl(BROKEN[case])

    assert caught.value.hint
    assert len(str(caught.value)) < 300


def test_from_odrl_of_the_largest_document_reads_back() -> None:
    columns = "".join(f"      c{i}: {{role: measure, grid: 5}}\n" for i in range(2000))
    text = f"version: 1\ntables:\n  t:\n    units: row\n    columns:\n{columns}"
    policy = load_policy(text)

    written = to_odrl(policy)

    assert len(written) * MAX_DOCUMENT_CHARACTERS < len(text) * MAX_ODRL_CHARACTERS
    assert from_odrl(written) == policy


def test_from_odrl_without_a_rule_lets_nothing_out() -> None:
    policy = load_policy("{version: 1, tables: {t: {public: true}}}")

    assert from_odrl(to_odrl(policy)) == policy
