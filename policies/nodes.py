"""A YAML node with its line: how the codec asks for what it expects and names what came."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches

import yaml

from policies.errors import PolicySyntaxError, UnknownTerm

_CORE = "tag:yaml.org,2002:"
_KINDS = {
    _CORE + "int": "a number",
    _CORE + "float": "a number",
    _CORE + "bool": "true or false",
    _CORE + "str": "text",
    _CORE + "timestamp": "a date",
    _CORE + "value": "text",  # the lone `=`
    _CORE + "merge": "text",  # the lone `<<`, a name like any other here
    _CORE + "null": "nothing",
    _CORE + "map": "a mapping",
    _CORE + "seq": "a list",
}
# `010` is 8 in YAML 1.1 and 10 in YAML 1.2, `1:30` is 90: read neither.
_NUMBER = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9_]{0,99})(?:\.[0-9_]{0,99})?|\.[0-9]{1,99})(?:e[-+]?[0-9]{1,3})?",
    re.IGNORECASE | re.ASCII,
)
_SMALLEST, _LARGEST = Decimal("1e-30"), Decimal("1e30")
MAX_NAME_CHARACTERS = 128


def is_name(text: str) -> bool:
    """Whether a policy can name something so: 1 to 128 characters, no control ones."""
    return 0 < len(text) <= MAX_NAME_CHARACTERS and not any(
        sign < " " or "\ud800" <= sign <= "\udfff" for sign in text
    )


class Node:
    """One node of a policy document at a path such as `tables.patients.columns.age`."""

    def __init__(self, node: yaml.Node, path: str, key: yaml.Node | None = None) -> None:
        self._node = node
        self._start = node if key is None else key
        self.path = path
        self._entries: dict[str, Node] | None = None  # once all of them were looked at
        if node.tag not in _KINDS:
            raise self.fault("has a tag of its own", "Take the `!` tag away.")

    @property
    def line(self) -> int:
        """The 1-based line on which the node, or its key in a mapping, starts."""
        return int(self._start.start_mark.line) + 1

    @property
    def column(self) -> int:
        """The 1-based column at which the node, or its key in a mapping, starts."""
        return int(self._start.start_mark.column) + 1

    @property
    def came(self) -> str:
        """What the node is, in words, never its value."""
        return _KINDS[self._node.tag]

    def fault(self, message: str, hint: str = "") -> PolicySyntaxError:
        """Make the error that this node is not what it should be."""
        at = f"`{self.path}` " if self.path else "the document "
        hint = hint or "A template of this node, or docs/providers.md, shows the form."
        return PolicySyntaxError(
            at + message, line=self.line, column=self.column, path=self.path, hint=hint
        )

    def unknown(self, term: str, known: str) -> UnknownTerm:
        """Make the error that a word here is none of version 1's."""
        shown = "".join(sign if sign.isprintable() else "?" for sign in term[:60])
        near = get_close_matches(term[:60].lower(), known.split(", "), n=1)
        meant = f"Did you mean `{near[0]}`? " if near else ""
        return UnknownTerm(
            f"`{self.path or 'document'}` has the unknown term `{shown}`",
            line=self.line,
            column=self.column,
            path=self.path,
            hint=f"{meant}Version 1 knows here: {known}.",
        )

    def items(self) -> Iterator[tuple[str, Node]]:
        """Yield the entries of a mapping in order; raises on other nodes and doubles."""
        if self._entries is not None:
            yield from self._entries.items()
            return
        if not isinstance(self._node, yaml.MappingNode):
            raise self.fault(f"must be a mapping, {self.came} came")
        entries: dict[str, Node] = {}
        for key, value in self._node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KINDS:
                raise self.fault("has a key that is not plain text")
            if not is_name(key.value):
                raise self.fault(
                    f"has a key that is not 1 to {MAX_NAME_CHARACTERS} printable characters"
                )
            path = f"{self.path}.{key.value}" if self.path else str(key.value)
            child = Node(value, path, key)
            if key.value in entries:
                raise child.fault("stands twice", "Keep one of the two.")
            entries[key.value] = child
            yield key.value, child
        self._entries = entries

    def only(self, *known: str) -> None:
        """Check that the mapping has no key but `known`."""
        for key, child in self.items():
            if key not in known:
                raise child.unknown(key, ", ".join(known))

    def child(self, key: str) -> Node | None:
        """Return the entry of that key, or None."""
        if self._entries is not None:
            return self._entries.get(key)
        return next((child for name, child in self.items() if name == key), None)

    def require(self, key: str) -> Node:
        """Return the entry of that key; raises where it is missing."""
        found = self.child(key)
        if found is None:
            raise self.fault(f"lacks `{key}`", f"Add `{key}:` below this line.")
        return found

    def elements(self) -> list[Node]:
        """Return the elements of a list; raises on other nodes."""
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.fault(f"must be a list, {self.came} came")
        return [
            Node(item, f"{self.path}[{index}]")
            for index, item in enumerate(self._node.value)
        ]

    @property
    def is_list(self) -> bool:
        """Whether the node is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether the node is a mapping."""
        return isinstance(self._node, yaml.MappingNode)

    def text(self) -> str:
        """Return a scalar as it is written; raises on lists, mappings and nothing."""
        if not isinstance(self._node, yaml.ScalarNode) or self.came == "nothing":
            raise self.fault(f"must be text, {self.came} came")
        text = str(self._node.value)
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise self.fault("holds half a character, which no text can hold")
        return text

    def flag(self) -> bool:
        """Return true or false; raises on anything else."""
        if self._node.tag != _CORE + "bool":
            raise self.fault(f"must be true or false, {self.came} came")
        return str(self._node.value).lower() in {"true", "yes", "on"}

    def decimal(self, *, low: str | None = None, high: str | None = None) -> Decimal:
        """Return a finite number within [low, high]; raises on anything else."""
        text = self.text()
        if not _NUMBER.fullmatch(text):
            raise self.fault(
                "must be a number in plain decimal digits"
                + (f", {self.came} came" if self.came != "a number" else ""),
                "Write 12, 0.5 or 1e-6: no leading zero, colon, or other base.",
            )
        number = Decimal(text.replace("_", ""))
        if number != 0 and not _SMALLEST <= abs(number) <= _LARGEST:
            raise self.fault("must be 0, or from 1e-30 to 1e30 in size")
        if low is not None and number < Decimal(low):
            raise self.fault(f"must be at least {low}")
        if high is not None and number > Decimal(high):
            raise self.fault(f"must be at most {high}")
        return number

    def integer(self, *, low: int, high: int = 2**31) -> int:
        """Return a whole number within [low, high]; raises on anything else."""
        number = self.decimal(low=str(low), high=str(high))
        if number != number.to_integral_value():
            raise self.fault("must be a whole number")
        return int(number)
