"""From ODRL 2.2 back to a policy: only what the profile knows, everything else by name.

No context is ever fetched: ODRL's own is known by its address, ours by its content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, assert_never

from policies.codec import load_policy
from policies.document import Policy, SubsetRule
from policies.errors import PolicyError
from policies.odrl import terms
from policies.odrl.items import Item, read_json
from policies.odrl.terms import Kind, Term
from policies.strictness import subset_table_name
from policies.vocabulary import PURPOSES, purpose_from_iri
from policies.yaml_text import escape_json

Json = dict[str, Any]


def from_odrl(text: str) -> Policy:
    """Read what `to_odrl` wrote, or the like of it.

    Raises PolicySyntaxError or UnknownTerm with a JSON path at what the profile does not
    know, and what `load_policy` raises where the parts do not hold together.
    """
    root = read_json(text)
    root.only(
        "@context", "@type", "uid", "@id", "profile", "conflict", "assigner", "permission",
        "prohibition",
    )  # fmt: skip
    _check_head(root)
    reader = _Reader()
    for item in root.require("permission").elements():
        reader.permission(item)
    hidden = root.child("prohibition")
    for item in () if hidden is None else hidden.elements():
        reader.prohibition(item)
    return reader.policy()


def _check_head(root: Item) -> None:
    for context in root.require("@context").elements():
        if not context.is_equal(terms.ODRL_CONTEXT) and not context.is_equal(
            terms.INLINE_CONTEXT
        ):
            raise context.fault(
                "is a context that this node does not know, and it fetches none",
                f"Use {terms.ODRL_CONTEXT} and the inline context of an exported policy.",
            )
    kind = root.require("@type")
    if kind.term() not in ("Set", "Offer"):
        raise kind.unknown("kind of policy", kind.term(), ("Set", "Offer"))
    profile = root.require("profile")
    if profile.term() != terms.PROFILE:
        raise profile.unknown("profile", profile.term(), (terms.PROFILE,))
    conflict = root.child("conflict")
    if conflict is not None and conflict.term() not in ("prohibit",):
        raise conflict.unknown("way out of a conflict", conflict.term(), ("prohibit",))
    for key in ("uid", "@id", "assigner"):
        # Names of the document and its author: they limit nothing.
        named = root.child(key)
        if named is not None:
            named.term()


class _Reader:
    """Collects a policy document, and which JSON path each part of it came from."""

    def __init__(self) -> None:
        self._tables: dict[str, Json] = {}
        self._rules: list[Json] = []
        self._paths: dict[str, str] = {}
        # Facts that ODRL states twice: compared once the whole policy is known.
        self._rule_tables: list[tuple[Item, list[str]]] = []

    def permission(self, item: Item) -> None:
        """Read one permission by its action."""
        item.only("@type", "uid", "target", "action", "constraint", "duty")
        _check_type(item, "Permission")
        action = item.require("action")
        readers: dict[str, Callable[[Item], None]] = {
            terms.USE: self._public,
            terms.BRING: self._brought,
            terms.REFER: self._refer,
            terms.AGGREGATE: self._aggregate,
            terms.EXTRACT: self._subset,
        }
        read = readers.get(action.term())
        if read is None:
            raise action.unknown("action", action.term(), tuple(readers))
        read(item)

    def prohibition(self, item: Item) -> None:
        """Read one prohibition: a hidden column."""
        item.only("@type", "uid", "target", "action")
        _check_type(item, "Prohibition")
        action = item.require("action")
        if action.term() != terms.USE:
            raise action.unknown("action", action.term(), (terms.USE,))
        target = item.require("target")
        target.only("@type", terms.TABLE, terms.COLUMN)
        self._add(target, "columns", target.require(terms.COLUMN), {"role": "hidden"}, item)

    def policy(self) -> Policy:
        """Return the policy; a fault of it names the JSON path that it came from."""
        document = {"version": 1, "tables": self._tables, "rules": self._rules}
        try:
            found = load_policy(escape_json(json.dumps(document, ensure_ascii=False)))
        except PolicyError as error:
            path = self._path_of(error.path)
            raise type(error)(
                f"`{path}`: {error.message}", path=path, hint=error.hint
            ) from error
        for (item, tables), rule in zip(self._rule_tables, found.rules, strict=True):
            expected = (
                [subset_table_name(found, rule)]
                if isinstance(rule, SubsetRule)
                else [table.name for table in found.tables]
            )
            if sorted(tables) != sorted(expected):
                raise item.fault(
                    "names other tables than those to which the rule applies",
                    f"Name exactly: {', '.join(expected)}.",
                )
        return found

    def _path_of(self, path: str) -> str:
        while path and path not in self._paths:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._paths.get(path, "$")

    def _new_table(self, item: Item, facts: Json) -> None:
        target = item.require("target")
        target.only("@type", terms.TABLE)
        name = target.require(terms.TABLE)
        if name.name() in self._tables:
            raise name.fault("names a table that another permission describes already")
        self._tables[name.name()] = facts
        self._paths[f"tables.{name.name()}"] = item.path

    def _public(self, item: Item) -> None:
        item.only("@type", "uid", "target", "action")
        self._new_table(item, {"public": True})

    def _brought(self, item: Item) -> None:
        item.only("@type", "uid", "target", "action")
        self._new_table(item, {"requester": True})

    def _refer(self, item: Item) -> None:
        item.only("@type", "uid", "target", "action", "constraint")
        target = item.require("target")
        column, measure = target.child(terms.COLUMN), target.child(terms.MEASURE)
        if column is not None:
            target.only("@type", terms.TABLE, terms.COLUMN)
            facts = _facts(item, terms.COLUMN_TERMS)
            self._add(target, "columns", column, facts, item)
        elif measure is not None:
            target.only("@type", terms.TABLE, terms.MEASURE)
            facts = _facts(item, terms.DERIVED_TERMS)
            self._add(target, "derived", measure, facts, item)
        else:
            self._new_table(item, {**_facts(item, terms.UNIT_TERMS), "columns": {}})

    def _add(self, target: Item, part: str, name: Item, facts: Json, item: Item) -> None:
        table = target.require(terms.TABLE)
        found = self._tables.get(table.name())
        if found is None or "columns" not in found:
            raise table.fault(
                "names no table that a permission before this one lets queries refer to",
                "Put the permission of the table before those of its columns.",
            )
        inside = found.setdefault(part, {})
        if name.name() in inside:
            raise name.fault("is described twice", "Keep one of the two.")
        inside[name.name()] = facts
        self._paths[f"tables.{table.name()}.{part}.{name.name()}"] = item.path

    def _aggregate(self, item: Item) -> None:
        facts = {"kind": "aggregate", **_facts(item, terms.AGGREGATE_TERMS)}
        facts |= _duties(item, {terms.CONSENT: terms.CONSENT_TERMS})
        target = item.require("target")
        tables = []
        for part in target.elements():
            part.only("@type", terms.TABLE)
            tables.append(part.require(terms.TABLE).name())
        self._rule(item, facts, tables)

    def _subset(self, item: Item) -> None:
        target = item.require("target")
        target.only("@type", terms.TABLE, terms.COLUMN)
        facts = {
            "kind": "subset",
            "columns": [name.name() for name in target.require(terms.COLUMN).elements()],
            **_facts(item, terms.SUBSET_TERMS),
        }
        facts |= _duties(
            item,
            {
                terms.CONSENT: terms.CONSENT_TERMS,
                terms.ACCEPT_LICENCE: terms.LICENCE_TERMS,
                terms.PSEUDONYMISE: terms.PSEUDONYM_TERMS,
                terms.WATERMARK: (),
            },
        )
        self._rule(item, facts, [target.require(terms.TABLE).name()])

    def _rule(self, item: Item, facts: Json, tables: list[str]) -> None:
        # A permission without the duty of consent holds by itself, so says ODRL.
        facts.setdefault("approval", "automatic")
        self._paths[f"rules[{len(self._rules)}]"] = item.path
        self._rules.append(facts)
        self._rule_tables.append((item.require("target"), tables))


def _check_type(item: Item, expected: str) -> None:
    kind = item.child("@type")
    if kind is not None and kind.term() != expected:
        raise kind.unknown("type", kind.term(), (expected,))


def _duties(item: Item, known: dict[str, Sequence[Term]]) -> Json:
    found: Json = {}
    duty = item.child("duty")
    seen: set[str] = set()
    for part in () if duty is None else duty.elements():
        part.only("@type", "uid", "action", "constraint")
        _check_type(part, "Duty")
        action = part.require("action")
        if action.term() not in known:
            raise action.unknown("duty", action.term(), tuple(known))
        if action.term() in seen:
            raise action.fault("is a duty that stands twice", "Keep one of the two.")
        seen.add(action.term())
        if action.term() == terms.WATERMARK:
            part.only("@type", "uid", "action")
            found["fingerprint"] = True
            continue
        facts = _facts(part, known[action.term()])
        if not facts:
            raise part.fault("is a duty without the constraint that says how far it goes")
        found |= facts
    return found


def _facts(item: Item, known: Sequence[Term]) -> Json:
    """Return the keys of the policy document that the item's constraints state."""
    found: Json = {}
    constraints = item.child("constraint")
    seen: set[str] = set()
    for part in () if constraints is None else constraints.elements():
        part.only("@type", "uid", "leftOperand", "operator", "rightOperand")
        _check_type(part, "Constraint")
        left, operator = part.require("leftOperand"), part.require("operator")
        term = next((term for term in known if term.operand == left.term()), None)
        if term is None:
            operands = tuple(term.operand for term in known)
            raise left.unknown("operand", left.term(), operands)
        if term.operand in seen:
            raise left.fault("is constrained twice", "Keep one of the two.")
        seen.add(term.operand)
        if operator.term() != term.operator:
            raise operator.unknown("operator", operator.term(), (term.operator,))
        value = _value(term.kind, part.require("rightOperand"))
        if len(term.key) == 1:
            found[term.key[0]] = value
        else:
            found.setdefault(term.key[0], {})[term.key[1]] = value
    return _clamped(item, found)


def _clamped(item: Item, facts: Json) -> Json:
    clamp = facts.get("clamp")
    if clamp is not None:
        if set(clamp) != {"low", "high"}:
            raise item.fault("constrains one end of a clamp only", "State both ends.")
        facts["clamp"] = [clamp["low"], clamp["high"]]
    return facts


def _value(kind: Kind, item: Item) -> Any:
    match kind:
        case Kind.TEXT:
            return item.text()
        case Kind.FLAG:
            return item.flag()
        case Kind.WHOLE:
            return item.whole()
        case Kind.NUMBER:
            return item.number()
        case Kind.TEXTS:
            return [part.text() for part in item.elements()]
        case Kind.PURPOSES:
            return [_purpose(part) for part in item.elements()]
        case Kind.DAYS:
            return item.days()
        case Kind.UNITS:
            return _units(item)
        case _:  # pragma: no cover  # mypy sees that no kind is left
            assert_never(kind)


def _units(item: Item) -> Any:
    if not item.is_list and not item.is_object:
        return item.text()
    found = []
    for part in item.elements():
        part.only(terms.DOMAIN, terms.COLUMN)
        found.append(
            {
                "domain": part.require(terms.DOMAIN).text(),
                "column": part.require(terms.COLUMN).text(),
            }
        )
    return found


def _purpose(item: Item) -> str:
    iri = item.iri()
    if iri is None:
        return item.text()
    term = purpose_from_iri(iri)
    if term is None:
        known = tuple(term.odrl for term in PURPOSES)
        raise item.unknown("purpose", iri, known)
    return str(term.purpose)
