"""What the REST door's bodies look like, as named components of an OpenAPI document."""

from collections.abc import Callable

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from ...conf import Mode, conf
from ...tokens import cookies as token_cookies
from ..serializers import (
    LoginSerializer,
    LoginSessionSerializer,
    SocialTokenSerializer,
    TokenObtainPairSerializer,
    UserSerializer,
)
from .shapes import (
    FLAG,
    MOMENT,
    NUMBER,
    PREFIX,
    TEXT,
    UUID,
    Schema,
    array,
    choice,
    or_null,
    record,
    ref,
)


def register(auto_schema: AutoSchema) -> None:
    """Put all components of ours into the document that is being written."""
    for name, make in COMPONENTS.items():
        component = ResolvedComponent(
            name=f"{PREFIX}{name}", type=ResolvedComponent.SCHEMA, object=name, schema=make()
        )
        auto_schema.registry.register_on_missing(component)
    # These are the serializers that the views use; `extensions` names them.
    for serializer in (UserSerializer, LoginSessionSerializer):
        auto_schema.resolve_serializer(serializer, "response")
    auto_schema.resolve_serializer(TokenObtainPairSerializer, "request")


def _error() -> Schema:
    return record({"detail": TEXT, "code": TEXT})


def _logout() -> Schema:
    ways_back: dict[str, Schema] = {"post_logout_redirect_uri": {}, "state": {}}
    return {
        "properties": {"refresh": {}, "upstream": {}, **ways_back},
        "description": (
            "`refresh` names a login by its token; what is no refresh token of this site is "
            "passed over. With `upstream: true` the answer says where to sign out at the provider, "
            "and `post_logout_redirect_uri` and `state` where the browser comes back to."
        ),
    }


def _token_request() -> Schema:
    return {"anyOf": [ref("TokenObtainPair"), ref("ClientCredentials")]}


def _client_credentials() -> Schema:
    by_body = "Unless HTTP Basic says who the client is."
    return record(
        {
            "grant_type": ref("GrantType"),
            "client_id": {**TEXT, "description": by_body},
            "client_secret": {**TEXT, "description": by_body},
            "scope": {**TEXT, "description": "All that the client has, unless named."},
        },
        optional=["client_id", "client_secret", "scope"],
        description="RFC 6749, 4.4.",
    )


def _client_token() -> Schema:
    answer = {"access_token": TEXT, "token_type": TEXT, "expires_in": NUMBER, "scope": TEXT}
    return record(answer, description="RFC 6749, 5.1.")


def _oauth_error() -> Schema:
    return {
        **record({"error": TEXT, "detail": TEXT, "code": TEXT}),
        "description": "RFC 6749, 5.2, beside what all errors have.",
    }


def _push_error() -> Schema:
    errors = {"error": TEXT, "error_description": TEXT, "err": TEXT, "description": TEXT}
    return record(
        {"detail": TEXT, "code": TEXT, **errors},
        optional=list(errors),
        description="`error` of OpenID Connect Back-Channel Logout, `err` of RFC 8935.",
    )


def _invalid() -> Schema:
    errors = {
        "type": "object",
        "additionalProperties": True,
        "description": "By field, where the code is `invalid`.",
    }
    return record({"detail": TEXT, "code": TEXT, "errors": errors}, optional=["errors"])


def _stage_pending() -> Schema:
    go_on = record(
        {"page": or_null(TEXT), "fields": array(TEXT)},
        description="Where a browser goes on, and what the call may be made with again.",
    )
    return record({"detail": TEXT, "code": TEXT, "stage": TEXT, "continue": go_on})


def _sign_in_refused() -> Schema:
    return {"anyOf": [ref("StagePending"), ref("Error")]}


def _login_answer(mode: str) -> dict[str, Schema]:
    return {
        "mode": ref(mode),
        "sid": UUID,
        "user": ref("User"),
        "access_expires_at": MOMENT,
        "refresh_expires_at": MOMENT,
    }


def _tokens() -> Schema:
    answer = _login_answer("JwtMode")
    if token_cookies.are_enabled():
        return record(answer, description="The tokens are in `HttpOnly` cookies.")
    return record({**answer, "access": TEXT, "refresh": TEXT})


def _cookie_login() -> Schema:
    return record(_login_answer("SessionMode"), description="The session cookie gives access.")


def _login() -> Schema:
    shapes = {Mode.JWT: ref("Tokens"), Mode.SESSION: ref("CookieLogin")}
    possible = {mode: shape for mode, shape in shapes.items() if conf.MODE.allows(mode)}
    if len(possible) == 1:
        return {"allOf": list(possible.values())}
    mapping = {str(mode): shape["$ref"] for mode, shape in possible.items()}
    discriminator = {"propertyName": "mode", "mapping": mapping}
    return {"oneOf": list(possible.values()), "discriminator": discriminator}


def _index() -> Schema:
    return record(
        {
            "mode": ref("ModeSetting"),
            "default_mode": ref("Mode"),
            "modes": array(ref("Mode")),
            "token_transport": ref("Transport"),
            "providers": array(ref("Provider")),
            "links": {"type": "object", "additionalProperties": TEXT},
        }
    )


def _provider() -> Schema:
    return record(
        {
            "id": TEXT,
            "name": TEXT,
            "redirect": {**FLAG, "description": "Whether a browser can be sent there."},
            "token": {
                **array(ref("CredentialKind")),
                "description": "What `url` takes that a client got from there.",
            },
            "url": TEXT,
            "start_url": TEXT,
        }
    )


def _introspection() -> Schema:
    return record(
        {
            "active": FLAG,
            "sub": TEXT,
            "username": TEXT,
            "sid": UUID,
            "exp": NUMBER,
            "token_type": TEXT,
            "token_use": TEXT,
        },
        optional=["sub", "username", "sid", "exp", "token_type", "token_use"],
        description="RFC 7662; a token that does not count is `active: false` and nothing else.",
        additionalProperties=True,
    )


def _jwks() -> Schema:
    key = record(
        {"kty": TEXT, "kid": TEXT, "alg": TEXT},
        optional=["kid", "alg"],
        additionalProperties=True,
    )
    return record({"keys": array(key)}, description="RFC 7517; public parts only.")


# Made anew for each document, because settings decide about some of them. Enumerations are
# components too: drf-spectacular would give those of a property one name for the whole project.
COMPONENTS: dict[str, Callable[[], Schema]] = {
    "Mode": lambda: choice(Mode.SESSION, Mode.JWT),
    "ModeSetting": lambda: choice(*Mode),
    "JwtMode": lambda: choice(Mode.JWT),
    "SessionMode": lambda: choice(Mode.SESSION),
    "Transport": lambda: choice("body", "cookie"),
    "Error": _error,
    "Invalid": _invalid,
    "StagePending": _stage_pending,
    "SignInRefused": _sign_in_refused,
    "Tokens": _tokens,
    "CookieLogin": _cookie_login,
    "LoginAnswer": _login,
    "Index": _index,
    "Provider": _provider,
    "Providers": lambda: array(ref("Provider")),
    "Csrf": lambda: record({"csrf_token": TEXT}),
    "WhoAmI": lambda: record({"mode": ref("Mode"), "sid": UUID, "user": ref("User")}),
    "LoginSessions": lambda: array(ref("LoginSession")),
    "GrantType": lambda: choice("client_credentials"),
    "Process": lambda: choice("login", "connect"),
    "CredentialKind": lambda: choice("id_token", "access_token", "code"),
    "Logout": _logout,
    "LeaveProvider": lambda: record({"upstream_logout_url": or_null(TEXT)}),
    "TokenRequest": _token_request,
    "ClientCredentials": _client_credentials,
    "ClientToken": _client_token,
    "TokenAnswer": lambda: {"anyOf": [ref("Tokens"), ref("ClientToken")]},
    "TokenRefused": lambda: {"anyOf": [ref("OAuthError"), ref("Invalid")]},
    "TokenSignInRefused": lambda: {"anyOf": [ref("OAuthError"), ref("SignInRefused")]},
    "OAuthError": _oauth_error,
    "Connected": lambda: record({"provider": TEXT, "uid": TEXT}),
    "SocialAnswer": lambda: {"anyOf": [ref("LoginAnswer"), ref("Connected")]},
    "LogoutToken": lambda: record({"logout_token": {**TEXT, "minLength": 1}}),
    "SecurityEvent": lambda: {**TEXT, "minLength": 1},
    "PushError": _push_error,
    "Ended": lambda: record({"ended": NUMBER}),
    "Introspection": _introspection,
    "Jwks": _jwks,
    "Nothing": lambda: {"type": "object"},
}


def _needs(*names: str) -> Schema:
    return {"required": list(names)}


_A_TOKEN: Schema = {"anyOf": [_needs("id_token"), _needs("access_token")]}


# What `validate` of a serializer asks beyond the fields.
BEYOND_FIELDS: dict[type, Schema] = {
    LoginSerializer: {"anyOf": [_needs("username"), _needs("email")]},
    SocialTokenSerializer: {
        "oneOf": [
            {**_needs("code", "code_verifier", "redirect_uri"), "not": _A_TOKEN},
            {**_A_TOKEN, "not": _needs("code")},
        ]
    },
}
