"""The security schemes of the OpenAPI document, which depend on mode and transport."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object

from ...authentication import AuthModesAuthentication
from ...conf import Mode, conf, simple_jwt
from ...tokens import cookies as token_cookies

CSRF = "Unsafe calls need the `X-CSRFToken` header as well."


class AuthModesScheme(OpenApiAuthenticationExtension):
    """The credentials that count under the settings as they are; any one of them will do."""

    target_class = AuthModesAuthentication
    match_subclasses = True
    priority = 1
    # drf-spectacular takes a list, and declares a text.
    name: Any = property(lambda self: list(self._schemes()))

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self._schemes()]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        return list(self._schemes().values())

    def _schemes(self) -> dict[str, dict[str, Any]]:
        schemes: dict[str, dict[str, Any]] = {}
        if conf.MODE.allows(Mode.JWT):
            prefixes = simple_jwt().AUTH_HEADER_TYPES
            schemes["authmodesBearer"] = build_bearer_security_scheme_object(
                header_name=simple_jwt().AUTH_HEADER_NAME,
                token_prefix=prefixes if isinstance(prefixes, str) else prefixes[0],
                bearer_format="JWT",
            )
            if token_cookies.are_enabled():
                schemes["authmodesTokenCookie"] = _cookie(conf.ACCESS_COOKIE_NAME)
        if conf.MODE.allows(Mode.SESSION):
            schemes["authmodesSessionCookie"] = _cookie(settings.SESSION_COOKIE_NAME)
        return schemes


def _cookie(name: str) -> dict[str, Any]:
    return {"type": "apiKey", "in": "cookie", "name": name, "description": CSRF}
