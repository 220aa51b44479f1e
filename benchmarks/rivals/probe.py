"""Asks one library the questions of the README's comparison, and prints its answers as JSON.

    python probe.py NAME

`__main__.py` runs it for each library, in an environment of the library's own. A project of one
file: the settings are those that the library's documentation gives for its strictest behaviour.
"""

import hashlib
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import django
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings

NAME = sys.argv[1]
ROUNDS = 20
# Longer than any library accepts an exchanged refresh token again.
GRACE = 11
PASSWORD = "correct horse battery"
CLIENT_ID = "this-app"
JSON = {"content_type": "application/json"}
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Rival:
    authentication: str
    login: str
    refresh: str
    apps: list[str] = field(default_factory=list)
    middleware: list[str] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)
    logout: str = ""
    # The endpoint for a provider's token. "github": an access token; "oidc": an ID token.
    social: str = ""
    provider: str = ""
    registration: str = ""
    password_reset: str = ""
    mfa: str = ""
    # The admin's list of logins.
    admin: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    # What makes it send tokens in cookies; an unsafe call is then tried without a CSRF token.
    cookies: dict[str, Any] = field(default_factory=dict)


JWT = "rest_framework_simplejwt.authentication.JWTAuthentication"
BLACKLIST = "rest_framework_simplejwt.token_blacklist"
ALLAUTH = ["allauth", "allauth.account", "allauth.socialaccount"]
GITHUB = [*ALLAUTH, "allauth.socialaccount.providers.github"]
OIDC = [*ALLAUTH, "allauth.socialaccount.providers.openid_connect"]
ALLAUTH_MIDDLEWARE = "allauth.account.middleware.AccountMiddleware"
HEADLESS = "/_allauth/app/v1"

RIVALS = {
    "djangorestframework-simplejwt": Rival(
        JWT,
        login="/token/",
        refresh="/token/refresh/",
        apps=[BLACKLIST],
        logout="/token/blacklist/",
        admin="token_blacklist/blacklistedtoken",
    ),
    "dj-rest-auth": Rival(
        "dj_rest_auth.jwt_auth.JWTCookieAuthentication",
        login="/auth/login/",
        refresh="/auth/token/refresh/",
        apps=[
            *GITHUB,
            BLACKLIST,
            "dj_rest_auth",
            "dj_rest_auth.registration",
            "dj_rest_auth.mfa",
        ],
        middleware=[ALLAUTH_MIDDLEWARE],
        urls={
            "auth/": "dj_rest_auth.urls",
            "auth/registration/": "dj_rest_auth.registration.urls",
            "auth//": "dj_rest_auth.mfa.urls",
        },
        logout="/auth/logout/",
        social="/github/",
        provider="github",
        registration="/auth/registration/",
        password_reset="/auth/password/reset/",
        mfa="/auth//mfa/totp/activate/",
        admin="token_blacklist/blacklistedtoken",
        settings={
            "REST_AUTH": {
                "USE_JWT": True,
                "JWT_AUTH_HTTPONLY": False,
                "TOKEN_MODEL": None,
                "SESSION_LOGIN": False,
            }
        },
        cookies={"JWT_AUTH_COOKIE": "access"},
    ),
    "django-allauth": Rival(
        "allauth.headless.contrib.rest_framework.authentication.JWTTokenAuthentication",
        login=f"{HEADLESS}/auth/login",
        refresh=f"{HEADLESS}/tokens/refresh",
        apps=[*OIDC, "allauth.mfa", "allauth.headless", "allauth.usersessions"],
        middleware=[ALLAUTH_MIDDLEWARE, "allauth.usersessions.middleware.UserSessionsMiddleware"],
        urls={"_allauth/": "allauth.headless.urls"},
        logout=f"{HEADLESS}/auth/session",
        social=f"{HEADLESS}/auth/provider/token",
        provider="oidc",
        registration=f"{HEADLESS}/auth/signup",
        password_reset=f"{HEADLESS}/auth/password/request",
        mfa=f"{HEADLESS}/account/authenticators/totp",
        admin="usersessions/usersession",
        settings={
            "HEADLESS_TOKEN_STRATEGY": "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy",
            "HEADLESS_JWT_ALGORITHM": "HS256",
            "HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED": True,
        },
    ),
    "django-jwt-allauth": Rival(
        "jwt_allauth.authentication.JWTAllAuthDBAuthentication",
        login="/jwt/login/",
        refresh="/jwt/refresh/",
        apps=[*OIDC, "allauth.mfa", "jwt_allauth", "django_user_agents"],
        middleware=[ALLAUTH_MIDDLEWARE, "django_user_agents.middleware.UserAgentMiddleware"],
        urls={"jwt/": "jwt_allauth.urls"},
        logout="/jwt/logout/",
        social="/jwt/social/idp/token/",
        provider="oidc",
        registration="/jwt/registration/",
        password_reset="/jwt/password/reset/",
        mfa="/jwt/mfa/setup/",
        settings={
            "AUTH_USER_MODEL": "jwt_allauth.JAUser",
            "ACCOUNT_LOGIN_METHODS": {"email"},
            "ACCOUNT_SIGNUP_FIELDS": ["email*", "password1*", "password2*"],
            "JWT_ALLAUTH_SECRET_KEY": "only-for-this-comparison-0123456789-abcdefghij",
            "JWT_ALLAUTH_ACCESS_TOKEN_SESSION_CHECK": True,
            "JWT_ALLAUTH_REFRESH_TOKEN_AS_COOKIE": False,
            "JWT_ALLAUTH_MFA_TOTP_MODE": "optional",
            # Its user model has no migrations; a project makes its own.
            "MIGRATION_MODULES": dict.fromkeys(
                (
                    *("admin", "auth", "contenttypes", "sessions", "account", "socialaccount"),
                    *("mfa", "jwt_allauth"),
                )
            ),
        },
    ),
    "drf-auth-kit": Rival(
        "auth_kit.authentication.JWTCookieAuthentication",
        login="/auth/login/",
        refresh="/auth/token/refresh/",
        apps=[*GITHUB, BLACKLIST, "auth_kit", "auth_kit.mfa", "auth_kit.social"],
        middleware=[ALLAUTH_MIDDLEWARE],
        urls={"auth/": "auth_kit.urls"},
        logout="/auth/logout/",
        social="/auth/social/github/",
        provider="github",
        registration="/auth/registration/",
        password_reset="/auth/password/reset/",
        mfa="/auth/mfa/",
        admin="token_blacklist/blacklistedtoken",
        settings={
            "AUTH_KIT": {
                "USE_AUTH_COOKIE": False,
                "AUTH_COOKIE_HTTPONLY": False,
                "USE_MFA": True,
                "SOCIAL_LOGIN_AUTH_TYPE": "token",
            }
        },
        cookies={"USE_AUTH_COOKIE": True},
    ),
    "authmodes": Rival(
        "authmodes.authentication.AuthModesAuthentication",
        login="/auth/login/",
        refresh="/auth/token/refresh/",
        apps=[*OIDC, "allauth.mfa", BLACKLIST, "authmodes"],
        middleware=[ALLAUTH_MIDDLEWARE, "authmodes.middleware.LoginSessionMiddleware"],
        urls={"auth/": "authmodes.urls"},
        logout="/auth/logout/",
        social="/auth/social/idp/",
        provider="oidc",
        registration="/auth/registration/",
        password_reset="/auth/password/reset/",
        mfa="/auth/mfa/",
        admin="authmodes/loginsession",
        settings={
            "AUTHMODES_MODE": "both",
            "ACCOUNT_ADAPTER": "authmodes.adapter.AuthModesAccountAdapter",
            "SOCIALACCOUNT_ADAPTER": "authmodes.adapter.AuthModesSocialAccountAdapter",
        },
        cookies={"AUTHMODES_TOKEN_TRANSPORT": "cookie"},
    ),
}
RIVAL = RIVALS[NAME]


class Provider(BaseHTTPRequestHandler):
    """GitHub's user endpoint, which takes any token, and an OpenID Connect provider's keys."""

    def do_GET(self) -> None:
        url = f"http://127.0.0.1:{self.server.server_port}"
        path = self.path.partition("?")[0]
        answer: Any = {"id": 1, "login": "alice", "email": "alice@example.com"}
        if path.endswith("openid-configuration"):
            answer = {"issuer": url, "jwks_uri": f"{url}/jwks", "token_endpoint": f"{url}/token"}
            answer |= {"authorization_endpoint": f"{url}/a", "userinfo_endpoint": f"{url}/u"}
        elif path == "/jwks":
            key = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
            answer = {"keys": [{**key, "kid": "one", "alg": "RS256", "use": "sig"}]}
        elif path.endswith("emails"):
            answer = [{"email": "alice@example.com", "primary": True, "verified": True}]
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
ISSUER = f"http://127.0.0.1:{server.server_port}"


def configure() -> None:
    contrib = ("admin", "auth", "contenttypes", "sessions", "messages")
    app = {"client_id": CLIENT_ID, "secret": "s"}
    idp = {**app, "provider_id": "idp", "name": "IdP", "settings": {"server_url": ISSUER}}
    options = {
        "SECRET_KEY": "only-for-this-comparison-0123456789-abcdefghijklmnop",
        "ALLOWED_HOSTS": ["testserver"],
        "ROOT_URLCONF": __name__,
        "USE_TZ": True,
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "postgres",
                "HOST": os.environ.get("PGHOST", "127.0.0.1"),
                "USER": os.environ.get("PGUSER", "postgres"),
                "PASSWORD": os.environ.get("PGPASSWORD", ""),
                "TEST": {"NAME": f"rivals_{NAME.replace('-', '_')}"},
            }
        },
        "INSTALLED_APPS": [
            *(f"django.contrib.{name}" for name in contrib),
            "rest_framework",
            *RIVAL.apps,
        ],
        "MIDDLEWARE": [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            *RIVAL.middleware,
        ],
        "TEMPLATES": [
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
        ],
        "AUTHENTICATION_BACKENDS": ["django.contrib.auth.backends.ModelBackend"]
        + ["allauth.account.auth_backends.AuthenticationBackend"] * bool(RIVAL.middleware),
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend",
        "REST_FRAMEWORK": {
            "DEFAULT_AUTHENTICATION_CLASSES": [RIVAL.authentication],
            "DEFAULT_THROTTLE_RATES": {"authmodes": None, "anon": None, "user": None},
        },
        "SIMPLE_JWT": {
            "ROTATE_REFRESH_TOKENS": True,
            "BLACKLIST_AFTER_ROTATION": True,
            "CHECK_REVOKE_TOKEN": True,
        },
        "ACCOUNT_EMAIL_VERIFICATION": "optional",
        "ACCOUNT_RATE_LIMITS": False,
        "SOCIALACCOUNT_PROVIDERS": {
            "github": {"APP": app, "GITHUB_URL": ISSUER},
            "openid_connect": {"APPS": [idp]},
        },
        **RIVAL.settings,
    }
    if os.environ.get("RIVALS_COOKIES"):
        name = next((name for name in RIVAL.settings if name in ("REST_AUTH", "AUTH_KIT")), None)
        if name:
            options[name] = {**options[name], **RIVAL.cookies}
        else:
            options |= RIVAL.cookies
    if "allauth.socialaccount" not in RIVAL.apps:
        options["INSTALLED_APPS"] = [
            a for a in options["INSTALLED_APPS"] if not a.startswith("allauth")
        ]
    settings.configure(**options)
    django.setup()


configure()

from django.contrib import admin  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection, connections  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import clear_url_caches, include, path  # noqa: E402
from rest_framework.decorators import api_view, permission_classes  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.response import Response  # noqa: E402


@api_view(["GET", "POST"])
@permission_classes([IsAuthenticated])
def me(request: Any) -> Response:
    return Response({"user": str(request.user)})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("me/", me),
    *(path(prefix, include(module)) for prefix, module in RIVAL.urls.items()),
]
if RIVAL.middleware:
    urlpatterns.append(path("accounts/", include("allauth.urls")))
if NAME == "djangorestframework-simplejwt":
    from rest_framework_simplejwt import views

    urlpatterns += [
        path("token/", views.token_obtain_pair),
        path("token/refresh/", views.token_refresh),
        path("token/blacklist/", views.token_blacklist),
    ]
if NAME == "dj-rest-auth":
    from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
    from dj_rest_auth.mfa.views import MFALoginView
    from dj_rest_auth.registration.views import SocialLoginView

    class GitHubLogin(SocialLoginView):
        adapter_class = GitHubOAuth2Adapter

    urlpatterns.insert(0, path("auth/login/", MFALoginView.as_view()))
    urlpatterns.append(path("github/", GitHubLogin.as_view()))


class Refused(Exception):
    pass


def found(answer: Any, *names: str) -> str:
    """The first value of one of these names, at any depth."""
    if isinstance(answer, dict):
        for name in names:
            if isinstance(answer.get(name), str) and answer[name]:
                return answer[name]
        for value in answer.values():
            if inner := found(value, *names):
                return inner
    return ""


def tokens(response: Any) -> tuple[str, str]:
    if response.status_code >= 400:
        raise Refused(response.status_code, response.content[:300])
    body = response.json() if response.content else {}
    access, refresh = found(body, "access_token", "access"), found(body, "refresh_token", "refresh")
    if not access:
        raise Refused(response.status_code, str(body)[:300])
    return access, refresh


def client(**options: Any) -> Client:
    return Client(raise_request_exception=False, **options)


counter = iter(range(1, 10_000))


def new_user() -> Any:
    number = next(counter)
    name = f"user{number}"
    user = get_user_model().objects.create_user(name, f"{name}@example.com", PASSWORD)
    if RIVAL.middleware:
        from allauth.account.models import EmailAddress

        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def sign_in(user: Any, browser: Client | None = None) -> Any:
    name = {"email": user.email} if "jwt_allauth" in RIVAL.apps else {"username": user.username}
    if NAME == "authmodes":
        name["mode"] = "jwt"
    return (browser or client()).post(RIVAL.login, {**name, "password": PASSWORD}, **JSON)


def opens(access: str) -> bool:
    status = client().get("/me/", headers={"authorization": f"Bearer {access}"}).status_code
    assert status in (200, 401, 403), status
    return status == 200


def refresh(token: str) -> tuple[str, str]:
    name = "refresh_token" if NAME == "django-allauth" else "refresh"
    access, successor = tokens(client().post(RIVAL.refresh, {name: token}, **JSON))
    return access, successor or token


def refreshes(token: str) -> bool:
    try:
        refresh(token)
    except Refused:
        return False
    return True


def is_kept(user: Any, change: Any) -> bool:
    access, _ = tokens(sign_in(user))
    assert opens(access)
    change(user)
    return opens(access)


def change_password(user: Any) -> None:
    user.set_password("a different horse")
    user.save()


def deactivate(user: Any) -> None:
    user.is_active = False
    user.save()


def two_tabs() -> dict[str, int]:
    """Two refreshes of one token at once: what the two tabs hold afterwards."""
    outcomes: Counter[str] = Counter()
    user = new_user()
    for _ in range(ROUNDS):
        _, token = tokens(sign_in(user))
        barrier = threading.Barrier(2)
        answers: list[tuple[str, str] | None] = []

        def tab(token: str = token, barrier: Any = barrier, answers: Any = answers) -> None:
            barrier.wait()
            try:
                answers.append(refresh(token))
            except Refused:
                answers.append(None)
            finally:
                connections.close_all()

        tabs = [threading.Thread(target=tab) for _ in range(2)]
        [thread.start() for thread in tabs]
        [thread.join() for thread in tabs]
        held = {answer[1] for answer in answers if answer}
        # Before any is used: using one may end the others.
        alive = [successor for successor in held if refreshes(successor)]
        if None in answers:
            outcomes["one tab is refused" if alive else "both tabs are signed out"] += 1
        elif len(held) == 1:
            outcomes["one family" if alive else "both tabs are signed out"] += 1
        else:
            outcomes[("both tabs are signed out", "one tab loses", "two families")[len(alive)]] += 1
    return dict(outcomes)


def reuse() -> dict[str, bool]:
    _, first = tokens(sign_in(new_user()))
    _, second = refresh(first)
    if first == second:
        return {"rotates": False}
    time.sleep(GRACE)
    old_is_refused = not refreshes(first)
    return {"rotates": True, "old is refused": old_is_refused, "ends": not refreshes(second)}


def claims_of_password() -> list[str]:
    """The claims of an access token that are an MD5 of the password hash."""
    user = new_user()
    access, _ = tokens(sign_in(user))
    digest = hashlib.md5(user.password.encode()).hexdigest()
    claims = jwt.decode(access, options={"verify_signature": False})
    return [name for name, value in claims.items() if str(value).lower() == digest]


def logout() -> bool:
    """Whether the access token still opens the API after a logout."""
    access, token = tokens(response := sign_in(new_user()))
    headers = {"authorization": f"Bearer {access}"}
    if NAME == "django-allauth":
        session = found(response.json(), "session_token")
        done = client().delete(RIVAL.logout, headers={"x-session-token": session})
        assert done.status_code == 401  # That is its answer to a client that is signed out.
    else:
        done = client().post(RIVAL.logout, {"refresh": token}, headers=headers, **JSON)
        assert done.status_code in (200, 204), done.content
    assert not refreshes(token)
    return opens(access)


def revoke_in_admin() -> str:
    if not RIVAL.admin:
        return "no page"
    user = new_user()
    access, _ = tokens(sign_in(user))
    boss = get_user_model().objects.create_superuser(f"boss{next(counter)}", "b@x.org", PASSWORD)
    browser = client()
    browser.force_login(boss, "django.contrib.auth.backends.ModelBackend")
    url = f"/admin/{RIVAL.admin}/"
    if RIVAL.admin.startswith("token_blacklist"):
        from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

        outstanding = OutstandingToken.objects.filter(user=user).latest("id")
        done = browser.post(f"{url}add/", {"token": outstanding.pk})
    elif NAME == "authmodes":
        from authmodes.models import LoginSession

        row = LoginSession.objects.get(user=user)
        form = {"action": "revoke_selected", "_selected_action": row.pk, "post": "yes"}
        done = browser.post(url, form)
    else:
        from allauth.usersessions.models import UserSession

        row = UserSession.objects.get(user=user)
        done = browser.post(f"{url}{row.pk}/delete/", {"post": "yes"})
    assert done.status_code == 302, (done.status_code, done.content[:2000])
    return "access token works" if opens(access) else "access token is refused"


def one_list() -> bool:
    """Whether the admin's list has a user's cookie login and token login alike."""
    if not RIVAL.admin:
        return False
    user = new_user()
    tokens(sign_in(user))
    browser = client()
    if RIVAL.middleware:
        form = {"login": user.username, "password": PASSWORD}
        signed_in = browser.post("/accounts/login/", form)
        assert signed_in.status_code == 302, signed_in.content
        browser.get("/accounts/email/")
    else:
        browser.force_login(user)
    model = next(
        model
        for model in admin.site._registry
        if model._meta.label_lower == RIVAL.admin.replace("/", ".")
    )
    if model._meta.app_label == "token_blacklist":
        from rest_framework_simplejwt.token_blacklist.models import OutstandingToken as model  # type: ignore[no-redef]
    return model._base_manager.filter(user=user).count() == 2


def database_has(text: str) -> bool:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s', [f"%{text}%"])
            if cursor.fetchone()[0]:
                return True
    return False


def provider_token(audience: str) -> dict[str, Any]:
    if RIVAL.provider == "github":
        return {"access_token": f"issued-to-{audience}"}
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": audience, "sub": "1", "iat": now, "exp": now + 300}
    claims |= {"email": "alice@example.com", "email_verified": True, "nonce": None}
    claims = {name: value for name, value in claims.items() if value is not None}
    id_token = jwt.encode(claims, KEY, "RS256", {"kid": "one"})
    body = {"client_id": CLIENT_ID, "id_token": id_token}
    if NAME == "django-allauth":
        return {"provider": "idp", "process": "login", "token": body}
    if NAME == "authmodes":
        body["mode"] = "jwt"
    return body


def social_user() -> Any:
    """alice, who has come in by the provider before."""
    from allauth.socialaccount.models import SocialAccount

    user = new_user()
    provider = "github" if RIVAL.provider == "github" else "idp"
    SocialAccount.objects.create(user=user, provider=provider, uid="1", extra_data={})
    return user


def social(audience: str) -> str:
    response = client().post(RIVAL.social, provider_token(audience), **JSON)
    assert response.status_code < 500, response.content
    try:
        tokens(response)
    except Refused:
        return "no tokens"
    return "tokens"


def enrol(user: Any) -> None:
    secret = "JBSWY3DPEHPK3PXP"
    if "auth_kit" in RIVAL.apps:
        from auth_kit.mfa.models import MFAMethod

        MFAMethod.objects.create(
            user=user, name="app", secret=secret, is_primary=True, is_active=True
        )
    elif "dj_rest_auth" in RIVAL.apps:
        from dj_rest_auth.mfa.models import Authenticator as Theirs

        Theirs.objects.create(user=user, type="totp", data={"secret": secret})
    else:
        from allauth.mfa.adapter import get_adapter
        from allauth.mfa.models import Authenticator

        data = {"secret": get_adapter().encrypt(secret)}
        Authenticator.objects.create(user=user, type="totp", data=data)


def social_answers() -> dict[str, Any]:
    if not RIVAL.social:
        return {}
    user = social_user()
    own, other = social(CLIENT_ID), social("another-app")
    enrol(user)
    try:
        tokens(sign_in(user))
        password = "tokens"
    except Refused:
        password = "no tokens"
    return {
        "provider": RIVAL.provider,
        "own": own,
        "another client's": other,
        "second factor, by password": password,
        "second factor, by provider": social(CLIENT_ID),
    }


def exists(url: str) -> bool:
    return bool(url) and client().post(url, {}, **JSON).status_code != 404


def languages() -> int:
    package = {"django-allauth": "allauth", "django-jwt-allauth": "jwt_allauth"}
    package |= {"drf-auth-kit": "auth_kit", "dj-rest-auth": "dj_rest_auth"}
    package["djangorestframework-simplejwt"] = "rest_framework_simplejwt"
    folder = Path(__import__(package.get(NAME, NAME)).__file__).parent / "locale"
    return len({path.parts[-3] for path in folder.glob("*/LC_MESSAGES/django.po")} | {"en"})


def by_cookie() -> dict[str, Any]:
    """What an unsafe call with a token cookie and no CSRF token gets: a cross-site form."""
    user = new_user()
    browser = client(enforce_csrf_checks=True)
    if NAME == "authmodes":
        csrf = browser.get("/auth/csrf/").json()["csrf_token"]
        body = {"username": user.username, "password": PASSWORD, "mode": "jwt"}
        done = browser.post(RIVAL.login, body, headers={"x-csrftoken": csrf}, **JSON)
    else:
        done = sign_in(user, browser)
    assert done.status_code == 200, done.content
    assert browser.get("/me/").status_code == 200

    def unsafe() -> str:
        return "accepted" if browser.post("/me/").status_code == 200 else "refused"

    said = {
        "cookie without CSRF": unsafe(),
        # A browser with Lax or Strict sends no cookie with a form of another site.
        "SameSite": sorted({cookie["samesite"] for cookie in browser.cookies.values()}),
    }
    if NAME == "dj-rest-auth":
        from dj_rest_auth.app_settings import api_settings

        # It reads settings once.
        api_settings.JWT_AUTH_COOKIE_USE_CSRF = True
        said["cookie without CSRF, with its check"] = unsafe()
    return said


def answers() -> dict[str, Any]:
    if os.environ.get("RIVALS_COOKIES"):
        return by_cookie()
    _, token = tokens(sign_in(new_user()))
    return {
        "two tabs": two_tabs(),
        "reuse": reuse(),
        "after password change": is_kept(new_user(), change_password),
        "MD5 of the password hash": claims_of_password(),
        "after deactivation": is_kept(new_user(), deactivate),
        "after logout": logout(),
        "admin": revoke_in_admin(),
        "one list": one_list(),
        "refresh token in database": database_has(token),
        "social": social_answers(),
        "registration": exists(RIVAL.registration),
        "password reset": exists(RIVAL.password_reset),
        "mfa": exists(RIVAL.mfa),
        "languages": languages(),
    }


connection.creation.create_test_db(verbosity=0, autoclobber=True)
if NAME == "drf-auth-kit":
    # Its routes are made from the apps in the database, so the tables have to exist.
    urlpatterns.append(path("auth/social/", include("auth_kit.social.urls")))
    clear_url_caches()
try:
    print(json.dumps(answers()))
finally:
    connections.close_all()
    connection.creation.destroy_test_db("postgres", verbosity=0)
