"""Secrets that an operator hands the node in files: passphrase, PIN, tokens.

Files, because an argument is seen by every user of the machine and an environment is
inherited by every child. Read at each need, so that a secret may be changed under a node
that runs.
"""

from __future__ import annotations

from pathlib import Path

from exchange.keys.provider import ProviderMisconfigured

_MAX_BYTES = 8192


def read_credential(path: Path, *, what: str, setting: str) -> str:
    """The first line of a file that only its owner may read.

    Raises ProviderMisconfigured, naming `what` it is and the `setting` that names the file.
    """
    try:
        mode = path.stat().st_mode & 0o777
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        # No cause: it would name a path, and this sentence may reach a page.
        raise ProviderMisconfigured(
            f"The file with {what} cannot be read.", hint=f"Correct {setting}."
        ) from None
    if mode & 0o077:
        raise ProviderMisconfigured(
            f"The file with {what} has mode {mode:o}, expected 600: others could read it.",
            hint=f"Set the mode of what {setting} names to 600, and change the secret.",
        )
    line = text.splitlines()[0].strip() if text.strip() else ""
    if not line:
        raise ProviderMisconfigured(
            f"The file with {what} is empty.", hint=f"Fill what {setting} names."
        )
    return line
