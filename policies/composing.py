"""From text to nodes: plain YAML or JSON, one document, bounded, nothing expanded."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.events import NodeEvent

from policies.errors import PolicySyntaxError
from policies.nodes import Node

# Composing takes some 20 µs a character; a policy of a thousand columns has 100 Ki.
MAX_DOCUMENT_CHARACTERS = 256 * 1024
_MAX_DEPTH = 32
_TOO_DEEP = f"it is nested more than {_MAX_DEPTH} levels deep"


class _PlainLoader(yaml.SafeLoader):
    """Composes plain documents only: an alias is refused, since a few lines of them can
    stand for gigabytes once they are walked, and so is the anchor that invites one."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose the next node; raises a YAML error at an anchor or alias."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # no stub for it
        mark = event.start_mark
        if isinstance(event, NodeEvent) and event.anchor is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not part of it",
                problem_mark=mark,
            )
        if self._depth == _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def compose(text: str) -> Node:
    """Read `text` as one YAML 1.1 or JSON document and return its root.

    Raises PolicySyntaxError, with a line, where it is longer than
    MAX_DOCUMENT_CHARACTERS, empty, malformed, deeper than 32 levels, or uses anchors.
    """
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise PolicySyntaxError(
            f"a policy document has at most {MAX_DOCUMENT_CHARACTERS} characters, "
            f"this one has {len(text)}",
            hint="Describe one dataset per document.",
        )
    try:
        node = yaml.compose(text, Loader=_PlainLoader)
    except yaml.reader.ReaderError as error:
        before = text[: int(error.position)]
        raise PolicySyntaxError(
            "the document holds a character that no YAML document may hold",
            line=before.count("\n") + 1,
            column=len(before) - before.rfind("\n"),
            hint="Save it as plain UTF-8 text; escape control characters in quotes.",
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise PolicySyntaxError(
            f"the document is no plain YAML or JSON: {problem}",
            line=None if mark is None else mark.line + 1,
            column=None if mark is None else mark.column + 1,
            hint="Check the indentation, tabs and quotes at this line.",
        ) from error
    except (ValueError, OverflowError) as error:
        # An escape such as "\UFFFFFFFF" names no character.
        raise PolicySyntaxError(
            "the document has an escape that names no character",
            hint="Write the character itself, or \\u and four hex digits.",
        ) from error
    if node is None:
        raise PolicySyntaxError(
            "the document is empty",
            line=1,
            column=1,
            hint="Start from a template of this node.",
        )
    return Node(node, "")


def line_numbers(text: str) -> dict[str, int]:
    """Return the 1-based line of each path, such as `tables.trips.columns.age`.

    For errors about a policy that meets its data only after it was read. Raises as
    `compose` does.
    """
    found: dict[str, int] = {}
    waiting = [compose(text)]
    while waiting:
        node = waiting.pop()
        found.setdefault(node.path, node.line)
        if node.is_mapping:
            waiting.extend(child for _, child in node.items())
        elif node.is_list:
            waiting.extend(node.elements())
    return found
