"""A schema per tenant on PostgreSQL: a credential of one tenant opens no other one.

As with django-tenants: the tables of each tenant have a schema of their own, and a middleware
chooses it by the host. The same user ids exist in both.
"""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client

from authmodes import registry
from authmodes.machines import clients
from authmodes.models import LoginSession

from .support.logins import API, PASSWORD, post_json

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]
TOKEN_CALLS = {
    "/auth/token/refresh/": "refresh",
    "/auth/token/verify/": "token",
    "/auth/token/blacklist/": "refresh",
}


def use_schema(name):
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {name}")


def tenants(get_response):
    def respond(request):
        use_schema("other" if request.get_host().startswith("other.") else "public")
        return get_response(request)

    return respond


@pytest.fixture(autouse=True)
def schemas(db, settings):
    """Tenant "public" and tenant "other", each with a user of the same id and password hash."""
    settings.MIDDLEWARE = [f"{__name__}.tenants", *settings.MIDDLEWARE]
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA other")
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'CREATE TABLE other."{table}" (LIKE public."{table}" INCLUDING ALL)')
    user = get_user_model().objects.create_user("alice", "alice@example.com", PASSWORD)
    use_schema("other")
    user.save(force_insert=True)
    use_schema("public")
    yield
    use_schema("public")


def own(**headers):
    return Client(headers={"host": "own.example", **headers})


def other(**headers):
    return Client(headers={"host": "other.example", **headers})


def sign_in(client, mode):
    body = {"username": "alice", "password": PASSWORD, "mode": mode}
    response = post_json("/auth/login/", body, client)
    assert response.status_code == 200, response.content
    return response.json()


def test_tokens_open_their_own_tenant_only():
    pair = sign_in(own(), "jwt")
    bearer = {"authorization": f"Bearer {pair['access']}"}
    assert other(**bearer).get(API).status_code == 401
    assert other(**bearer).delete("/auth/sessions/?all=1").status_code == 401
    for path, name in TOKEN_CALLS.items():
        assert post_json(path, {name: pair["refresh"]}, other()).status_code == 401
    # Nothing of that has ended the login.
    assert own(**bearer).get(API).status_code == 200
    assert post_json("/auth/token/refresh/", {"refresh": pair["refresh"]}, own()).status_code == 200


def test_a_token_that_is_revoked_at_its_tenant_is_refused():
    elsewhere, pair = sign_in(other(), "jwt"), sign_in(own(), "jwt")
    registry.revoke(LoginSession.objects.get(sid=pair["sid"]))
    assert own(authorization=f"Bearer {pair['access']}").get(API).status_code == 401
    assert other(authorization=f"Bearer {elsewhere['access']}").get(API).status_code == 200


@pytest.mark.parametrize("engine", ["django.contrib.sessions.backends.db", "authmodes.sessions.db"])
def test_a_cookie_opens_its_own_tenant_only(engine, settings):
    settings.SESSION_ENGINE = engine
    browser, thief = own(), other()
    sign_in(browser, "session")
    thief.cookies["sessionid"] = browser.cookies["sessionid"].value
    assert thief.get(API).status_code == 401
    assert browser.get(API).status_code == 200


def test_a_machine_client_is_one_of_its_tenant_only():
    client, secret = clients.create("reports", "reports:read")
    grant = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": secret,
    }
    token = own().post("/auth/token/", grant).json()["access_token"]
    assert other().post("/auth/token/", grant).status_code == 401
    # 403: valid, and the view is for users.
    assert own(authorization=f"Bearer {token}").get(API).status_code == 403
    assert other(authorization=f"Bearer {token}").get(API).status_code == 401


def test_a_session_token_of_headless_opens_its_own_tenant_only():
    body = {"username": "alice", "password": PASSWORD}
    meta = post_json("/_allauth/app/v1/auth/login", body, own()).json()["meta"]
    token = {"x-session-token": meta["session_token"]}
    assert other(**token).get("/_allauth/app/v1/auth/session").status_code == 410
    assert own(**token).get("/_allauth/app/v1/auth/session").status_code == 200
