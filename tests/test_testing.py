"""The helpers for projects' tests give what a sign-in over HTTP gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.test import AsyncClient, Client
from rest_framework.test import APIClient

from authmodes import registry, testing
from authmodes.exceptions import LimitReached, UserInactive
from authmodes.models import LoginSession
from authmodes.testing import alogin, login, no_throttles
from authmodes.tokens import mint

API = "/auth/user/"
MODES = ["session", "jwt"]
PROJECT_TEST = """
import pytest

@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["session", "jwt"])
def test_it(mode, client, django_user_model, authmodes_login, authmodes_no_throttles):
    user = django_user_model.objects.create_user("carol")
    row = authmodes_login(user, mode)
    assert client.get("/auth/user/").json()["sid"] == str(row.sid)
"""


@pytest.fixture(params=["body", "cookie"])
def transport(request, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = request.param


@pytest.mark.parametrize("client_class", [Client, APIClient])
def test_a_client_is_signed_in(client_class, transport, mode, alice):
    client = client_class()
    row = login(client, alice, mode)
    body = client.get(API).json()
    assert (body["sid"], body["mode"], body["user"]["username"]) == (str(row.sid), mode, "alice")
    assert LoginSession.objects.get() == row
    registry.revoke(row)
    assert client.get(API).status_code == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", MODES)
def test_an_async_client_is_signed_in(mode, transport, alice):
    async def sign_in_and_ask():
        client = AsyncClient()
        row = await alogin(client, alice, mode)
        return row, await client.get(API)

    row, answer = async_to_sync(sign_in_and_ask)()
    assert (answer.json()["sid"], answer.json()["mode"]) == (str(row.sid), mode)


def test_the_mode_is_that_of_the_settings(settings, alice):
    settings.AUTHMODES_DEFAULT_MODE = "jwt"
    assert login(Client(), alice).mode == "jwt"
    settings.AUTHMODES_MODE = "session"
    assert login(Client(), alice).mode == "session"
    with pytest.raises(ValueError, match="does not allow tokens"):
        login(Client(), alice, "jwt")
    with pytest.raises(ValueError, match="junk"):
        login(Client(), alice, "junk")


def test_a_later_login_replaces_the_credential(client, alice, bob):
    login(client, alice, "jwt")
    login(client, bob, "session")
    assert client.get(API).json()["user"]["username"] == "bob"
    login(client, alice, "jwt")
    assert client.get(API).json()["user"]["username"] == "alice"


@pytest.mark.parametrize("mode", MODES)
def test_the_rules_of_a_sign_in_hold(mode, alice, bob, settings):
    bob.is_active = False
    bob.save()
    with pytest.raises(UserInactive):
        login(Client(), bob, "jwt")
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    settings.AUTHMODES_LIMIT_POLICY = "refuse"
    login(Client(), alice, mode)
    with pytest.raises(LimitReached):
        login(Client(), alice, mode)


def test_the_tokens_of_the_login_are_at_hand(client, alice):
    pair = mint(login(client, alice, "jwt"))
    answer = client.post("/auth/token/refresh/", {"refresh": pair.refresh})
    assert answer.status_code == 200


def test_no_throttles_lets_every_call_pass(client, settings, alice):
    cache.clear()
    settings.REST_FRAMEWORK = {
        **settings.REST_FRAMEWORK,
        "DEFAULT_THROTTLE_RATES": {"authmodes": "2/min", "authmodes_login": "1/min"},
    }
    fields = {"username": "alice", "password": "wrong", "mode": "jwt"}
    with no_throttles():
        answers = [client.post("/auth/login/", fields).status_code for _ in range(30)]
    assert set(answers) == {401}
    assert [client.post("/auth/login/", fields).status_code for _ in range(2)] == [401, 429]


def test_the_fixtures_serve_a_project(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["authmodes.testing"]\n')
    (tmp_path / "test_it.py").write_text(PROJECT_TEST)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--ds=tests.settings",
            ".",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_tests_of_the_example_pass():
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "example_project"],
        cwd=root,
        env={name: value for name, value in os.environ.items() if "DJANGO" not in name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Ran 7 tests" in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_a_script_starts_a_login_without_a_request(client, alice):
    pair = mint(registry.start(None, alice, "jwt"))
    answer = client.get(API, headers={"authorization": f"Bearer {pair.access}"})
    assert answer.json()["user"]["username"] == "alice"
    assert LoginSession.objects.get().ip_address is None


def test_its_public_names_are_those_of_the_documents():
    assert testing.__all__ == ["alogin", "login", "no_throttles"]
