"""What revoking, pruning and adopting cost the requests beside them: `python -m benchmarks.beside`.

Four processes make requests and refreshes all the time, two with tokens and two with cookies. On
a machine of few cores they compete with the command for those as well.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from .process import ROOT, Worker, make_tables, postgres_database, run

STACKS = ("token, database", "token, none", "cookie", "cookie, authmodes.sessions.db")
QUIET = 8.0
BATCH = 5000
COMMANDS = {
    "revoke": ("revoke_login_sessions", "--provider", "corp"),
    "prune": ("prune_login_sessions",),
    "adopt": ("adopt_sessions",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", choices=DATABASES)
    parser.add_argument("--rows", type=int, default=60_000, help="a third for each command")
    parser.add_argument("--only", choices=COMMANDS, action="append", help="default: all of them")
    options = parser.parse_args()
    name = f"authmodes_beside_{os.getpid()}"
    with ExitStack() as stack:
        stack.enter_context(DATABASES[options.database](name))
        environment = make_tables(options.database, name, STACKS[0])
        run("benchmarks.beside", "fill", str(options.rows), environment=environment)
        workers = [Worker(each, environment) for each in STACKS]
        for worker in workers:
            stack.callback(worker.stop)
        for worker in workers:
            assert worker.answer() == "ready"
        pool = stack.enter_context(ThreadPoolExecutor(len(workers)))
        for task in options.only or COMMANDS:
            words = ["-m", "django", *COMMANDS[task], "--skip-checks"]
            command = [sys.executable, "-W", "ignore", *words]
            until = time.monotonic() + QUIET
            before = _times(pool, workers, lambda: time.monotonic() < until)  # noqa: B023
            process = subprocess.Popen(command, cwd=ROOT, env=environment)
            began = time.monotonic()
            beside = _times(pool, workers, lambda: process.poll() is None)  # noqa: B023
            seconds = time.monotonic() - began
            until = time.monotonic() + QUIET
            after = _times(pool, workers, lambda: time.monotonic() < until)  # noqa: B023
            assert process.returncode == 0
            ratios = ", ".join(
                f"{call} {statistics.mean(beside[call]) / statistics.mean(quiet):.2f}"
                for call in beside
                if (quiet := before[call] + after[call])
            )
            print(f"{task}: {seconds:.1f} s; times beside it to times before and after: {ratios}")


def _times(
    pool: ThreadPoolExecutor, workers: list[Worker], goes_on: Callable[[], bool]
) -> dict[str, list[float]]:
    """Have all workers make calls at once; return the times by call."""

    def ask(worker: Worker) -> list[tuple[str, float]]:
        taken = []
        while goes_on():
            taken.append(("request", worker.ask("request", 10)))
            if worker.stack.startswith("token"):
                taken.append(("refresh", worker.ask("refresh", 5)))
        return taken

    found: dict[str, list[float]] = {"request": [], "refresh": []}
    for taken in pool.map(ask, workers):
        for call, seconds in taken:
            found[call].append(seconds)
    return found


@contextmanager
def mariadb_database(name: str) -> Iterator[None]:
    import pymysql

    def execute(statement: str) -> None:
        with pymysql.connect(
            host=os.environ.get("TEST_MARIADB_HOST", "127.0.0.1"),
            user=os.environ.get("TEST_MARIADB_USER", "root"),
            password=os.environ.get("TEST_MARIADB_PASSWORD", ""),
        ) as connection:
            connection.cursor().execute(statement)

    execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield
    finally:
        execute(f"DROP DATABASE {name}")


DATABASES = {"postgres": postgres_database, "mariadb": mariadb_database}


# -- in a process of its own ---------------------------------------------------------------


def fill(rows: int) -> None:
    """A third each: logins of one provider, logins that have expired, sessions to adopt."""
    import django

    django.setup()
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.utils import timezone
    from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

    from authmodes.models import LoginSession

    now, month = timezone.now(), timedelta(days=30)

    def insert(model: Any, numbers: Sequence[int], make: Callable[[int], Any]) -> None:
        for first in range(0, len(numbers), BATCH):
            model.objects.bulk_create(make(n) for n in numbers[first : first + BATCH])

    insert(User, range(rows // 10), lambda n: User(username=f"user{n}"))
    users = list(User.objects.all())
    data = [
        SessionStore().encode(
            {
                SESSION_KEY: str(user.pk),
                BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
                HASH_SESSION_KEY: user.get_session_auth_hash(),
            }
        )
        for user in users
    ]

    def token(n: int) -> Any:
        user = users[n % len(users)]
        return OutstandingToken(user=user, jti=f"jti{n}", created_at=now, expires_at=now + month)

    def session(n: int) -> Any:
        return Session(
            session_key=f"key{n * 2654435761 % 2**32:08x}{n}",
            session_data=data[n % len(users)],
            expire_date=now + month,
        )

    def row(n: int) -> Any:
        is_token, is_corp = n % 2 == 0, n < logins // 2
        return LoginSession(
            user=users[n % len(users)],
            mode="jwt" if is_token else "session",
            refresh_token_id=tokens[n // 2] if is_token else None,
            session_key=None if is_token else session(n).session_key,
            provider="corp" if is_corp else "",
            user_agent="Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36",
            ip_address=f"10.{n % 200}.{n % 250}.7",
            created_at=now - month,
            last_seen_at=now,
            expires_at=now + month if is_corp else now,
        )

    logins = rows * 2 // 3
    insert(OutstandingToken, range(0, logins, 2), token)
    tokens = list(OutstandingToken.objects.order_by("pk").values_list("pk", flat=True))
    insert(Session, [*range(1, logins, 2), *range(logins, rows)], session)
    insert(LoginSession, range(logins), row)


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]))
    else:
        main()
