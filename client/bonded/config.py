"""Where the client finds its node: arguments, then the environment, then a 0600 file.

The file holds a token, so it is readable by its owner only; one that others may read is
refused rather than used, since its token must then be taken for known.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from bonded.errors import ConfigInvalid

FORMAT = "bonded-client/1"
URL_VARIABLE = "BONDED_URL"
TOKEN_VARIABLE = "BONDED_TOKEN"  # noqa: S105 - the name of a variable, not a token
CONFIG_VARIABLE = "BONDED_CONFIG"


@dataclass(frozen=True, slots=True)
class Config:
    """A node's address, a token for it, and the log key that was pinned at login."""

    url: str
    token: str = field(repr=False, default="")
    verifier_key: str = ""


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """The settings file: BONDED_CONFIG, or `bonded/config.json` in the config home."""
    named = environment.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    home = environment.get("XDG_CONFIG_HOME")
    root = Path(home) if home else Path.home() / ".config"
    return root / "bonded" / "config.json"


def load_config(
    *,
    url: str | None = None,
    token: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Config:
    """The settings in force. A stored token goes only to the address it was stored for.

    Raises ConfigInvalid if no address is known, the file is readable by others or is
    malformed, or the address is plain HTTP to another machine.
    """
    stored = read_config(config_path(environment))
    address = url or environment.get(URL_VARIABLE) or (stored.url if stored else "")
    if not address:
        raise ConfigInvalid(
            "no node is known",
            hint="run `bonded login URL`, or set BONDED_URL and BONDED_TOKEN",
        )
    address = checked_url(address)
    same = stored is not None and stored.url == address
    secret = token or environment.get(TOKEN_VARIABLE) or ""
    if not secret and stored is not None and same:
        secret = stored.token
    return Config(
        url=address,
        token=secret,
        verifier_key=stored.verifier_key if stored is not None and same else "",
    )


def checked_url(url: str) -> str:
    """`url` without a trailing slash; plain HTTP is accepted to this machine only."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigInvalid(
            "a node's address is http(s)://host[:port], this is not",
            hint="for example https://exchange.example.org",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigInvalid("a node's address carries no user, password, query or fragment")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise ConfigInvalid(
            f"{parts.hostname} is another machine, and plain HTTP would show it the token",
            hint="use https://",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def read_config(path: Path) -> Config | None:
    """The stored settings, or None where there are none."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if os.name == "posix" and mode & 0o077:
        raise ConfigInvalid(
            f"{path} can be read by others (mode {mode & 0o777:04o}, 0600 is needed)",
            hint=f"revoke its token, then `chmod 600 {path}` and log in again",
        )
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigInvalid(f"{path} is not JSON", hint="log in again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigInvalid(f"{path} is not of format {FORMAT}", hint="log in again")
    fields = {key: document.get(key, "") for key in ("url", "token", "verifier_key")}
    if not all(isinstance(value, str) for value in fields.values()):
        raise ConfigInvalid(f"{path} has a field that is no text", hint="log in again")
    return Config(**fields)


def write_config(path: Path, config: Config) -> None:
    """The settings are on disk, whole and readable by their owner only, or unchanged."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {
        "format": FORMAT,
        "url": config.url,
        "token": config.token,
        "verifier_key": config.verifier_key,
    }
    # mkstemp creates with 0600, so that the token is never readable, not even briefly.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
