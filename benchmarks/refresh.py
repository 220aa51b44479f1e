"""Refreshing compared with simplejwt: statements, time, and the rows that are left."""

import json
from typing import Any

from . import measure

ROUNDS = 300
REFRESHES = 1000


class Holder:
    """A client that refreshes again and again, each time with its latest token."""

    def __init__(self, client: Any, path: str, raw_token: str) -> None:
        self.client, self.path, self.raw_token = client, path, raw_token
        self.count = 0

    def __call__(self) -> None:
        body = json.dumps({"refresh": self.raw_token})
        response = self.client.post(self.path, body, "application/json")
        assert response.status_code == 200, response.content
        self.raw_token = response.json()["refresh"]
        self.count += 1


def main() -> None:
    from django.contrib.auth import get_user_model
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
    from rest_framework_simplejwt.tokens import RefreshToken

    from authmodes.models import LoginSession

    measure.print_environment()
    users = get_user_model().objects
    alice = users.create_user("alice", "alice@example.com", measure.PASSWORD)
    bob = users.create_user("bob", "bob@example.com", measure.PASSWORD)

    client = measure.our_client()
    body = {"username": "alice", "password": measure.PASSWORD, "mode": "jwt"}
    answer = client.post("/auth/login/", json.dumps(body), "application/json").json()
    ours = Holder(client, "/auth/token/refresh/", answer["refresh"])
    stock_token = str(RefreshToken.for_user(bob))
    stock = Holder(measure.stock_client(), "/stock/refresh/", stock_token)

    counts = {}
    with measure.without_our_receivers():
        for name, holder in {"authmodes": ours, "simplejwt": stock}.items():
            holder()
            made = measure.statements(holder)
            counts[name] = sum(not measure.is_bracket(sql) for sql in made)
            print(f"\n{name}:")
            for sql in made:
                print("   ", sql[:110])
        taken = measure.interleaved({"authmodes": ours, "simplejwt": stock}, ROUNDS)
        for holder in (ours, stock):
            while holder.count < REFRESHES:
                holder()

    measure.table(
        ("one refresh", "authmodes", "simplejwt", "ratio"),
        [
            ("statements", *counts.values(), _ratio(counts)),
            (f"time, median of {ROUNDS}", *map(measure.ms, taken.values()), _ratio(taken)),
        ],
    )
    measure.table(
        (f"rows after {REFRESHES} refreshes", "authmodes", "simplejwt"),
        [
            (model.__name__, *(model.objects.filter(**{of: user}).count() for user in (alice, bob)))
            for model, of in (
                (LoginSession, "user"),
                (OutstandingToken, "user"),
                (BlacklistedToken, "token__user"),
            )
        ],
    )


def _ratio(of: dict[str, Any]) -> str:
    return f"{of['authmodes'] / of['simplejwt']:.2f}"


if __name__ == "__main__":
    measure.setup()
    with measure.scratch_database():
        main()
