"""What can be wrong with a policy document.

PolicyError
├── PolicySyntaxError   the text is no document of this version
├── UnknownTerm         a word that this version does not know
└── Contradiction       known words that cannot hold together
"""


class PolicyError(Exception):
    """A policy cannot be used; `line` (1-based) and `path` say where, `hint` the way on."""

    code = "policy_invalid"

    def __init__(
        self, message: str, *, line: int | None = None, path: str = "", hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.message}"


class PolicySyntaxError(PolicyError):
    """The text is not YAML or JSON, or not shaped as the version's document."""

    code = "policy_syntax"


class UnknownTerm(PolicyError):
    """A key, role, aggregate or value that version 1 does not define."""

    code = "policy_unknown_term"


class Contradiction(PolicyError):
    """The document's parts cannot hold together, or are weaker than the node's floor."""

    code = "policy_contradiction"
