"""The words that policies share: purposes and data licences, with their identifiers.

A purpose is the right operand of an ODRL constraint on `odrl:purpose`. Where the Data Use
Ontology (DUO) has a term that says the same, it stands beside; industrial purposes have
none. A policy may name a purpose that is not listed here: it is then compared as it is
written, and `policies.words` says that nobody but the provider has defined it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ODRL_PURPOSE = "http://www.w3.org/ns/odrl/2/purpose"
_PURPOSE_URN = "urn:bonded:purpose:"
_DUO_IRI = "http://purl.obolibrary.org/obo/"


class Purpose(StrEnum):
    """What for: the closed list that forms offer."""

    PREDICTIVE_MAINTENANCE = "predictive-maintenance"
    QUALITY_CONTROL = "quality-control"
    PROCESS_OPTIMISATION = "process-optimisation"
    ENERGY_EFFICIENCY = "energy-efficiency"
    LOGISTICS_PLANNING = "logistics-planning"
    SAFETY_ANALYSIS = "safety-analysis"
    MODEL_TRAINING = "model-training"
    OFFICIAL_STATISTICS = "official-statistics"
    PUBLIC_POLICY = "public-policy"
    REGULATORY_OVERSIGHT = "regulatory-oversight"
    GENERAL_RESEARCH = "general-research"
    NON_COMMERCIAL_RESEARCH = "non-commercial-research"
    HEALTH_RESEARCH = "health-research"


@dataclass(frozen=True, slots=True)
class PurposeTerm:
    """A purpose with its identifiers, its name for people, and what it covers."""

    purpose: Purpose
    label: str
    sentence: str
    duo: str | None = None  # such as DUO:0000042

    @property
    def odrl(self) -> str:
        """The right operand of `odrl:purpose` that means this purpose."""
        return _PURPOSE_URN + self.purpose

    @property
    def duo_iri(self) -> str | None:
        """The address of the DUO term, or None where DUO has no such term."""
        return None if self.duo is None else _DUO_IRI + self.duo.replace(":", "_")


PURPOSES: tuple[PurposeTerm, ...] = (
    PurposeTerm(
        Purpose.PREDICTIVE_MAINTENANCE,
        "Predictive maintenance",
        "To foresee wear and failures of machines and to plan their upkeep.",
    ),
    PurposeTerm(
        Purpose.QUALITY_CONTROL,
        "Quality control",
        "To find and explain faults of products and of production steps.",
    ),
    PurposeTerm(
        Purpose.PROCESS_OPTIMISATION,
        "Process optimisation",
        "To make a production or service process faster, cheaper or steadier.",
    ),
    PurposeTerm(
        Purpose.ENERGY_EFFICIENCY,
        "Energy efficiency",
        "To understand and lower the use of energy and its emissions.",
    ),
    PurposeTerm(
        Purpose.LOGISTICS_PLANNING,
        "Logistics planning",
        "To plan transport, port calls, storage and arrival times.",
    ),
    PurposeTerm(
        Purpose.SAFETY_ANALYSIS,
        "Safety analysis",
        "To understand accidents and hazards and to prevent them.",
    ),
    PurposeTerm(
        Purpose.MODEL_TRAINING,
        "Model training",
        "To train and test statistical models that are used in products.",
    ),
    PurposeTerm(
        Purpose.OFFICIAL_STATISTICS,
        "Official statistics",
        "To produce statistics under a statistics law, for publication.",
    ),
    PurposeTerm(
        Purpose.PUBLIC_POLICY,
        "Public policy",
        "To prepare, follow or evaluate measures of a public authority.",
    ),
    PurposeTerm(
        Purpose.REGULATORY_OVERSIGHT,
        "Regulatory oversight",
        "To supervise a trade or a market as its competent authority.",
    ),
    PurposeTerm(
        Purpose.GENERAL_RESEARCH,
        "General research",
        "For research of any kind, by anyone.",
        "DUO:0000042",
    ),
    PurposeTerm(
        Purpose.NON_COMMERCIAL_RESEARCH,
        "Non-commercial research",
        "For research that is not meant to earn money.",
        "DUO:0000046",
    ),
    PurposeTerm(
        Purpose.HEALTH_RESEARCH,
        "Health research",
        "For research on health, medicine or biomedicine.",
        "DUO:0000006",
    ),
)


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence under which labelled rows may leave; `url` holds its text."""

    identifier: str  # SPDX identifier, or `LicenseRef-...` where SPDX lists none
    title: str
    url: str | None
    sentence: str


LICENCES: tuple[Licence, ...] = (
    Licence(
        "CC-BY-4.0",
        "Creative Commons Attribution 4.0 International",
        "https://creativecommons.org/licenses/by/4.0/legalcode",
        "Anyone may use and pass on the data, also for profit, and must name the source.",
    ),
    Licence(
        "CC0-1.0",
        "Creative Commons Zero 1.0 Universal",
        "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
        "The data may be used without any condition.",
    ),
    Licence(
        "CDLA-Permissive-2.0",
        "Community Data License Agreement, Permissive 2.0",
        "https://cdla.dev/permissive-2-0/",
        "Anyone may use and pass on the data with the licence text; results are free.",
    ),
    Licence(
        "CDLA-Sharing-1.0",
        "Community Data License Agreement, Sharing 1.0",
        "https://cdla.dev/sharing-1-0/",
        "Whoever passes the data on, also changed, must do so under the same licence.",
    ),
    Licence(
        "ODbL-1.0",
        "Open Data Commons Open Database License 1.0",
        "https://opendatacommons.org/licenses/odbl/1-0/",
        "Databases made from the data must name the source and stay under this licence.",
    ),
    Licence(
        "LicenseRef-Bonded-Agreement",
        "Agreement between provider and recipient",
        None,
        "Only the named recipient may use the rows, as the terms of the offer say.",
    ),
)


def purpose_term(purpose: str) -> PurposeTerm | None:
    """Return the vocabulary's entry for a purpose as policies write it, or None."""
    return next((term for term in PURPOSES if term.purpose == purpose), None)


def purpose_from_iri(iri: str) -> PurposeTerm | None:
    """Return the entry whose ODRL operand or DUO address is `iri`, or None."""
    return next((term for term in PURPOSES if iri in (term.odrl, term.duo_iri)), None)


def find_licence(identifier: str) -> Licence | None:
    """Return the licence of that identifier, or None: the policy's own name for one."""
    return next((known for known in LICENCES if known.identifier == identifier), None)
