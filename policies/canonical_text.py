"""The canonical form of a policy, read as the JSON that it is.

YAML's reader is written for people's documents and takes twenty times as long. Each job
carries the canonical form, which no person wrote.
"""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

from policies.composing import MAX_DOCUMENT_CHARACTERS
from policies.nodes import Node

_CORE: Final = "tag:yaml.org,2002:"
# Nobody is told of a line here: what is wrong with a document, `composing` says.
_NOWHERE: Final = yaml.Mark("", 0, 0, 0, None, 0)


def compose_json(text: str) -> Node | None:
    """Return the root that `compose` gives of a canonical document, but without its lines.

    None where `text` is not JSON. It says nothing about another document: YAML reads some
    JSON otherwise. Whoever takes the root checks that what it makes of it is written so.
    """
    if not text.startswith("{") or len(text) > MAX_DOCUMENT_CHARACTERS:
        return None
    try:
        found = json.loads(
            text,
            object_pairs_hook=_mapping,
            parse_int=lambda digits: _scalar("int", digits),
            parse_float=lambda digits: _scalar("float", digits),
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        return None
    return Node(found, "")


def _mapping(pairs: list[tuple[str, Any]]) -> yaml.MappingNode:
    entries = [(_node(key), _node(value)) for key, value in pairs]
    return yaml.MappingNode(_CORE + "map", entries, _NOWHERE, _NOWHERE)


def _node(value: Any) -> yaml.Node:
    if isinstance(value, yaml.Node):
        return value
    if isinstance(value, str):
        return _scalar("str", value)
    if isinstance(value, list):
        items = [_node(item) for item in value]
        return yaml.SequenceNode(_CORE + "seq", items, _NOWHERE, _NOWHERE)
    if value is None:
        return _scalar("null", "null")
    return _scalar("bool", "true" if value else "false")


def _scalar(kind: str, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode(_CORE + kind, text, _NOWHERE, _NOWHERE)


def _refuse(word: str) -> yaml.Node:
    raise ValueError(f"{word} is no JSON")
