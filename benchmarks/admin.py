"""What the admin's pages cost at several sizes of the tables: time, blocks read, whole scans.

`python -m benchmarks.admin 100000 1000000` fills a PostgreSQL database for each number of rows,
opens each page in turn on all of them, and compares each with the first. Blocks do not depend on
how busy the machine is. `--keep` keeps the databases for the next run.
"""

import argparse
import json
import statistics
import sys
import time
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from .million import LOGINS_PER_USER, insert
from .process import (
    Worker,
    create_database,
    drop_database,
    has_database,
    make_tables,
    run,
)

NAME = "authmodes_bench_admin"
STACK = "token, database"
SESSIONS, EVENTS = "/admin/authmodes/loginsession/", "/admin/authmodes/loginevent/"
ROUNDS = 5
# What the filters by a date say, in days.
SPANS = {"today": (0, 1), "7 days": (-7, 1), "this year": (-365, 1)}
SEARCHES = {
    "user": "user77",
    "beginning of many users": "user",
    "e-mail": "user77@example.com",
    "nobody": "nobody",
    "address": "10.7.7.7",
    "beginning of an address": "10.7.",
    "sid": f"{119:032x}",
}


def pages() -> dict[str, str]:
    """Return the query strings by what they ask for; those of events begin with "events"."""
    today = datetime.now(UTC).date()
    sessions = {
        "page 1": {},
        "last page": {"p": "last"},
        "oldest first": {"o": "5"},
        "oldest first, last page": {"o": "5", "p": "last"},
        "of a user": {"user__id__exact": "77"},
        **{f"status {each}": {"status": each} for each in ("active", "idle", "expired", "ended")},
        "status active, last page": {"status": "active", "p": "last"},
        **{f"reason {each}": {"end_reason": each} for each in ("logout", "reuse", "limit")},
        **{f"client {each}": {"client_family": each} for each in ("chrome", "program", "opera")},
    }
    events = {
        "page 1": {},
        "last page": {"p": "last"},
        "of a user": {"user__id__exact": "77"},
        **{
            f"kind {each}": {"kind__exact": each}
            for each in ("started", "refused", "reuse", "step_up", "ended")
        },
        "kind reuse, last page": {"kind__exact": "reuse", "p": "last"},
        **{f"reason {each}": {"code": each} for each in ("logout", "no_active_account", "limit")},
    }
    shared = {
        **{f"mode {each}": {"mode__exact": each} for each in ("session", "jwt")},
        **{f"provider {each}": {"provider": each} for each in ("corp", "rare", "gone", "-")},
        **{
            f"time {name}": {
                "created_at__gte": f"{today + timedelta(days=begin):%Y-%m-%d}",
                "created_at__lt": f"{today + timedelta(days=end):%Y-%m-%d}",
            }
            for name, (begin, end) in SPANS.items()
        },
        **{f"search {name}": {"q": word} for name, word in SEARCHES.items()},
    }
    found = {name: f"{SESSIONS}?{urlencode(query)}" for name, query in (sessions | shared).items()}
    confirmed = ("status idle", "mode jwt", "search beginning of many users")
    for name in ("page 1", *confirmed, "search beginning of an address"):
        query = (sessions | shared)[name]
        found[f"revoke, {name}"] = f"{SESSIONS}revoke/?{urlencode(query)}"
    for name, query in (events | shared).items():
        found[f"events, {name}"] = f"{EVENTS}?{urlencode(query)}"
    return {**found, "overview": f"{SESSIONS}overview/"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--only", default="", help="pages whose name contains this")
    options = parser.parse_args()
    with ExitStack() as stack:
        workers = {}
        for rows in options.rows:
            name = f"{NAME}_{rows}"
            is_filled = has_database(name)
            if not is_filled:
                create_database(name)
            if not options.keep:
                stack.callback(drop_database, name)
            environment = make_tables("postgres", name, STACK)
            if not is_filled:
                began = time.perf_counter()
                run("benchmarks.admin", "--fill", str(rows), environment=environment)
                print(f"{rows:,} rows in {time.perf_counter() - began:.0f} s", flush=True)
            workers[rows] = Worker(STACK, environment, "benchmarks.admin")
            stack.callback(workers[rows].stop)
            assert workers[rows].answer() == "ready"
        compare(workers, options.only)


def compare(workers: dict[int, Worker], only: str) -> None:
    head = "".join(f"{f'{rows:,}':>13} {'blocks':>7}" for rows in workers)
    print(f"{'median ms, blocks':44}{head}  ratio  whole scans")
    for name, path in pages().items():
        if only not in name:
            continue
        times: dict[int, list[float]] = {rows: [] for rows in workers}
        for _ in range(ROUNDS):
            for rows, worker in workers.items():
                times[rows].append(worker.ask(path, 1)["seconds"])
        plans = {rows: worker.ask(path, 0) for rows, worker in workers.items()}
        medians = [statistics.median(times[rows]) * 1000 for rows in workers]
        line = "".join(
            f"{median:13.0f} {plans[rows]['blocks']:7}"
            for median, rows in zip(medians, workers, strict=True)
        )
        scans = sorted({each for plan in plans.values() for each in plan["scans"]})
        print(f"{name:44}{line}  {medians[-1] / medians[0]:5.2f}  {' '.join(scans)}", flush=True)


# -- in a process of its own ---------------------------------------------------------------


def fill(rows: int) -> None:
    """Logins and events of 60 days; most have ended, and some values are rare or long gone."""
    from allauth.account.models import EmailAddress
    from django.contrib.auth import get_user_model
    from django.db import connection

    from authmodes.models import LoginEvent, LoginSession

    users = max(rows // LOGINS_PER_USER, 1)
    made = f"now() - ({rows} - n) * interval '60 days' / {rows}"
    sid = "lpad(to_hex(n), 32, '0')::uuid"
    owner = f"1 + (n * 7919::bigint) %% {users}"
    address = "('10.' || n %% 200 || '.' || n %% 250 || '.' || n %% 11)::inet"
    # The last of these are rare among the newest rows, or only among the oldest.
    provider = (
        f"CASE WHEN n < {rows // 100} THEN 'gone' WHEN n %% 5000 = 1 THEN 'rare'"
        " WHEN n %% 5 = 1 THEN 'corp' ELSE '' END"
    )
    reason = (
        f"CASE WHEN n < {rows // 100} THEN 'limit' WHEN n %% 5000 = 2 THEN 'reuse'"
        " WHEN n %% 10 < 6 THEN 'logout' ELSE '' END"
    )
    agents = (
        "CASE WHEN n %% 5000 = 3 THEN 'Mozilla/5.0 Chrome/126.0.0.0 Safari/537.36 OPR/112.0'"
        " WHEN n %% 10 = 4 THEN 'example-cli/1.0' ELSE"
        " 'Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36' END"
    )
    how = {
        "mode": "CASE n %% 2 WHEN 1 THEN 'jwt' ELSE 'session' END",
        "method": "'password'",
        "provider": provider,
        "ip_address": address,
    }
    tables: list[tuple[Any, int, dict[str, str]]] = [
        (
            get_user_model(),
            users,
            {"id": "n", "username": "'user' || n", "date_joined": "now()"},
        ),
        (
            EmailAddress,
            users,
            {"user_id": "n", "email": "'user' || n || '@example.com'"},
        ),
        (
            LoginSession,
            rows,
            {
                **how,
                "sid": sid,
                "user_id": owner,
                "session_key": "CASE n %% 2 WHEN 0 THEN 'key' || n END",
                "last_ip_address": address,
                "user_agent": agents,
                "created_at": made,
                "last_seen_at": made,
                "expires_at": f"{made} + interval '30 days'",
                "ended_at": f"CASE WHEN {reason} <> '' THEN {made} + interval '1 hour' END",
                "end_reason": reason,
            },
        ),
        (
            LoginEvent,
            rows,
            {
                **how,
                "sid": sid,
                "user_id": owner,
                "created_at": made,
                "kind": "CASE WHEN n %% 5000 = 2 THEN 'reuse' WHEN n %% 5000 = 3 THEN 'step_up'"
                " WHEN n %% 10 < 5 THEN 'started' WHEN n %% 10 < 9 THEN 'ended'"
                " ELSE 'refused' END",
                "code": f"CASE WHEN n < {rows // 100} THEN 'limit' WHEN n %% 10 < 5 THEN ''"
                " WHEN n %% 10 < 9 THEN 'logout' ELSE 'no_active_account' END",
                "actor_id": "NULL",
            },
        ),
    ]
    for model, count, expressions in tables:
        indexes = model._meta.indexes
        # It takes less time to make an index of all rows than to add row after row.
        with connection.schema_editor() as editor:
            for index in indexes:
                editor.remove_index(model, index)
        insert(model, count, **expressions)
        with connection.schema_editor() as editor:
            for index in indexes:
                editor.add_index(model, index)
    with connection.cursor() as cursor:
        users_table = get_user_model()._meta.db_table
        sequence = f"pg_get_serial_sequence('{users_table}', 'id')"
        cursor.execute(f"SELECT setval({sequence}, %s)", [users + 1])
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def serve() -> None:
    """Open the page that each line names; its number says whether to take the time or the plans."""
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client, override_settings
    from django.test.utils import CaptureQueriesContext

    cache = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    # Only answers may go to standard output.
    answers, sys.stdout = sys.stdout, sys.stderr
    middleware = [*settings.MIDDLEWARE, "django.contrib.messages.middleware.MessageMiddleware"]
    with override_settings(CACHES=cache, MIDDLEWARE=middleware):
        from django.core.cache import cache as kept

        browser = Client(headers={"user-agent": "bench"})
        user = get_user_model().objects.filter(username="root").first()
        user = user or get_user_model().objects.create_superuser("root", "root@example.com", "x")
        browser.force_login(user, "django.contrib.auth.backends.ModelBackend")
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            path, count = json.loads(line)
            kept.clear()
            with CaptureQueriesContext(connection) if not count else nullcontext() as captured:
                began = time.perf_counter()
                response = browser.get(path)
                seconds = time.perf_counter() - began
            # A confirmation of nothing leads back to the list.
            assert response.status_code in (200, 302), (path, response)
            answer = {"seconds": seconds} if count else plans_of(captured)
            print(json.dumps(answer), file=answers, flush=True)


def plans_of(captured: Any) -> dict[str, Any]:
    """Return the blocks that statements read, and the large tables that they scan."""
    from django.db import connection

    blocks, scans = 0, set()
    for query in captured:
        sql = query["sql"]
        if not sql.startswith("SELECT"):
            continue
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql.replace("%", "%%"), [])
            answer = cursor.fetchone()[0]
        plan = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
        blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        scans |= set(_scans(plan))
    return {"blocks": blocks, "scans": sorted(scans)}


def _scans(plan: dict[str, Any]) -> list[str]:
    found = [name for each in plan.get("Plans", ()) for name in _scans(each)]
    large = ("authmodes_login", "auth_user", "account_email")
    if plan["Node Type"] == "Seq Scan" and plan["Relation Name"].startswith(large):
        found.append(plan["Relation Name"])
    return found


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] != "--fill":
        main()
    else:
        import django

        django.setup()
        fill(int(sys.argv[2])) if sys.argv[1:] else serve()
