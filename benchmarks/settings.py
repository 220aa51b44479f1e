"""The settings of one stack: BENCH_STACK; on BENCH_DATABASE and BENCH_NAME."""

import os
from datetime import timedelta
from typing import Any

from . import stacks

STACK = stacks.STACKS.get(os.environ.get("BENCH_STACK", ""))

SECRET_KEY = "only-for-benchmarks-0123456789-abcdefghijklmnopqrstuvwxyz"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "benchmarks.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING_CONFIG = None
STATIC_URL = "static/"

APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
]
ALLAUTH = ["allauth", "allauth.account", "allauth.socialaccount", "allauth.headless"]
# Without a stack, every table is made.
PEERS = ["allauth.usersessions", "knox", "dj_rest_auth", "authmodes"]
if STACK and stacks.ALLAUTH not in STACK.middleware:
    ALLAUTH = []
INSTALLED_APPS = [*APPS, *ALLAUTH, *(STACK.apps if STACK else PEERS)]
# Tables are made from the models: one peer's user model comes without migrations, and it is faster.
MIGRATION_MODULES = {name.rpartition(".")[2]: None for name in INSTALLED_APPS}
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    *(STACK.middleware if STACK else [stacks.ALLAUTH]),
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "PORT": os.environ.get("PGPORT", ""),
        "USER": os.environ.get("PGUSER", "postgres"),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        "NAME": os.environ.get("BENCH_NAME", "postgres"),
        "CONN_MAX_AGE": None,
    }
    if os.environ.get("BENCH_DATABASE") == "postgres"
    else {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BENCH_NAME", ":memory:"),
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}
if os.environ.get("BENCH_DATABASE") == "mariadb":
    import pymysql

    pymysql.install_as_MySQLdb()
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.mysql",
        "HOST": os.environ.get("TEST_MARIADB_HOST", "127.0.0.1"),
        "USER": os.environ.get("TEST_MARIADB_USER", "root"),
        "PASSWORD": os.environ.get("TEST_MARIADB_PASSWORD", ""),
        "NAME": os.environ["BENCH_NAME"],
        "CONN_MAX_AGE": None,
        "OPTIONS": {"charset": "utf8mb4"},
    }
if STACK and STACK.is_prepared:
    DATABASES["default"]["OPTIONS"] = {"server_side_binding": True, "prepare_threshold": 1}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/9"),
    }
}
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
if ALLAUTH:
    AUTHENTICATION_BACKENDS.append("allauth.account.auth_backends.AuthenticationBackend")
# The real one costs each stack the same tenth of a second.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False
REST_AUTH = {"USE_JWT": True, "JWT_AUTH_HTTPONLY": False, "TOKEN_MODEL": None}
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [STACK.authentication]
    if STACK and STACK.authentication
    else [],
    "DEFAULT_THROTTLE_RATES": {"authmodes": None, "anon": None, "user": None},
}
SIMPLE_JWT: dict[str, Any] = {
    "ACCESS_TOKEN_LIFETIME": timedelta(hours=1),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=30),
    "ROTATE_REFRESH_TOKENS": True,
    # One peer has a list of valid tokens instead.
    "BLACKLIST_AFTER_ROTATION": "jwt_allauth" not in INSTALLED_APPS,
}
AUTHMODES_ABSOLUTE_LIFETIME = timedelta(days=90)
for _name, _value in (STACK.settings if STACK else {}).items():
    globals()[_name] = _value
