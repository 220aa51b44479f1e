"""The example's own identity provider, over HTTP: what it issues to a client signs in here."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from allauth.socialaccount.models import SocialAccount

from .support.authorization_code import challenge_of
from .support.browser import Browser
from .support.oidc_provider import app_of
from .support.processes import PATIENCE, free_ports, wait_for

ROOT = Path(__file__).parent.parent
CLIENT, SECRET = "example-site", "example-site-demo-secret"
VERIFIER = "v" * 43
PATH = "/auth/social/demo/"


@pytest.fixture(scope="module")
def idp(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """The demo's identity provider alone, on a free port and in a folder of its own."""
    site_port, idp_port = free_ports(2)
    folder = tmp_path_factory.mktemp("idp")
    environment = {
        **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
        "SITE_PORT": str(site_port),
        "IDP_PORT": str(idp_port),
        "DEMO_VAR_DIR": str(folder),
    }
    subprocess.run(
        [sys.executable, "-m", "example_project.idp.seed"], cwd=ROOT, env=environment, check=True
    )
    url = f"http://localhost:{idp_port}"
    with (folder / "idp.log").open("w+b") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "runserver", "--noreload", f"127.0.0.1:{idp_port}"],
            cwd=ROOT,
            env={**environment, "DJANGO_SETTINGS_MODULE": "example_project.idp.settings"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(url, process, log)
            with requests.Session() as browser:
                yield {
                    "url": url,
                    "redirect_uri": f"http://localhost:{site_port}/spa/",
                    "browser": browser,
                }
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


@pytest.fixture
def demo(idp, settings, monkeypatch, db):
    """The tests' site, as a client of that provider."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    app = {**app_of(idp["url"], "demo"), "client_id": CLIENT, "secret": SECRET}
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
    settings.AUTHMODES_REDIRECT_URIS = [idp["redirect_uri"]]
    return idp


def get_code(demo, nonce="n-1"):
    """Have alice's browser sent to the provider by an SPA, and back."""
    browser = demo["browser"]
    asked = {
        "client_id": CLIENT,
        "redirect_uri": demo["redirect_uri"],
        "response_type": "code",
        "scope": "openid profile email",
        "state": "s-1",
        "nonce": nonce,
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    config = browser.get(f"{demo['url']}/.well-known/openid-configuration", timeout=PATIENCE).json()
    response = browser.get(
        config["authorization_endpoint"], params=asked, allow_redirects=False, timeout=PATIENCE
    )
    while not response.headers.get("location", "").startswith(demo["redirect_uri"]):
        if response.is_redirect:
            url = requests.compat.urljoin(response.url, response.headers["location"])
            response = browser.get(url, allow_redirects=False, timeout=PATIENCE)
            continue
        # Once; from then on the provider knows the browser.
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', response.text)[1]
        form = {"csrfmiddlewaretoken": token, "login": "alice", "password": "alice-demo"}
        response = browser.post(response.url, form, allow_redirects=False, timeout=PATIENCE)
        assert response.is_redirect, response.text
    query = parse_qs(urlsplit(response.headers["location"]).query)
    assert query["state"] == ["s-1"]
    return query["code"][0], config


def get_id_token(demo):
    """Exchange a code as a client that keeps the provider's tokens itself would."""
    code, config = get_code(demo)
    basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    answer = requests.post(
        config["token_endpoint"],
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": demo["redirect_uri"],
            "code_verifier": VERIFIER,
        },
        headers={"authorization": f"Basic {basic}"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["id_token"]


def present(demo, mode, **body):
    return Browser().send_json(PATH, {"mode": mode, "nonce": "n-1", **body})


def test_its_id_token_signs_in_once(demo, mode):
    id_token = get_id_token(demo)
    refused = present(demo, mode, id_token=id_token, nonce="n-2")
    assert refused.json()["code"] == "invalid_nonce"
    response = present(demo, mode, id_token=id_token)
    assert response.status_code == 200, response.content
    assert response.json()["user"]["email"] == "alice@example.org"
    assert SocialAccount.objects.get().uid == "1001"
    again = present(demo, mode, id_token=id_token)
    assert again.json()["code"] == "provider_token_replayed"


def test_its_code_signs_in_once_and_with_its_verifier(demo, mode):
    body = {"code_verifier": VERIFIER, "redirect_uri": demo["redirect_uri"]}
    code, _config = get_code(demo)
    response = present(demo, mode, **body, code=code)
    assert response.status_code == 200, response.content
    assert SocialAccount.objects.get().uid == "1001"
    assert present(demo, mode, **body, code=code).json()["code"] == "invalid_grant"
    planted, _config = get_code(demo)
    body["code_verifier"] = "w" * 43
    assert present(demo, mode, **body, code=planted).json()["code"] == "invalid_grant"
