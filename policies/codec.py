"""The policy document as text: YAML or JSON in, frozen values out, canonical JSON back.

A document is read node by node, so that every refusal names its line; nothing is ignored:
a key that version 1 does not define is refused, since whoever wrote it believed that it
protects something.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

from policies.canonical_text import compose_json
from policies.checks import check_policy
from policies.composing import compose
from policies.document import AggregateRule, Column, Policy, Rule, SubsetRule, Table
from policies.errors import PolicyError, UnknownTerm
from policies.nodes import Node
from policies.reading import read_rules, read_tables
from policies.yaml_text import escape_json


def load_policy(text: str) -> Policy:
    """Read a policy document; afterwards its parts are known words that hold together.

    `text` is YAML 1.1 or JSON, at most 256 Ki characters, without anchors. Raises
    PolicySyntaxError, UnknownTerm or Contradiction, each with a line.
    """
    return _canonical(text) or _read(compose(text))


def _canonical(text: str) -> Policy | None:
    """The policy whose canonical form `text` is; None where it is none's.

    By the same checks. What is written back otherwise than it came might have been read
    otherwise than the document is meant, so it is read anew, by `compose`.
    """
    root = compose_json(text)
    if root is None:
        return None
    try:
        policy = _read(root)
    except PolicyError:
        return None  # and again with lines, which the error has to name
    return policy if dump_policy(policy) == text else None


def _read(root: Node) -> Policy:
    version = root.child("version")
    if version is None or version.text() != "1":
        raise UnknownTerm(
            "the document must state `version: 1`, the only version this node speaks",
            line=version.line if version else root.line,
            column=version.column if version else root.column,
            path="version",
            hint="Put `version: 1` on the first line.",
        )
    root.only("version", "tables", "rules")
    policy = Policy(read_tables(root.require("tables")), read_rules(root.child("rules")))
    check_policy(policy, root)
    return policy


def dump_policy(policy: Policy) -> str:
    """Write the canonical JSON of a policy; `load_policy` of it gives an equal policy."""
    document: dict[str, Any] = {
        "version": 1,
        "tables": {table.name: _table(table) for table in policy.tables},
    }
    if policy.rules:
        document["rules"] = [_rule(rule) for rule in policy.rules]
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return escape_json(text)


def lay_out_policy(policy: Policy) -> str:
    """Write a policy as JSON for people, a column a line; `load_policy` gives it back."""
    found = json.loads(dump_policy(policy))
    ordered = {key: found[key] for key in ("version", "tables", "rules") if key in found}
    return escape_json(_laid_out(ordered, "")) + "\n"


def _laid_out(value: Any, indent: str) -> str:
    """`value` on one line where that is short and holds no mapping; else a line a part."""
    line = json.dumps(value, ensure_ascii=False)
    parts = list(value.values()) if isinstance(value, dict) else value
    is_flat = not isinstance(parts, list) or not any(isinstance(p, dict) for p in parts)
    if is_flat and len(indent) + len(line) <= 88:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        brackets = "{}"
    elif isinstance(value, list):
        names, brackets = [""] * len(value), "[]"
    else:
        return line
    lines = [f"{inner}{n}{_laid_out(p, inner)}" for n, p in zip(names, parts, strict=True)]
    return f"{brackets[0]}\n" + ",\n".join(lines) + f"\n{indent}{brackets[1]}"


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of the canonical JSON in hex: what a policy version is."""
    return hashlib.sha256(dump_policy(policy).encode()).hexdigest()


def _number(value: Decimal) -> int | float | str:
    # A JSON number only where it comes back as the same decimal.
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _column(column: Column) -> dict[str, Any]:
    roles = sorted(column.roles)
    found: dict[str, Any] = {"role": roles[0] if len(roles) == 1 else roles}
    if column.sensitive:
        found["sensitive"] = True
    if column.values_public:
        found["values"] = "public"
    if column.grid is not None:
        found["grid"] = _number(column.grid)
    if column.clamp is not None:
        found["clamp"] = [_number(bound) for bound in column.clamp]
    if column.scale is not None:
        found["scale"] = column.scale
    if column.grain is not None:
        found["grain"] = str(column.grain)
    return found


def _table(table: Table) -> dict[str, Any]:
    if table.public:
        return {"public": True}
    if table.requester:
        return {"requester": True}
    found: dict[str, Any] = {
        "units": "row"
        if table.row_units
        else [{"domain": unit.domain, "column": unit.column} for unit in table.units],
        "columns": {column.name: _column(column) for column in table.columns},
    }
    if table.derived:
        found["derived"] = {
            item.name: {
                "expr": item.expr,
                **({} if item.grid is None else {"grid": _number(item.grid)}),
                **(
                    {}
                    if item.clamp is None
                    else {"clamp": [_number(bound) for bound in item.clamp]}
                ),
            }
            for item in table.derived
        }
    return found


def _rule(rule: Rule) -> dict[str, Any]:
    return _aggregate(rule) if isinstance(rule, AggregateRule) else _subset(rule)


def _approval(reviewers: int) -> str | dict[str, int]:
    return {"reviewers": reviewers} if reviewers else "automatic"


def _aggregate(rule: AggregateRule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": "aggregate",
        "mode": str(rule.mode),
        "min_units": rule.min_units,
        "aggregates": sorted(rule.aggregates),
        "purposes": list(rule.purposes),
        "approval": _approval(rule.approval.reviewers),
    }
    limits = {"n": rule.dominance.n, "share": rule.dominance.share}
    limits["p_percent"] = rule.dominance.p_percent
    dominance = {
        key: _number(Decimal(value)) for key, value in limits.items() if value is not None
    }
    if dominance:
        found["dominance"] = dominance
    if rule.max_queries_per_day is not None:
        found["max_queries_per_day"] = rule.max_queries_per_day
    if rule.budget is not None:
        found["budget"] = {
            "rho_total": _number(rule.budget.rho_total),
            "rho_per_consumer": _number(rule.budget.rho_per_consumer),
            "delta": _number(rule.budget.delta),
            "max_groups_per_unit": rule.budget.max_groups_per_unit,
            "max_rows_per_unit_group": rule.budget.max_rows_per_unit_group,
        }
    return found


def _subset(rule: SubsetRule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": "subset",
        "columns": list(rule.columns),
        "licence": rule.licence,
        "max_rows": rule.max_rows,
        "approval": _approval(rule.approval.reviewers),
    }
    optional: dict[str, Any] = {
        "label": rule.label,
        "row_filter": rule.row_filter,
        "purposes": list(rule.purposes) or None,
        "pseudonymise": list(rule.pseudonymise) or None,
        "fingerprint": rule.fingerprint or None,
        "expires_after_days": rule.expires_after_days,
    }
    return found | {key: value for key, value in optional.items() if value is not None}
