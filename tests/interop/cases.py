"""Each client signs in, refreshes, is revoked and signs out, over HTTP, at the running example."""

import html
import json
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.integrations.requests_client import OAuthError
from oauthlib.oauth2 import InvalidGrantError
from playwright.sync_api import Page
from requests_oauthlib import OAuth2Session

from tests.support.chromium import chromium as chromium
from tests.support.demo import run_demo
from tests.support.processes import free_ports
from tests.support.tokens import claims_of

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NODE = Path(os.environ["INTEROP_NODE_MODULES"])
CUSTOM = "org.example.authmodes:/callback"
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("interop")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    site_port, idp_port = free_ports(2)
    with run_demo(
        folder,
        SITE_PORT=str(site_port),
        IDP_PORT=str(idp_port),
        DEMO_REDIRECT_URIS=f"http://localhost:{site_port}/interop/",
    ):
        yield f"http://localhost:{site_port}"


@pytest.fixture
def metadata(site: str) -> dict[str, Any]:
    return requests.get(f"{site}/.well-known/oauth-authorization-server", timeout=10).json()


def authorize(url: str, ends_with: str) -> str:
    """Sign alice in on allauth's page, as her browser; return the URL that the client gets."""
    browser = requests.Session()
    page = browser.get(url, timeout=20)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    following = re.search(r'name="next" value="([^"]+)"', page.text)
    assert token is not None, page.text
    assert following is not None, page.text
    form = {
        "csrfmiddlewaretoken": token[1],
        "next": html.unescape(following[1]),
        "login": "alice",
        "password": "alice-demo",
    }
    done = browser.post(page.url, form, allow_redirects=False, timeout=20)
    assert done.headers["Location"].startswith(ends_with), done.headers
    return done.headers["Location"]


def revoke(folder: Path, sid: str) -> None:
    """End a login as an administrator does on the server."""
    command = [sys.executable, "-m", "django", "shell", "-c"]
    script = (
        "from authmodes import registry; from authmodes.models import LoginSession; "
        f"registry.revoke(LoginSession.objects.get(sid='{sid}'))"
    )
    environment = {
        **os.environ,
        "DEMO_VAR_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
    }
    subprocess.run([*command, script], cwd=ROOT, env=environment, check=True)


def status_of(site: str, access: str) -> int:
    bearer = {"Authorization": f"Bearer {access}"}
    return requests.get(f"{site}/auth/user/", headers=bearer, timeout=10).status_code


# -- PyPI ----------------------------------------------------------------------------------


def authlib_flow(site: str, metadata: dict[str, Any]) -> tuple[AuthlibSession, dict[str, Any]]:
    redirect_uri = f"{site}/interop/"
    client = AuthlibSession(
        "app",
        token_endpoint_auth_method="none",
        code_challenge_method="S256",
        redirect_uri=redirect_uri,
        token_endpoint=metadata["token_endpoint"],
    )
    verifier = secrets.token_urlsafe(48)
    url, state = client.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier
    )
    answer = authorize(url, redirect_uri)
    token = client.fetch_token(authorization_response=answer, code_verifier=verifier, state=state)
    return client, token


def test_authlib(site, metadata, folder):
    client, token = authlib_flow(site, metadata)
    assert client.get(f"{site}/auth/user/").json()["user"]["username"] == "alice"
    refreshed = client.refresh_token()
    assert refreshed["sid"] == token["sid"]
    assert refreshed["refresh_token"] != token["refresh_token"]
    revoke(folder, token["sid"])
    assert client.get(f"{site}/auth/user/").status_code == 401
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token()
    client, token = authlib_flow(site, metadata)
    gone = client.revoke_token(metadata["revocation_endpoint"], token["refresh_token"])
    assert gone.status_code == 200
    assert status_of(site, token["access_token"]) == 401


def requests_oauthlib_flow(
    site: str, metadata: dict[str, Any]
) -> tuple[OAuth2Session, dict[str, Any]]:
    redirect_uri = f"{site}/interop/"
    client = OAuth2Session("app", redirect_uri=redirect_uri, pkce="S256")
    url, _state = client.authorization_url(metadata["authorization_endpoint"])
    # It sends the client id by HTTP Basic, with an empty password.
    token = client.fetch_token(
        metadata["token_endpoint"], authorization_response=authorize(url, redirect_uri)
    )
    return client, token


def test_requests_oauthlib(site, metadata, folder):
    client, token = requests_oauthlib_flow(site, metadata)
    assert client.get(f"{site}/auth/user/").json()["user"]["username"] == "alice"
    refreshed = client.refresh_token(metadata["token_endpoint"], client_id="app")
    assert refreshed["sid"] == token["sid"]
    revoke(folder, token["sid"])
    assert client.get(f"{site}/auth/user/").status_code == 401
    with pytest.raises(InvalidGrantError):
        client.refresh_token(metadata["token_endpoint"])
    client, token = requests_oauthlib_flow(site, metadata)
    requests.post(
        metadata["revocation_endpoint"], {"token": token["access_token"]}, timeout=10
    ).raise_for_status()
    assert client.get(f"{site}/auth/user/").status_code == 401


# -- native apps (RFC 8252) ----------------------------------------------------------------


class Callback(BaseHTTPRequestHandler):
    """The server of a command-line program, which takes one call."""

    def do_GET(self) -> None:
        self.server.received = self.path  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"You may close this page.")

    def log_message(self, *args: Any) -> None:
        pass


def test_a_program_that_listens_on_a_loopback_port(site, metadata, folder):
    with HTTPServer(("127.0.0.1", 0), Callback) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        redirect_uri = f"http://127.0.0.1:{server.server_port}/callback"
        client = OAuth2Session("native", redirect_uri=redirect_uri, pkce="S256")
        url, _state = client.authorization_url(metadata["authorization_endpoint"])
        requests.get(authorize(url, redirect_uri), timeout=10)
        thread.join(timeout=10)
        answer = f"{redirect_uri}?{urlsplit(server.received).query}"  # type: ignore[attr-defined]
    token = client.fetch_token(metadata["token_endpoint"], authorization_response=answer)
    use_and_end(client, token, site, metadata, folder)


def test_an_app_with_a_scheme_of_its_own(site, metadata, folder):
    client = OAuth2Session("native", redirect_uri=CUSTOM, pkce="S256")
    url, _state = client.authorization_url(metadata["authorization_endpoint"])
    answer = authorize(url, CUSTOM)
    token = client.fetch_token(metadata["token_endpoint"], authorization_response=answer)
    use_and_end(client, token, site, metadata, folder)


def use_and_end(
    client: OAuth2Session, token: Any, site: str, metadata: dict[str, Any], folder: Path
) -> None:
    assert client.get(f"{site}/auth/user/").json()["user"]["username"] == "alice"
    token = client.refresh_token(metadata["token_endpoint"], client_id="native")
    revoke(folder, token["sid"])
    assert client.get(f"{site}/auth/user/").status_code == 401
    with pytest.raises(InvalidGrantError):
        client.refresh_token(metadata["token_endpoint"], client_id="native")


# -- npm, in Chromium ----------------------------------------------------------------------

FILES = {
    "": "<!doctype html><title>interop</title>",
    "pages.js": HERE / "pages.js",
    "oauth4webapi.js": NODE / "oauth4webapi/build/index.js",
    "oidc-client-ts.js": NODE / "oidc-client-ts/dist/browser/oidc-client-ts.js",
}


@pytest.fixture
def page(chromium, site) -> Iterator[Page]:
    context = chromium.new_context(base_url=site)
    page = context.new_page()

    def serve(route: Any) -> None:
        found = FILES[urlsplit(route.request.url).path.removeprefix("/interop/")]
        kind = "text/javascript" if isinstance(found, Path) else "text/html"
        body = found.read_text() if isinstance(found, Path) else found
        route.fulfill(body=body, content_type=kind)

    page.route(re.compile(r"/interop/"), serve)
    yield page
    context.close()


def call(page: Page, library: str, step: str, tokens: Any = None) -> Any:
    script = """async ([library, step, tokens]) => {
        const pages = await import("/interop/pages.js");
        return (await pages[library]())[step](tokens);
    }"""
    return page.evaluate(script, [library, step, tokens])


@pytest.mark.parametrize("library", ["oauth4webapi", "oidcClient"])
def test_a_library_in_a_page(page, site, folder, library):
    def sign_in() -> Any:
        page.context.clear_cookies()
        page.goto("/interop/")
        page.evaluate(
            "library => { import('/interop/pages.js')"
            ".then((pages) => pages[library]()).then((client) => client.signIn()); }",
            library,
        )
        page.locator("[name=login]").fill("alice")
        page.locator("[name=password]").fill("alice-demo")
        page.locator("main").get_by_role("button", name="Sign In", exact=True).click()
        page.wait_for_url("**/interop/?*")
        return call(page, library, "finish")

    first = sign_in()
    assert status_of(site, first["access_token"]) == 200
    second = call(page, library, "refresh", first)
    assert second["refresh_token"] != first["refresh_token"]
    revoke(folder, claims_of(second["access_token"])["sid"])
    assert status_of(site, second["access_token"]) == 401
    assert call(page, library, "refresh", second) == {"error": "invalid_grant", "status": 400}
    third = sign_in()
    call(page, library, "signOut", third)
    assert status_of(site, third["access_token"]) == 401


# -- clients that are generated from the OpenAPI document ----------------------------------


def run(*command: Any, **options: Any) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def document(site: str, folder: Path) -> Path:
    path = folder / "schema.json"
    asked = {"Accept": "application/vnd.oai.openapi+json"}
    path.write_text(requests.get(f"{site}/api/schema/", headers=asked, timeout=30).text)
    return path


# Signed in; after the revocation `user/`, `token/refresh/`, `token/`; after signing out `user/`.
SEEN = ["alice", 401, 401, 400, 401]


def assert_signs_in_is_revoked_and_signs_out(folder: Path, work: Path, *command: str) -> None:
    """Run a program that signs in at `login/`, then at `token/`, and asks for a revocation."""
    with subprocess.Popen(
        command, cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for _way in ("login/", "token/"):
            revoke(folder, program.stdout.readline().strip())
            program.stdin.write("revoked\n")
            program.stdin.flush()
        assert json.loads(program.stdout.readline()) == SEEN * 2
    assert program.returncode == 0


def test_the_types_of_the_javascript_client_serve_a_project(tmp_path):
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "authmodes-client").symlink_to(ROOT / "authmodes/static/authmodes/client")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "consumer.ts").write_text((HERE / "consumer.ts").read_text())
    tsc = [NODE / ".bin" / "tsc", "--noEmit", "--strict", "--exactOptionalPropertyTypes"]
    target = ["--target", "es2022", "--lib", "es2022,dom"]
    for module, resolution in (("nodenext", "nodenext"), ("esnext", "bundler")):
        kind = ["--module", module, "--moduleResolution", resolution]
        run(*tsc, *target, *kind, tmp_path / "consumer.ts", cwd=tmp_path)


def test_a_client_of_openapi_typescript(site, document, folder):
    work = folder / "typescript"
    work.mkdir()
    (work / "node_modules").symlink_to(NODE)
    (work / "package.json").write_text('{"type": "module"}')
    (work / "generated.ts").write_text((HERE / "generated.ts").read_text())
    bin_ = NODE / ".bin"
    run(bin_ / "openapi-typescript", document, "-o", work / "schema.d.ts")
    options = ["--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom"]
    run(bin_ / "tsc", *options, "--skipLibCheck", work / "generated.ts", cwd=work)
    assert_signs_in_is_revoked_and_signs_out(folder, work, "node", "generated.js", site)


def test_a_client_of_openapi_python_client(site, document, folder):
    generator = Path(sys.executable).with_name("openapi-python-client")
    made = folder / "made"
    run(generator, "generate", "--path", document, "--output-path", made, "--meta", "none")
    (folder / "generated.py").write_text((HERE / "generated.py").read_text())
    assert_signs_in_is_revoked_and_signs_out(
        *(folder, folder, sys.executable, "generated.py", site)
    )
