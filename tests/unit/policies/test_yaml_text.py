"""Quoted text is read back by YAML as it was."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies.yaml_text import comment, escape_json, scalar

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(text=TEXT)
def test_scalar_is_read_back_as_text(text: str) -> None:
    assert yaml.safe_load(f"- {scalar(text)}") == [text]
    assert yaml.safe_load(f"{{a: [{scalar(text)}]}}") == {"a": [text]}


@pytest.mark.parametrize("text", ["no", "Null", "1", "2020-01-01", "", "a: b", "- a", "~"])
def test_scalar_of_what_yaml_reads_otherwise_is_quoted(text: str) -> None:
    assert scalar(text) == json.dumps(text)


@pytest.mark.parametrize("text", ["type", "machine_id", "CDLA-Permissive-2.0"])
def test_scalar_of_a_plain_word_stays_bare(text: str) -> None:
    assert scalar(text) == text


@given(text=TEXT)
def test_escape_json_keeps_the_meaning(text: str) -> None:
    written = escape_json(json.dumps(text, ensure_ascii=False))

    assert json.loads(written) == text
    assert yaml.safe_load(written) == text


@given(text=TEXT)
def test_comment_stays_one_line_that_yaml_skips(text: str) -> None:
    assert yaml.safe_load(f"a: 1\n{comment(text)}\nb: 2\n") == {"a": 1, "b": 2}
