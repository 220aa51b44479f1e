"""Settings of the demo, which makes its own keys and database. `deploy/` has those of a server."""

import os
from datetime import timedelta
from typing import Any

from django.core.management.utils import get_random_secret_key

from example_project import base
from example_project import environment as env
from example_project.base import *  # noqa: F403
from example_project.keys import new_ec_key

# Off, so that the demo shows the error pages of a site; tracebacks are in its log.
DEBUG = env.flag("DJANGO_DEBUG", default=False)
IS_DEMO = True


def database() -> dict[str, Any]:
    """Return SQLite in the var directory, or the server that `DEMO_DB_*` describes."""
    engine = os.environ.get("DEMO_DB_ENGINE") or "sqlite3"
    engine = engine if "." in engine else f"django.db.backends.{engine}"
    if engine.endswith("sqlite3"):
        return env.sqlite(env.VAR_DIR / (os.environ.get("DEMO_DB_NAME") or "site.sqlite3"))
    if engine.endswith("mysql"):
        install_mysql_driver()
    parts = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
    return {"ENGINE": engine, **{part: os.environ.get(f"DEMO_DB_{part}", "") for part in parts}}


def install_mysql_driver() -> None:
    """Use PyMySQL if mysqlclient, which needs a compiler, is not installed."""
    try:
        import MySQLdb  # noqa: F401
    except ImportError:
        import pymysql

        pymysql.install_as_MySQLdb()


SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or env.kept_secret(
    "secret_key", get_random_secret_key
)
SITE_URL = env.SITE_URL
IDP_URL = env.IDP_URL
SPA_URL = env.SPA_URL
SERVICE_URL = env.SERVICE_URL
SECOND_URL = env.SECOND_URL
OTHER_SITE_URL = env.OTHER_SITE_URL
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "testserver"]
# First, so that it sees what arrives.
MIDDLEWARE = ["example_project.measure.MeasureMiddleware", *base.MIDDLEWARE]

DATABASES = {"default": database()}
# allauth counts its rate limits here. Several processes need a cache they share.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = env.VAR_DIR / "mail"
DEFAULT_FROM_EMAIL = "Example site <site@example.org>"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "authmodes": {"level": "INFO", "handlers": ["console"]},
        "django": {"level": "INFO", "handlers": ["console"]},
    },
}

# A browser sends a cookie to every port of a host, so two sites on localhost need
# different names or they sign each other out.
SESSION_COOKIE_NAME = "site_sessionid"
CSRF_COOKIE_NAME = "site_csrftoken"

# --- authmodes -----------------------------------------------------------------------------

AUTHMODES_REDIRECT_URIS = {
    "app": [
        f"{SITE_URL}/spa/",
        f"{SITE_URL}/compare/",
        *os.environ.get("DEMO_REDIRECT_URIS", "").split(),
    ],
    # The same app on an origin of its own.
    "spa": [f"{SPA_URL}/"],
    # A program on this machine, which listens on a free port, and an app with its own scheme.
    "native": [
        *("http://127.0.0.1/callback", "http://[::1]/callback"),
        f"{env.APP_SCHEME}:/callback",
    ],
}
# The demo has no https.
AUTHMODES_COOKIE_SECURE = False
# Other services need the public half, to verify tokens by themselves.
AUTHMODES_SIGNING_KEYS = [
    {
        "kid": "demo",
        "algorithm": "ES256",
        "private_key": env.kept_secret("site_signing_key.pem", new_ec_key),
    }
]
# A new session key with every response, to watch the rotation.
AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0) if env.flag("DEMO_ROTATE", default=False) else None

SIMPLE_JWT = {
    # Short, so that the token app refreshes while you watch.
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=int(os.environ.get("DEMO_ACCESS_SECONDS") or 120)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ISSUER": SITE_URL,
    # The site's own API, and the service, which compares its own name with the list.
    "AUDIENCE": [SITE_URL, SERVICE_URL],
}

# --- sign-in -------------------------------------------------------------------------------

# Browsers treat localhost as a secure origin; with this, allauth does too.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = True

SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "APPS": [
            {
                "provider_id": env.OIDC_PROVIDER_ID,
                "name": "Demo ID",
                "client_id": env.OIDC_CLIENT_ID,
                "secret": env.OIDC_CLIENT_SECRET,
                "settings": {"server_url": IDP_URL, "oauth_pkce_enabled": True},
            }
        ],
    },
    **base.SOCIALACCOUNT_PROVIDERS,
}

# --- browser -------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    **base.CONTENT_SECURITY_POLICY,
    "form-action": [*base.CONTENT_SECURITY_POLICY["form-action"], IDP_URL, *env.APP_SOURCES],
}
# The token app on its own origin calls the API from there.
CORS_ALLOWED_ORIGINS = [SPA_URL]
CSRF_TRUSTED_ORIGINS = [SPA_URL] if base.CORS_ALLOW_CREDENTIALS else []
