"""What the REST door's bodies look like, as named components of an OpenAPI document."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.settings import spectacular_settings

from .. import transport
from ..conf import Mode, conf
from ..serializers import LoginSessionSerializer, UserSerializer

Schema = dict[str, Any]

# A project has an `Error` and a `User` of its own.
PREFIX = "AuthModes"

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "integer"}
UUID: Schema = {"type": "string", "format": "uuid"}
MOMENT: Schema = {"type": "string", "format": "date-time"}


def ref(name: str) -> Schema:
    """Point to one of our components."""
    return {"$ref": f"#/components/schemas/{PREFIX}{name}"}


def choice(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def record(properties: Mapping[str, Schema], optional: Sequence[str] = (), **more: Any) -> Schema:
    """An object; a client ignores what it does not know in it."""
    required = [name for name in properties if name not in optional]
    if required:
        more["required"] = required
    return {"type": "object", "properties": dict(properties), **more}


def or_null(schema: Schema) -> Schema:
    """Say it in the words of the version that the project writes."""
    if spectacular_settings.OAS_VERSION.startswith("3.1"):
        return {"oneOf": [schema, {"type": "null"}]}
    return {**schema, "nullable": True}


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


def _error() -> Schema:
    return record({"detail": TEXT, "code": TEXT})


def _refresh_if_any() -> Schema:
    description = "What is no object with a refresh token of this site is passed over."
    return {"properties": {"refresh": {}}, "description": description}


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
    if transport.in_use():
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
            "token": {**FLAG, "description": "Whether a client may bring a token of theirs."},
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
    "RefreshIfAny": _refresh_if_any,
    "Ended": lambda: record({"ended": NUMBER}),
    "Introspection": _introspection,
    "Jwks": _jwks,
    "Nothing": lambda: {"type": "object"},
}
