"""OAuth's authorization server metadata (RFC 8414), for clients that configure themselves."""

from typing import Any
from urllib.parse import urlsplit

from django.http import Http404
from django.urls import NoReverseMatch, URLResolver, get_resolver, reverse
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from ...conf import Mode, conf, simple_jwt
from ...signin.authorization_request import PROMPTS
from ...state import to_django
from ...tokens import cookies as token_cookies
from ...tokens import keys
from .. import answers
from . import base
from .tokens import CacheableView

WELL_KNOWN = "/.well-known/oauth-authorization-server"
ENDPOINTS = {
    "authorization_endpoint": "authorize",
    "token_endpoint": "token_obtain_pair",
    "revocation_endpoint": "token_revoke",
    "introspection_endpoint": "token_introspect",
}


def metadata_path(issuer: str) -> str:
    """Return where clients look for the metadata of an issuer (RFC 8414, 3.1)."""
    return WELL_KNOWN + urlsplit(issuer).path.rstrip("/")


def endpoint_url(name: str, urlconf: Any = None) -> str:
    """Return the URL of an endpoint of ours at the issuer, below the first `include()`.

    The host is the issuer's, never the one that a request names. Raises `NoReverseMatch`.
    """
    issuer = urlsplit(simple_jwt().ISSUER)
    namespace = _find_namespace(get_resolver(urlconf))
    if namespace is None:
        raise NoReverseMatch("authmodes.urls is not included.")
    return f"{issuer.scheme}://{issuer.netloc}{reverse(f'{namespace}:{name}', urlconf)}"


def _find_namespace(resolver: URLResolver) -> str | None:
    for namespace in resolver.app_dict.get("authmodes", []):
        return namespace
    for outer, (_prefix, inner) in resolver.namespace_dict.items():
        if found := _find_namespace(inner):
            return f"{outer}:{found}"
    return None


class MetadataView(CacheableView):
    """The authorization server metadata (RFC 8414).

    There are none without an issuer, of a different issuer, and where tokens are off.
    """

    @base.describe(answers={200: answers.MetadataSerializer}, errors=(NotFound,))
    def get(self, request: Request, issuer_path: str = "") -> Response:
        issuer = simple_jwt().ISSUER
        wanted = f"{WELL_KNOWN}/{issuer_path}".rstrip("/")
        if not issuer or wanted != metadata_path(issuer) or not conf.MODE.allows(Mode.JWT):
            raise Http404
        urlconf = getattr(to_django(request), "urlconf", None)
        # Tokens in cookies are not in an answer, where a client of OAuth's expects them.
        has_code_flow = bool(conf.REDIRECT_URIS) and not token_cookies.are_enabled()
        grants = ["authorization_code", "refresh_token"] if has_code_flow else []
        answer = {
            "issuer": issuer,
            **{name: endpoint_url(view, urlconf) for name, view in ENDPOINTS.items()},
            "response_types_supported": ["code"] if has_code_flow else [],
            "response_modes_supported": ["query"],
            "grant_types_supported": [*grants, "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": list(PROMPTS),
            "authorization_response_iss_parameter_supported": True,
            "token_endpoint_auth_methods_supported": [
                *(["none"] if has_code_flow else []),
                *("client_secret_basic", "client_secret_post"),
            ],
            "revocation_endpoint_auth_methods_supported": ["none"],
            # An access token of a user with the permission.
            "introspection_endpoint_auth_methods_supported": ["Bearer"],
        }
        if keys.jwks()["keys"]:
            answer["jwks_uri"] = endpoint_url("jwks", urlconf)
        return Response(answer)
