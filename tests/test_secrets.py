"""After a full life of logins, what lies about in database, admin and logs opens nothing."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from html import unescape
from typing import Any
from urllib.parse import urljoin

import django
import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import override_settings
from django.utils.log import AdminEmailHandler

from authmodes import machines, registry
from authmodes.models import AuthorizationCode, LoginSession
from authmodes.registry import rotation, validation
from authmodes.signin import authorization_code
from authmodes.signin import password as password_signin

from .support.authorization_code import NEXT, CodeFlow, code_grant, redirect_query
from .support.browser import Browser
from .support.logins import (
    API,
    PASSWORD,
    UID,
    Login,
    admin_login,
    call_with,
    html_login,
    post_json,
    refresh,
    social_login,
)

# Django keeps the cookie's value there, and we keep it to delete that row (docs/how-it-works.md).
DOCUMENTED = {("django_session", "session_key"), ("authmodes_loginsession", "session_key")}
# Where session cookies rest, by engine: ours keeps a digest of the key.
EXCEPTIONS: dict[str, set[tuple[str, str]]] = {
    "django.contrib.sessions.backends.db": DOCUMENTED,
    "authmodes.sessions.db": set(),
}
# What could be a credential of any kind: long, and not made of letters only.
TOKEN_LIKE = re.compile(r"(?=(?:[^0-9\s]*[0-9]){2})[A-Za-z0-9_.~+=$-]{20,}")
# The same on every site.
FIXED_TABLES = {"auth_permission", "django_content_type", "django_migrations"}
# Another on every page, and no credential.
CSRF_FIELD = re.compile(r'<input[^>]*name="csrfmiddlewaretoken"[^>]*>')
LINK = re.compile(r'(?:href|action)="([^"#]*)')


@pytest.fixture
def handed_out(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every credential that an answer to any client has carried."""
    found: set[str] = set()
    plain_request = Client.request

    def request(self: Client, **kwargs: Any) -> Any:
        response = plain_request(self, **kwargs)
        found.update(_credentials_of(response))
        return response

    monkeypatch.setattr(Client, "request", request)
    return found


def _credentials_of(response: Any) -> Iterator[str]:
    for name, morsel in response.cookies.items():
        if name != settings.CSRF_COOKIE_NAME and morsel.value:
            yield morsel.value
    if response.headers.get("Content-Type", "").startswith("application/json"):
        body = response.json()
        for name in ("access", "refresh"):
            if isinstance(body, dict) and body.get(name):
                yield body[name]
    if response.headers.get("Location", "").startswith(NEXT):
        yield from redirect_query(response)["code"].split()


class Logs(logging.Handler):
    """Everything that any logger said, with all that a formatter could make of it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), str(vars(record))]


@pytest.fixture
def logs() -> Iterator[Logs]:
    handler = Logs()
    loggers = [logging.getLogger()]
    for known in logging.Logger.manager.loggerDict.values():
        if isinstance(known, logging.Logger) and not known.propagate:
            loggers.append(known)
    levels = {logger: logger.level for logger in [*loggers, logging.getLogger("authmodes")]}
    for name in ("authmodes", "allauth", "django", "rest_framework_simplejwt"):
        levels[logging.getLogger(name)] = logging.getLogger(name).level
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)


class Life:
    """Logins of every kind in every state; some of them are left alive."""

    def __init__(self, login: Callable[..., Login], alice: Any, bob: Any) -> None:
        self.secrets: set[str] = set()
        self.cookie, self.tokens = login("session"), login("jwt")
        self.alive = [self.cookie, self.tokens]
        for each in self.alive:
            assert each.get().status_code == 200
        assert self.tokens.refresh().status_code == 200

        self.hand_off()
        self.end_in_every_way(login, bob)
        self.other_entry_points(alice)
        self.go_wrong()
        # And one code that is still on its way.
        self.pending = self.code_flow()
        assert self.pending.run().status_code == 302
        assert AuthorizationCode.objects.exists()

    def code_flow(self) -> CodeFlow:
        made = CodeFlow()
        self.secrets.add(made.verifier)
        return made

    def hand_off(self) -> None:
        done, reused = self.code_flow(), self.code_flow()
        done.run()
        self.alive.append(Login("jwt", Browser(), done.tokens()))
        reused.run()
        ended = Login("jwt", Browser(), reused.tokens())
        assert reused.exchange().status_code == 400
        assert ended.get().status_code == 401
        wrong = self.code_flow()
        wrong.run()
        assert wrong.exchange(code_verifier="w" * 43).status_code == 400

    def end_in_every_way(self, login: Callable[..., Login], bob: Any) -> None:
        for mode in ("session", "jwt"):
            assert login(mode, bob).logout().status_code == 204
            registry.revoke(login(mode, bob).row)
            owner, victim = login(mode, bob), login(mode, bob)
            assert owner.delete(f"/auth/sessions/{victim.sid}/").status_code == 204
            assert victim.get().status_code == 401
        thief = login("jwt", bob)
        stolen = thief.refresh_token
        assert (thief.refresh().status_code, thief.refresh().status_code) == (200, 200)
        assert refresh(stolen).json()["code"] == "token_reused"
        assert thief.refresh().status_code == 401
        for path, name in [("blacklist", "refresh"), ("revoke", "token")]:
            ended = login("jwt", bob)
            body = {name: ended.refresh_token}
            assert post_json(f"/auth/token/{path}/", body).status_code == 200
        locked = login("jwt", bob)
        bob.is_active = False
        bob.save()
        assert refresh(locked.refresh_token).status_code == 401

    def other_entry_points(self, alice: Any) -> None:
        browser = Browser()
        assert html_login(browser, "alice").status_code == 302
        assert social_login(Browser(), UID).status_code == 302
        body = {"username": "alice", "password": PASSWORD}
        answer = post_json("/auth/token/", body)
        self.alive.append(Login("jwt", Browser(), answer.json()))
        with override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie"):
            browser = Browser()
            sent = browser.send_json("/auth/login/", {**body, "mode": "jwt"})
            assert sent.status_code == 200, sent.content
            assert browser.send_json("/auth/token/refresh/").status_code == 200

    def go_wrong(self) -> None:
        """Errors are where secrets get into logs."""
        good = self.tokens
        for raw_token in (good.access, good.refresh_token):
            assert call_with(raw_token[:-4] + "AAAA").status_code == 401
            post_json("/auth/token/verify/", {"token": raw_token})
            post_json("/auth/token/introspect/", {"token": raw_token})
        assert refresh(good.access).status_code == 401
        assert call_with(good.refresh_token).status_code == 401
        post_json("/auth/token/refresh/", {"refresh": [good.refresh_token]})
        post_json("/auth/login/", {"username": "alice", "password": "wrong"})
        assert self.cookie.browser.post(API).status_code == 403
        good.get(f"/auth/sessions/{good.sid}/")
        good.get("/auth/nothing/here/")


def _crawl(browser: Browser) -> dict[str, str]:
    """Every page of the admin that a link leads to, and what it shows.

    Of the filters and orders of a list, each alone: their combinations are without number.
    """
    todo, pages = ["/admin/"], dict[str, str]()
    while todo:
        url = todo.pop(0)
        if url in pages:
            continue
        response = browser.get(url)
        assert response.status_code in (200, 302), (url, response.status_code)
        pages[url] = response.headers.get("Location", "") + response.getvalue().decode()
        for link in LINK.findall(pages[url]):
            path, _, query = urljoin(url, unescape(link)).partition("?")
            if not path.startswith("/admin/") or "logout" in path:
                continue
            combined = "?" in url or "_changelist_filters" in query
            todo.append(path if combined or not query else f"{path}?{query}")
    return pages


def _dump() -> dict[tuple[str, str], list[str]]:
    """Every value of every column; what is packed inside Django's sessions as well."""
    found: dict[tuple[str, str], list[str]] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for name, value in zip(names, row, strict=True):
                    found.setdefault((table, name), []).append(str(value))
    found["django_session", "decoded"] = [
        json.dumps(session.get_decoded()) for session in Session.objects.all()
    ]
    return found


def _occurring(secrets: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Which secrets stand in the texts; of a JWT its signature is enough."""
    everything = "\n".join(texts)
    return [secret for secret in secrets if secret.rpartition(".")[2] in everything]


@pytest.fixture(params=EXCEPTIONS)
def documented(request: pytest.FixtureRequest) -> Iterator[set[tuple[str, str]]]:
    with override_settings(SESSION_ENGINE=request.param):
        yield EXCEPTIONS[request.param]


@pytest.fixture
def life(
    documented: set[tuple[str, str]],
    login: Callable[..., Login],
    alice_at_dummy: Any,
    bob: Any,
    handed_out: set[str],
    logs: Logs,
    clock: Any,
) -> Life:
    # The clock stands still, so that nothing is refused for its age.
    return Life(login, alice_at_dummy, bob)


@pytest.fixture
def root(life: Life, admin_user: Any) -> Browser:
    browser = Browser()
    assert admin_login(browser, admin_user.get_username()).status_code == 302
    return browser


def test_what_rests_in_the_database_the_admin_and_the_logs_is_no_credential(
    life: Life, root: Browser, handed_out: set[str], logs: Logs, documented: set[tuple[str, str]]
) -> None:
    # The admin shows the same with both engines; Django's keeps what would be worst to show.
    pages = _crawl(root) if documented else {}
    for row in LoginSession.objects.all() if documented else ():
        assert f"/admin/authmodes/loginsession/{row.pk}/change/" in pages
    secrets = handed_out | life.secrets
    # Both kinds of cookie, both tokens and codes; else there was nothing to look for.
    assert {life.cookie.browser.session_cookie, root.session_cookie} < secrets
    assert {life.tokens.access, life.tokens.refresh_token, life.pending.code} < secrets
    assert len(secrets) > 40

    dump = _dump()
    undocumented = [text for key, texts in dump.items() if key not in documented for text in texts]
    assert _occurring(secrets, undocumented) == []
    assert _occurring(secrets, pages.values()) == []
    assert len(logs.lines) > 40
    assert _occurring(secrets, logs.lines) == []
    # The exception is real: the cookies' keys are in those two columns.
    keys = {text for key in documented for text in dump[key]}
    assert (life.cookie.browser.session_cookie in keys) == bool(documented)

    # Nothing that is there is accepted either, whatever it is.
    texts = [text for values in dump.values() for text in values]
    shown = [CSRF_FIELD.sub("", page) for page in pages.values()]
    found = {match for text in [*texts, *shown, *logs.lines] for match in TOKEN_LIKE.findall(text)}
    own = [text for key, values in dump.items() if key[0] not in FIXED_TABLES for text in values]
    found |= {text for text in own if 12 <= len(text) < 4096}
    digest = AuthorizationCode.objects.get().digest
    assert {life.tokens.row.current_jti, digest} < found
    assert life.tokens.sid in found or not pages
    before = list(LoginSession.objects.order_by("pk").values("pk", "ended_at", "rotated_at"))

    attempts = _attempts(life)
    if not documented:
        # Only the cookie depends on the session engine; the other engine's run has tried the rest.
        attempts = {"session cookie": attempts["session cookie"]}
    accepted = {
        (name, text)
        for text in found
        for name, attempt in attempts.items()
        if not (name == "session cookie" and text in keys)
        if attempt(text)
    }

    assert accepted == set()
    # Some endpoints answer alike whatever they are sent; what counts is what they did.
    after = LoginSession.objects.order_by("pk").values("pk", "ended_at", "rotated_at")
    assert list(after) == before
    for each in life.alive:
        assert each.get().status_code == 200
    assert life.pending.exchange().status_code == 200


def _attempts(life: Life) -> dict[str, Callable[[str], bool]]:
    """Each way to present a credential; whether it was accepted."""

    def posts(path: str, name: str, **more: str) -> Callable[[str], bool]:
        return lambda text: post_json(f"/auth/{path}/", {name: text, **more}).status_code == 200

    def introspects(text: str) -> bool:
        response = life.tokens.post("/auth/token/introspect/", {"token": text})
        return response.status_code == 200 and response.json()["active"]

    def cookie(name: str, **extra: Any) -> Callable[[str], bool]:
        def present(text: str) -> bool:
            client = Client()
            client.cookies[name] = text
            return any(client.get(path).status_code == 200 for path in (API, "/probe/page/"))

        return present

    def bearer(text: str) -> bool:
        # A header is one line of Latin letters.
        return call_with(ascii(text)[1:-1]).status_code == 200

    def revokes(text: str) -> bool:
        post_json("/auth/token/revoke/", {"token": text})
        post_json("/auth/logout/", {"refresh": text})
        return False

    verifier = life.pending.verifier
    return {
        "bearer": bearer,
        "refresh": posts("token/refresh", "refresh"),
        "verify": posts("token/verify", "token"),
        "blacklist": posts("token/blacklist", "refresh"),
        "introspect": introspects,
        "revoke": revokes,
        "code": posts("token", "code", **code_grant(None, verifier)),
        "session cookie": cookie("sessionid"),
        "password": posts("login", "password", username="alice", mode="jwt"),
    }


def fails(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("a fault")


SENT = "s" * 20 + "-a-credential-" + "x" * 20
A_CLIENT = {"grant_type": "client_credentials", "client_id": "c"}


def post_as_json(client: Client, path: str, body: dict[str, str]) -> Any:
    return post_json(path, body, client)


@pytest.mark.parametrize("send", [Client.post, post_as_json], ids=["form", "json"])
@pytest.mark.parametrize(
    ("broken", "path", "body"),
    [
        (machines.clients._secrets_of, "/auth/token/", {**A_CLIENT, "client_secret": SENT}),
        (rotation.rotate, "/auth/token/refresh/", {"refresh": SENT}),
        (validation.identify, "/auth/token/revoke/", {"token": SENT}),
        (authorization_code.redeem, "/auth/token/", code_grant(SENT, SENT + "x")),
        (
            password_signin._valid_form,
            "/auth/login/",
            {"username": "a", "password": SENT, "mode": "jwt"},
        ),
        (password_signin._valid_form, "/auth/token/", {"username": "a", "password": SENT}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_error_report_has_no_credential(
    broken: Any,
    path: str,
    body: dict[str, str],
    send: Any,
    db: None,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ADMINS = ["root@example.com"]
    if django.VERSION < (6,):
        settings.ADMINS = [("Root", "root@example.com")]
    module = sys.modules[broken.__module__]
    for each in (module, registry):
        if hasattr(each, broken.__name__):
            monkeypatch.setattr(each, broken.__name__, fails)
    # With HTML Django shows the variables of each function as well.
    for handler in logging.getLogger("django").handlers:
        if isinstance(handler, AdminEmailHandler):
            monkeypatch.setattr(handler, "include_html", True)
    assert send(Client(raise_request_exception=False), path, body).status_code == 500
    (report,) = mail.outbox
    both = [report.body, *(content for content, _ in report.alternatives)]
    assert len(both) == 2
    assert "Traceback" in both[1]
    assert not [text for text in both if SENT in text]
