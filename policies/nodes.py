"""A YAML node with its line: how the codec asks for what it expects and names what came."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

import yaml
from yaml.events import AliasEvent

from policies.errors import PolicySyntaxError, UnknownTerm

_KINDS = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:str": "text",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:map": "a mapping",
    "tag:yaml.org,2002:seq": "a list",
}


class SafeNodeLoader(yaml.SafeLoader):
    """Composes plain documents only; an alias is refused, since a few lines of them can
    stand for gigabytes once they are walked."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose the next node; raises a YAML error at an alias."""
        if self.check_event(AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # no stub for it
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not part of a policy document",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


class Node:
    """One node of a policy document at a path such as `tables.patients.columns.age`."""

    def __init__(self, node: yaml.Node, path: str) -> None:
        self._node = node
        self.path = path

    @property
    def line(self) -> int:
        """The 1-based line on which the node starts."""
        return int(self._node.start_mark.line) + 1

    @property
    def came(self) -> str:
        """What the node is, in words, never its value."""
        return _KINDS.get(self._node.tag, "something else")

    def fault(self, message: str, hint: str = "") -> PolicySyntaxError:
        """Make the error that this node is not what it should be."""
        at = f"`{self.path}` " if self.path else "the document "
        return PolicySyntaxError(at + message, line=self.line, path=self.path, hint=hint)

    def unknown(self, term: str, known: str) -> UnknownTerm:
        """Make the error that a word here is none of version 1's."""
        shown = term if len(term) <= 60 else term[:57] + "..."
        return UnknownTerm(
            f"`{self.path or 'document'}` has the unknown term `{shown}`",
            line=self.line,
            path=self.path,
            hint=f"Version 1 knows here: {known}.",
        )

    def items(self) -> Iterator[tuple[str, Node]]:
        """Yield the entries of a mapping in order; raises on other nodes and doubles."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.fault(f"must be a mapping, {self.came} came")
        seen: set[str] = set()
        for key, value in self._node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fault("has a key that is not plain text")
            child = Node(value, f"{self.path}.{key.value}" if self.path else str(key.value))
            if key.value in seen:
                raise child.fault("stands twice", "Keep one of the two.")
            seen.add(key.value)
            yield str(key.value), child

    def only(self, *known: str) -> None:
        """Check that the mapping has no key but `known`."""
        for key, child in self.items():
            if key not in known:
                raise child.unknown(key, ", ".join(known))

    def child(self, key: str) -> Node | None:
        """Return the entry of that key, or None."""
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
        return str(self._node.value)

    def flag(self) -> bool:
        """Return true or false; raises on anything else."""
        if self._node.tag != "tag:yaml.org,2002:bool":
            raise self.fault(f"must be true or false, {self.came} came")
        return str(self._node.value).lower() in {"true", "yes", "on"}

    def decimal(self, *, low: str | None = None, high: str | None = None) -> Decimal:
        """Return a finite number within [low, high]; raises on anything else."""
        try:
            number = Decimal(self.text().replace("_", ""))
        except InvalidOperation:
            raise self.fault(f"must be a number, {self.came} came") from None
        if not number.is_finite() or abs(number) > Decimal("1e30"):
            raise self.fault("must be a finite number below 1e30")
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
