"""Settings of the example site: the demo by default, the production form with DJANGO_DEBUG=0."""

import os
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from example_project import environment as env
from example_project.keys import new_ec_key

DEBUG = env.flag("DJANGO_DEBUG", default=True)


def secret_key() -> str:
    """Return the secret key; only the demo may make its own."""
    if given := os.environ.get("DJANGO_SECRET_KEY"):
        return given
    if not DEBUG:
        raise ImproperlyConfigured("DJANGO_DEBUG=0 needs DJANGO_SECRET_KEY.")
    return env.kept_secret("secret_key", get_random_secret_key)


def signing_keys() -> list[dict[str, str]] | None:
    """Return a key pair that the demo makes; without it, tokens are signed with the secret key.

    Other services need the public half, to verify tokens by themselves.
    """
    if not DEBUG:
        return None
    pem = env.kept_secret("site_signing_key.pem", new_ec_key)
    return [{"kid": "demo", "algorithm": "ES256", "private_key": pem}]


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


def social_app(provider: str) -> dict[str, Any]:
    """Return an allauth provider's settings, or none unless its id is in the environment."""
    client_id = os.environ.get(f"{provider.upper()}_CLIENT_ID")
    if not client_id:
        return {}
    secret = os.environ.get(f"{provider.upper()}_CLIENT_SECRET", "")
    return {
        provider: {
            "APPS": [{"client_id": client_id, "secret": secret}],
            "OAUTH_PKCE_ENABLED": True,
        }
    }


SECRET_KEY = secret_key()
SITE_URL = env.SITE_URL
IDP_URL = env.IDP_URL
SPA_URL = env.SPA_URL
SERVICE_URL = env.SERVICE_URL
ALLOWED_HOSTS = (
    ["localhost", "127.0.0.1", "[::1]", "testserver"]
    if DEBUG
    else os.environ.get("DJANGO_ALLOWED_HOSTS", urlsplit(SITE_URL).hostname or "").split(",")
)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.github",
    "allauth.mfa",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    # Swagger UI's own files, so that the page of the API needs no other site.
    "drf_spectacular_sidecar",
    "corsheaders",
    "authmodes",
]

MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "example_project.headers.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "authmodes.middleware.LoginSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "example_project.last_method.LastMethodMiddleware",
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
ASGI_APPLICATION = "example_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before the apps, so that allauth's pages get this site's layout.
        "DIRS": [env.PROJECT_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "example_project.context.site",
            ],
        },
    },
]

DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# allauth counts its rate limits here. Several processes need a cache they share.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = env.VAR_DIR / "static"
STATICFILES_DIRS = [env.PROJECT_DIR / "static"]

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = env.VAR_DIR / "mail"
DEFAULT_FROM_EMAIL = "Example site <site@example.org>"

# A browser sends a cookie to every port of a host, so two sites on localhost need
# different names or they sign each other out.
SESSION_COOKIE_NAME = "site_sessionid"
CSRF_COOKIE_NAME = "site_csrftoken"

# --- authmodes -----------------------------------------------------------------------------

AUTHMODES_MODE = os.environ.get("AUTHMODES_MODE") or "both"
AUTHMODES_REDIRECT_URIS = {
    "app": [f"{SITE_URL}/spa/", *os.environ.get("DEMO_REDIRECT_URIS", "").split()],
    # The same app on an origin of its own.
    "spa": [f"{SPA_URL}/"],
    # A program on this machine, which listens on a free port, and an app with its own scheme.
    "native": [
        *("http://127.0.0.1/callback", "http://[::1]/callback"),
        f"{env.APP_SCHEME}:/callback",
    ],
}
AUTHMODES_TOKEN_TRANSPORT = os.environ.get("AUTHMODES_TOKEN_TRANSPORT") or "body"
AUTHMODES_SIGNING_KEYS = signing_keys()
AUTHMODES_CLAIMS = "example_project.claims.for_services"
# A new session key with every response, to watch the rotation.
AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0) if env.flag("DEMO_ROTATE", default=False) else None

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["authmodes.authentication.AuthModesAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    # JSON only: DRF's browsable pages need inline scripts, which the policy below forbids.
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "authmodes example",
    "DESCRIPTION": "Sign in with a cookie or with tokens; one row for every login.",
    "VERSION": "1",
    # The document is not part of the API that it describes.
    "SERVE_INCLUDE_SCHEMA": False,
}

SIMPLE_JWT = {
    # Short, so that the token app refreshes while you watch.
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=int(os.environ.get("DEMO_ACCESS_SECONDS") or 120)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ISSUER": SITE_URL,
    # The site's own API, and the service, which compares its own name with the list.
    "AUDIENCE": [SITE_URL, SERVICE_URL],
}

# --- sign-in -------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# The account page and allauth's own pages need the cookie; where cookies are off, the token
# app is the only place to sign in and to land.
LOGIN_URL = "spa" if AUTHMODES_MODE == "jwt" else "account_login"
LOGIN_REDIRECT_URL = "spa" if AUTHMODES_MODE == "jwt" else "account"
LOGOUT_REDIRECT_URL = "/"

ACCOUNT_ADAPTER = "authmodes.adapter.AuthModesAccountAdapter"
SOCIALACCOUNT_ADAPTER = "authmodes.adapter.AuthModesSocialAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
# Before an e-mail address is changed or a provider connected.
ACCOUNT_REAUTHENTICATION_REQUIRED = True
MFA_TOTP_ISSUER = "authmodes example"
# A code that was read at the end of its 30 seconds is accepted a moment later as well.
MFA_TOTP_TOLERANCE = 1
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
# Browsers treat localhost as a secure origin; with this, allauth does too.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG

SOCIALACCOUNT_AUTO_SIGNUP = True
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
    **social_app("google"),
    **social_app("github"),
}

# --- browser -------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "default-src": ["'self'"],
    # allauth draws the QR code of an authenticator app as a data: image.
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
    # Chromium holds redirects after a form's POST against this list as well. Every social login
    # is such a redirect, and so is the return to an app after the sign-in form.
    "form-action": [
        *("'self'", IDP_URL, "https://accounts.google.com", "https://github.com"),
        *env.APP_SOURCES,
    ],
}

# The token app on its own origin calls the API from there.
CORS_ALLOWED_ORIGINS = [SPA_URL]
CORS_URLS_REGEX = r"^/(auth|api|\.well-known)/"
CORS_EXPOSE_HEADERS = ["WWW-Authenticate", "Retry-After"]
# Only if the login is in cookies, which that app then sends as well: tokens in bodies need none.
CORS_ALLOW_CREDENTIALS = AUTHMODES_MODE == "session" or AUTHMODES_TOKEN_TRANSPORT == "cookie"
CSRF_TRUSTED_ORIGINS = [SPA_URL] if CORS_ALLOW_CREDENTIALS else []

if not DEBUG:
    CSRF_TRUSTED_ORIGINS += [SITE_URL]
    CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https"
