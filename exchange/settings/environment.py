"""What an operator sets: read from the environment once, and typed here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR: Final = Path(__file__).resolve().parents[2]

env = environ.Env()
BONDED_MODE: Final[str] = env.str("BONDED_MODE", default="development")
BONDED_HOME: Final = Path(env.str("BONDED_HOME", default=str(BASE_DIR / "var"))).absolute()
BONDED_NODE_NAME: Final[str] = env.str("BONDED_NODE_NAME", default="bonded.localhost")
BONDED_BROKER_URL: Final[str] = env.str("BONDED_BROKER_URL", default="filesystem://")
BONDED_SANDBOX_SOCKET: Final = Path(
    env.str("BONDED_SANDBOX_SOCKET", default=str(BONDED_HOME / "run" / "sandbox.sock"))
)
BONDED_LOG_LEVEL: Final[str] = env.str("BONDED_LOG_LEVEL", default="INFO")
BONDED_UPLOAD_BYTES: Final[int] = env.int("BONDED_UPLOAD_BYTES", default=4 * 1024**3)
BONDED_RETENTION_DAYS: Final[int] = env.int("BONDED_RETENTION_DAYS", default=30)
BONDED_OPERATION_LEASE_SECONDS: Final[int] = env.int(
    "BONDED_OPERATION_LEASE_SECONDS", default=120
)
BONDED_SWEEP_SECONDS: Final[float] = env.float("BONDED_SWEEP_SECONDS", default=5.0)
BONDED_SEAL_SECONDS: Final[float] = env.float("BONDED_SEAL_SECONDS", default=0.5)
# `Prefer: wait=N`: how long a request may wait for its work, and how many at once in one
# web process. Each holds a thread of the web server: there must be more threads than these.
BONDED_WAIT_SECONDS: Final[int] = env.int("BONDED_WAIT_SECONDS", default=30)
BONDED_WAITERS: Final[int] = env.int("BONDED_WAITERS", default=12)
# What one run may use, where its grant says nothing, and the most that a grant may say. A
# result crosses to the node in one frame of at most 64 MiB.
BONDED_RUN_SECONDS: Final[int] = env.int("BONDED_RUN_SECONDS", default=120)
BONDED_RUN_SECONDS_MAX: Final[int] = env.int("BONDED_RUN_SECONDS_MAX", default=900)
BONDED_RUN_MEMORY_MB: Final[int] = env.int("BONDED_RUN_MEMORY_MB", default=2048)
BONDED_RUN_MEMORY_MB_MAX: Final[int] = env.int("BONDED_RUN_MEMORY_MB_MAX", default=8192)
BONDED_RUN_OUTPUT_MB: Final[int] = env.int("BONDED_RUN_OUTPUT_MB", default=32)
BONDED_RUN_OUTPUT_MB_MAX: Final[int] = min(
    env.int("BONDED_RUN_OUTPUT_MB_MAX", default=48), 48
)
# How many queries may be under way at once: of all, and of one consumer.
BONDED_QUEUE: Final[int] = env.int("BONDED_QUEUE", default=500)
BONDED_QUEUE_PER_CONSUMER: Final[int] = env.int("BONDED_QUEUE_PER_CONSUMER", default=100)


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


# Who holds the master keys (exchange.keys.choice). Secrets are in files, never here.
BONDED_KEY_PROVIDER: Final[str] = env.str("BONDED_KEY_PROVIDER", default="file")
BONDED_KEYRING_PASSPHRASE_FILE: Final = _path(
    env.str("BONDED_KEYRING_PASSPHRASE_FILE", default="")
)
BONDED_TRANSIT_URL: Final[str] = env.str("BONDED_TRANSIT_URL", default="")
BONDED_TRANSIT_MOUNT: Final[str] = env.str("BONDED_TRANSIT_MOUNT", default="transit")
BONDED_TRANSIT_KEY: Final[str] = env.str("BONDED_TRANSIT_KEY", default="bonded")
BONDED_TRANSIT_NAMESPACE: Final[str] = env.str("BONDED_TRANSIT_NAMESPACE", default="")
BONDED_TRANSIT_TOKEN_FILE: Final = _path(env.str("BONDED_TRANSIT_TOKEN_FILE", default=""))
BONDED_TRANSIT_ROLE_ID_FILE: Final = _path(
    env.str("BONDED_TRANSIT_ROLE_ID_FILE", default="")
)
BONDED_TRANSIT_SECRET_ID_FILE: Final = _path(
    env.str("BONDED_TRANSIT_SECRET_ID_FILE", default="")
)
BONDED_TRANSIT_CA_FILE: Final = _path(env.str("BONDED_TRANSIT_CA_FILE", default=""))
BONDED_TRANSIT_TIMEOUT_SECONDS: Final[float] = env.float(
    "BONDED_TRANSIT_TIMEOUT_SECONDS", default=3.0
)
BONDED_PKCS11_MODULE: Final = _path(env.str("BONDED_PKCS11_MODULE", default=""))
BONDED_PKCS11_TOKEN: Final[str] = env.str("BONDED_PKCS11_TOKEN", default="bonded")
BONDED_PKCS11_LABEL: Final[str] = env.str("BONDED_PKCS11_LABEL", default="bonded")
BONDED_PKCS11_PIN_FILE: Final = _path(env.str("BONDED_PKCS11_PIN_FILE", default=""))

if BONDED_KEY_PROVIDER not in {"file", "transit", "pkcs11"}:
    raise ImproperlyConfigured(
        f"BONDED_KEY_PROVIDER is {BONDED_KEY_PROVIDER!r}; it must be file, transit or "
        "pkcs11."
    )
if BONDED_MODE not in {"demo", "development", "production"}:
    raise ImproperlyConfigured(
        f"BONDED_MODE is {BONDED_MODE!r}; it must be demo, development or production."
    )
IS_PRODUCTION: Final = BONDED_MODE == "production"

VAULT_DIR: Final = BONDED_HOME / "vault"
SECRETS_DIR: Final = BONDED_HOME / "secrets"
BROKER_DIR: Final = Path(env.str("BONDED_BROKER_DIR", default=str(BONDED_HOME / "broker")))
RUN_DIR: Final = BONDED_HOME / "run"
KEYRING_FILE: Final = SECRETS_DIR / "keyring.json"
LOG_SIGNING_KEY_FILE: Final = SECRETS_DIR / "log-signing.key"
SECRET_KEY_FILE: Final = SECRETS_DIR / "django.key"
