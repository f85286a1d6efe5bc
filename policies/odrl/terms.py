"""The terms of Bonded's ODRL profile: which constraint says what of a policy document.

One table for both directions: a limit that is written is read by the same line, and what no
line names is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ODRL_CONTEXT = "http://www.w3.org/ns/odrl.jsonld"
ODRL_NAMESPACE = "http://www.w3.org/ns/odrl/2/"
PROFILE = "urn:bonded:odrl:1"
NAMESPACE = "urn:bonded:odrl:1#"
XSD = "http://www.w3.org/2001/XMLSchema#"
INLINE_CONTEXT = {"bonded": NAMESPACE, "xsd": XSD}

# Actions. ODRL's own where its definition says the same, ours where none does.
USE = "use"  # free: a public table; as a prohibition: a hidden column
REFER = "bonded:refer"  # a query may name it, within the constraints
BRING = "bonded:bring"  # the requester brings the table
AGGREGATE = "bonded:aggregate"  # controlled aggregates may leave
EXTRACT = "extract"  # rows may leave
CONSENT = "obtainConsent"  # reviewers decide
ACCEPT_LICENCE = "bonded:acceptLicence"
PSEUDONYMISE = "bonded:pseudonymise"
WATERMARK = "watermark"  # rows are marked for their recipient

TABLE, COLUMN, MEASURE = "bonded:table", "bonded:column", "bonded:measure"
DOMAIN, UNIT = "bonded:domain", "bonded:unit"


class Kind(StrEnum):
    """How a right operand is written."""

    TEXT = "text"
    FLAG = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a decimal number"
    TEXTS = "a list of texts"
    PURPOSES = "a list of purposes"
    DAYS = "a duration of whole days"
    UNITS = "row, or a list of units"


@dataclass(frozen=True, slots=True)
class Term:
    """One constraint, and the key of the policy document that it stands for."""

    key: tuple[str, ...]  # such as ("dominance", "share")
    operand: str
    operator: str
    kind: Kind


def _term(key: str, operand: str, operator: str, kind: Kind) -> Term:
    return Term(tuple(key.split(".")), operand, operator, kind)


UNIT_TERMS = (_term("units", UNIT, "isAllOf", Kind.UNITS),)
COLUMN_TERMS = (
    _term("role", "bonded:role", "isAllOf", Kind.TEXTS),
    _term("sensitive", "bonded:sensitive", "eq", Kind.FLAG),
    _term("values", "bonded:values", "eq", Kind.TEXT),
    _term("grid", "bonded:grid", "eq", Kind.NUMBER),
    _term("clamp.low", "bonded:clampLow", "gteq", Kind.NUMBER),
    _term("clamp.high", "bonded:clampHigh", "lteq", Kind.NUMBER),
    _term("scale", "bonded:scale", "lteq", Kind.WHOLE),
    _term("grain", "bonded:grain", "gteq", Kind.TEXT),
)
DERIVED_TERMS = (
    _term("expr", "bonded:expression", "eq", Kind.TEXT),
    _term("grid", "bonded:grid", "eq", Kind.NUMBER),
    _term("clamp.low", "bonded:clampLow", "gteq", Kind.NUMBER),
    _term("clamp.high", "bonded:clampHigh", "lteq", Kind.NUMBER),
)
AGGREGATE_TERMS = (
    _term("purposes", "purpose", "isAnyOf", Kind.PURPOSES),
    _term("mode", "bonded:mode", "eq", Kind.TEXT),
    _term("min_units", "bonded:minUnits", "gteq", Kind.WHOLE),
    _term("aggregates", "bonded:aggregates", "isAnyOf", Kind.TEXTS),
    _term("dominance.n", "bonded:dominanceCount", "eq", Kind.WHOLE),
    _term("dominance.share", "bonded:dominanceShare", "lt", Kind.NUMBER),
    _term("dominance.p_percent", "bonded:dominancePercent", "gteq", Kind.NUMBER),
    _term("max_queries_per_day", "bonded:queriesPerDay", "lteq", Kind.WHOLE),
    _term("budget.rho_total", "bonded:rhoTotal", "lteq", Kind.NUMBER),
    _term("budget.rho_per_consumer", "bonded:rhoPerConsumer", "lteq", Kind.NUMBER),
    _term("budget.delta", "bonded:delta", "lteq", Kind.NUMBER),
    _term("budget.max_groups_per_unit", "bonded:groupsPerUnit", "lteq", Kind.WHOLE),
    _term("budget.max_rows_per_unit_group", "bonded:rowsPerUnitGroup", "lteq", Kind.WHOLE),
)
SUBSET_TERMS = (
    _term("purposes", "purpose", "isAnyOf", Kind.PURPOSES),
    _term("label", "bonded:label", "eq", Kind.TEXT),
    _term("row_filter", "bonded:rowFilter", "eq", Kind.TEXT),
    _term("max_rows", "count", "lteq", Kind.WHOLE),
    _term("expires_after_days", "elapsedTime", "lteq", Kind.DAYS),
)
# Duties: what must be done before the permission holds.
CONSENT_TERMS = (_term("approval.reviewers", "bonded:reviewers", "gteq", Kind.WHOLE),)
LICENCE_TERMS = (_term("licence", "bonded:licence", "eq", Kind.TEXT),)
PSEUDONYM_TERMS = (_term("pseudonymise", COLUMN, "isAllOf", Kind.TEXTS),)
