"""What the demo and the deployment have in common: apps, middleware, templates, sign-in."""

import os
from typing import Any

from example_project import environment as env


def social_app(provider: str) -> dict[str, Any]:
    """Return an allauth provider's settings, or none unless its id is in the environment."""
    client_id = os.environ.get(f"{provider.upper()}_CLIENT_ID")
    if not client_id:
        return {}
    secret = env.secret(f"{provider.upper()}_CLIENT_SECRET")
    return {
        provider: {
            "APPS": [{"client_id": client_id, "secret": secret}],
            "OAUTH_PKCE_ENABLED": True,
        }
    }


# Whether the pages name the other hosts of the demo and its commands.
IS_DEMO = False

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
    "django.middleware.locale.LocaleMiddleware",
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

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "German"), ("ar", "Arabic")]
LOCALE_PATHS = [env.PROJECT_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [env.PROJECT_DIR / "static"]

# --- authmodes -----------------------------------------------------------------------------

AUTHMODES_MODE = os.environ.get("AUTHMODES_MODE") or "both"
AUTHMODES_TOKEN_TRANSPORT = os.environ.get("AUTHMODES_TOKEN_TRANSPORT") or "body"
AUTHMODES_CLAIMS = "example_project.claims.for_services"

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

SOCIALACCOUNT_AUTO_SIGNUP = True
SOCIALACCOUNT_PROVIDERS = {**social_app("google"), **social_app("github")}

# --- browser -------------------------------------------------------------------------------

CSRF_FAILURE_VIEW = "example_project.errors.csrf_failure"
CONTENT_SECURITY_POLICY = {
    "default-src": ["'self'"],
    # allauth draws the QR code of an authenticator app as a data: image.
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
    # Chromium holds redirects after a form's POST against this list as well. Every social login
    # is such a redirect, and so is the return to an app after the sign-in form.
    "form-action": ["'self'", "https://accounts.google.com", "https://github.com"],
}

# Of an app on an origin of its own, which calls the API from there.
CORS_URLS_REGEX = r"^/(auth|api|\.well-known)/"
CORS_EXPOSE_HEADERS = ["WWW-Authenticate", "Retry-After"]
# Only if the login is in cookies, which that app then sends as well: tokens in bodies need none.
CORS_ALLOW_CREDENTIALS = AUTHMODES_MODE == "session" or AUTHMODES_TOKEN_TRANSPORT == "cookie"
