"""The example site in Chromium: sign in at its real provider, be revoked in its real admin."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from authmodes.urls import urlpatterns

from .support.chromium import check_page
from .support.chromium import chromium as chromium
from .support.demo import expired_token, run_demo
from .support.mfa import totp_code
from .support.processes import PATIENCE

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def site(folder) -> Iterator[str]:
    # A new session id for every answer: whatever works so works without.
    with run_demo(folder, DEMO_ROTATE="1") as url:
        yield url


@pytest.fixture
def new_page(chromium, site) -> Iterator[Page]:
    """Make pages that share nothing, as browsers of different people do."""
    contexts = []

    def make() -> Page:
        context = chromium.new_context(base_url=site)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()


def sign_in_at_provider(page: Page, name: str) -> None:
    page.get_by_role("heading", name="Sign in with Demo ID").wait_for()
    page.locator("[name=login]").fill(name)
    page.locator("[name=password]").fill(f"{name}-demo")
    page.get_by_role("button", name="Sign in").click()


def sign_in_with_cookie(page: Page, name: str = "alice") -> str:
    """Sign in to the server-rendered pages; return the sid."""
    page.goto("/")
    page.get_by_role("button", name="Demo ID, with a cookie").click()
    sign_in_at_provider(page, name)
    page.wait_for_url("**/account/")
    return page.locator(".facts code").inner_text()


def sign_in_with_tokens(page: Page, name: str = "alice") -> str:
    """Sign in to the token app; return the sid."""
    page.goto("/")
    page.get_by_role("link", name="Demo ID, with tokens").click()
    sign_in_at_provider(page, name)
    expect(page.get_by_role("heading", name="Hello")).to_be_visible()
    return page.locator("[data-show=sid]").inner_text()


def revoke_in_admin(page: Page, sid: str) -> None:
    """Sign in to the admin, open the login session, and revoke it."""
    page.goto("/admin/")
    page.locator("[name=login]").fill("admin")
    page.locator("[name=password]").fill("admin-demo")
    page.locator("main").get_by_role("button", name="Sign In", exact=True).click()
    page.wait_for_url("**/admin/")
    page.goto("/admin/authmodes/loginsession/?q=alice")
    row = page.locator("#result_list tbody tr").filter(has_text="alice").first
    row.locator(".field-client a").click()
    expect(page.locator("body")).to_contain_text(sid)
    page.get_by_role("link", name="Revoke").first.click()
    page.get_by_role("button", name="Revoke").click()
    page.wait_for_load_state()


@pytest.mark.parametrize("sign_in", [sign_in_with_cookie, sign_in_with_tokens])
def test_who_is_revoked_in_the_admin_is_signed_out(new_page, sign_in):
    victim, administrator = new_page(), new_page()
    sid = sign_in(victim)

    revoke_in_admin(administrator, sid)

    if sign_in is sign_in_with_cookie:
        victim.reload()
        victim.wait_for_url("**/accounts/login/**")
    else:
        victim.get_by_role("button", name="Call the API").click()
        expect(victim.get_by_role("heading", name="The token app")).to_be_visible()
        expect(victim.locator("[data-show=notice]")).to_contain_text("ended")


def test_the_token_app_asks_the_two_sites_only_and_never_with_a_token_in_a_url(new_page):
    page = new_page()
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    sign_in_with_tokens(page)
    tokens = page.evaluate("JSON.stringify(sessionStorage)")
    assert "eyJ" in tokens
    assert any("code=" in url for url in seen)
    assert not any("eyJ" in url for url in seen)
    assert "code=" not in page.url
    assert {url.split("/")[2].split(":")[0] for url in seen} == {"localhost"}


def test_a_link_of_another_site_starts_no_sign_in_and_puts_no_words_on_the_page(new_page, site):
    page = new_page()
    elsewhere = site.replace("localhost", "127.0.0.1")
    if elsewhere == site:
        elsewhere = site.replace("127.0.0.1", "localhost")
    for path in ("spa/#sign-in=demo", "spa/?error=x&error_description=Call+0900"):
        page.goto(f"{elsewhere}/api/docs/")
        page.evaluate("url => { location.href = url }", f"{site}/{path}")
        page.wait_for_url(f"{site}/spa/**")
        expect(page.get_by_role("link", name="Demo ID").first).to_be_visible()
        page.wait_for_timeout(500)
        assert page.url.startswith(f"{site}/spa/")
        assert "Call 0900" not in page.content()


def test_the_token_app_goes_on_when_its_access_token_has_expired(new_page, folder):
    page = new_page()
    sign_in_with_tokens(page)
    kept = json.loads(page.evaluate("sessionStorage.getItem('authmodes.tokens')"))
    kept["access"] = expired_token(kept["access"], folder)
    page.evaluate("kept => sessionStorage.setItem('authmodes.tokens', kept)", json.dumps(kept))
    with page.expect_response("**/auth/token/") as refreshed:
        page.get_by_role("button", name="Call the API").click()
    assert refreshed.value.status == 200
    expect(page.locator("[data-show=answer]")).to_contain_text("jwt")


def test_signing_out_ends_each_kind_of_login(new_page):
    for sign_in in (sign_in_with_cookie, sign_in_with_tokens):
        page = new_page()
        sign_in(page)
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_load_state("networkidle")
        page.goto("/account/")
        page.wait_for_url("**/accounts/login/**")


def hold_security_key(page: Page) -> None:
    """Give the browser a security key that is touched whenever a page asks for it."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "usb",
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_sign_in_with_a_second_factor_ends_in_tokens(new_page):
    at_home, elsewhere = new_page(), new_page()
    sign_in_with_cookie(at_home, "bob")
    at_home.goto("/accounts/2fa/totp/activate/")
    # allauth asks for the password again before anybody changes a second factor.
    at_home.locator("[name=password]").fill("bob-demo")
    at_home.locator("main").get_by_role("button", name="Confirm").click()
    secret = at_home.locator("#authenticator_secret").input_value()
    at_home.locator("[name=code]").fill(totp_code(secret))
    at_home.get_by_role("button", name="Activate").click()
    at_home.wait_for_url("**/accounts/2fa/recovery-codes/**")

    elsewhere.goto("/")
    elsewhere.get_by_role("link", name="Demo ID, with tokens").click()
    sign_in_at_provider(elsewhere, "bob")
    elsewhere.wait_for_url("**/accounts/2fa/authenticate/**")
    assert "eyJ" not in elsewhere.evaluate("JSON.stringify(sessionStorage)")
    assert elsewhere.evaluate("fetch('/api/hello/').then((answer) => answer.status)") == 401
    elsewhere.locator("[name=code]").fill("000000")
    elsewhere.get_by_role("button", name="Sign In").click()
    expect(elsewhere.locator("body")).to_contain_text("Incorrect code")
    elsewhere.locator("[name=code]").fill(totp_code(secret))
    elsewhere.get_by_role("button", name="Sign In").click()

    expect(elsewhere.get_by_role("heading", name="Hello")).to_be_visible()
    assert "eyJ" in elsewhere.evaluate("JSON.stringify(sessionStorage)")
    elsewhere.get_by_role("button", name="Call the API").click()
    expect(elsewhere.locator("[data-show=answer]")).to_contain_text("jwt")

    hold_security_key(at_home)
    at_home.goto("/accounts/2fa/webauthn/add/")
    at_home.get_by_role("button", name="Add").click()
    expect(at_home.locator("main")).to_contain_text("1 security key")
    at_home.context.clear_cookies()
    at_home.goto("/")
    at_home.get_by_role("link", name="Demo ID, with tokens").click()
    sign_in_at_provider(at_home, "bob")
    at_home.get_by_role("button", name="Use a security key").click()
    expect(at_home.get_by_role("heading", name="Hello")).to_be_visible()
    assert "eyJ" in at_home.evaluate("JSON.stringify(sessionStorage)")


def test_signing_out_can_go_on_to_the_provider(new_page, site):
    page = new_page()
    sid = sign_in_with_tokens(page)
    page.get_by_role("button", name="Leave the provider as well").click()
    # Without an ID token to show, allauth's provider asks first (RP-Initiated Logout 1.0, 2).
    page.locator("button[name=action][value=logout]").click()
    page.wait_for_url(f"{site}/spa/")
    # Whoever comes next has to say who they are, there too.
    page.goto("/")
    page.get_by_role("link", name="Demo ID, with tokens").click()
    sign_in_at_provider(page, "alice")
    assert page.locator("[data-show=sid]").inner_text() != sid


def test_the_page_of_the_api_shows_every_endpoint_and_can_call_them(new_page, site):
    page = new_page()
    hosts, complaints = set(), []
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/")
    page.get_by_role("link", name="API").click()
    expect(page.locator(".opblock").first).to_be_visible()
    document = requests.get(f"{site}/api/schema/?format=json", timeout=PATIENCE).json()
    documented = sum(len(verbs) for verbs in document["paths"].values())
    assert page.locator(".opblock").count() == documented > len(urlpatterns)

    sign_in = page.locator("[id$=authmodes_login]")
    sign_in.locator(".opblock-summary-control").click()
    sign_in.get_by_role("button", name="Try it out").click()
    body = {"username": "alice", "password": "alice-demo", "mode": "session"}
    sign_in.locator("textarea").fill(json.dumps(body))
    sign_in.get_by_role("button", name="Execute").click()
    expect(sign_in.locator(".live-responses-table")).to_contain_text("alice@example.org")

    assert hosts == {site.removeprefix("http://")}
    assert complaints == []


def test_the_pages_declare_what_scripts_may_run(site):
    answer = requests.get(f"{site}/spa/", timeout=PATIENCE)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


# -- the user's own page, and session ids that rotate ----------------------------------------

MANAGE = "/auth/sessions/manage/"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
TWENTY_AT_ONCE = """async (path) => Promise.all(
    Array.from({length: 20}, () => fetch(path).then((answer) => answer.status))
)"""


TEN_ABANDONED = """(path) => {
    const stop = new AbortController();
    for (let i = 0; i < 10; i++)
        fetch(path, {signal: stop.signal}).catch(() => null);
    setTimeout(() => stop.abort(), 5);
}"""


def session_id(page: Page) -> str:
    return next(
        cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "site_sessionid"
    )


def is_signed_in(page: Page) -> bool:
    page.goto("/account/")
    return "/accounts/login/" not in page.url


def test_the_page_fits_and_ends_another_login(new_page):
    here, elsewhere = new_page(), new_page()
    sign_in_with_cookie(elsewhere)
    sign_in_with_cookie(here)
    for size, (width, height) in SIZES.items():
        here.set_viewport_size({"width": width, "height": height})
        here.goto(MANAGE)
        expect(here.get_by_role("heading", name="Where you are signed in")).to_be_visible()
        assert here.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        button = here.get_by_role("button", name="Revoke HeadlessChrome").first
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        if folder := os.environ.get("SCREENSHOTS"):
            for scheme in ("light", "dark"):
                here.emulate_media(color_scheme=scheme)
                here.screenshot(path=f"{folder}/manage-{size}-{scheme}.png", full_page=True)

    button.click()

    expect(here.get_by_text("The selected login sessions were ended.")).to_be_visible()
    assert not is_signed_in(elsewhere)
    assert is_signed_in(here)


def test_no_session_id_is_lost_when_every_answer_rotates(new_page):
    """Neither by twenty fetches at once, nor by leaving a page while its answers are on the way."""
    busy, left = new_page(), new_page()
    for page in (busy, left):
        sign_in_with_cookie(page)
    seen = {session_id(busy)}
    for _ in range(5):
        assert busy.evaluate(TWENTY_AT_ONCE, "/auth/user/") == [200] * 20
        seen.add(session_id(busy))
    assert len(seen) == 6
    for _ in range(5):
        # Its answers are thrown away, and the one with the new session id may be among them.
        left.evaluate(TEN_ABANDONED, "/auth/user/")
        left.goto("/account/")
    # Longer than the grace: what the browsers hold is the key in force.
    left.wait_for_timeout(11_000)
    assert is_signed_in(busy)
    assert is_signed_in(left)


@pytest.mark.parametrize(("language", "name"), [("de", "Deutsch"), ("ar", "العربيّة")])
def test_the_site_fits_in_the_language_that_its_reader_chooses(new_page, language, name):
    page = new_page()
    sign_in_with_cookie(page)
    page.get_by_role("button", name=name).click()
    for path in ("/", "/account/", "/auth/sessions/manage/", "/spa/", "/nowhere/"):
        page.goto(path)
        check_page(page, language)
    page.context.clear_cookies(name="site_sessionid")
    page.goto("/accounts/login/")
    check_page(page, language)
