"""Authentication of WebSocket connections: at the handshake, and while they are open."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN, CsrfViewMiddleware
from django.utils import timezone
from rest_framework.exceptions import APIException

from .. import policy, request_client
from ..authentication import LoginAuth, authenticate, bearer_token
from ..conf import Mode, RequestSettings, conf, simple_jwt
from ..exceptions import CsrfFailed, LoginSessionEnded, ServiceUnavailable, to_response
from ..middleware import LoginSessionMiddleware
from ..models import LoginSession, unavailable_as_503
from ..registry import django_sessions, transactions, validation
from ..sessions import StoredKey
from ..sessions import store as session_store
from ..state import request_settings, request_state
from ..tokens.user import TokenUser

__all__ = ["AuthModesMiddleware"]

# What a browser, which cannot set a header, offers before its access token.
SUBPROTOCOL = "authmodes-bearer"
# Close codes: of our own, like 401, and "try again later" (RFC 6455, 7.4).
LOGIN_ENDED, TRY_AGAIN = 4401, 1013

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AuthModesMiddleware:
    """Set `scope["user"]` and `scope["auth"]` of a WebSocket connection.

    It accepts what `authenticate` accepts, and an access token after the subprotocol
    "authmodes-bearer". A cookie needs an `Origin` that Django's CSRF check accepts. A refused
    connection is denied; without a credential, the user is an `AnonymousUser` and the auth None.

    With a message in either direction, the login is validated again if that was `revalidate_after`
    or longer ago; zero is each message. If it has ended, the connection is closed with the code
    4401, and the message is dropped.
    """

    def __init__(self, inner: Any, revalidate_after: timedelta = timedelta(seconds=10)) -> None:
        self.inner, self.revalidate_after = inner, revalidate_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise ValueError("AuthModesMiddleware is for WebSocket connections.")
        connection = _Connection(scope, receive, send, self.revalidate_after)
        response = await sync_to_async(connection.authenticate)()
        if response.status_code != 200:
            await connection.deny(response)
        else:
            await self.inner(connection.scope, connection.receive, connection.send)


class _Connection:
    """One connection: the request of its handshake, its login, and when that was validated."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, interval: timedelta) -> None:
        self.offered = offered = list(scope.get("subprotocols") or [])
        self.request = _request(scope, offered)
        # Without the token, which an application might select and thereby send back.
        at = offered.index(SUBPROTOCOL) if SUBPROTOCOL in offered else len(offered)
        others = offered[:at] + offered[at + 2 :]
        self.scope = {**scope, "subprotocols": others, "user": AnonymousUser(), "auth": None}
        self._receive, self._send, self.interval = receive, send, interval
        # Set when the connection was closed here.
        self.close_code: int | None = None

    # -- the handshake

    def authenticate(self) -> Any:
        """Serve the handshake as a Django view; the response is sent if it is an error."""
        # The new key of a rotation would be lost if the application denies the connection.
        request_state(self.request).settings = RequestSettings.read()._replace(rotate_after=None)
        view: Any = LoginSessionMiddleware(self._view)
        # The session may be deleted while the handshake is served, which Django answers with 400.
        django: Any = SessionMiddleware(AuthenticationMiddleware(view))
        with transactions.closing_old_connections():
            self.response: Any = convert_exception_to_response(django)(self.request)
        self.validated_at = time.monotonic()
        return self.response

    def _view(self, request: HttpRequest) -> HttpResponse:
        try:
            found = authenticate(request)
            if found is not None and bearer_token(request) is None:
                _check_origin(request)
            if found is not None and isinstance(found[0], TokenUser):
                # Async code could not load it later.
                found[0].load()
        except APIException as error:
            return to_response(error, request_state(request).challenge_of(error.status_code))
        if found is not None:
            self.scope["user"], self.scope["auth"] = found
        return HttpResponse()

    async def deny(self, response: HttpResponse) -> None:
        await self._receive()
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await self._send({"type": "websocket.close", "code": LOGIN_ENDED})
            return
        start = "websocket.http.response.start"
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.items()
        ]
        await self._send({"type": start, "status": response.status_code, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": response.content})

    # -- messages

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.receive" and not await self._counts(_use):
            return {"type": "websocket.disconnect", "code": self.close_code}
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            message = self._complete(message)
        # A message of the server does not count as use: the login may still become idle.
        if message["type"] == "websocket.send" and not await self._counts(_validate):
            return
        if self.close_code is None:
            await self._send(message)

    def _complete(self, accept: Message) -> Message:
        """Add the cookies of the handshake, and the subprotocol, without which browsers fail."""
        cookies = [
            (b"set-cookie", morsel.OutputString().encode("latin-1"))
            for morsel in self.response.cookies.values()
        ]
        accept = {**accept, "headers": [*accept.get("headers", ()), *cookies]}
        if SUBPROTOCOL in self.offered and accept.get("subprotocol") is None:
            accept["subprotocol"] = SUBPROTOCOL
        return accept

    async def _counts(self, check: Callable[[HttpRequest, LoginAuth], Any]) -> bool:
        """Whether the login counts; close the connection if not."""
        auth = self.scope["auth"]
        if auth is None or time.monotonic() - self.validated_at < self.interval.total_seconds():
            return self.close_code is None
        try:
            self.scope["user"] = await sync_to_async(check)(self.request, auth)
        except APIException as error:
            if self.close_code is None:
                is_away = isinstance(error, ServiceUnavailable)
                self.close_code = TRY_AGAIN if is_away else LOGIN_ENDED
                await self._send({"type": "websocket.close", "code": self.close_code})
        self.validated_at = time.monotonic()
        return self.close_code is None


def _request(scope: Scope, offered: list[str]) -> HttpRequest:
    """Return the handshake as a Django request; no query, where a token must not be."""
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    as_http = {**scope, "method": "GET", "scheme": scheme, "query_string": b""}
    request = ASGIRequest(as_http, BytesIO())
    if SUBPROTOCOL in offered and bearer_token(request) is None:
        jwt_settings = simple_jwt()
        accepted = jwt_settings.AUTH_HEADER_TYPES
        scheme = accepted if isinstance(accepted, str) else accepted[0]
        token = "".join(offered[offered.index(SUBPROTOCOL) + 1 :][:1])
        request.META[jwt_settings.AUTH_HEADER_NAME] = f"{scheme} {token}"
    return request


def _check_origin(request: HttpRequest) -> None:
    """Refuse a page of another site, to which a browser gives our cookies as well."""
    origin = request.META.setdefault("HTTP_ORIGIN", "")
    check: Any = CsrfViewMiddleware(lambda request: HttpResponse())
    # A private name of Django's; a test fails if it moves.
    if not check._origin_verified(request):
        raise CsrfFailed(REASON_BAD_ORIGIN % origin)


# -- while the connection is open ----------------------------------------------------------


def _use(request: HttpRequest, auth: LoginAuth) -> Any:
    """Validate as `_validate`, and note that the login was seen."""
    with transactions.closing_old_connections(), unavailable_as_503():
        if not auth.sid:
            return _validate_machine(request)
        row = _find(request, auth)
        touch_after = request_settings(request).touch_after
        if policy.needs_touch(row.last_seen_at, touch_after, timezone.now()):
            django_sessions.touch(auth.sid, request_client.ip_address(request))
        return row.user


def _validate(request: HttpRequest, auth: LoginAuth) -> Any:
    """Return the user of a connection, as it is now. Raises `APIException`."""
    with transactions.closing_old_connections(), unavailable_as_503():
        return _find(request, auth).user if auth.sid else _validate_machine(request)


def _find(request: HttpRequest, auth: LoginAuth) -> LoginSession:
    """Return the login session if it still counts.

    The credential of the handshake is not looked at again: its session key may have been
    rotated since, and its access token may have expired.
    """
    row = LoginSession.objects.for_credential().by_sid(UUID(auth.sid))
    if row is None or not conf.MODE.allows(row.mode):
        raise LoginSessionEnded
    if not validation.validate_or_end(row, request):
        raise LoginSessionEnded
    # A page may have given its Django session an expiry of its own.
    key = row.session_key if auth.mode == Mode.SESSION else None
    if key is not None and session_store.find_missing([StoredKey(key)]):
        raise LoginSessionEnded
    return row


def _validate_machine(request: HttpRequest) -> Any:
    """Validate the token of a machine client again; the connection ends when it expires."""
    found = authenticate(request)
    if found is None:
        raise LoginSessionEnded
    return found[0]
