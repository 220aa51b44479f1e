"""WebSocket connections: who is connected, and what becomes of it when the login ends."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
import uvicorn
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.auth import get_user_model
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import OperationalError, connections
from django.urls import path
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as ws_connect

from authmodes import registry
from authmodes.contrib.channels import AuthModesMiddleware
from authmodes.machines import clients as machine_clients
from authmodes.machines import tokens as machine_tokens
from authmodes.models import LoginSession

from .support.browser import Browser
from .support.processes import PATIENCE, free_port
from .support.tokens import forge

ORIGIN = "http://testserver"
EACH_MESSAGE = timedelta(0)
DENIED = "denied"


async def echo(scope, receive, send):
    """An application that tells each message who has sent it."""
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            auth = scope["auth"]
            text = " ".join(
                [
                    scope["user"].get_username() or "-",
                    auth.mode if auth else "-",
                    auth.sid if auth else "-",
                ]
            )
            await send({"type": "websocket.send", "text": text})
        else:
            return


class Communicator(ApplicationCommunicator):
    """Channels' `WebsocketCommunicator`, whose module needs Daphne to be installed."""

    def __init__(self, app, url="/", headers=(), subprotocols=()):
        path, _, query = url.partition("?")
        scope = {"type": "websocket", "path": path, "query_string": query.encode()}
        super().__init__(app, {**scope, "headers": headers, "subprotocols": subprotocols})

    async def connect(self):
        """The message of acceptance, None if the connection was denied."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(timeout=PATIENCE)
        return answer if answer["type"] == "websocket.accept" else None


class Socket:
    """A connection; each call runs in an event loop of its own until it is answered."""

    def __init__(self, headers=(), subprotocols=(), interval=EACH_MESSAGE, inner=echo, url="/"):
        self.app = AuthModesMiddleware(inner, revalidate_after=interval)
        self.headers = [(b"host", b"testserver"), *headers]
        self.subprotocols, self.url = subprotocols, url

    def run(self, *steps):
        """Connect, ask who is there, and do each step before asking again."""
        return async_to_sync(self._run)(steps)

    async def _run(self, steps):
        client = Communicator(self.app, self.url, self.headers, self.subprotocols)
        accepted = await client.connect()
        if accepted is None:
            return DENIED
        self.chosen, self.response_headers = accepted.get("subprotocol"), accepted["headers"]
        seen = []
        for step in [None, *steps]:
            if step is not None:
                await sync_to_async(step)()
            await client.send_input({"type": "websocket.receive", "text": "who?"})
            answer = await client.receive_output(timeout=PATIENCE)
            seen.append(answer.get("text") or answer["code"])
            if answer["type"] == "websocket.close":
                break
        else:
            await client.send_input({"type": "websocket.disconnect", "code": 1000})
        await client.wait(PATIENCE)
        return seen


def cookie_header(browser, origin=ORIGIN):
    cookies = "; ".join(f"{name}={each.value}" for name, each in browser.cookies.items())
    headers = [(b"cookie", cookies.encode())]
    return headers if origin is None else [*headers, (b"origin", origin.encode())]


def bearer(token):
    return [(b"authorization", f"Bearer {token}".encode())]


@pytest.fixture(params=["session cookie", "token cookie", "bearer", "subprotocol"])
def credential(request, login, settings):
    """The login of a client, and what its handshake has of it."""
    if request.param == "token cookie":
        settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    browser = Browser()
    used = login("session" if request.param == "session cookie" else "jwt", browser=browser)
    if request.param == "bearer":
        return used, {"headers": bearer(used.access)}
    if request.param == "subprotocol":
        return used, {"subprotocols": ["authmodes-bearer", used.access]}
    return used, {"headers": cookie_header(browser)}


# -- the handshake -------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["database", "snapshot", "none"])
def test_a_login_is_in_the_scope(check, credential, settings):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
    used, sent = credential
    assert Socket(**sent).run() == [f"alice {used.mode} {used.sid}"]


def test_without_a_credential_the_user_is_anonymous(db):
    assert Socket().run() == ["- - -"]


ENDINGS = {
    "revoked": lambda used: registry.revoke(used.row),
    "all revoked": lambda used: registry.revoke_user(used.row.user),
    "password changed": lambda used: change_password(used.row.user),
    "locked": lambda used: get_user_model().objects.update(is_active=False),
    "deleted": lambda used: used.row.user.delete(),
}


def change_password(user):
    user.set_password("another one")
    user.save()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_login_that_ended_does_not_connect(ending, credential):
    used, sent = credential
    ENDINGS[ending](used)
    expected = ["- - -"] if used.mode == "session" else DENIED
    assert Socket(**sent).run() == expected


def test_a_user_who_was_locked_does_not_connect_by_a_token_alone(login, settings):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = "none"
    used = login("jwt")
    get_user_model().objects.update(is_active=False)
    assert Socket(headers=bearer(used.access)).run() == DENIED


def test_a_session_that_is_deleted_during_the_handshake_denies_it(login, monkeypatch):
    headers = cookie_header(login("session").browser)

    def interrupted(self, request, response):
        raise SessionInterrupted

    monkeypatch.setattr(SessionMiddleware, "process_response", interrupted)
    assert Socket(headers=headers).run() == DENIED


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_open_connection_is_closed_at_the_next_message_after_the_end(ending, credential):
    used, sent = credential
    seen = Socket(**sent).run(lambda: ENDINGS[ending](used))
    assert seen == [f"alice {used.mode} {used.sid}", 4401]


def test_an_idle_login_neither_connects_nor_stays(clock, credential, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(days=1)}
    used, sent = credential
    first = f"alice {used.mode} {used.sid}"
    assert Socket(**sent).run(lambda: clock.shift(timedelta(hours=2))) == [first, 4401]
    assert used.row.end_reason == "expired"
    assert Socket(**sent).run() in (["- - -"], DENIED)


def test_messages_keep_a_login_from_being_idle(clock, credential, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    used, sent = credential
    steps = [lambda: clock.shift(timedelta(minutes=40))] * 3
    assert Socket(**sent).run(*steps) == [f"alice {used.mode} {used.sid}"] * 4
    assert used.row.ended_at is None


def test_the_absolute_end_closes_the_connection(clock, credential):
    _used, sent = credential
    seen = Socket(**sent).run(lambda: clock.shift(timedelta(days=31)))
    assert seen[1:] == [4401]


def test_a_bound_login_is_refused_to_another_client(credential, settings):
    settings.AUTHMODES_BIND_USER_AGENT = True
    used, sent = credential
    headers = [*sent.get("headers", []), (b"user-agent", b"another")]
    assert Socket(**{**sent, "headers": headers}).run() in (["- - -"], DENIED)
    assert used.row.end_reason == "revoked"


def test_a_mode_that_is_switched_off_is_refused_and_closes(credential, settings):
    used, sent = credential

    def switch_off():
        settings.AUTHMODES_MODE = "jwt" if used.mode == "session" else "session"

    assert Socket(**sent).run(switch_off)[1:] == [4401]
    assert Socket(**sent).run() in (["- - -"], DENIED)
    assert used.row.ended_at is None


@pytest.mark.parametrize(
    "sent",
    [
        {"headers": bearer("x")},
        {"headers": [(b"authorization", b"Bearer")]},
        {"subprotocols": ["authmodes-bearer"]},
        {"subprotocols": ["authmodes-bearer", "x"]},
        {"subprotocols": ["chat", "authmodes-bearer", "\xff" * 9]},
        {"headers": bearer(forge({"alg": "HS256", "typ": "at+jwt"}, {"user_id": "1"}))},
    ],
)
def test_a_bad_token_is_denied_even_beside_a_good_cookie(sent, login):
    cookie = cookie_header(login("session").browser)
    headers = [*sent.get("headers", []), *cookie]
    assert Socket(**{**sent, "headers": headers}).run() == DENIED


def test_a_token_in_the_url_is_ignored(login):
    used = login("jwt")
    url = f"/?token={used.access}&access_token={used.access}&state=x"
    assert Socket(url=url).run() == ["- - -"]
    assert Socket(url="/?%ff=\udcff".encode("utf-8", "replace").decode()).run() == ["- - -"]


def test_the_header_outranks_the_subprotocol(login, bob):
    alices, bobs = login("jwt"), login("jwt", bob)
    sent = {"headers": bearer(alices.access), "subprotocols": ["authmodes-bearer", bobs.access]}
    assert Socket(**sent).run() == [f"alice jwt {alices.sid}"]


@pytest.mark.parametrize("offered_by", [[], ["chat"]])
def test_the_token_is_never_selected_as_subprotocol(offered_by, login):
    seen = []

    async def inner(scope, receive, send):
        await receive()
        seen.extend(scope["subprotocols"])
        await send({"type": "websocket.accept", "subprotocol": (offered_by or [None])[0]})
        await receive()
        await send({"type": "websocket.send", "text": "hello"})

    token = login("jwt").access
    socket = Socket(subprotocols=[*offered_by, "authmodes-bearer", token], inner=inner)
    assert socket.run() == ["hello"]
    assert seen == offered_by
    # A browser fails if none of those that it offered is selected.
    assert socket.chosen == (offered_by or ["authmodes-bearer"])[0]


# -- the origin ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://testserver:8080", None]
)
def test_a_cookie_is_refused_to_a_page_of_another_site(origin, login, settings):
    settings.ALLOWED_HOSTS = ["*"]
    for mode, transport in (("session", "body"), ("jwt", "cookie")):
        settings.AUTHMODES_TOKEN_TRANSPORT = transport
        browser = login(mode, browser=Browser()).browser
        assert Socket(headers=cookie_header(browser, origin)).run() == DENIED
        assert Socket(headers=cookie_header(browser)).run()[0].startswith("alice ")


def test_a_trusted_origin_is_accepted_as_for_a_form(login, settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.com"]
    browser = login("session").browser
    assert Socket(headers=cookie_header(browser, "https://app.example.com")).run() != DENIED
    assert Socket(headers=cookie_header(browser, "https://app.example.org")).run() == DENIED


def test_a_token_that_a_page_sends_itself_needs_no_origin(login):
    token = login("jwt").access
    headers = [(b"origin", b"https://spa.example")]
    assert Socket(headers, ["authmodes-bearer", token]).run() != DENIED
    assert Socket([*headers, *bearer(token)]).run() != DENIED


# -- while it is open ----------------------------------------------------------------------


def test_an_expired_access_token_closes_nothing_while_its_login_goes_on(clock, login):
    used = login("jwt")
    socket = Socket(headers=bearer(used.access))
    assert len(socket.run(lambda: clock.shift(timedelta(minutes=30)))) == 2
    assert socket.run() == DENIED


def test_a_rotated_session_key_closes_nothing(clock, login, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0)
    used = login("session")
    socket = Socket(headers=cookie_header(used.browser))
    key = used.browser.session_cookie

    def browse():
        clock.shift(timedelta(minutes=1))
        assert used.get().status_code == 200
        clock.shift(timedelta(minutes=1))

    assert socket.run(browse) == [f"alice session {used.sid}"] * 2
    assert used.browser.session_cookie != key


def test_a_handshake_rotates_no_key_which_its_denial_would_lose(clock, login, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(minutes=1)
    used = login("session")
    clock.shift(timedelta(hours=1))
    socket = Socket(headers=cookie_header(used.browser))
    assert socket.run() != DENIED
    assert socket.response_headers == []
    clock.shift(timedelta(minutes=1))
    assert used.get().status_code == 200


def test_a_key_that_django_changes_at_the_handshake_is_sent(login, settings):
    used = login("session")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the-next-one-0123456789-abcdefghijklmnopqrstuvwxyz-0123"
    socket = Socket(headers=cookie_header(used.browser))
    assert socket.run() == [f"alice session {used.sid}"]
    cookies = dict(socket.response_headers)[b"set-cookie"].decode()
    used.browser.cookies["sessionid"] = cookies.partition("sessionid=")[2].partition(";")[0]
    assert used.get().status_code == 200


def test_an_expiry_that_a_page_has_set_closes_the_connection(clock, login, settings):
    settings.SESSION_COOKIE_AGE = 300
    used = login("session")
    socket = Socket(headers=cookie_header(used.browser))
    assert socket.run(lambda: clock.shift(timedelta(minutes=6)))[1:] == [4401]


def test_the_scope_has_the_user_as_it_is_now(login, alice):
    def rename():
        get_user_model().objects.filter(pk=alice.pk).update(username="alicia")

    assert Socket(headers=bearer(login("jwt").access)).run(rename)[1].startswith("alicia ")


def test_within_the_interval_nothing_is_asked(login, django_assert_num_queries):
    used = login("jwt")
    socket = Socket(headers=bearer(used.access), interval=timedelta(minutes=1))
    with django_assert_num_queries(1):
        assert len(socket.run(lambda: None, lambda: None)) == 3


def test_a_machine_client_is_connected_for_as_long_as_its_token(clock, db):
    client, secret = machine_clients.create("reports", "reports:read")
    found = machine_clients.authenticate(client.client_id, secret, None)
    token = str(machine_tokens.mint(found, ["reports:read"]))
    socket = Socket(headers=bearer(token))
    assert socket.run(lambda: None) == ["- client "] * 2
    assert socket.run(lambda: clock.shift(timedelta(minutes=6))) == ["- client ", 4401]
    clock.shift(-timedelta(minutes=6))
    assert socket.run(lambda: machine_clients.revoke(client)) == ["- client ", 4401]
    assert socket.run() == DENIED


def test_a_database_that_is_away_closes_and_does_not_end(login, monkeypatch):
    used = login("jwt")

    def go_away():
        def broken(*args, **kwargs):
            raise OperationalError("the server is gone")

        monkeypatch.setattr(type(LoginSession.objects.all()), "by_sid", broken)

    assert Socket(headers=bearer(used.access)).run(go_away)[1:] == [1013]
    monkeypatch.undo()
    assert used.row.ended_at is None


def test_what_the_server_sends_is_dropped_and_is_no_use(clock, login, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    used = login("jwt")

    async def ticker(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for minutes in (0, 40, 40):
            await sync_to_async(clock.shift)(timedelta(minutes=minutes))
            await send({"type": "websocket.send", "text": f"after {minutes}"})

    async def run():
        app = AuthModesMiddleware(ticker, revalidate_after=EACH_MESSAGE)
        client = Communicator(app, headers=bearer(used.access))
        await client.connect()
        return [await client.receive_output() for _ in range(3)]

    seen = async_to_sync(run)()
    assert [each.get("text") or each["code"] for each in seen] == ["after 0", "after 40", 4401]


def test_only_websockets_are_served(db):
    with pytest.raises(ValueError, match="WebSocket"):
        async_to_sync(AuthModesMiddleware(echo))({"type": "http"}, None, None)


# -- Channels' own consumers, and a real server --------------------------------------------


class Async(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await (self.accept() if self.scope["user"].is_authenticated else self.close())

    async def receive_json(self, content, **kwargs):
        await self.send_json({"username": self.scope["user"].get_username()})


class Sync(JsonWebsocketConsumer):
    def connect(self):
        self.accept() if self.scope["user"].is_authenticated else self.close()

    def receive_json(self, content, **kwargs):
        self.send_json({"username": self.scope["user"].get_username()})


# As the documentation has it.
application = ProtocolTypeRouter(
    {
        "websocket": AuthModesMiddleware(
            URLRouter([path("async/", Async.as_asgi()), path("sync/", Sync.as_asgi())]),
            revalidate_after=EACH_MESSAGE,
        )
    }
)


@contextmanager
def served(app):
    port = free_port()
    config = uvicorn.Config(
        app, port=port, lifespan="off", log_level="error", ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_on_a_real_server_a_revoked_login_is_signed_out_of_its_sockets(login):
    cookie, token = login("session"), login("jwt")
    with served(application) as host:
        headers = {"Cookie": f"sessionid={cookie.browser.session_cookie}"}

        def by_cookie(url, origin=f"http://{host}"):
            return ws_connect(f"ws://{host}{url}", additional_headers=headers, origin=origin)

        def by_token(url):
            offered = ["authmodes-bearer", token.access]
            return ws_connect(f"ws://{host}{url}", subprotocols=offered)

        for url in ("/async/", "/sync/"):
            with by_cookie(url) as first, by_token(url) as second:
                assert second.subprotocol == "authmodes-bearer"
                for socket in (first, second):
                    socket.send("{}")
                    assert socket.recv(timeout=PATIENCE) == '{"username": "alice"}'
        with by_cookie("/async/") as first, by_token("/sync/") as second:
            registry.revoke_user(cookie.row.user)
            for socket in (first, second):
                socket.send("{}")
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(timeout=PATIENCE)
                assert closed.value.rcvd.code == 4401
        with pytest.raises(InvalidStatus) as denied:
            by_token("/async/")
        assert denied.value.response.status_code == 401
        assert b"login_session_ended" in denied.value.response.body
        # Of the cookie, the application decides; a cross-site page gets no further.
        for origin in (f"http://{host}", "https://evil.example"):
            with pytest.raises(InvalidStatus) as denied:
                by_cookie("/async/", origin)
            assert denied.value.response.status_code == 403


def test_channels_own_validator_may_stand_around_it(login, settings):
    settings.ALLOWED_HOSTS = ["testserver"]
    used = login("session")
    app = AllowedHostsOriginValidator(AuthModesMiddleware(echo))

    async def run(origin):
        headers = [(b"host", b"testserver"), *cookie_header(used.browser, origin)]
        return await Communicator(app, headers=headers).connect()

    assert async_to_sync(run)(ORIGIN) is not None
    assert async_to_sync(run)("https://evil.example") is None
