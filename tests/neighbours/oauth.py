"""What an app on a different origin, and an app of other people, do in one project."""

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from allauth.idp.oidc.models import Client as ThirdParty
from django.core.management import call_command
from django.test import Client

from tests.support.authorization_code import NEXT, challenge_of, code_grant, redirect_query
from tests.support.logins import API, call_with, post_json

ORIGIN = "https://spa.example"
THEIRS = "https://third.example/cb"
VERIFIER = "v" * 43


@pytest.mark.django_db
def test_the_checks_find_nothing():
    call_command("check", fail_level="WARNING")


# -- django-cors-headers, as docs/oauth.md says --------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/auth/token/", "POST", "content-type"),
        ("/auth/token/revoke/", "POST", "content-type"),
        ("/auth/user/", "GET", "authorization"),
        ("/auth/sessions/", "DELETE", "authorization"),
        ("/.well-known/oauth-authorization-server", "GET", "content-type"),
        ("/auth/.well-known/jwks.json", "GET", "content-type"),
    ],
)
def test_a_preflight_of_the_apps_origin_is_answered(path, method, headers):
    def preflight(origin):
        asked = {
            "origin": origin,
            "access-control-request-method": method,
            "access-control-request-headers": headers,
        }
        return Client().options(path, headers=asked)

    answer = preflight(ORIGIN)
    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == ORIGIN
    assert method in answer["Access-Control-Allow-Methods"]
    assert headers in answer["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer
    assert "Access-Control-Allow-Origin" not in preflight("https://evil.example")
    assert "origin" in answer["Vary"].lower()


def test_an_app_on_its_own_origin_reads_its_tokens_and_why_it_is_refused(code_flow):
    code_flow.run()
    body = urlencode(code_grant(code_flow.code, code_flow.verifier))
    kind = "application/x-www-form-urlencoded"
    origin = {"origin": ORIGIN}
    granted = Client(enforce_csrf_checks=True).post("/auth/token/", body, kind, headers=origin)
    assert granted["Access-Control-Allow-Origin"] == ORIGIN
    bearer = {**origin, "authorization": f"Bearer {granted.json()['access_token']}"}
    assert Client().get("/auth/user/", headers=bearer).json()["user"]["username"] == "alice"
    refused = Client().get("/auth/user/", headers={**origin, "authorization": "Bearer x"})
    assert refused["Access-Control-Allow-Origin"] == ORIGIN
    assert "WWW-Authenticate" in refused["Access-Control-Expose-Headers"]


# -- allauth.idp.oidc ----------------------------------------------------------------------


@pytest.fixture
def third_party(db):
    client = ThirdParty(id="third", name="A third party", type=ThirdParty.Type.PUBLIC)
    client.set_scopes(["openid", "email"])
    client.set_redirect_uris([THEIRS])
    client.save()
    return client


def test_a_third_party_and_an_app_of_ours_sign_in_beside_each_other(third_party, login):
    mine = login("session")
    query = {
        "response_type": "code",
        "client_id": "third",
        "redirect_uri": THEIRS,
        "scope": "openid email",
        "state": "s",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    page = mine.browser.get("/identity/o/authorize", query)
    assert b"A third party" in page.content
    hidden = dict(re.findall(r'name="(request)" value="([^"]+)"', page.content.decode()))
    allowed = {**hidden, "scopes": ["openid", "email"], "action": "grant"}
    done = mine.browser.submit("/identity/o/authorize", allowed)
    code = parse_qs(urlsplit(done["Location"]).query)["code"][0]
    theirs = Client().post(
        "/identity/o/api/token",
        code_grant(code, VERIFIER, client_id="third", redirect_uri=THEIRS),
    )
    assert {"access_token", "id_token"} <= theirs.json().keys(), theirs.json()
    ours = {**query, "client_id": "app", "redirect_uri": NEXT, "scope": ""}
    code = redirect_query(mine.browser.get("/auth/authorize/", ours))["code"]
    granted = post_json("/auth/token/", code_grant(code, VERIFIER)).json()
    assert call_with(granted["access_token"], API).status_code == 200
    # Neither accepts what the other has issued.
    assert call_with(theirs.json()["access_token"], API).status_code == 401
    userinfo = "/identity/o/api/userinfo"
    assert call_with(theirs.json()["access_token"], userinfo).status_code == 200
    assert call_with(granted["access_token"], userinfo).status_code == 401
    wrong = code_grant(code, VERIFIER, client_id="third", redirect_uri=NEXT)
    assert Client().post("/identity/o/api/token", wrong).status_code == 400
    assert mine.get(API).status_code == 200


def test_each_serves_its_own_metadata(db):
    openid = Client().get("/.well-known/openid-configuration").json()
    oauth = Client().get("/.well-known/oauth-authorization-server").json()
    assert openid["token_endpoint"].endswith("/identity/o/api/token")
    assert oauth["token_endpoint"].endswith("/auth/token/")
