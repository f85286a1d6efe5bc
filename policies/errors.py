"""What can be wrong with a policy document.

PolicyError
├── PolicySyntaxError   the text is no document of this version
├── UnknownTerm         a word that this version does not know
└── Contradiction       known words that cannot hold together
    ├── ColumnAbsent        the policy names a column that the data lacks
    ├── TableAbsent         the policy names a table that nothing stands behind
    ├── LimitMisplaced      a limit does not fit the type of its column
    ├── WeakerThanFloor     a rule allows more than the node's operator does
    └── NothingRemains      policies that a query would join allow nothing in common
"""


class PolicyError(Exception):
    """A policy cannot be used: `line`, `column` (from 1) and `path` say where."""

    code = "policy_invalid"

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        path: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        if self.line is None:
            return self.message
        column = f", column {self.column}" if self.column is not None else ""
        return f"line {self.line}{column}: {self.message}"


class PolicySyntaxError(PolicyError):
    """The text is not YAML or JSON, or not shaped as the version's document."""

    code = "policy_syntax"


class UnknownTerm(PolicyError):
    """A key, role, aggregate or value that version 1 does not define."""

    code = "policy_unknown_term"


class Contradiction(PolicyError):
    """Parts of the document cannot hold together, or not with what they meet."""

    code = "policy_contradiction"


class ColumnAbsent(Contradiction):
    """The policy names a column that the data lacks."""

    code = "policy_column_absent"


class TableAbsent(Contradiction):
    """The policy names a table that nothing stands behind, or lacks the dataset's own."""

    code = "policy_table_absent"


class LimitMisplaced(Contradiction):
    """A role or limit does not fit its column's type, such as a grid on text."""

    code = "policy_limit_misplaced"


class WeakerThanFloor(Contradiction):
    """A rule allows more than the floor that the node's operator set."""

    code = "policy_weaker_than_floor"


class NothingRemains(Contradiction):
    """Policies that are to hold together have no purpose or aggregate in common."""

    code = "policy_nothing_remains"
