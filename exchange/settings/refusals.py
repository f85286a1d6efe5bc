"""What a node does not start without, or with: secret key, policy floor, hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from exchange.settings.environment import (
    BONDED_TRANSIT_URL,
    IS_PRODUCTION,
    SECRET_KEY_FILE,
    env,
)
from policies.errors import PolicyError
from policies.floor import Floor, load_floor


def _secret_key() -> str:
    """Read the secret, or "" before set-up: Django refuses to sign anything with that."""
    key: str = env.str("BONDED_SECRET_KEY", default="")
    if not key and SECRET_KEY_FILE.is_file():
        key = SECRET_KEY_FILE.read_text(encoding="ascii").strip()
    if key and (len(key) < 50 or len(set(key)) < 10):
        raise ImproperlyConfigured(
            "The secret key is weak: it needs 50 characters, 10 of them different. "
            "Unset BONDED_SECRET_KEY and run `manage.py setup` to have one made."
        )
    return key


def _policy_floor() -> Floor | None:
    """What every policy here must keep to; None where the operator names no document."""
    place: str | None = env.str("BONDED_POLICY_FLOOR", default=None)
    if place is None and "BONDED_POLICY_FLOOR" not in env.ENVIRON:
        return None
    try:
        # Set but empty is a mistake, not a wish for no floor: "" is a directory, no file.
        return load_floor(Path(place or "").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(
            "BONDED_POLICY_FLOOR names no file that this process can read as UTF-8 text. "
            "Correct the path, or unset it to demand nothing of policies."
        ) from error
    except PolicyError as error:
        raise ImproperlyConfigured(
            f"The document that BONDED_POLICY_FLOOR names is no floor: {error.message} "
            f"(line {error.line or 1}). {error.hint}"
        ) from error


SECRET_KEY = _secret_key()
POLICY_FLOOR: Final = _policy_floor()
DEBUG: bool = env.bool("BONDED_DEBUG", default=False)
ALLOWED_HOSTS: list[str] = env.list(
    "BONDED_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"]
)
CSRF_TRUSTED_ORIGINS: list[str] = env.list("BONDED_TRUSTED_ORIGINS", default=[])

if IS_PRODUCTION:
    if DEBUG:
        raise ImproperlyConfigured(
            "BONDED_DEBUG is on; production refuses to start with it."
        )
    if "*" in ALLOWED_HOSTS or not env.list("BONDED_ALLOWED_HOSTS", default=[]):
        raise ImproperlyConfigured(
            "BONDED_ALLOWED_HOSTS must name this node's hosts in production, and not be *."
        )
    if BONDED_TRANSIT_URL and not BONDED_TRANSIT_URL.startswith("https://"):
        raise ImproperlyConfigured(
            "BONDED_TRANSIT_URL must begin with https:// in production: organisation keys "
            "cross that way in clear."
        )
    if "BONDED_NODE_NAME" not in env.ENVIRON:
        raise ImproperlyConfigured(
            "BONDED_NODE_NAME is not set: in production the log is signed under a name "
            "that others pin, so it is never defaulted."
        )
