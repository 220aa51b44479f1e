"""The JavaScript client in Chromium, against the example: many tabs, one refresh."""

import gzip
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, Request, Route

from .support.chromium import chromium as chromium
from .support.demo import ROOT, expired_token, run_site, seed_site
from .support.processes import PATIENCE

pytestmark = pytest.mark.browser

CLIENT = "/static/authmodes/client/client.js"
ADMIN = {"username": "admin", "password": "admin-demo"}
TABS = 8
# A tab waits 2 s for tokens of another one, which may take longer on a busy machine.
SLOW_CLOCK = """{
    const now = Date.now;
    const start = now();
    Date.now = () => start + (now() - start) / 20;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    seed_site(folder)
    return folder


@pytest.fixture(scope="module")
def site(folder) -> Iterator[str]:
    with run_site(folder) as url:
        yield url


@pytest.fixture(scope="module")
def cookie_site(folder) -> Iterator[str]:
    with run_site(folder, AUTHMODES_TOKEN_TRANSPORT="cookie") as url:
        yield url


class Tabs:
    """The tabs of one browser, each with a client of its own."""

    def __init__(self, chromium: Any, url: str, folder: Path) -> None:
        self.folder = folder
        self.context = chromium.new_context(base_url=url)
        self.context.add_init_script(SLOW_CLOCK)
        self.refreshes: list[str] = []
        self.context.on("request", self._count)

    def _count(self, request: Request) -> None:
        # No code is exchanged here, so each is a refresh.
        if request.url.endswith("/auth/token/"):
            self.refreshes.append(request.url)

    def open(self, options: str) -> Page:
        """Open a tab in a new window of its own."""
        return self.load(self.context.new_page(), options)

    def duplicate(self, page: Page, options: str) -> Page:
        """Open a tab that starts with a copy of the `sessionStorage` of this one."""
        with page.expect_popup() as opened:
            page.evaluate("() => void window.open('/favicon.ico')")
        return self.load(opened.value, options)

    def load(self, page: Page, options: str) -> Page:
        page.goto("/static/site/docs.js")
        page.evaluate(
            """async ([path, options]) => {
                const client = await import(path);
                window.client = client;
                const made = new Function("client", `return ${options}`)(client);
                made.storage ??= made.way ? undefined : client.memoryStorage();
                window.storage = made.storage;
                window.auth = new client.AuthClient(made);
                window.events = [];
                for (const name of ["signedin", "refreshed", "signedout"]) {
                    const note = ({ detail }) => events.push([name, detail.where ?? ""]);
                    auth.addEventListener(name, note);
                }
            }""",
            [CLIENT, options],
        )
        return page

    def expire(self) -> None:
        """Let the access token expire: no browser sends such a cookie, no server accepts it."""
        self.context.clear_cookies(name="authmodes_access")
        access = self.context.pages[-1].evaluate("storage?.read().access")
        if access is None:
            return
        expired = expired_token(access, self.folder)
        for page in self.context.pages:
            page.evaluate("access => storage.write({ ...storage.read(), access })", expired)


@pytest.fixture
def tabs(chromium, site, folder) -> Iterator[Tabs]:
    made = Tabs(chromium, site, folder)
    yield made
    made.context.close()


@pytest.fixture
def cookie_tabs(chromium, cookie_site, folder) -> Iterator[Tabs]:
    made = Tabs(chromium, cookie_site, folder)
    yield made
    made.context.close()


def sign_in(page: Page) -> str:
    user = page.evaluate("fields => auth.login(fields)", ADMIN)
    assert user["username"] == "admin"
    return page.evaluate("auth.sid ?? auth.restore().then(answer => answer.sid)")


def call(page: Page, path: str = "/api/hello/", **init: Any) -> int:
    return page.evaluate(
        "([path, init]) => auth.fetch(path, init).then(r => r.status)", [path, init]
    )


def call_together(pages: list[Page], path: str = "/api/hello/") -> list[int]:
    """Let all pages call at one moment: when the first one tells the others through storage."""
    script = """([path, moment, isFirst]) => {
        const call = () => auth.fetch(path).then((response) => response.status);
        window.answer = isFirst ? call() : new Promise((resolve) =>
            addEventListener("storage", ({ key }) => key === moment && resolve(call())));
        if (isFirst) localStorage.setItem(moment, "now");
    }"""
    moment = uuid.uuid4().hex
    for page in reversed(pages):
        page.evaluate(script, [path, moment, page is pages[0]])
    return [page.evaluate("window.answer") for page in pages]


def open_tabs(tabs: Tabs, storage: str) -> list[Page]:
    """Sign in in one tab, and give eight that have that login."""
    options = f"{{ storage: client.{storage}() }}"
    first = tabs.open(options)
    sign_in(first)
    if storage == "sharedStorage":
        return [first, *(tabs.open(options) for _ in range(TABS - 1))]
    return [first, *(tabs.duplicate(first, options) for _ in range(TABS - 1))]


def events(page: Page) -> list[list[str]]:
    return page.evaluate("events")


@pytest.mark.parametrize("storage", ["tabStorage", "sharedStorage"])
def test_eight_tabs_refresh_once(storage, tabs):
    pages = open_tabs(tabs, storage)
    for round_number in (1, 2):
        tabs.expire()
        assert call_together(pages) == [200] * TABS
        assert len(tabs.refreshes) == round_number
    assert not any("signedout" in str(events(page)) for page in pages)


def test_eight_tabs_refresh_token_cookies_once(cookie_tabs):
    pages = [cookie_tabs.open('{ way: "token-cookies" }') for _ in range(TABS)]
    sign_in(pages[0])
    for round_number in (1, 2):
        cookie_tabs.expire()
        assert call_together(pages) == [200] * TABS
        assert len(cookie_tabs.refreshes) == round_number
    assert "authmodes" not in str(pages[0].evaluate("({ ...sessionStorage })"))


def test_tabs_refresh_once_without_web_locks_and_channels(tabs):
    tabs.context.add_init_script(
        "Object.defineProperty(navigator, 'locks', { value: undefined });"
        "window.BroadcastChannel = undefined;"
    )
    pages = open_tabs(tabs, "tabStorage")
    tabs.expire()
    assert call_together(pages) == [200] * TABS
    assert len(tabs.refreshes) == 1


def test_a_tab_waits_for_tokens_that_are_on_their_way(tabs):
    tabs.context.add_init_script(
        """const post = BroadcastChannel.prototype.postMessage;
        BroadcastChannel.prototype.postMessage = function (message) {
            setTimeout(() => post.call(this, message), 400);
        };"""
    )
    pages = open_tabs(tabs, "tabStorage")
    tabs.expire()
    assert call_together(pages) == [200] * TABS
    assert len(tabs.refreshes) == 1


def test_a_laptop_that_slept_is_still_signed_in(tabs):
    page = tabs.context.new_page()
    page.clock.install()
    tabs.load(page, "{}")
    sign_in(page)
    page.clock.pause_at(page.evaluate("Date.now()") + 8 * 3600 * 1000)
    tabs.expire()
    assert call(page) == 200
    # The clock of the page goes back, and the server's went on.
    page.clock.set_system_time(0)
    tabs.expire()
    assert call(page) == 200
    assert len(tabs.refreshes) == 2


def test_an_answer_that_was_lost_is_asked_for_again(tabs):
    page = tabs.open("{}")
    sign_in(page)
    lost = []

    def lose(route: Route) -> None:
        if lost:
            return route.continue_()
        lost.append(route.fetch().status)
        return route.abort()

    page.route("**/auth/token/", lose)
    tabs.expire()
    assert call(page) == 200
    assert lost == [200]
    tabs.expire()
    assert call(page) == 200
    assert events(page) == [["signedin", ""], ["refreshed", ""], ["refreshed", ""]]


def test_a_server_that_is_away_signs_nobody_out(tabs):
    page = tabs.open("{ storage: client.sharedStorage() }")
    sign_in(page)
    tabs.expire()
    unavailable = {"status": 503, "json": {"detail": "Away.", "code": "unavailable"}}
    page.route("**/auth/token/", lambda route: route.fulfill(**unavailable))
    failed = page.evaluate("auth.fetch('/api/hello/').catch((error) => [error.status, error.code])")
    assert failed == [503, "unavailable"]
    page.unroute("**/auth/token/")
    page.route("**/auth/token/", lambda route: route.abort())
    assert page.evaluate("auth.fetch('/api/hello/').catch((error) => error.name)") == "TypeError"
    page.unroute("**/auth/token/")
    assert call(page) == 200
    assert events(page)[0] == ["signedin", ""]
    assert "signedout" not in str(events(page))


@pytest.mark.parametrize("storage", ["tabStorage", "sharedStorage"])
def test_a_revoked_login_is_signed_out_in_all_tabs(storage, tabs, site):
    options = f"{{ storage: client.{storage}() }}"
    first = tabs.open(options)
    sid = sign_in(first)
    second = tabs.open(options) if storage == "sharedStorage" else tabs.duplicate(first, options)
    assert second.evaluate("auth.restore().then((answer) => answer.sid)") == sid
    other = requests.post(
        f"{site}/auth/login/", json={**ADMIN, "mode": "jwt"}, timeout=PATIENCE
    ).json()
    bearer = {"Authorization": f"Bearer {other['access']}"}
    assert requests.delete(f"{site}/auth/sessions/{sid}/", headers=bearer, timeout=PATIENCE).ok
    assert call(first) == 401
    expect_signed_out(first, "elsewhere")
    expect_signed_out(second, "elsewhere")
    assert second.evaluate("auth.restore()") is None


def expect_signed_out(page: Page, where: str) -> None:
    page.wait_for_function("auth.isSignedIn === false && auth.sid === null")
    assert events(page)[-1] == ["signedout", where]


WAYS = ['{ way: "session" }', '{ way: "tokens", storage: client.sharedStorage() }']


@pytest.mark.parametrize("options", WAYS)
def test_signing_out_ends_the_login_in_all_tabs(options, tabs):
    first, second = tabs.open(options), tabs.open(options)
    sign_in(first)
    assert second.evaluate("auth.restore().then((answer) => answer.user.username)") == "admin"
    # An unsafe call, with the CSRF token where a cookie authenticates it.
    assert call(first, "/auth/sessions/", method="DELETE") == 200
    first.evaluate("auth.signOut()")
    expect_signed_out(first, "here")
    expect_signed_out(second, "elsewhere")
    assert (call(first), call(second)) == (401, 401)


def hold(page: Page, path: str) -> None:
    """Give the page the next answers of a path only when it calls `letGo()`."""
    page.evaluate(
        """(path) => {
            const real = window.fetch;
            const held = new Promise((resolve) => (window.letGo = resolve));
            window.answered = new Promise((resolve) => (window.fetch = async (request, init) => {
                const response = await real(request, init);
                if (!request.url?.endsWith(path)) return response;
                resolve();
                await held;
                return response;
            }));
        }""",
        path,
    )


@pytest.mark.parametrize("storage", ["memoryStorage", "sharedStorage"])
def test_a_refresh_that_is_answered_after_the_sign_out_brings_nothing_back(storage, tabs):
    page = tabs.open(f"{{ storage: client.{storage}() }}")
    sign_in(page)
    hold(page, "/auth/token/")
    script = """async () => {
        const refreshed = auth.refresh();
        await answered;
        await auth.signOut();
        letGo();
        return [await refreshed, auth.isSignedIn, auth.sid];
    }"""
    assert page.evaluate(script) == [False, False, None]
    assert events(page) == [["signedin", ""], ["signedout", "here"]]


@pytest.mark.parametrize("path", ["/api/hello/", "/auth/token/"])
def test_a_request_of_the_login_before_is_not_sent_by_the_next_one(path, tabs):
    page = tabs.open("{ storage: client.sharedStorage() }")
    before = sign_in(page)
    tabs.expire()
    hold(page, path)
    script = """async (fields) => {
        const called = auth.fetch("/api/hello/");
        await answered;
        await auth.login(fields);
        letGo();
        return [(await called).status, auth.isSignedIn, auth.sid];
    }"""
    status, is_signed_in, sid = page.evaluate(script, ADMIN)
    assert (status, is_signed_in) == (401, True)
    assert sid != before
    assert call(page) == 200
    assert events(page) == [["signedin", ""], ["signedin", ""]]


@pytest.mark.parametrize("way", ["tokens", "session"])
@pytest.mark.parametrize("target", ["javascript:alert(1)", "//other.example/", "data:,x"])
def test_a_sign_in_returns_to_no_other_origin(way, target, tabs):
    page = tabs.open(f"{{ way: {way!r} }}")
    script = "(returnTo) => auth.signIn({ returnTo }).catch((error) => error.name)"
    assert page.evaluate(script, target) == "TypeError"


def test_a_csrf_token_that_changed_is_fetched_anew(tabs):
    page = tabs.open('{ way: "session" }')
    sign_in(page)
    assert call(page, "/auth/sessions/", method="DELETE") == 200
    tabs.context.clear_cookies(name="site_csrftoken")
    tabs.context.clear_cookies(name="csrftoken")
    assert call(page, "/auth/sessions/", method="DELETE") == 200


def test_a_wrong_password_and_a_body_are_told(tabs):
    page = tabs.open("{}")
    wrong = {"username": "admin", "password": "wrong"}
    failed = page.evaluate(
        "fields => auth.login(fields).catch((error) => [error.name, error.status, error.code])",
        wrong,
    )
    assert failed == ["AuthError", 401, "no_active_account"]
    assert page.evaluate("auth.restore()") is None
    assert events(page) == []


def test_other_origins_get_no_credential(tabs):
    page = tabs.open("{}")
    sign_in(page)
    seen = []

    def answer(route: Route) -> None:
        seen.append(route.request.headers.get("authorization"))
        route.fulfill(status=200, headers={"Access-Control-Allow-Origin": "*"}, body="")

    page.route("http://other.example/**", answer)
    assert call(page, "http://other.example/api/") == 200
    assert seen == [None]


def test_an_answer_that_was_not_asked_for_is_refused(tabs):
    page = tabs.open("{}")
    page.goto("/static/site/docs.js?code=stolen&state=other&keep=1")
    failed = page.evaluate(
        """async (path) => {
            const { AuthClient } = await import(path);
            const error = await new AuthClient().handleRedirect().catch((error) => error);
            return [error.code, location.search];
        }""",
        CLIENT,
    )
    assert failed == ["invalid_state", "?keep=1"]


def test_it_is_small_and_its_types_hold(tmp_path):
    client = ROOT / "authmodes" / "static" / "authmodes" / "client"
    source = (client / "client.js").read_text()
    # Without comments and indentation; the guide names the size after minification, which is less.
    code = re.sub(r"^\s+|^\s*(//|/?\*).*\n", "", source, flags=re.MULTILINE)
    assert len(gzip.compress(code.encode())) < 6000
    types = (client / "client.d.ts").read_text()
    for name in re.findall(r"^export (?:class|function) (\w+)", source, re.MULTILINE):
        assert re.search(rf"export (?:class|function) {name}\b", types)
