"""What the login that is being made will become, kept from the request until its last stage.

A social login goes through the provider and may stop at a second factor. Its authorization
request travels in allauth's own login state and, once the user is known, in the Django session.
"""

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, QueryDict
from django.urls import Resolver404, ResolverMatch, resolve
from rest_framework.exceptions import APIException

from .. import request_client
from ..conf import Mode, conf
from ..exceptions import InvalidClientID, InvalidRedirectURI
from ..state import request_state
from .authorization_code import CODE_CHALLENGE, clients_of
from .id_tokens import IdTokenMark

SESSION_KEY = "_authmodes_authorization_request"
STATE_KEY = "authmodes"
STATE_MAX_LENGTH = 1024
# OpenID Connect Core, 3.1.2.1.
PROMPTS = ("none", "login", "consent", "select_account")
MAX_AGE = re.compile(r"[0-9]{0,9}\Z")


@dataclass(frozen=True)
class AuthorizationRequest:
    """The requested mode and, for a code flow, the client that will receive the code."""

    mode: str
    client_id: str = ""
    next: str = ""
    code_challenge: str = ""
    state: str = ""
    # Staff on their way to the admin, which a cookie opens in every mode.
    to_admin: bool = False
    # The ID token that a REST call presented and that a stage released again. The token is
    # marked as used when the login is finished on a page.
    id_token: IdTokenMark | None = None

    @property
    def wants_code(self) -> bool:
        return bool(self.code_challenge)

    def to_state(self) -> dict[str, Any]:
        """Return what allauth's login state carries as its `data`."""
        return {STATE_KEY: asdict(self)}


def parse_mode(value: Any) -> str | None:
    """Return the mode that a client named, or the default; None for an unknown mode."""
    if value is None or value == "":
        return str(conf.DEFAULT_MODE)
    return str(value) if value in (Mode.SESSION, Mode.JWT) else None


def store(request: HttpRequest, social_state: dict[str, Any]) -> None:
    """Put the authorization request of a recognised user into the Django session.

    This runs before allauth's stages and for every login, so that an abandoned login leaves
    nothing to the next one. A request that a REST view has set on `RequestState` comes first.
    """
    carried = from_state(request, social_state)
    requested = (
        request_state(request).authorization_request
        or _from_headless(request, social_state)
        or carried
        or _from_authorize(request, _next_url(request, social_state))
        or _for_admin(request, social_state)
        or _from_query(request)
    )
    if carried is not None:
        # A sign-up that began in a REST call may be finished through headless.
        requested = replace(requested, id_token=carried.id_token)
    # Not `asdict`, which copies each value recursively.
    request.session[SESSION_KEY] = dict(vars(requested))
    _note_code_flow(request, requested)


def pop(request: HttpRequest) -> AuthorizationRequest:
    """Remove the stored authorization request from the Django session and return it."""
    stored = request.session.pop(SESSION_KEY, None)
    if stored is not None:
        requested = _from_dict(stored)
        _note_code_flow(request, requested)
        return requested
    return request_state(request).authorization_request or AuthorizationRequest(
        str(conf.DEFAULT_MODE)
    )


def peek(request: HttpRequest) -> AuthorizationRequest | None:
    """Return the authorization request of a login that waits at a stage, or waited at one."""
    stored = request.session.get(SESSION_KEY)
    return None if stored is None else _from_dict(stored)


def find_on_page(request: HttpRequest) -> AuthorizationRequest | None:
    """The authorization request of a page that has not recognised the user yet.

    The form of its "Cancel" has a `next` of its own, so the page is its referrer.
    """
    urls = _all_asked(request, REDIRECT_FIELD_NAME)
    return next(filter(None, (_from_authorize(request, url) for url in urls)), None)


def _note_code_flow(request: HttpRequest, requested: AuthorizationRequest) -> None:
    """Say whose flow this request belongs to, so that each of its ends leads back there."""
    if requested.wants_code:
        request_state(request).code_flow = requested


def from_state(request: HttpRequest, social_state: dict[str, Any]) -> AuthorizationRequest | None:
    """Return the authorization request that travels in allauth's state of a social login."""
    data = social_state.get("data")
    if isinstance(data, dict) and STATE_KEY in data:
        return _from_dict(data[STATE_KEY])
    return _from_authorize(request, social_state.get("next") or "")


def read(parameters: QueryDict) -> tuple[AuthorizationRequest, str]:
    """Return what `authorize/` was asked for, and the code of what is wrong (RFC 6749, 4.1.2.1).

    Raises `InvalidClientID` or `InvalidRedirectURI`: then there is no client to be told.
    """
    state = parameters.get("state", "")
    requested = AuthorizationRequest(
        Mode.JWT,
        client_id=parameters.get("client_id", ""),
        next=parameters.get("redirect_uri", ""),
        code_challenge=parameters.get("code_challenge", ""),
        state=state if len(state) <= STATE_MAX_LENGTH else "",
    )
    if requested.client_id not in conf.REDIRECT_URIS:
        raise InvalidClientID
    if requested.client_id not in clients_of(requested.next):
        raise InvalidRedirectURI
    prompts = set(parameters.get("prompt", "").split())
    is_wrong = (
        state != requested.state
        or not prompts <= set(PROMPTS)
        or ("none" in prompts and len(prompts) > 1)
        or not MAX_AGE.match(parameters.get("max_age", ""))
        or parameters.get("response_mode", "query") != "query"
        or parameters.get("code_challenge_method") != "S256"
        or not CODE_CHALLENGE.match(requested.code_challenge)
        or any(len(values) > 1 for _, values in parameters.lists())
    )
    if is_wrong or "response_type" not in parameters:
        return requested, "invalid_request"
    if parameters["response_type"] != "code":
        return requested, "unsupported_response_type"
    if parameters.get("scope", ""):
        # A client must be told of a scope that it does not get (RFC 6749, 3.3), and there is none.
        return requested, "invalid_scope"
    return requested, "" if conf.MODE.allows(Mode.JWT) else "unauthorized_client"


def _from_authorize(request: HttpRequest, url: str) -> AuthorizationRequest | None:
    """Return the request of a sign-in on allauth's pages to which `authorize/` has redirected."""
    match = _match(request, url)
    if match is None or match.url_name != "authorize" or "authmodes" not in match.app_names:
        return None
    try:
        requested, error = read(QueryDict(url.partition("?")[2]))
    except APIException:
        return None
    return None if error else requested


def _from_dict(data: dict[str, Any]) -> AuthorizationRequest:
    # JSON makes a list of a named tuple.
    mark = IdTokenMark(*data["id_token"]) if data["id_token"] else None
    return AuthorizationRequest(**{**data, "id_token": mark})


def _from_headless(
    request: HttpRequest, social_state: dict[str, Any]
) -> AuthorizationRequest | None:
    """Default to tokens for an app wherever they are on, and to a cookie for a browser."""
    if request_client.is_app_client(request):
        default = Mode.JWT if conf.MODE.allows(Mode.JWT) else Mode.SESSION
    elif request_client.is_headless(request) or social_state.get("headless"):
        default = Mode.SESSION
    else:
        return None
    named = _named_in_json(request) or request.GET.get("mode") or str(default)
    # No mode is called "", so an unknown mode is refused when the login is finished.
    return AuthorizationRequest(named if named in (Mode.SESSION, Mode.JWT) else "")


def _named_in_json(request: HttpRequest) -> Any:
    if request.content_type != "application/json":
        return None
    # Headless has parsed the body already, and refused anything that is not an object.
    return json.loads(request.body or "{}").get("mode")


def _for_admin(request: HttpRequest, social_state: dict[str, Any]) -> AuthorizationRequest | None:
    """Return the request of a sign-in to which `secure_admin_login` has redirected."""
    match = _match(request, _next_url(request, social_state))
    is_admin = match is not None and "admin" in match.app_names
    return AuthorizationRequest(Mode.SESSION, to_admin=True) if is_admin else None


def _next_url(request: HttpRequest, social_state: dict[str, Any]) -> str:
    return str(social_state.get("next") or _asked(request, REDIRECT_FIELD_NAME))


def _asked(request: HttpRequest, name: str) -> str:
    return next(filter(None, _all_asked(request, name)), "")


def _all_asked(request: HttpRequest, name: str) -> list[str]:
    """Return a parameter of a page of allauth's, whose forms do not all repeat its query."""
    page = urlsplit(request.headers.get("Referer", ""))
    of_page = QueryDict(page.query if page.netloc == request.get_host() else "")
    return [query.get(name, "") for query in (request.POST, request.GET, of_page)]


def _match(request: HttpRequest, url: str) -> ResolverMatch | None:
    """Return what answers a URL of this site."""
    # What the server, or FORCE_SCRIPT_NAME, puts before the paths of the URLconf.
    script_name = request.path.removesuffix(request.path_info)
    path = url.partition("?")[0].removeprefix(script_name)
    if not url.startswith(f"{script_name}/") or path.startswith("//"):
        return None
    try:
        return resolve(path, getattr(request, "urlconf", None))
    except Resolver404:
        return None


def _from_query(request: HttpRequest) -> AuthorizationRequest:
    return AuthorizationRequest(parse_mode(_asked(request, "mode")) or str(conf.DEFAULT_MODE))
