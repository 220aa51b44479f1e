"""Several application processes on one database agree on who is signed in."""

import pytest
import requests
from django.contrib.auth import get_user_model

from authmodes.models import LoginSession

from .support.logins import PASSWORD
from .support.processes import PATIENCE, serve

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def running(django_db_setup):
    with serve(2) as urls:
        yield urls


@pytest.fixture
def servers(running):
    get_user_model().objects.create_user("alice", "alice@example.com", PASSWORD)
    return running


def sign_in_over_http(url: str, mode: str) -> requests.Session:
    """Sign in over HTTP; the session that comes back carries the cookie or the tokens."""
    session = requests.Session()
    token = session.get(f"{url}/auth/csrf/", timeout=PATIENCE).json()["csrf_token"]
    session.headers["X-CSRFToken"] = token
    answer = session.post(
        f"{url}/auth/login/",
        json={"username": "alice", "password": PASSWORD, "mode": mode},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200, answer.text
    if mode == "jwt":
        session.headers["Authorization"] = f"Bearer {answer.json()['access']}"
        session.refresh = answer.json()["refresh"]
    else:
        session.headers["X-CSRFToken"] = session.cookies["csrftoken"]
    session.sid = answer.json()["sid"]
    return session


@pytest.mark.parametrize("mode", ["session", "jwt"])
def test_a_login_revoked_in_one_process_is_refused_by_the_other(servers, mode):
    one, other = servers
    victim, owner = sign_in_over_http(one, mode), sign_in_over_http(one, "session")
    assert victim.get(f"{other}/auth/user/", timeout=PATIENCE).status_code == 200

    revoked = owner.delete(f"{one}/auth/sessions/{victim.sid}/", timeout=PATIENCE)

    assert revoked.status_code == 204
    assert victim.get(f"{other}/auth/user/", timeout=PATIENCE).status_code == 401
    assert owner.get(f"{other}/auth/user/", timeout=PATIENCE).status_code == 200


def test_a_refresh_token_revoked_in_one_process_is_refused_by_the_other(servers):
    one, other = servers
    victim, owner = sign_in_over_http(one, "jwt"), sign_in_over_http(one, "session")

    owner.delete(f"{one}/auth/sessions/{victim.sid}/", timeout=PATIENCE)

    answer = requests.post(
        f"{other}/auth/token/refresh/", json={"refresh": victim.refresh}, timeout=PATIENCE
    )
    assert answer.status_code == 401
    assert LoginSession.objects.get(sid=victim.sid).end_reason == "revoked_by_user"
