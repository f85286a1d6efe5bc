"""Canonical documents are read as JSON: as YAML reads them, or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import codec
from policies.canonical_text import compose_json
from policies.codec import dump_policy, load_policy
from policies.document import Policy
from policies.errors import PolicyError
from tests.unit.policies.policy_values import example, policies


def by_yaml(text: str, patch: pytest.MonkeyPatch) -> Policy | PolicyError:
    """What YAML's reader alone makes of a document."""
    patch.setattr(codec, "compose_json", lambda _: None)
    return read(text)


def read(text: str) -> Policy | PolicyError:
    try:
        return load_policy(text)
    except PolicyError as error:
        return error


@given(policy=policies())
def test_load_policy_reads_a_canonical_document_without_yaml(policy: Policy) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "compose", None)

        assert load_policy(dump_policy(policy)) == policy


@given(policy=policies(), data=st.data())
def test_load_policy_reads_an_altered_document_as_yaml_does(
    policy: Policy, data: st.DataObject
) -> None:
    text = dump_policy(policy)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    pieces = st.sampled_from(
        ["", "0", "-1", "1e5", "0.50", "null", "true", "yes", "NaN", '"', "\\/", "\\u0041",
         "\\ud800", "\x85", "\t", " ", "{}", "[]", ",", '"grid":5,', "&a ", "# "]
    )  # fmt: skip
    altered = text[:start] + data.draw(pieces) + text[end:]

    ours = read(altered)

    with pytest.MonkeyPatch.context() as patch:
        theirs = by_yaml(altered, patch)
    if isinstance(theirs, Policy):
        assert ours == theirs
    else:
        assert isinstance(ours, PolicyError)
        assert (ours.code, str(ours), ours.line) == (
            theirs.code,
            str(theirs),
            theirs.line,
        )


@pytest.mark.parametrize("piece", ["\\/", "\x85", "\\ud83d\\ude00"])
def test_load_policy_does_not_take_what_only_json_reads(piece: str) -> None:
    """Such as an escaped solidus, or a line break within a text that YAML folds."""
    text = dump_policy(example()).replace("weight / 2", f"weight {piece} 2")

    with pytest.MonkeyPatch.context() as patch:
        theirs = by_yaml(text, patch)

    assert str(read(text)) == str(theirs)


def test_load_policy_names_the_line_of_what_is_wrong_in_json() -> None:
    document = {"version": 1, "tables": {"t": {"units": "rows", "columns": {}}}}

    with pytest.raises(PolicyError) as caught:
        load_policy(json.dumps(document, indent=1))

    assert caught.value.line == 5


@pytest.mark.parametrize(
    "text", ["", "version: 1", "{", "[1]", '{"a": NaN}', '{"a":' * 5000, "{" + " " * 2**18]
)
def test_compose_json_is_nothing_for_what_is_no_json_object(text: str) -> None:
    assert compose_json(text) is None
