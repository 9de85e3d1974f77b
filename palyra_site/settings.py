"""Settings, all from the environment (DESIGN: the table of variables)."""

from __future__ import annotations

from pathlib import Path

import environ

from identity.networks import parse_networks
from palyra_site.home import instance_digest, older_key, sealing_key, secret_text

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
PALYRA_HOME = Path(env.str("PALYRA_HOME", default=str(BASE_DIR / ".palyra"))).resolve()
PALYRA_BIND = env.str("PALYRA_BIND", default="127.0.0.1:8470")
PALYRA_PUBLIC_URL = env.str("PALYRA_PUBLIC_URL", default=f"http://{PALYRA_BIND}").rstrip("/")
PALYRA_REDIS_URL = env.str("PALYRA_REDIS_URL", default="")
PALYRA_SECRET_KEY_FILE = Path(
    env.str("PALYRA_SECRET_KEY_FILE", default=str(PALYRA_HOME / "keys" / "secret.key"))
)
PALYRA_SECRET_KEY_FILES_OLD = tuple(
    Path(name) for name in env.list("PALYRA_SECRET_KEY_FILES_OLD", default=[])
)
PALYRA_VAULT_KEK_DIR = Path(env.str("PALYRA_VAULT_KEK_DIR", default=str(PALYRA_HOME / "keys")))
PALYRA_TRUSTED_PROXIES = parse_networks(env.list("PALYRA_TRUSTED_PROXIES", default=[]))
PALYRA_PROXY_SECRET = secret_text(env.str("PALYRA_PROXY_SECRET_FILE", default=""))
PALYRA_OIDC_ISSUER = env.str("PALYRA_OIDC_ISSUER", default="")
PALYRA_OIDC_CLIENT_ID = env.str("PALYRA_OIDC_CLIENT_ID", default="")
PALYRA_OIDC_CLIENT_SECRET = secret_text(env.str("PALYRA_OIDC_CLIENT_SECRET_FILE", default=""))
PALYRA_OIDC_TRUST_AMR = env.bool("PALYRA_OIDC_TRUST_AMR", default=False)
PALYRA_INSTANCE = instance_digest(PALYRA_HOME)
PALYRA_MAX_WAITERS = env.int("PALYRA_MAX_WAITERS", default=200)
PALYRA_DECISION_DAYS = env.int("PALYRA_DECISION_DAYS", default=30)
PALYRA_DECISION_ROWS = env.int("PALYRA_DECISION_ROWS", default=100_000)
PALYRA_SANDBOX_SLOTS = env.int("PALYRA_SANDBOX_SLOTS", default=0)
PALYRA_SANDBOX_UID = env.int("PALYRA_SANDBOX_UID", default=61184)
PALYRA_SANDBOX_DIR = env.str("PALYRA_SANDBOX_DIR", default="")
PALYRA_WORKSPACES_DIR = env.str("PALYRA_WORKSPACES_DIR", default="")
PALYRA_JOURNAL_ORIGIN = env.str("PALYRA_JOURNAL_ORIGIN", default="")
PALYRA_JOURNAL_SEAL_SECONDS = env.float("PALYRA_JOURNAL_SEAL_SECONDS", default=1.0)
PALYRA_JOURNAL_SEAL_BEFORE_RUN = env.str("PALYRA_JOURNAL_SEAL_BEFORE_RUN", default="high")
PALYRA_JOURNAL_PUBLIC = env.bool("PALYRA_JOURNAL_PUBLIC", default=False)
PALYRA_JOURNAL_RETENTION_DAYS = env.str("PALYRA_JOURNAL_RETENTION_DAYS", default="400")
PALYRA_JOURNAL_ARCHIVE_DIR = Path(
    env.str("PALYRA_JOURNAL_ARCHIVE_DIR", default=str(PALYRA_HOME / "journal" / "archive"))
)
PALYRA_JOURNAL_WITNESSES = tuple(env.list("PALYRA_JOURNAL_WITNESSES", default=[]))
PALYRA_JOURNAL_REQUIRE_WITNESS = env.int("PALYRA_JOURNAL_REQUIRE_WITNESS", default=0)
PALYRA_WEBHOOK_ALLOW_PRIVATE = env.bool("PALYRA_WEBHOOK_ALLOW_PRIVATE", default=False)
PALYRA_EMAIL_URL = env.str("PALYRA_EMAIL_URL", default="")

DEBUG = env.bool("PALYRA_DEBUG", default=False)
SECRET_KEY = sealing_key(PALYRA_SECRET_KEY_FILE).hex()
SECRET_KEY_FALLBACKS = [older_key(path).hex() for path in PALYRA_SECRET_KEY_FILES_OLD]
ALLOWED_HOSTS = env.list("PALYRA_ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.staticfiles",
    "django_otp",
    "rest_framework",
    "drf_spectacular",
    "identity.apps.IdentityConfig",
    "policy.apps.PolicyConfig",
    "approvals.apps.ApprovalsConfig",
    "sandbox.apps.SandboxConfig",
    "vault.apps.VaultConfig",
    "governance.apps.GovernanceConfig",
    "palyra_site.apps.SiteConfig",
]

MIDDLEWARE = [
    "governance.api.middleware.RequestFactsMiddleware",
    "governance.api.edge.EdgeMiddleware",
    "governance.api.token_marks.TokenMarksMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "governance.admin.headers.ConsoleHeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "palyra_site.urls"
ASGI_APPLICATION = "palyra_site.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "libraries": {
                "console": "governance.admin.tags",
                "oidc": "governance.admin.oidc_tags",
            },
        },
    },
]

DATABASES = {
    "default": env.db_url_config(
        env.str("PALYRA_DATABASE_URL", default=f"sqlite:///{PALYRA_HOME / 'palyra.sqlite3'}")
    )
}
DATABASES["default"]["ATOMIC_REQUESTS"] = False
DATABASES["default"]["TEST"] = {"NAME": None}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # FULL: the journal survives a power cut. IMMEDIATE: select_for_update does nothing on SQLite.
    DATABASES["default"]["TEST"] = {"NAME": str(PALYRA_HOME / "test.sqlite3")}  # threads need a file
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
            "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;"
        ),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "identity.User"
AUTHENTICATION_BACKENDS = ["identity.backends.MatrixBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

LOGIN_URL = "/admin/login/"
_HTTPS = PALYRA_PUBLIC_URL.startswith("https://")
SESSION_COOKIE_NAME = "__Host-palyra" if _HTTPS else "palyra"
SESSION_COOKIE_SECURE = _HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
SESSION_ENGINE = "identity.session_store"
SESSION_SAVE_EVERY_REQUEST = False
CSRF_USE_SESSIONS = True
CSRF_TRUSTED_ORIGINS = [PALYRA_PUBLIC_URL]
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 16_842_752  # the listener holds each path to its own limit (body_cap)

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = PALYRA_HOME / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["governance.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["governance.api.permissions.HoldsPermission"],
    "DEFAULT_PARSER_CLASSES": ["governance.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "governance.api.problems.handle",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Palyra",
    "VERSION": "1.0.0",
    "DESCRIPTION": "Governance for AI agents: propose, decide, approve, execute, attest.",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "EffectEnum": ("allow", "deny", "require_approval"),
        "VerdictEnum": ("allow", "deny"),
        "CedarDecisionEnum": ("allow", "deny", "no_decision"),
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "governance.api.openapi.add_common_parts",
        "governance.api.openapi_webhooks.add_webhooks",
    ],
}

if PALYRA_REDIS_URL:
    CELERY_BROKER_URL = PALYRA_REDIS_URL
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = {"visibility_timeout": 3600}
else:
    _QUEUE = PALYRA_HOME / "queue"
    CELERY_BROKER_URL = "filesystem://localhost//"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_QUEUE / "messages"),
        "data_folder_out": str(_QUEUE / "messages"),
        "control_folder": str(_QUEUE / "control"),
        "processed_folder": str(_QUEUE / "processed"),
        "store_processed": True,
        "polling_interval": 0.1,
    }
if PALYRA_EMAIL_URL:
    vars().update(env.email_url_config(PALYRA_EMAIL_URL))
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = str(PALYRA_HOME / "mail")
if _EMAIL_PASSWORD := secret_text(env.str("PALYRA_EMAIL_PASSWORD_FILE", default="")):
    EMAIL_HOST_PASSWORD = _EMAIL_PASSWORD
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("PALYRA_EMAIL_FROM", default="Palyra <palyra@localhost>")

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "sandbox"
CELERY_TASK_ROUTES = {
    "palyra.jobs": {"queue": "jobs"},
    "palyra.notifications": {"queue": "notifications"},
}
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "filters": {"links": {"()": "palyra_site.log_filters.WithoutSetupLinks"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["links"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"django.request": {"level": "ERROR"}, "httpx": {"level": "WARNING"}},
}
