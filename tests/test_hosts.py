"""The demo's other hosts: an app on its own origin, a service and a program sign in at the site."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
import requests
from playwright.sync_api import Page, expect

from example_project.hosts.service import make_server

from .support.chromium import check_accessibility
from .support.chromium import chromium as chromium
from .support.demo import ROOT, run_demo
from .support.processes import PATIENCE, free_ports

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("demo")
    names = ("IDP_PORT", "SPA_PORT", "SERVICE_PORT")
    ports = dict(zip(names, map(str, free_ports(3)), strict=True))
    with run_demo(folder, **ports) as site:
        yield {
            "site": site,
            "provider": f"http://localhost:{ports['IDP_PORT']}",
            "spa": f"http://localhost:{ports['SPA_PORT']}",
            "service": f"http://localhost:{ports['SERVICE_PORT']}",
            "key": (folder / "site_signing_key.pem").read_text(),
        }


@pytest.fixture
def page(chromium) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def sign_in_on_the_site(page: Page) -> None:
    page.locator("[name=login]").fill("alice")
    page.locator("[name=password]").fill("alice-demo")
    page.locator("main").get_by_role("button", name="Sign In", exact=True).click()


def test_the_token_app_signs_in_from_its_own_origin(hosts, page):
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{hosts['spa']}/")
    # A provider's page and the site's own stand between the two forms and the return.
    page.get_by_role("button", name="Sign in with Demo ID").click()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Sign in with Demo ID").wait_for()
    page.locator("[name=login]").fill("alice")
    page.locator("[name=password]").fill("alice-demo")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{hosts['spa']}/")
    expect(page.get_by_role("heading", name="Hello, Alice")).to_be_visible()
    page.get_by_role("button", name="Refresh now").click()
    expect(page.locator("[data-show=refreshes]")).to_have_text("Refreshed: 1")
    page.get_by_role("button", name="Call the API").click()
    expect(page.locator("[data-show=answer]")).to_contain_text('"mode": "jwt"')
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("[data-show=notice]")).to_have_text("You are signed out.")
    assert complaints == []


@contextmanager
def native(hosts: dict[str, str]) -> Iterator[Any]:
    """Run the program; `webbrowser` opens nothing, because the test has its own browser."""
    program = subprocess.Popen(
        [
            sys.executable,
            "-I",
            ROOT / "example_project/hosts/native.py",
            hosts["site"],
            hosts["service"],
        ],
        env={**os.environ, "BROWSER": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def test_a_program_signs_in_through_the_browser_and_calls_both_apis(hosts, page):
    with native(hosts) as program:
        page.goto(program.stdout.readline().removeprefix("Open "))
        sign_in_on_the_site(page)
        expect(page.locator("body")).to_have_text("You are signed in. Go back to the program.")
        said = program.communicate(timeout=PATIENCE)[0]
    assert "Hello, alice." in said
    assert "'reports': ['Q1', 'Q2']" in said
    assert program.returncode == 0


def test_a_program_is_told_of_a_sign_in_that_failed(hosts):
    with native(hosts) as program:
        address = program.stdout.readline().removeprefix("Open ").strip()
        requests.get(f"{address}&prompt=none", timeout=PATIENCE)
        assert program.communicate(timeout=PATIENCE)[0] == "Not signed in: login_required\n"
    assert program.returncode == 1


def access_token(hosts: dict[str, str], username: str) -> str:
    fields = {"username": username, "password": f"{username}-demo", "mode": "jwt"}
    answer = requests.post(f"{hosts['site']}/auth/login/", json=fields, timeout=PATIENCE)
    return answer.json()["access"]


def ask(service: str, token: str, method: str = "GET") -> tuple[int, str]:
    bearer = {"Authorization": f"Bearer {token}"}
    answer = requests.request(method, f"{service}/reports/", headers=bearer, timeout=PATIENCE)
    return answer.status_code, answer.headers.get("WWW-Authenticate", "")


def test_the_service_verifies_type_issuer_audience_and_scope(hosts):
    service, token = hosts["service"], access_token(hosts, "alice")
    assert ask(service, token) == (200, "")
    insufficient = 'Bearer error="insufficient_scope", scope="reports:write"'
    assert ask(service, token, "POST") == (403, insufficient)
    assert ask(service, access_token(hosts, "admin"), "POST") == (201, "")
    without_token = requests.get(f"{service}/reports/", timeout=PATIENCE)
    assert without_token.headers["WWW-Authenticate"] == "Bearer"

    claims = jwt.decode(token, options={"verify_signature": False})
    headers = {"kid": "demo", "typ": "at+jwt"}

    def signed(claims: dict[str, Any], **changed: str) -> str:
        return jwt.encode(claims, hosts["key"], "ES256", headers={**headers, **changed})

    refused = (401, 'Bearer error="invalid_token"')
    assert ask(service, signed(claims)) == (200, "")
    assert ask(service, signed(claims, typ="JWT")) == refused
    assert ask(service, signed({**claims, "iss": hosts["spa"]})) == refused
    assert ask(service, signed({**claims, "aud": hosts["site"]})) == refused
    assert ask(service, signed({**claims, "exp": claims["iat"] - 1})) == refused
    assert ask(service, signed(claims, kid="unknown")) == refused
    assert ask(service, signed(claims)[:-6] + "AAAAAA") == refused
    assert ask(service, "junk") == refused


@pytest.mark.parametrize("of", ["a host that is away", "a different issuer"])
def test_the_service_is_unavailable_without_the_metadata(hosts, of):
    (port,) = free_ports(1)
    # The site answers there too, and calls itself localhost.
    site = hosts["site"].replace("localhost", "127.0.0.1")
    host = site if of == "a different issuer" else f"http://127.0.0.1:{port}"
    url = f"{host}/.well-known/oauth-authorization-server"
    with make_server(0, url, hosts["service"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        token = access_token(hosts, "alice")
        assert ask(f"http://127.0.0.1:{server.server_port}", token) == (503, "")
        server.shutdown()


@pytest.mark.parametrize("name", ["service", "spa"])
def test_a_host_imports_neither_django_nor_authmodes(name):
    script = (
        f"import sys, json, example_project.hosts.{name}\n"
        "print(json.dumps([m for m in ('django', 'authmodes') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_the_program_is_the_tutorials():
    """A reader of one knows the other: the requests have the same parameters."""
    names = r'^ +"(\w+)": '
    tutorial = (ROOT / "docs/tutorial.md").read_text().partition("# signin.py")[2]
    program = (ROOT / "example_project/hosts/native.py").read_text()
    wanted = re.findall(names, tutorial.partition("```")[0], re.MULTILINE)
    assert "code_challenge" in wanted
    assert re.findall(names, program, re.MULTILINE) == wanted


LONG = {
    "username": "n" * 150,
    "email": f"{'e' * 64}@{'d' * 60}.{'d' * 60}.{'d' * 40}.example.org",
    "password1": "correct horse battery",
    "password2": "correct horse battery",
}
# Those of a user who is signed in, of the site and of allauth.
PAGES = (
    *("/", "/account/", "/compare/", "/api/docs/", "/auth/sessions/manage/", "/not-found/"),
    *("/accounts/email/", "/accounts/3rdparty/", "/accounts/password/change/", "/accounts/2fa/"),
    *("/accounts/2fa/totp/activate/", "/accounts/2fa/webauthn/", "/accounts/reauthenticate/"),
    *("/accounts/logout/", "/accounts/confirm-email/", "/accounts/inactive/"),
    "/auth/authorize/?response_type=code&client_id=native&redirect_uri=http://127.0.0.1/callback"
    f"&state=s&code_challenge={'c' * 43}&code_challenge_method=S256",
)


def sign_up(page: Page, host: str) -> None:
    page.goto(f"{host}/accounts/signup/")
    for name, value in LONG.items():
        page.locator(f"[name={name}]").fill(value)
    page.locator("main").get_by_role("button", name="Sign Up").click()
    page.wait_for_load_state()


def assert_fits(page: Page) -> None:
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


def sign_in_app(page: Page, app: str, site: str, **fields: str) -> None:
    """Give the token app the tokens of a login, as after a sign-in."""
    answer = requests.post(
        f"{site}/auth/login/", json={**fields, "mode": "jwt"}, timeout=PATIENCE
    ).json()
    kept = {name: answer[name] for name in ("sid", "access", "refresh")}
    page.goto(app)
    page.evaluate(
        "kept => sessionStorage.setItem('authmodes.tokens', JSON.stringify(kept))",
        {**kept, "expiresAt": (time.time() + 100) * 1000, "generation": 0},
    )
    page.reload()
    expect(page.get_by_role("heading", name="Hello")).to_be_visible()


def test_long_names_fit_on_every_page(hosts, chromium):
    """Of the user, the browser and the login, at two widths."""
    context = chromium.new_context(user_agent="u" * 300)
    page = context.new_page()
    sign_up(page, hosts["site"])
    page.wait_for_url("**/account/")
    page.goto(f"{hosts['site']}/auth/sessions/manage/")
    page.locator("main summary").first.click()
    page.locator("main [name=name]").first.fill("w" * 60)
    page.get_by_role("button", name="Save").first.click()
    for path in PAGES:
        page.goto(hosts["site"] + path)
        assert_fits(page)

    login = {"username": LONG["username"], "password": LONG["password1"]}
    for app in (f"{hosts['site']}/spa/", f"{hosts['spa']}/"):
        sign_in_app(page, app, hosts["site"], **login)
        page.get_by_role("button", name="Call the API").click()
        expect(page.locator("[data-show=answer]")).to_contain_text("nnn")
        assert_fits(page)

    sign_up(page, hosts["provider"])
    page.goto(f"{hosts['provider']}/")
    expect(page.locator("main")).to_contain_text("nnn")
    assert_fits(page)
    context.close()


def test_the_pages_of_the_demo_are_accessible_in_light_and_dark(hosts, page):
    def assert_accessible() -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            check_accessibility(page)

    apps = (f"{hosts['site']}/spa/", f"{hosts['spa']}/")
    for url in (f"{hosts['site']}/", f"{hosts['provider']}/", *apps):
        page.goto(url)
        assert_accessible()
    for app in apps:
        sign_in_app(page, app, hosts["site"], username="alice", password="alice-demo")
        page.get_by_role("button", name="Call the API").click()
        expect(page.locator("[data-show=answer]")).to_contain_text("alice")
        assert_accessible()
    page.goto(f"{hosts['site']}/accounts/login/")
    sign_in_on_the_site(page)
    for path in ("/", "/account/", "/auth/sessions/manage/"):
        page.goto(hosts["site"] + path)
        assert_accessible()


def test_the_next_sign_in_page_has_a_hint(hosts, page):
    page.goto(f"{hosts['site']}/accounts/login/")
    assert page.get_by_text("Last time").count() == 0
    sign_in_on_the_site(page)
    page.locator("header").get_by_role("button", name="Sign out").click()
    page.goto(f"{hosts['site']}/accounts/login/")
    expect(page.locator("main .notice")).to_have_text(
        "Last time you signed in here with a password."
    )
