"""The recipes of `docs/recipes.md`, with the very lines of the page."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings

from authmodes.models import LoginSession

from .support.logins import PASSWORD, call_with, refresh

PAGE = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text()
MINUTE = timedelta(minutes=1)


def recipe(title: str, number: int = 0) -> str:
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[number]


def settings_of(title: str, number: int = 0) -> override_settings:
    found: dict[str, Any] = {}
    exec(recipe(title, number), {"timedelta": timedelta}, found)
    return override_settings(**found)


def test_a_cookie_is_renewed_after_half_an_hour_for_an_hour(clock, login):
    with settings_of("A sliding lifetime of one hour"):
        used = login("session")
        for minutes, is_renewed in ((10, False), (30, True), (29, False), (2, True), (59, True)):
            clock.shift(minutes * MINUTE)
            answer = used.get()
            assert answer.status_code == 200
            assert ("sessionid" in answer.cookies) is is_renewed
        assert answer.cookies["sessionid"]["max-age"] == 3600
        clock.shift(61 * MINUTE)
        assert used.get().status_code == 401


def test_tokens_are_renewed_for_an_hour(clock, login):
    with settings_of("A sliding lifetime of one hour", 1):
        used = login("jwt")
        for minutes in (29, 59, 59):
            clock.shift(minutes * MINUTE)
            assert used.get().status_code == (200 if minutes < 30 else 401)
            assert used.refresh().status_code == 200
        clock.shift(61 * MINUTE)
        assert refresh(used.refresh_token).status_code == 401


@pytest.mark.parametrize(("remember", "until_close"), [("false", True), ("true", False)])
def test_remember_me_is_one_field(remember, until_close, alice):
    client = Client()
    call = recipe("Remember me").replace('"false"', f'"{remember}"')
    answer = eval(call, {"client": client, "password": PASSWORD})
    assert answer.status_code == 200
    assert (client.cookies["sessionid"]["max-age"] == "") is until_close


def test_the_oldest_of_four_logins_makes_room(login, clock):
    with settings_of("At most three logins"):
        logins = []
        for mode in ("session", "jwt", "session", "jwt"):
            logins.append(login(mode))
            clock.shift(MINUTE)
        assert [used.get().status_code for used in logins] == [401, 200, 200, 200]


@pytest.mark.parametrize("title", ["Sign out everywhere", "Sign out all users of a provider"])
def test_a_line_signs_out(title, login, alice):
    logins = [login("session"), login("jwt")]
    LoginSession.objects.update(provider="dummy")
    exec(recipe(title), {"user": alice})
    assert [used.get().status_code for used in logins] == [401, 401]
    assert call_with(logins[1].access).json()["code"] == "login_session_ended"
