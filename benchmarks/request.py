"""An authenticated request beside Django's and simplejwt's own: queries and time."""

import json
from functools import partial
from typing import Any

from . import measure

ROUNDS = 400


def main() -> None:
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from rest_framework_simplejwt.tokens import AccessToken

    measure.print_environment()
    user = get_user_model().objects.create_user("alice", "alice@example.com", measure.PASSWORD)
    cookie, stock_cookie = measure.our_client(), measure.stock_client()
    _sign_in(cookie, "session")
    stock_cookie.cookies = cookie.cookies
    token, stock_token = measure.our_client(), measure.stock_client()
    access = _sign_in(measure.our_client(), "jwt")["access"]
    stock_access = str(AccessToken.for_user(user))

    def by_check(check: str) -> None:
        # Not override_settings(), which costs more than the request.
        settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
        _get(token, "/ours/", access)

    checks = ("database", "snapshot", "none")
    calls = {
        "stock session": partial(_get, stock_cookie, "/stock/session/"),
        "cookie": partial(_get, cookie, "/ours/"),
        "stock jwt": partial(_get, stock_token, "/stock/jwt/", stock_access),
        **{f"token, {check}": partial(by_check, check) for check in checks},
    }
    for call in calls.values():
        call()
    counts = {name: len(measure.statements(call)) for name, call in calls.items()}
    taken = measure.interleaved(calls, ROUNDS)
    rows = []
    for name in calls:
        beside = "stock session" if name in ("cookie", "stock session") else "stock jwt"
        ratio = taken[name] / taken[beside]
        rows.append((name, counts[name], measure.ms(taken[name]), f"{ratio:.2f}"))
    measure.table((f"request (median of {ROUNDS})", "queries", "time", "ratio to stock"), rows)

    from authmodes.revocations import snapshot

    snapshot.stop()


def _sign_in(client: Any, mode: str) -> Any:
    body = {"username": "alice", "password": measure.PASSWORD, "mode": mode}
    return client.post("/auth/login/", json.dumps(body), "application/json").json()


def _get(client: Any, path: str, access: str = "") -> None:
    headers = {"authorization": f"Bearer {access}"} if access else {}
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response.content


if __name__ == "__main__":
    measure.setup()
    with measure.scratch_database():
        main()
