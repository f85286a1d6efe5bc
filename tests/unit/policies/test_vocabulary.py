"""Purposes and licences: closed, complete, findable."""

from __future__ import annotations

import re

import pytest

from policies.vocabulary import (
    LICENCES,
    PURPOSES,
    Purpose,
    PurposeTerm,
    find_licence,
    purpose_from_iri,
    purpose_term,
)


def test_purposes_each_has_one_entry_with_words() -> None:
    assert [term.purpose for term in PURPOSES] == list(Purpose)
    assert all(term.label and term.sentence.endswith(".") for term in PURPOSES)


@pytest.mark.parametrize("term", PURPOSES, ids=lambda term: term.purpose)
def test_purpose_from_iri_finds_what_the_term_says(term: PurposeTerm) -> None:
    assert purpose_term(term.purpose) is term
    assert purpose_from_iri(term.odrl) is term
    if term.duo is not None:
        assert re.fullmatch(r"DUO:\d{7}", term.duo)
        assert term.duo_iri is not None
        assert purpose_from_iri(term.duo_iri) is term


@pytest.mark.parametrize("text", ["", "espionage", "urn:bonded:purpose:espionage"])
def test_purpose_unknown_is_none(text: str) -> None:
    assert purpose_term(text) is None
    assert purpose_from_iri(text) is None


def test_licences_are_distinct_with_title_and_text() -> None:
    assert len({licence.identifier for licence in LICENCES}) == len(LICENCES)
    for licence in LICENCES:
        assert find_licence(licence.identifier) is licence
        assert licence.title
        assert licence.sentence
        has_text = licence.url is not None and licence.url.startswith("https://")
        assert has_text == (not licence.identifier.startswith("LicenseRef-"))
    assert find_licence("WTFPL") is None
