"""The comparison page of the example in Chromium: what it measures is what the server says."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from playwright.sync_api import Browser, Page, Response, expect

from authmodes.testing import login

from .support.chromium import check_accessibility
from .support.chromium import chromium as chromium
from .support.demo import run_demo
from .support.processes import PATIENCE, free_ports

HELLO = "/api/hello/"


class Demo:
    """The demo, which can be restarted in the same place."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        ports = map(str, free_ports(5))
        names = ("SITE_PORT", "IDP_PORT", "SPA_PORT", "SERVICE_PORT", "SECOND_PORT")
        self.environment = dict(zip(names, ports, strict=True))
        self.folder, self.stack = folder, stack
        self.start()

    def start(self, access_seconds: int = 3600) -> None:
        self.stack.close()
        environment = {**self.environment, "DEMO_ACCESS_SECONDS": str(access_seconds)}
        demo = run_demo(self.folder, **environment)
        self.url = self.stack.enter_context(demo)

    def hello(self, url: str = "", **headers: str) -> tuple[int, str]:
        """What a server says of a credential, without the page."""
        answer = requests.get(f"{url or self.url}{HELLO}", headers=headers, timeout=PATIENCE)
        return answer.status_code, answer.json().get("code", "")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[Demo]:
    with ExitStack() as stack:
        yield Demo(tmp_path_factory.mktemp("demo"), stack)


@pytest.fixture
def demo_of_its_own(tmp_path) -> Iterator[Demo]:
    with ExitStack() as stack:
        yield Demo(tmp_path, stack)


@contextmanager
def signed_in(chromium: Browser, demo: Demo) -> Iterator[Page]:
    """The page of a user who is signed in with a cookie and with tokens."""
    context = chromium.new_context(base_url=demo.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto("/compare/")
    page.locator("[name=login]").fill("alice")
    page.locator("[name=password]").fill("alice-demo")
    page.locator("main").get_by_role("button", name="Sign In", exact=True).click()
    sign_in_for_tokens(page)
    yield page
    context.close()


@pytest.fixture(scope="module")
def page(chromium, demo) -> Iterator[Page]:
    """For tests that end no login."""
    with signed_in(chromium, demo) as page:
        yield page


@pytest.fixture
def page_of_its_own(chromium, demo) -> Iterator[Page]:
    with signed_in(chromium, demo) as page:
        yield page


def sign_in_for_tokens(page: Page) -> None:
    page.get_by_role("button", name="Sign in for tokens too").click()
    page.get_by_role("button", name="Continue").click()
    ready(page)


def ready(page: Page) -> None:
    page.wait_for_url("**/compare/")
    page.locator("body[data-ready]").wait_for()


def cell(page: Page, name: str) -> Any:
    return page.locator(f"[data-cell={name}]")


def cells(page: Page, name: str) -> tuple[str, str]:
    """The cookie's and the token's."""
    return tuple(cell(page, f"{name}-{way}").inner_text() for way in ("cookie", "token"))


def credentials(page: Page) -> tuple[dict[str, str], dict[str, str]]:
    """What the browser sends, as headers for a request without it."""
    (key,) = (each for each in page.context.cookies() if each["name"] == "site_sessionid")
    assert key["httpOnly"]
    assert key["sameSite"] == "Lax"

    def is_accepted(response: Response) -> bool:
        # A token that has expired is refused, and the page refreshes it.
        is_bearer = "authorization" in response.request.headers
        return response.url.endswith(HELLO) and is_bearer and response.ok

    with page.expect_response(is_accepted) as accepted:
        page.get_by_role("button", name="Check again").click()
    return (
        {"Cookie": f"site_sessionid={key['value']}"},
        {"Authorization": accepted.value.request.headers["authorization"]},
    )


@pytest.mark.browser
def test_storage_token_and_cost_are_measured_as_the_server_sees_them(demo, page_of_its_own):
    # It shows the token that it was loaded with, which another test may have refreshed.
    page = page_of_its_own
    cookie, token = credentials(page)
    raw = token["Authorization"].removeprefix("Bearer ")
    assert cells(page, "readable") == ("no", "yes")
    assert cells(page, "visible") == cells(page, "web") == ("no", "no")
    assert cells(page, "received") == ("yes", "yes")
    key = cookie["Cookie"].partition("=")[2]
    assert cells(page, "length") == (str(len(key)), str(len(raw)))
    assert page.evaluate("document.cookie").count("site_sessionid") == 0

    assert page.locator("p.token").inner_text() == raw
    (valid, changed) = (cell(page, f"signature-{name}") for name in ("valid", "changed"))
    assert (valid.inner_text(), changed.inner_text()) == ("yes", "no")
    explained = dict(
        each.split("\n")[:2] for each in page.locator(".claims > div:visible").all_inner_texts()
    )
    user = requests.get(f"{demo.url}/auth/user/", headers=token, timeout=PATIENCE).json()
    assert (explained["sid"], explained["sub"]) == (user["sid"], user["user"]["id"])
    assert explained["sid"] == cell(page, "sid-token").inner_text()

    assert cells(page, "queries") == ("2", "1")
    assert cells(page, "credential")[1] == str(len(f"Authorization: Bearer {raw}\r\n"))
    assert "django_session" in cell(page, "sql-cookie").text_content()
    assert "authmodes_loginsession" in cell(page, "sql-token").text_content()
    for name in ("median", "server", "slowest"):
        assert all(0 < float(figure.replace(",", "")) < 20_000 for figure in cells(page, name))
    assert page.locator("canvas").bounding_box()["height"] > 200


@pytest.mark.browser
def test_other_origins_are_refused_by_samesite_csrf_and_cors(demo, page):
    cookie, _token = credentials(page)
    for button in ("From a different site", "From a different origin of this site"):
        with page.context.expect_page() as opened:
            page.get_by_role("link", name=button).click()
        opened.value.wait_for_url("**/account/**")
        opened.value.close()
    expect(cell(page, "origin-link")).to_have_text("cookie sent · 200")
    found = {
        attempt: [cell(page, f"{place}-{attempt}").inner_text() for place in ("site", "origin")]
        for attempt in ("link", "form", "write", "read", "bearer")
    }
    assert found == {
        "link": ["cookie sent · 200", "cookie sent · 200"],
        "form": ["no cookie · 403", "cookie sent · 403"],
        "write": ["no cookie · 403", "cookie sent · 403"],
        "read": ["no cookie · 401", "cookie sent · 200"],
        "bearer": ["not sent: the preflight was refused", "no cookie · 401"],
    }
    # Both tried to sign this user out.
    assert demo.hello(**cookie) == (200, "")


@pytest.mark.browser
def test_an_injected_script_takes_the_tokens_and_not_the_cookie(demo, page):
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.get_by_role("button", name="Run one").click()
    expect(cell(page, "send")).to_have_text("blocked by the Content Security Policy")
    expect(cell(page, "inline")).to_have_text("blocked by the Content Security Policy")
    assert cell(page, "took-cookie").inner_text() == "none"
    taken = cell(page, "took-token").inner_text()
    assert re.fullmatch(r"access_token eyJ\S{9}…, refresh_token eyJ\S{9}…", taken)
    assert cells(page, "here") == ("200", "200")
    assert cells(page, "there") == ("401", "200")
    assert all(url.startswith(demo.url) for url in sent)


@pytest.mark.browser
def test_the_page_is_accessible_and_fits(page):
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        check_accessibility(page)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_each_login_ends_on_the_next_request_and_at_the_service_when_its_token_expires(
    demo, page_of_its_own
):
    page = page_of_its_own
    cookie, token = credentials(page)
    assert cells(page, "now") == ("200", "200")
    assert cell(page, "service-token").inner_text() == "200"

    page.locator("#try-revoke-token").click()
    expect(cell(page, "revoke-token")).to_have_text("401 · login_session_ended")
    expect(cell(page, "late-token")).to_have_text("200")
    assert demo.hello(**token) == (401, "login_session_ended")
    assert demo.hello(**cookie) == (200, "")

    sign_in_for_tokens(page)
    page.locator("#try-signout-token").click()
    expect(cell(page, "signout-token")).to_have_text("401 · login_session_ended")
    sign_in_for_tokens(page)
    assert cell(page, "revoke-token").inner_text() == "401 · login_session_ended"
    _cookie, token = credentials(page)
    page.locator("#try-revoke-cookie").click()
    expect(cell(page, "revoke-cookie")).to_contain_text("401")
    expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
    assert demo.hello(**cookie)[0] == 401
    assert demo.hello(**token) == (200, "")


@pytest.mark.browser
def test_a_second_server_refuses_the_login_that_ended_at_the_first(demo, page_of_its_own):
    page = page_of_its_own
    second = f"http://localhost:{demo.environment['SECOND_PORT']}"
    cookie, token = credentials(page)
    measured = requests.get(
        f"{second}{HELLO}", headers={**token, "X-Measure": "1"}, timeout=PATIENCE
    )
    pid = json.loads(measured.headers["X-Measured"])["process"]["pid"]
    assert str(pid) not in "".join(cells(page, "process"))
    for way in ("cookie", "token"):
        expect(cell(page, f"second-{way}")).to_have_text(f"200 · {pid}")

    page.locator("#try-revoke-token").click()
    ended = f"200 · {pid} → 401 · login_session_ended · {pid}"
    expect(cell(page, "second-token")).to_have_text(ended)
    assert demo.hello(second, **token) == (401, "login_session_ended")
    assert demo.hello(second, **cookie) == (200, "")
    sign_in_for_tokens(page)
    page.locator("#try-revoke-cookie").click()
    expect(cell(page, "second-cookie")).to_have_text(f"200 · {pid} → 401 · {pid}")
    assert demo.hello(second, **cookie)[0] == 401
    expect(cell(page, "second-token")).to_have_text(f"200 · {pid}")


@pytest.mark.browser
def test_arrows_follow_the_direction_of_the_language(demo, page_of_its_own):
    page = page_of_its_own
    page.context.add_cookies([{"name": "django_language", "value": "ar", "url": demo.url}])
    page.reload()
    ready(page)
    page.locator("#try-signout-cookie").click()
    expect(cell(page, "second-cookie")).to_have_text(re.compile(r"200 · (\d+) ← .+ · 401 · \1"))


@pytest.mark.browser
def test_without_javascript_the_page_says_what_is_missing_and_recommends(chromium, demo, page):
    context = chromium.new_context(java_script_enabled=False, base_url=demo.url)
    context.add_cookies(page.context.cookies())
    plain = context.new_page()
    plain.goto("/compare/")
    expect(plain.locator("noscript p")).to_contain_text("need JavaScript", use_inner_text=True)
    expect(plain.get_by_role("row", name="A mobile app or a program")).to_be_visible()
    expect(plain.get_by_role("button", name="Try")).to_have_count(0)
    context.close()


@pytest.mark.browser
def test_logins_outlive_the_server_process_and_a_token_its_lifetime_never(
    chromium, demo_of_its_own
):
    demo = demo_of_its_own
    with signed_in(chromium, demo) as page:
        cookie, token = credentials(page)
        before = cells(page, "process")
        demo.start(access_seconds=3)
        page.get_by_role("button", name="Check again").click()
        for way, said in zip(("cookie", "token"), before, strict=True):
            expect(cell(page, f"process-{way}")).to_have_text(
                re.compile(rf"{re.escape(said)} → \d+")
            )
        assert demo.hello(**cookie) == demo.hello(**token) == (200, "")

        page.reload()
        sign_in_for_tokens(page)
        _cookie, token = credentials(page)
        expect(cell(page, "expired-token")).to_contain_text("401")
        # The page may have refreshed in between, so this token can be newer than the one shown.
        raw = token["Authorization"].removeprefix("Bearer ")
        ends_at = jwt.decode(raw, options={"verify_signature": False})["exp"]
        page.wait_for_timeout(max(0, ends_at + 1 - time.time()) * 1000)
        assert demo.hello(**token) == (401, "token_not_valid")


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["session", "jwt"])
def test_the_measurement_counts_the_queries_that_django_logs(mode, client, settings):
    settings.MIDDLEWARE = ["example_project.measure.MeasureMiddleware", *settings.MIDDLEWARE]
    login(client, get_user_model().objects.create_user("alice"), mode)
    client.get("/auth/user/")
    with CaptureQueriesContext(connection) as logged:
        answer = client.get("/auth/user/", headers={"X-Measure": "1"})
    assert answer.status_code == 200
    seen = json.loads(answer.headers["X-Measured"])
    assert len(seen["queries"]) == len(logged) > 0
    assert "X-Measured" not in client.get("/auth/user/").headers
