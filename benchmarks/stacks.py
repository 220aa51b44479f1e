"""The stacks that are compared: the settings of each, and how its client signs in."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

OURS = "authmodes.middleware.LoginSessionMiddleware"
ALLAUTH = "allauth.account.middleware.AccountMiddleware"
TRACKING = "allauth.usersessions.middleware.UserSessionsMiddleware"
DRF = "rest_framework.authentication.SessionAuthentication"
SIMPLEJWT = "rest_framework_simplejwt.authentication"
AUTHMODES = "authmodes.authentication.AuthModesAuthentication"
CACHED = "django.contrib.sessions.backends.cached_db"
EVERYTHING = {
    "AUTHMODES_IDLE_TIMEOUT": timedelta(hours=1),
    "AUTHMODES_RENEW_AFTER": timedelta(days=1),
    "AUTHMODES_ROTATE_SESSION_AFTER": timedelta(minutes=10),
    "AUTHMODES_BIND_IP": True,
    "AUTHMODES_BIND_USER_AGENT": True,
    "AUTHMODES_NOTIFY_NEW_LOGIN": True,
}


@dataclass(frozen=True)
class Stack:
    """`login` and `refresh` are paths; `form` says which kind of sign-in answers there."""

    authentication: str = ""
    apps: tuple[str, ...] = ()
    middleware: tuple[str, ...] = ()
    form: str = ""
    login: str = ""
    refresh: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    # By the server: PostgreSQL only.
    is_prepared: bool = False


def _ours(form: str, **settings: Any) -> Stack:
    settings.setdefault("ACCOUNT_ADAPTER", "authmodes.adapter.AuthModesAccountAdapter")
    return Stack(
        AUTHMODES,
        ("authmodes",),
        (OURS, ALLAUTH),
        form,
        "/auth/login/",
        "/auth/token/refresh/" if form == "ours-jwt" else "",
        {"AUTHMODES_MODE": "both", **settings},
    )


def _cookie(engine: str) -> Stack:
    return _ours("ours-session", SESSION_ENGINE=engine, **EVERYTHING)


SESSION = Stack(DRF, form="session")
JWT = Stack(f"{SIMPLEJWT}.JWTAuthentication", form="jwt", login="/jwt/", refresh="/jwt/refresh/")

STACKS = {
    "floor": Stack(),
    "session": SESSION,
    "session, twin": SESSION,
    "session, cached_db": Stack(DRF, form="session", settings={"SESSION_ENGINE": CACHED}),
    "allauth session": Stack(
        DRF, middleware=(ALLAUTH,), form="allauth", login="/_allauth/browser/v1/auth/login"
    ),
    "usersessions, tracking": Stack(
        DRF,
        ("allauth.usersessions",),
        (ALLAUTH, TRACKING),
        "allauth",
        "/_allauth/browser/v1/auth/login",
        settings={"USERSESSIONS_TRACK_ACTIVITY": True},
    ),
    "simplejwt": JWT,
    "simplejwt, twin": JWT,
    "simplejwt stateless": Stack(
        f"{SIMPLEJWT}.JWTStatelessUserAuthentication", form="jwt", login="/jwt/"
    ),
    "headless JWT": Stack(
        "allauth.headless.contrib.rest_framework.authentication.JWTTokenAuthentication",
        middleware=(ALLAUTH,),
        form="headless",
        login="/_allauth/app/v1/auth/login",
        refresh="/_allauth/app/v1/tokens/refresh",
        settings={
            "HEADLESS_TOKEN_STRATEGY": "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy",
            "HEADLESS_JWT_ALGORITHM": "HS256",
            "HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN": 3600,
            "HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED": True,
        },
    ),
    "knox": Stack("knox.auth.TokenAuthentication", ("knox",), form="knox"),
    "dj-rest-auth": Stack(
        "dj_rest_auth.jwt_auth.JWTCookieAuthentication",
        ("dj_rest_auth",),
        (ALLAUTH,),
        "jwt",
        "/rest-auth/login/",
    ),
    "django-jwt-allauth": Stack(
        "jwt_allauth.authentication.JWTAllAuthAuthentication",
        ("jwt_allauth",),
        (ALLAUTH,),
        "jwt-allauth",
        "/jwt-allauth/login/",
        "/jwt-allauth/refresh/",
        {
            "AUTH_USER_MODEL": "jwt_allauth.JAUser",
            "ACCOUNT_LOGIN_METHODS": {"email"},
            "ACCOUNT_SIGNUP_FIELDS": ["email*", "password1*", "password2*"],
            "JWT_ALLAUTH_SECRET_KEY": "only-for-benchmarks-0123456789-abcdefghijklmnop",
            "JWT_ALLAUTH_ACCESS_TOKEN_SESSION_CHECK": True,
            "JWT_ALLAUTH_REFRESH_TOKEN_AS_COOKIE": False,
        },
    ),
    "token, database": _ours("ours-jwt"),
    "token, snapshot": _ours("ours-jwt", AUTHMODES_ACCESS_TOKEN_CHECK="snapshot"),
    "token, none": _ours("ours-jwt", AUTHMODES_ACCESS_TOKEN_CHECK="none"),
    "cookie": _cookie("django.contrib.sessions.backends.db"),
    "cookie, authmodes.sessions.db": _cookie("authmodes.sessions.db"),
    "cookie, authmodes.sessions.cached_db": _cookie("authmodes.sessions.cached_db"),
}
STACKS["simplejwt, prepared"] = replace(JWT, is_prepared=True)
STACKS["token, prepared"] = replace(STACKS["token, database"], is_prepared=True)
