"""The guides for apps: their settings in a project, their JavaScript in Chromium, as the pages say.

Only the addresses are changed: `https://site.example` becomes a host of this machine.
"""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import django
import pytest
from playwright.sync_api import Page, TimeoutError, expect

from .support.chromium import chromium as chromium
from .support.processes import free_ports, wait_for
from .test_guides import ROOT, Project, blocks

PASSWORD = "correct horse battery"
CLIENT = ROOT / "authmodes/static/authmodes/client/client.js"
SHOW = "document.body.textContent = JSON.stringify([response.status, await response.json()]);"
CREDENTIALS = f'const username = "alice", password = "{PASSWORD}";'
ALICE = f"""
from django.contrib.auth import get_user_model
get_user_model().objects.create_user("alice", password="{PASSWORD}")
"""
# What Django 6 has.
CSP_MIDDLEWARE = """
from django.conf import settings

def middleware(get_response):
    def respond(request):
        response = get_response(request)
        policy = settings.SECURE_CSP.items()
        response["Content-Security-Policy"] = "; ".join(" ".join([n, *v]) for n, v in policy)
        return response
    return respond
"""


class App(BaseHTTPRequestHandler):
    """The app's own host: one page, its script, and the client."""

    script: str
    policy: str

    def do_GET(self) -> None:
        files = {
            "/app.js": ("text/javascript", self.script),
            "/client.js": ("text/javascript", CLIENT.read_text()),
        }
        page = '<body>…</body><script type="module" src="/app.js"></script>'
        kind, text = files.get(self.path, ("text/html; charset=utf-8", page))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", self.policy)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: Any) -> None:
        pass


class Site:
    """The existing project with a guide's settings, on a host beside the app's."""

    def __init__(self, folder: Path) -> None:
        self.site_port, self.app_port = free_ports(2)
        self.url = self.moved("https://site.example")
        self.project = Project(folder)
        self.project.remove_simplejwt()
        for block in blocks("existing-project", "python"):
            self.project.add(block)
        self.settings('INSTALLED_APPS += ["django.contrib.staticfiles"]\nSTATIC_URL = "/static/"')

    def moved(self, text: str) -> str:
        """Put addresses of this machine in the place of the page's."""
        site = f"site.localhost:{self.site_port}"
        text = text.replace(
            "https://app.site.example", f"http://app.site.localhost:{self.app_port}"
        )
        text = text.replace("https://app.example", f"http://app.localhost:{self.app_port}")
        return text.replace("https://site.example", f"http://{site}")

    def settings(self, *lines: str) -> None:
        with (self.project.folder / "shop" / "settings.py").open("a") as file:
            file.writelines(f"{self.moved(each)}\n" for each in lines)

    def migrate(self) -> None:
        self.project.manage("migrate")
        self.project.script(ALICE)

    @property
    def database(self) -> Path:
        return self.project.folder / "db.sqlite3"

    @contextmanager
    def serve(self) -> Iterator[None]:
        command = ["manage.py", "runserver", "--noreload", str(self.site_port)]
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.project.folder,
            env=self.project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(f"http://127.0.0.1:{self.site_port}/auth/", process)
            yield
        finally:
            process.terminate()
            process.kill()
            process.wait()

    @contextmanager
    def app(self, script: str, policy: str = "default-src 'self'; connect-src *") -> Iterator[None]:
        names = {"script": self.moved(script), "policy": self.moved(policy)}
        server = ThreadingHTTPServer(("127.0.0.1", self.app_port), type("Handler", (App,), names))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """Migrated, with alice; no page changes the tables."""
    site = Site(tmp_path_factory.mktemp("database") / "project")
    site.migrate()
    return site.database


@pytest.fixture
def site(tmp_path, database) -> Site:
    site = Site(tmp_path / "project")
    shutil.copy(database, site.database)
    return site


@pytest.fixture
def page(chromium) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def sign_in(page: Page) -> None:
    page.locator("[name=login]").fill("alice")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")


def add_policy(site: Site, policy: str) -> None:
    middleware = "django.middleware.csp.ContentSecurityPolicyMiddleware"
    if django.VERSION < (6,):
        (site.project.folder / "shop" / "csp.py").write_text(CSP_MIDDLEWARE)
        middleware = "shop.csp.middleware"
    site.settings(policy, f'MIDDLEWARE += ["{middleware}"]')


@pytest.mark.browser
def test_an_app_on_another_origin_signs_in_as_its_guide_says(site, page):
    settings, policy = blocks("spa-on-another-origin", "python")
    (script,) = blocks("spa-on-another-origin", "js")
    site.settings(settings)
    add_policy(site, policy)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    own_policy = "default-src 'none'; script-src 'self'; connect-src https://site.example"
    script = script.replace('"authmodes-client"', '"/client.js"') + SHOW
    with site.serve(), site.app(script, own_policy):
        page.goto(site.moved("https://app.example/"))
        page.wait_for_url("**/accounts/login/**")
        sign_in(page)
        expect(page.locator("body")).to_have_text('[200,{"user":"alice","staff":false}]')
        assert page.url.startswith(site.moved("https://app.example/"))
        assert "code=" not in page.url

        # A page of the app can tell why it was refused, and has no cookie to use.
        why = """async (url) => {
            const answer = await fetch(url, {headers: {Authorization: "Bearer wrong"}});
            const cookie = await fetch(url, {credentials: "include"}).catch(() => "blocked");
            return [answer.status, answer.headers.get("WWW-Authenticate"), cookie];
        }"""
        status, challenge, cookie = page.evaluate(why, f"{site.url}/api/orders/")
        assert (status, cookie) == (401, "blocked")
        assert "invalid_token" in challenge


@pytest.mark.browser
def test_a_policy_that_does_not_list_the_app_stops_the_return(site, page):
    settings, policy = blocks("spa-on-another-origin", "python")
    (script,) = blocks("spa-on-another-origin", "js")
    site.settings(settings)
    add_policy(site, policy.replace(', "https://app.example"', ""))
    script = script.replace('"authmodes-client"', '"/client.js"') + SHOW
    with site.serve(), site.app(script):
        page.goto(site.moved("https://app.example/"))
        page.wait_for_url("**/accounts/login/**")
        with page.expect_console_message(lambda message: "form-action" in message.text):
            sign_in(page)
        with pytest.raises(TimeoutError):
            page.wait_for_url(site.moved("https://app.example/**"), timeout=1_000)


def cookie_settings() -> list[str]:
    """The settings of the page's table, a row each."""
    text = (ROOT / "docs/spa-on-the-same-site.md").read_text()
    rows = re.findall(r"^\| .* cookies? \| (.*?) \|", text, re.MULTILINE)
    return ["\n".join(re.findall(r"`(\w+ = [^`]*)`", row)) for row in rows]


@pytest.mark.browser
@pytest.mark.parametrize("way", ["session", "token-cookies"])
def test_an_app_on_the_same_site_signs_in_as_its_guide_says(site, page, way):
    by_hand, with_client = blocks("spa-on-the-same-site", "js")
    session, token_cookies = cookie_settings()
    site.settings(session if way == "session" else token_cookies)
    site.settings(blocks("spa-on-the-same-site", "python")[0])
    with_client = with_client.replace('"session"', f'"{way}"')
    with site.serve():
        page.goto(f"{site.url}/accounts/signup/")
        signed_in = page.evaluate(
            f"async () => {{ {CREDENTIALS} {by_hand} return [response.status, document.cookie]; }}"
        )
        assert signed_in[0] == 200
        assert "eyJ" not in signed_in[1]
        assert "sessionid" not in signed_in[1]
        assert page.evaluate("fetch('/api/orders/').then((answer) => answer.status)") == 200

        page.context.clear_cookies()
        page.goto(f"{site.url}/accounts/signup/")
        page.add_script_tag(type="module", content=f"{CREDENTIALS} {with_client} {SHOW}")
        expect(page.locator("body")).to_have_text('[200,{"user":"alice","staff":false}]')

        # From a host of its own.
        page.context.clear_cookies()
        where = 'url: "https://site.example/auth/", origins: ["https://site.example"]'
        script = with_client.replace(f'way: "{way}"', f'way: "{way}", {where}')
        script = script.replace('"/static/authmodes/client/client.js"', '"/client.js"')
        script = script.replace('"/api/', '"https://site.example/api/')
        with site.app(f"{CREDENTIALS} {script} {SHOW}"):
            page.goto(site.moved("https://app.site.example/"))
            expect(page.locator("body")).to_have_text('[200,{"user":"alice","staff":false}]')
            # A site that is not listed has no answer to read.
            page.goto(site.moved("https://app.example/"))
            expect(page.locator("body")).to_have_text("…")


APPS = """
import base64, hashlib
from urllib.parse import parse_qs, urlencode, urlsplit
from authmodes.models import LoginSession
from authmodes import registry
from tests.support.oidc_provider import CLIENT_ID, OidcProvider, app_of
from tests.support.oidc_server import serve

body, go_back = known
verifier = "v" * 43
digest = hashlib.sha256(verifier.encode()).digest()
challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
browser = Client()
browser.post("/accounts/login/", {"login": "alice", "password": fields["password"]})

def tokens_of(client_id, redirect_uri):
    asked = {
        "response_type": "code", "client_id": client_id, "redirect_uri": redirect_uri,
        "state": "s", "code_challenge": challenge, "code_challenge_method": "S256",
    }
    answer = browser.get("/auth/authorize/", asked)
    if answer.status_code == 200:
        answer = browser.post("/auth/authorize/?" + urlencode(asked))
    to = answer["Location"]
    assert to.startswith(redirect_uri + "?"), to
    grant = {"grant_type": "authorization_code", "client_id": client_id, "code_verifier": verifier}
    grant |= {"redirect_uri": redirect_uri, "code": parse_qs(urlsplit(to).query)["code"][0]}
    return Client().post("/auth/token/", grant).json()

# A program names its port, a phone app what is listed.
cli = tokens_of("cli", "http://127.0.0.1:49152/signed-in")
assert orders(cli["access_token"]).status_code == 200
phone = [tokens_of("phone", each) for each in settings.AUTHMODES_REDIRECT_URIS["phone"]]
assert [orders(each["access_token"]).status_code for each in phone] == [200, 200]
first = {"refresh": phone[0]["refresh_token"]}
again = [post("/auth/token/refresh/", first).json()["refresh"] for _ in range(2)]
assert again[0] == again[1]

with serve(OidcProvider) as provider:
    app = app_of(provider.url)
    hidden = {**app, "client_id": "phone-app", "settings": {**app["settings"], "hidden": True}}
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app, hidden]}}
    claims = {"email": "newcomer@example.com", "nonce": body["nonce"]}
    sent = {**body, "id_token": provider.id_token(aud="phone-app", **claims)}
    answer = post("/auth/social/example/", {**sent, "client_id": "phone-app"})
    assert answer.status_code == 200, answer.content
    assert orders(answer.json()["access"]).status_code == 200

exec(go_back)
assert not LoginSession.objects.active().filter(client_id="phone").exists()
assert [orders(each["access_token"]).status_code for each in phone] == [401, 401]
"""


def test_mobile_apps_and_programs_sign_in_as_their_guide_says(site):
    text = (ROOT / "docs/mobile-and-cli.md").read_text()
    site.settings('INSTALLED_APPS += ["allauth.socialaccount.providers.openid_connect"]')
    for block in blocks("mobile-and-cli", "python"):
        with (site.project.folder / "shop" / "settings.py").open("a") as file:
            file.write(block)
    site.project.manage("check", "--fail-level", "WARNING")
    (body,) = re.findall(r"-d '(\{.*\})'", text)
    (go_back,) = re.findall(r"`(registry\.revoke_all\(.*\))`", text)
    site.project.script(APPS, [json.loads(body), go_back])
