"""What ten times the rows cost: a million login sessions compared with a hundred thousand.

Needs PostgreSQL, because the rows are made by `generate_series`.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from . import measure

SIZES = {"small": 100_000, "big": 1_000_000}
LOGINS_PER_USER = 10
BLOCKS, CALLS = 12, 15
# Seconds that one process refreshes for.
PACE_FOR = 5

# Three quarters have ended, as after some months; every other one was a cookie.
FILL = """
INSERT INTO auth_user (username, email, password, first_name, last_name,
                       is_superuser, is_staff, is_active, date_joined)
SELECT 'user' || n, 'user' || n || '@example.com', '!', '', '', false, false, true, now()
  FROM generate_series(1, {users}) AS n;

INSERT INTO token_blacklist_outstandingtoken (id, user_id, jti, token, created_at, expires_at)
SELECT n, {first_user} + n % {users}, md5('jti' || n), '', made, made + interval '30 days'
  FROM (SELECT n, now() - n * interval '90 days' / {rows} AS made
          FROM generate_series(1, {rows}, 2) AS n) AS numbers;
SELECT setval(pg_get_serial_sequence('token_blacklist_outstandingtoken', 'id'), {rows} + 1);

INSERT INTO authmodes_loginsession (
    sid, user_id, mode, session_key, refresh_token_id, previous_jti, auth_hash, method, provider,
    provider_uid, amr, ip_address, last_ip_address, user_agent, created_at, last_seen_at,
    expires_at, ended_at, end_reason)
SELECT gen_random_uuid(), {first_user} + n % {users},
       CASE n % 2 WHEN 1 THEN 'jwt' ELSE 'session' END,
       CASE n % 2 WHEN 0 THEN md5('key' || n) END,
       CASE n % 2 WHEN 1 THEN n END,
       '', md5('hash' || n % {users}), 'password', '', '', 'pwd', ip, ip,
       'Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36',
       made, made, made + interval '30 days',
       CASE WHEN n % 4 > 0 THEN made + interval '1 day' END,
       CASE WHEN n % 4 > 0 THEN 'logout' ELSE '' END
  FROM (SELECT n, now() - n * interval '90 days' / {rows} AS made,
               ('10.' || n % 200 || '.' || n % 250 || '.7')::inet AS ip
          FROM generate_series(1, {rows}) AS n) AS numbers;

INSERT INTO token_blacklist_blacklistedtoken (token_id, blacklisted_at)
SELECT refresh_token_id, ended_at FROM authmodes_loginsession
 WHERE ended_at IS NOT NULL AND refresh_token_id IS NOT NULL;
"""


class Site:
    """The site on a database of one size, with logins for the measured calls."""

    def __init__(self, name: str, rows: int) -> None:
        self.name, self.rows = name, rows

    def use(self) -> None:
        """Let the next requests go to this database."""
        from django.db import connection

        connection.close()
        connection.settings_dict["NAME"] = self.name
        connection.ensure_connection()

    def fill(self) -> None:
        from django.contrib.auth import get_user_model
        from django.db import connection

        began = time.perf_counter()
        users = get_user_model().objects
        users.create_user("alice", "alice@example.com", measure.PASSWORD)
        users.create_superuser("root", "root@example.com", measure.PASSWORD)
        first = users.latest("pk").pk + 1
        sizes = {"rows": self.rows, "users": self.rows // LOGINS_PER_USER, "first_user": first}
        with connection.cursor() as cursor:
            cursor.execute(FILL.format(**sizes))
            cursor.execute("VACUUM ANALYZE")
        taken = time.perf_counter() - began
        print(f"{self.rows:,} login sessions made in {taken:.0f} s", flush=True)

    def sign_in_all(self) -> None:
        """Prepare the logins that the measured calls use, so that they measure nothing else."""
        self.client, self.admin = measure.our_client(), measure.our_client()
        self.admin.login(username="root", password=measure.PASSWORD)
        self.answer = self._sign_in()
        self.spare = [self._sign_in()["access"] for _ in range(BLOCKS * CALLS + 20)]

    def calls(self) -> dict[str, Callable[[], None]]:
        return {
            "verify": self.verify,
            "refresh": self.refresh,
            "revoke": self.revoke,
            "admin, page 1": self.admin_page,
        }

    def verify(self) -> None:
        self._post("/auth/token/verify/", {"token": self.answer["access"]})

    def refresh(self) -> None:
        token = {"refresh": self.answer["refresh"]}
        self.answer = self._post("/auth/token/refresh/", token)

    def revoke(self) -> None:
        self._post("/auth/token/revoke/", {"token": self.spare.pop()}, empty=True)

    def admin_page(self) -> None:
        response = self.admin.get("/admin/authmodes/loginsession/")
        assert response.status_code == 200

    def _sign_in(self) -> Any:
        body = {"username": "alice", "password": measure.PASSWORD, "mode": "jwt"}
        return self._post("/auth/login/", body)

    def _post(self, path: str, body: Any, *, empty: bool = False) -> Any:
        response = self.client.post(path, json.dumps(body), "application/json")
        assert response.status_code == 200, response.content
        return None if empty else response.json()


@contextmanager
def _site(kind: str) -> Iterator[Site]:
    from django.db import connection

    before = connection.settings_dict["NAME"]
    with measure.database(f"_{kind}") as name:
        site = Site(name, SIZES[kind])
        site.fill()
        site.sign_in_all()
        connection.close()
        # The name of the next database is made from this one.
        connection.settings_dict["NAME"] = before
        yield site
        connection.close()


def main() -> None:
    import statistics

    with ExitStack() as stack:
        stack.enter_context(measure.environment())
        sites = [stack.enter_context(_site(kind)) for kind in SIZES]
        sites[-1].use()
        measure.print_environment()
        times: dict[tuple[str, int], list[float]] = {}
        for block in range(BLOCKS):
            # The order changes, so that each size comes first in half of the blocks.
            for site in sites if block % 2 else sites[::-1]:
                site.use()
                for name, call in site.calls().items():
                    measure.timed(call)
                    taken = [measure.timed(call) for _ in range(CALLS - 1)]
                    times.setdefault((name, site.rows), []).extend(taken)
        small, big = SIZES.values()
        medians = {key: statistics.median(taken) for key, taken in times.items()}
        measure.table(
            ("one call", f"{small:,} rows", f"{big:,} rows", "ratio"),
            [
                (
                    name,
                    measure.ms(medians[name, small]),
                    measure.ms(medians[name, big]),
                    f"{medians[name, big] / medians[name, small]:.2f}",
                )
                for name in sites[0].calls()
            ],
        )
        _pace(sites[-1])


def _pace(site: Site) -> None:
    """How many refreshes one process does in a second on the big table."""
    site.use()
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < PACE_FOR:
        site.refresh()
        done += 1
    print(f"\nrefreshes per second and process, {site.rows:,} rows: {done / passed:.0f}")


if __name__ == "__main__":
    measure.setup()
    main()
