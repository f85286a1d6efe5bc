"""Settings of a node, read from the environment once and typed here.

Importing this module writes nothing. `manage.py setup` makes the directories and the
secrets; what is missing is refused by `exchange.node.readiness`, what is weak right here.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from policies.errors import PolicyError
from policies.floor import Floor, load_floor

BASE_DIR: Final = Path(__file__).resolve().parent.parent

env = environ.Env()

# --- what an operator sets ------------------------------------------------------------
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

# --- applications ---------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "axes",
    "csp",
    "guardian",
    "django_filters",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "exchange.audit",
    "exchange.parties",
    "exchange.keys",
    "exchange.operations",
    "exchange.catalogue",
    "exchange.agreements",
    "exchange.queries",
    "exchange.api",
    "exchange.web",
    "exchange.node",
    "exchange.demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "exchange.urls"
WSGI_APPLICATION = "exchange.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    }
]

# --- database -------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db("DATABASE_URL", default=f"sqlite:///{BONDED_HOME / 'db.sqlite3'}")
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: a transaction that will write takes the lock when it begins, so that it
    # waits its turn instead of failing half-way. FULL: what is committed survives a power
    # cut.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
    # Tests use a file too: threads and worker processes must see the same rows.
    DATABASES["default"]["TEST"] = {"NAME": str(BONDED_HOME / "test.sqlite3")}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Joins follow keys, in the order in which the ORM writes them. To weigh the orders of a
    # dozen takes the server three times as long as to read the row, at each request.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault(
        "options", "-c join_collapse_limit=4"
    )
    # To plan a statement takes the server longer than to answer it: what a connection says
    # again and again it keeps prepared. A pooler in between must know of that, or
    # DATABASE_URL end with `?prepare_threshold=1000000000`: never.
    DATABASES["default"]["OPTIONS"].setdefault("server_side_binding", True)
    DATABASES["default"]["OPTIONS"].setdefault("prepare_threshold", 5)

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- people ---------------------------------------------------------------------------
AUTH_USER_MODEL = "parties.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
ANONYMOUS_USER_NAME = None  # guardian: no row for nobody
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_LOCKOUT_CALLABLE = "exchange.web.parties.locked_out"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"

# --- the browser ----------------------------------------------------------------------
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "exchange.web.access.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = IS_PRODUCTION
CSRF_COOKIE_SECURE = IS_PRODUCTION
if IS_PRODUCTION:
    SECURE_SSL_REDIRECT: bool = env.bool("BONDED_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}

# --- uploads --------------------------------------------------------------------------
# Rows in clear never touch the disk: uploads are sealed while they stream in, so no file
# upload handler of Django's may spool them (exchange.api and exchange.web read the stream).
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024**2
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # two for each column of a wide table
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]

# --- language, time, static -----------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT: str | None = env.str("BONDED_STATIC_ROOT", default=None)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Static files are served from the packages: a fresh clone needs no collectstatic.
WHITENOISE_USE_FINDERS = True

# --- REST -----------------------------------------------------------------------------
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "exchange.parties.tokens.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["exchange.api.bodies.JsonBody"],
    "URL_FORMAT_OVERRIDE": None,  # `?format=` says what an upload is
    "EXCEPTION_HANDLER": "exchange.api.errors.problem_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Bonded",
    "DESCRIPTION": "Ask for labelled data and controlled aggregates; verify releases.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "exchange.api.schema.add_problems",
    ],
}

# --- Celery: a doorbell (exchange.operations holds the truth) --------------------------
CELERY_BROKER_URL = BONDED_BROKER_URL
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        "data_folder_in": str(BROKER_DIR / "queue"),
        "data_folder_out": str(BROKER_DIR / "queue"),
        "control_folder": str(BROKER_DIR / "control"),
        "polling_interval": 0.05,
    }
    if BONDED_BROKER_URL.startswith("filesystem:")
    else {}
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # a lost ring is rung again by the sweep
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False  # nobody but the rows tells a worker what to do
# Else each task connects anew, to a server process that has read no catalogue yet.
CELERY_DB_REUSE_MAX = 1000
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "operations.sweep": {"task": "operations.sweep", "schedule": BONDED_SWEEP_SECONDS},
    "queries.open": {"task": "queries.open", "schedule": BONDED_SWEEP_SECONDS},
    "queries.upkeep": {"task": "queries.upkeep", "schedule": 60.0},
    "api.forget": {"task": "api.forget", "schedule": 3600.0},
}

# --- logs -----------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": BONDED_LOG_LEVEL},
    "loggers": {
        # Their debug lines carry query parameters and form fields.
        "django.db.backends": {"level": "INFO"},
        "axes": {"level": "WARNING"},
    },
}
