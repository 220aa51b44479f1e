"""A consumer's project, as small as it can be; the tests override what they are about.

`TEST_DATABASE` chooses the database: sqlite (default), postgres or mariadb. With `TEST_ROUTER=1`
a router puts every table there, under another alias than "default".
"""

import atexit
import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

SECRET_KEY = "only-for-the-tests-0123456789-abcdefghijklmnopqrstuvwxyz"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
USE_TZ = True
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.socialaccount.providers.dummy",
    "allauth.socialaccount.providers.facebook",
    "allauth.socialaccount.providers.github",
    "allauth.mfa",
    "allauth.headless",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    "authmodes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "authmodes.middleware.LoginSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
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
            ],
        },
    },
]

# Databases

TEST_DATABASE = os.environ.get("TEST_DATABASE", "sqlite")

# Two runs on one machine must not share a test database. A test that starts a second
# application process gives it TEST_DATABASE_NAME.
_database_name = os.environ.get("TEST_DATABASE_NAME", f"authmodes_{os.getpid()}")

DATABASES: dict[str, dict[str, Any]]

if TEST_DATABASE == "postgres":
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ.get("PGHOST", "127.0.0.1"),
            "PORT": os.environ.get("PGPORT", ""),
            "USER": os.environ.get("PGUSER", "postgres"),
            "PASSWORD": os.environ.get("PGPASSWORD", ""),
            "NAME": _database_name,
        }
    }
elif TEST_DATABASE == "mariadb":
    import pymysql

    pymysql.install_as_MySQLdb()
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "HOST": os.environ.get("TEST_MARIADB_HOST", "127.0.0.1"),
            "USER": os.environ.get("TEST_MARIADB_USER", "root"),
            "PASSWORD": os.environ.get("TEST_MARIADB_PASSWORD", ""),
            "NAME": _database_name,
            "OPTIONS": {"charset": "utf8mb4"},
            "TEST": {"CHARSET": "utf8mb4"},
        }
    }
elif TEST_DATABASE == "sqlite":
    # A file, because each thread has a connection of its own and an in-memory database
    # locks whole tables between them.
    if "TEST_DATABASE_NAME" in os.environ:
        _file = Path(_database_name)
    else:
        _folder = tempfile.mkdtemp(prefix="authmodes-tests-")
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
        _file = Path(_folder) / "db.sqlite3"
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": _file,
            "TEST": {"NAME": _file.with_name(f"test_{_file.name}")},
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
            },
        }
    }
else:
    raise ValueError(f"TEST_DATABASE is sqlite, postgres or mariadb, not {TEST_DATABASE!r}")

if os.environ.get("TEST_ROUTER"):
    # Everything lives in a second database, and `default` has no tables.
    DATABASES["logins"] = DATABASES["default"]
    _empty = Path(tempfile.gettempdir()) / f"authmodes-empty-{os.getpid()}.sqlite3"
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _empty,
        "TEST": {"NAME": _empty, "MIGRATE": False},
    }
    DATABASE_ROUTERS = ["tests.support.database.LoginsRouter"]

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
# Clearing the cache empties the database, so each of pytest-xdist's workers has one.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
TEST_REDIS_URL = os.environ.get("TEST_REDIS_URL", f"redis://127.0.0.1:6379/{15 - _worker % 15}")

# Sign-in

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
# The real one costs a tenth of a second for each login.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Django 6.1 warns without it; older ones have their own in-memory backend in tests.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
LOGIN_REDIRECT_URL = "/probe/page/"

ACCOUNT_ADAPTER = "authmodes.adapter.AuthModesAccountAdapter"
SOCIALACCOUNT_ADAPTER = "authmodes.adapter.AuthModesSocialAccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
HEADLESS_TOKEN_STRATEGY = "authmodes.strategy.AuthModesTokenStrategy"
# Half a minute may end between a code and the call that it is for.
MFA_TOTP_TOLERANCE = 1
# Every test signs in from one address; the tests about limits switch them on.
ACCOUNT_RATE_LIMITS = False
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "APPS": [
            {
                "provider_id": "example",
                "name": "Example ID",
                "client_id": "authmodes-tests",
                "secret": "not-a-secret",
                "settings": {"server_url": "https://id.example"},
            }
        ]
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["authmodes.authentication.AuthModesAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    # As above, for the REST door's own limits.
    "DEFAULT_THROTTLE_RATES": {"authmodes": None},
}

AUTHMODES_MODE = "both"
AUTHMODES_REDIRECT_URIS = ["https://spa.example/callback"]
# For the processes that a test starts; within one, a test overrides them.
AUTHMODES_ACCESS_TOKEN_CHECK = os.environ.get("AUTHMODES_ACCESS_TOKEN_CHECK", "database")
AUTHMODES_TOKEN_CACHE_SIZE = int(os.environ.get("AUTHMODES_TOKEN_CACHE_SIZE", "1024"))
AUTHMODES_SNAPSHOT_INTERVAL = timedelta(
    seconds=float(os.environ.get("AUTHMODES_SNAPSHOT_INTERVAL", "1"))
)
