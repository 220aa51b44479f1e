"""Settings of the example site on servers. Hosts and secrets come from the environment."""

import ast
import os
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from example_project import base
from example_project import environment as env
from example_project.base import *  # noqa: F403
from example_project.deploy.logs import LOGGING  # noqa: F401

missing: list[str] = []


def required(name: str) -> str:
    """Return a variable or the content of its file; note its name if there is neither."""
    value = env.secret(name)
    if not value:
        missing.append(name)
    return value


def signing_keys(text: str) -> list[dict[str, str]]:
    """Parse entries as `make_signing_key` prints them, one on each line."""
    try:
        keys = list(ast.literal_eval(f"[{text}]"))
    except (SyntaxError, ValueError):
        # Without the cause, which quotes the text.
        raise ImproperlyConfigured(
            "AUTHMODES_SIGNING_KEYS does not consist of lines printed by make_signing_key."
        ) from None
    return keys


def openid_connect() -> dict[str, Any]:
    """Return the settings of an OpenID Connect provider, if there is one."""
    server_url = os.environ.get("OIDC_SERVER_URL")
    if not server_url:
        return {}
    app = {
        "provider_id": "oidc",
        "name": os.environ.get("OIDC_NAME") or "OpenID Connect",
        "client_id": required("OIDC_CLIENT_ID"),
        "secret": required("OIDC_CLIENT_SECRET"),
        "settings": {"server_url": server_url, "oauth_pkce_enabled": True},
    }
    return {"openid_connect": {"APPS": [app]}}


DEBUG = False
ROOT_URLCONF = "example_project.deploy.urls"

SITE_URL = required("SITE_URL").rstrip("/")
SPA_URL = os.environ.get("SPA_URL", "").rstrip("/")
# Of the demo only.
IDP_URL = SERVICE_URL = ""
ALLOWED_HOSTS = [urlsplit(SITE_URL).hostname or ""]

# The first signs; the others are of a roll-over, and are accepted as well.
SECRET_KEY, *SECRET_KEY_FALLBACKS = required("DJANGO_SECRET_KEYS").split() or [""]

# --- the servers ---------------------------------------------------------------------------

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": required("POSTGRES_HOST"),
        "PORT": os.environ.get("POSTGRES_PORT") or "5432",
        "NAME": required("POSTGRES_DB"),
        "USER": required("POSTGRES_USER"),
        "PASSWORD": required("POSTGRES_PASSWORD"),
        "CONN_MAX_AGE": 60,
        # A connection that the server has closed is opened again, and no request fails.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 3},
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": required("REDIS_URL"),
        # A Redis that hangs must not make each request wait for ever.
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    }
}
# Stores digests of the session keys, in the cache and in the database.
SESSION_ENGINE = "authmodes.sessions.cached_db"

EMAIL_HOST = required("EMAIL_HOST")
EMAIL_PORT = int(os.environ.get("EMAIL_PORT") or 587)
EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", default=True)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = required("DEFAULT_FROM_EMAIL")

# --- static files --------------------------------------------------------------------------

STATIC_ROOT = os.environ.get("STATIC_ROOT") or env.VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "example_project.deploy.storage.StaticFilesStorage"},
}
MIDDLEWARE = ["example_project.deploy.logs.RequestLogMiddleware"]
for middleware in base.MIDDLEWARE:
    MIDDLEWARE.append(middleware)
    if middleware == "example_project.headers.ContentSecurityPolicyMiddleware":
        # Below it, so that an SVG image that is opened by itself has the policy too.
        MIDDLEWARE.append("whitenoise.middleware.WhiteNoiseMiddleware")

# --- authmodes -----------------------------------------------------------------------------

AUTHMODES_SIGNING_KEYS = signing_keys(required("AUTHMODES_SIGNING_KEYS"))
AUTHMODES_REDIRECT_URIS = {
    "app": [f"{SITE_URL}/spa/"],
    **({"spa": [f"{SPA_URL}/"]} if SPA_URL else {}),
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ISSUER": SITE_URL,
    "AUDIENCE": [SITE_URL, *os.environ.get("API_AUDIENCES", "").split()],
}

# --- sign-in -------------------------------------------------------------------------------

ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https"
for provider in ("GOOGLE", "GITHUB"):
    if os.environ.get(f"{provider}_CLIENT_ID"):
        required(f"{provider}_CLIENT_SECRET")
SOCIALACCOUNT_PROVIDERS = {**base.SOCIALACCOUNT_PROVIDERS, **openid_connect()}
# allauth answers 500 at the addresses of a provider without an app.
INSTALLED_APPS = [
    app
    for app in base.INSTALLED_APPS
    if not app.startswith("allauth.socialaccount.providers.")
    or app.rpartition(".")[2] in SOCIALACCOUNT_PROVIDERS
]

# --- proxy and browser ---------------------------------------------------------------------

# nginx sets X-Forwarded-For to the client's address alone. With a load balancer in front of
# it, both have to append, and this is 2.
ALLAUTH_TRUSTED_PROXY_COUNT = int(os.environ.get("TRUSTED_PROXY_COUNT") or 1)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
# Asked on the application's own port, without TLS.
SECURE_REDIRECT_EXEMPT = [r"^health/$"]
# Start with a day: a browser that has seen the header insists on https for that long.
SECURE_HSTS_SECONDS = int(os.environ.get("HSTS_SECONDS") or 365 * 24 * 60 * 60)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_NAME = "__Host-sessionid"
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_NAME = "__Host-csrftoken"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SECURE = True

CONTENT_SECURITY_POLICY = {
    **base.CONTENT_SECURITY_POLICY,
    "form-action": [
        *base.CONTENT_SECURITY_POLICY["form-action"],
        # Of the provider, and of the app that a sign-in returns to.
        *os.environ.get("FORM_ACTION_ORIGINS", "").split(),
        *([SPA_URL] if SPA_URL else []),
    ],
}
CORS_ALLOWED_ORIGINS = [SPA_URL] if SPA_URL else []
CSRF_TRUSTED_ORIGINS = CORS_ALLOWED_ORIGINS if base.CORS_ALLOW_CREDENTIALS else []

if missing:
    raise ImproperlyConfigured(
        f"Not set: {', '.join(missing)}. example_project/deploy/.env.example describes them; "
        "NAME_FILE may name a file that contains the value."
    )
