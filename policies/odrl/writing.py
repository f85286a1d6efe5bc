"""From a policy to ODRL 2.2 in JSON-LD: permissions, prohibitions, duties, constraints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from policies.codec import dump_policy, policy_digest
from policies.document import AggregateRule, Policy
from policies.odrl import terms
from policies.odrl.terms import Kind, Term
from policies.strictness import subset_table_name
from policies.vocabulary import purpose_term

Json = dict[str, Any]


def to_odrl(policy: Policy, *, assigner: str = "") -> str:
    """Write `policy` as an ODRL Set; as an Offer where `assigner` (an IRI) makes one.

    `from_odrl` of it gives an equal policy. Equal arguments give equal text. Requires a
    policy that `load_policy` would read.
    """
    # From the canonical document: what it holds is all that a policy says.
    document = json.loads(dump_policy(policy), parse_float=Decimal)
    hidden: list[Json] = []
    found: Json = {
        "@context": [terms.ODRL_CONTEXT, terms.INLINE_CONTEXT],
        "@type": "Offer" if assigner else "Set",
        "uid": f"urn:bonded:policy:{policy_digest(policy)}",
        "profile": terms.PROFILE,
        "conflict": "prohibit",
    }
    if assigner:
        found["assigner"] = assigner
    found["permission"] = permissions = []
    for name, table in document["tables"].items():
        permissions.append(_table(name, table))
        permissions += _columns(name, table)
        hidden += _hidden(name, table)
    for rule, facts in zip(policy.rules, document.get("rules", []), strict=True):
        if isinstance(rule, AggregateRule):
            permissions.append(_aggregate(list(document["tables"]), facts))
        else:
            permissions.append(_subset(subset_table_name(policy, rule), facts))
    if hidden:
        found["prohibition"] = hidden
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def _permission(target: Json | list[Json], action: str, constraints: list[Json]) -> Json:
    found: Json = {"target": target, "action": action}
    return found | ({"constraint": constraints} if constraints else {})


def _table(name: str, table: Mapping[str, Any]) -> Json:
    target = {"@type": "Asset", terms.TABLE: name}
    if table.get("public"):
        return _permission(target, terms.USE, [])
    if table.get("requester"):
        return _permission(target, terms.BRING, [])
    return _permission(target, terms.REFER, _constraints(terms.UNIT_TERMS, table))


def _columns(name: str, table: Mapping[str, Any]) -> Iterator[Json]:
    for column, facts in table.get("columns", {}).items():
        if facts["role"] != "hidden":
            target = {"@type": "Asset", terms.TABLE: name, terms.COLUMN: column}
            constraints = _constraints(terms.COLUMN_TERMS, facts)
            yield _permission(target, terms.REFER, constraints)
    for measure, facts in table.get("derived", {}).items():
        target = {"@type": "Asset", terms.TABLE: name, terms.MEASURE: measure}
        yield _permission(target, terms.REFER, _constraints(terms.DERIVED_TERMS, facts))


def _hidden(name: str, table: Mapping[str, Any]) -> Iterator[Json]:
    for column, facts in table.get("columns", {}).items():
        if facts["role"] == "hidden":
            target = {"@type": "Asset", terms.TABLE: name, terms.COLUMN: column}
            yield {"target": target, "action": terms.USE}


def _aggregate(tables: Sequence[str], facts: Mapping[str, Any]) -> Json:
    target: list[Json] = [{"@type": "Asset", terms.TABLE: name} for name in tables]
    found = _permission(target, terms.AGGREGATE, _constraints(terms.AGGREGATE_TERMS, facts))
    duties = list(_duty(terms.CONSENT, terms.CONSENT_TERMS, facts))
    return found | ({"duty": duties} if duties else {})


def _subset(table: str, facts: Mapping[str, Any]) -> Json:
    target: Json = {
        "@type": "AssetCollection",
        terms.TABLE: table,
        terms.COLUMN: facts["columns"],
    }
    found = _permission(target, terms.EXTRACT, _constraints(terms.SUBSET_TERMS, facts))
    found["duty"] = [
        *_duty(terms.ACCEPT_LICENCE, terms.LICENCE_TERMS, facts),
        *_duty(terms.CONSENT, terms.CONSENT_TERMS, facts),
        *_duty(terms.PSEUDONYMISE, terms.PSEUDONYM_TERMS, facts),
        *([{"action": terms.WATERMARK}] if facts.get("fingerprint") else []),
    ]
    return found


def _duty(action: str, known: Sequence[Term], facts: Mapping[str, Any]) -> Iterator[Json]:
    constraints = _constraints(known, facts)
    if constraints:
        yield {"action": action, "constraint": constraints}


def _constraints(known: Sequence[Term], facts: Mapping[str, Any]) -> list[Json]:
    return [
        {
            "leftOperand": term.operand,
            "operator": term.operator,
            "rightOperand": _operand(term.kind, value),
        }
        for term in known
        if (value := _value(facts, term.key)) is not None
    ]


def _value(facts: Mapping[str, Any], key: Sequence[str]) -> Any:
    value = facts.get(key[0])
    if len(key) == 1 or value is None:
        return value
    if isinstance(value, list):  # a clamp
        return value[0 if key[1] == "low" else 1]
    # An approval is a mapping, or the word `automatic`: then nobody's consent is needed.
    return value.get(key[1]) if isinstance(value, dict) else None


def _operand(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.NUMBER:
            # A JSON number would become a double, which is not the number that was meant.
            return {"@value": f"{Decimal(value):f}", "@type": "xsd:decimal"}
        case Kind.DAYS:
            return {"@value": f"P{value}D", "@type": "xsd:duration"}
        case Kind.TEXTS:
            return value if isinstance(value, list) else [value]
        case Kind.PURPOSES:
            return [_purpose(name) for name in value]
        case Kind.UNITS if isinstance(value, list):
            return [
                {terms.DOMAIN: unit["domain"], terms.COLUMN: unit["column"]}
                for unit in value
            ]
        case _:
            return value


def _purpose(name: str) -> Any:
    term = purpose_term(name)
    return name if term is None else {"@id": term.odrl}
