"""An authenticated request compared with Django's and simplejwt's own: queries and time."""

import json
import time
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

from . import measure

ROUNDS = 500
# The address of the test client.
HERE = "127.0.0.1"

EVERYTHING = {
    "AUTHMODES_MODE": "both",
    "AUTHMODES_IDLE_TIMEOUT": timedelta(hours=1),
    "AUTHMODES_ABSOLUTE_LIFETIME": timedelta(days=30),
    "AUTHMODES_RENEW_AFTER": timedelta(days=1),
    "AUTHMODES_ROTATE_SESSION_AFTER": timedelta(minutes=10),
    "AUTHMODES_BIND_IP": True,
    "AUTHMODES_BIND_USER_AGENT": True,
    "AUTHMODES_MAX_LOGIN_SESSIONS": 5,
    "AUTHMODES_NOTIFY_NEW_LOGIN": True,
}
# Where a header is trusted, allauth has to be asked for the address.
PROXIED = {**EVERYTHING, "ALLAUTH_TRUSTED_PROXY_COUNT": 1}
CHECKS = ("database", "snapshot", "none")


def main() -> None:
    measure.print_environment()
    calls = _calls()
    around = {
        "cookie, everything on": partial(measure.settings_set, **EVERYTHING),
        "cookie, everything, a proxy": partial(measure.settings_set, **PROXIED),
        **{
            f"token, {check}": partial(measure.settings_set, AUTHMODES_ACCESS_TOKEN_CHECK=check)
            for check in CHECKS
        },
    }
    counts = {}
    for name, call in calls.items():
        with around.get(name, nullcontext)():
            call()
            counts[name] = len(measure.statements(call))
    taken = measure.interleaved(calls, ROUNDS, around)
    worked = measure.interleaved(calls, ROUNDS, around, time.thread_time)
    rows = [(name, counts[name], *_beside(taken, name), *_beside(worked, name)) for name in calls]
    head = (f"request (median of {ROUNDS})", "queries", "time", "ratio", "CPU time", "ratio")
    measure.table(head, rows)

    from authmodes.tokens.snapshot import snapshot

    snapshot.stop()


def _beside(taken: dict[str, float], name: str) -> tuple[str, str]:
    """A time, and how it compares with that of the stock request."""
    stock = "stock session" if "cookie" in name or "session" in name else "stock jwt"
    return measure.ms(taken[name]), f"{taken[name] / taken[stock]:.2f}"


def _calls() -> dict[str, measure.Call]:
    from django.contrib.auth import get_user_model
    from rest_framework_simplejwt.tokens import AccessToken

    user = get_user_model().objects.create_user("alice", "alice@example.com", measure.PASSWORD)
    cookie, stock_cookie = measure.our_client(), measure.stock_client()
    with measure.settings_set(**EVERYTHING):
        _sign_in(cookie, "session")
    # With the CSRF cookie that a browser holds after either kind of sign-in.
    stock_cookie.cookies.load({name: morsel.value for name, morsel in cookie.cookies.items()})
    stock_cookie.cookies["sessionid"] = _stock_session(cookie)
    token, stock_token = measure.our_client(), measure.stock_client()
    access = _sign_in(measure.our_client(), "jwt")["access"]
    stock_access = str(AccessToken.for_user(user))
    by_cookie = partial(_get, cookie, "/by/ours/")
    by_token = partial(_get, token, "/by/ours/", access)
    return {
        "stock session": partial(_get, stock_cookie, "/by/session/"),
        "cookie": by_cookie,
        "cookie, everything on": by_cookie,
        "cookie, everything, a proxy": partial(_get, cookie, "/by/ours/", forwarded_for=HERE),
        "stock jwt": partial(_get, stock_token, "/by/jwt/", stock_access),
        **{f"token, {check}": by_token for check in CHECKS},
    }


def _stock_session(client: Any) -> str:
    """Save what Django keeps of a client's login, without what we keep; return the key."""
    from authmodes.sessions.state import DATA_KEY

    data = dict(client.session.items())
    del data[DATA_KEY]
    session = type(client.session)()
    session.update(data)
    session.save()
    return session.session_key


def _sign_in(client: Any, mode: str) -> Any:
    body = {"username": "alice", "password": measure.PASSWORD, "mode": mode}
    return client.post("/auth/login/", json.dumps(body), "application/json").json()


def _get(client: Any, path: str, access: str = "", forwarded_for: str = "") -> None:
    headers = {"authorization": f"Bearer {access}"} if access else {}
    if forwarded_for:
        headers["x-forwarded-for"] = forwarded_for
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response.content


if __name__ == "__main__":
    measure.setup()
    with measure.scratch_database():
        main()
