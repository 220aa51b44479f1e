"""What a million rows cost: ending half of them, all of one provider, and single calls."""

import json
import os
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

from .process import ROOT, Worker, make_tables, postgres_database, run

LOGINS_PER_USER = 10
OWN_LOGINS = 1000
ROUNDS = 9


def measure(rows: int) -> dict[str, Any]:
    """Measure on databases of a tenth of the rows and of all; needs PostgreSQL."""
    found: dict[str, Any] = {"rows": rows}
    with ExitStack() as stack:
        sites = {}
        for kind, count in (("small", rows // 10), ("big", rows), ("peer", rows)):
            name = f"authmodes_bench_{os.getpid()}_{kind}"
            stack.enter_context(postgres_database(name))
            of = "simplejwt" if kind == "peer" else "token, database"
            sites[kind] = {**make_tables("postgres", name), "BENCH_STACK": of}
            found[f"{kind} size"] = _task("fill", count, sites[kind])
        workers = {}
        for kind in ("small", "big"):
            workers[kind] = Worker("token, database", sites[kind])
            stack.callback(workers[kind].stop)
            assert workers[kind].answer() == "ready"
        found["growth"] = _growth(workers, sites)
        # In turn, so that a slow moment does not meet one of them alone.
        found["flush"] = _task("flush", rows, sites["peer"])
        found["prune"] = _task("prune", rows, sites["big"])
        found["provider"] = _beside(workers["big"], sites["big"], rows)
    return found


def _growth(workers: dict[str, Worker], sites: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Times of single calls by size and round, then with a thousand logins of one's own."""
    times: dict[str, dict[str, list[float]]] = {}

    def turn(kind: str, label: str) -> None:
        for call in ("request", "refresh", "login"):
            taken = times.setdefault(call, {}).setdefault(label, [])
            taken.append(workers[kind].ask(call, 10))

    for _ in range(ROUNDS):
        turn("small", "small")
        turn("big", "big")
    _task("own", OWN_LOGINS, sites["big"])
    for _ in range(ROUNDS):
        turn("small", "small")
        turn("big", "own")
    return times


def _beside(worker: Worker, environment: dict[str, str], rows: int) -> dict[str, Any]:
    """End all of one provider, and measure other requests before and beside it."""
    calls = ("request", "refresh")
    before: dict[str, list[float]] = {call: [] for call in calls}
    beside: dict[str, list[float]] = {call: [] for call in calls}
    for _ in range(ROUNDS):
        for call in calls:
            before[call].append(worker.ask(call, 10))
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.million", "provider", str(rows)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    while process.poll() is None:
        for call in calls:
            beside[call].append(worker.ask(call, 10))
    assert process.stdout is not None
    return {**json.loads(process.stdout.read()), "before": before, "beside": beside}


def _task(name: str, rows: int, environment: dict[str, str]) -> Any:
    return run("benchmarks.million", name, str(rows), environment=environment)


# -- in a process of its own ---------------------------------------------------------------


def insert(model: Any, count: int, every: str = "", **expressions: str) -> None:
    """Insert rows by `generate_series`; `n` numbers them. Other columns have their defaults."""
    from django.db import connection

    example, columns, sources, parameters = model(), [], [], []
    for field in model._meta.concrete_fields:
        if field.column in expressions:
            sources.append(expressions[field.column])
        elif field.primary_key or field.generated:
            continue
        else:
            value = field.get_db_prep_save(field.pre_save(example, add=True), connection)
            sources.append("%s")
            parameters.append(value)
        columns.append(connection.ops.quote_name(field.column))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) "
            f"SELECT {', '.join(sources)} FROM generate_series(1, {count}) AS n {every}",
            parameters,
        )


def fill(rows: int) -> dict[str, Any]:
    """Half tokens, half cookies; half of both have expired; a fifth came through one provider."""
    from django.apps import apps
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.models import Session
    from django.db import connection
    from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

    users = rows // LOGINS_PER_USER
    insert(get_user_model(), users, username="'user' || n", date_joined="now()")
    first = f"(SELECT min(id) FROM {get_user_model()._meta.db_table})"
    made = f"now() - n * interval '60 days' / {rows}"
    times = {"created_at": made, "expires_at": f"{made} + interval '30 days'"}
    ours = apps.is_installed("authmodes")
    token = {"user_id": f"{first} + n %% {users}", "jti": "md5('jti' || n)", **times}
    if not ours:
        # As simplejwt leaves it, with the text of the token.
        insert(OutstandingToken, rows, id="n", token="repeat(md5('token' || n), 8)", **token)
        return _vacuumed(connection, OutstandingToken, rows)
    from authmodes.models import LoginSession

    odd = "WHERE n % 2 = 1".replace("%", "%%")
    insert(OutstandingToken, rows, odd, id="n", token="''", **token)
    insert(
        Session,
        rows,
        odd.replace("1", "0"),
        session_key="md5('key' || n)",
        session_data="repeat('x', 300)",
        expire_date=times["expires_at"],
    )
    insert(
        LoginSession,
        rows,
        sid="gen_random_uuid()",
        user_id=token["user_id"],
        mode="CASE n %% 2 WHEN 1 THEN 'jwt' ELSE 'session' END",
        session_key="CASE n %% 2 WHEN 0 THEN md5('key' || n) END",
        refresh_token_id="CASE n %% 2 WHEN 1 THEN n END",
        auth_hash="md5('hash' || n) || md5('hash' || n)",
        method="'password'",
        provider="CASE n %% 5 WHEN 1 THEN 'corp' ELSE '' END",
        provider_uid="CASE n %% 5 WHEN 1 THEN 'uid-' || n ELSE '' END",
        ip_address=(address := "('10.' || n %% 200 || '.' || n %% 250 || '.7')::inet"),
        last_ip_address=address,
        user_agent="'Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36'",
        last_seen_at=made,
        **times,
    )
    return _vacuumed(connection, LoginSession, rows)


def _vacuumed(connection: Any, model: Any, rows: int) -> dict[str, Any]:
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('token_blacklist_outstandingtoken', 'id'), %s)",
            [rows + 1],
        )
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
        cursor.execute("SELECT pg_table_size(%s), pg_indexes_size(%s)", [table, table])
        data, indexes = cursor.fetchone()
    return {"row": data / rows, "index": indexes / rows}


def own(count: int) -> None:
    """Give the user of the worker more logins."""
    from django.contrib.auth import get_user_model

    from authmodes.models import LoginSession

    user = get_user_model().objects.get(email="tokendatabase@example.com")
    now = {"created_at": "now()", "last_seen_at": "now()"}
    now["expires_at"] = "now() + interval '30 days'"
    insert(LoginSession, count, sid="gen_random_uuid()", user_id=str(user.pk), mode="'jwt'", **now)


def timed(call: Any, count: Any) -> dict[str, Any]:
    """Call something; return the seconds, the rows that it changed and the peak memory in MB."""
    before, began = count(), time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "rows": before - count(), "peak": peak}


def flush(_rows: int) -> dict[str, Any]:
    from django.core.management import call_command
    from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

    return timed(lambda: call_command("flushexpiredtokens"), OutstandingToken.objects.count)


def prune(_rows: int) -> dict[str, Any]:
    from authmodes import registry
    from authmodes.models import LoginSession

    return timed(registry.prune, LoginSession.objects.filter(ended_at=None).count)


def provider(_rows: int) -> dict[str, Any]:
    from authmodes import registry
    from authmodes.models import LoginSession
    from authmodes.registry import events

    rows = LoginSession.objects.filter(provider="corp", ended_at=None)
    event = events.new_bulk("provider=corp")
    return timed(lambda: registry.revoke_all(rows, event=event), rows.count)


if __name__ == "__main__":
    import django

    django.setup()
    answer = globals()[sys.argv[1]](int(sys.argv[2]))
    print(json.dumps(answer))
