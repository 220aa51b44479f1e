"""Compares all stacks, in process and over HTTP, and writes docs/performance.md.

Every stack has a process of its own; they take turns, so that a busy machine slows all alike. In
each round, the time of a request without authentication is subtracted before two stacks are
compared. What is printed is the median of the rounds' ratios, and their quartiles.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import million, report
from .process import ROOT, Worker, make_tables, postgres_database
from .stacks import STACKS
from .worker import AGENT

PORT = int(os.environ.get("BENCH_PORT", "18700"))
TURNS = 4
OVER_HTTP = (
    "floor",
    "session",
    "simplejwt",
    "simplejwt, twin",
    "simplejwt stateless",
    "headless JWT",
    "knox",
    "token, database",
    "token, snapshot",
    "cookie",
)


def in_process(workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    """Measure requests, refreshes and logins; return times by call, stack and round."""
    calls = {"request": (list(workers), 10), "refresh": ([], 3), "login": ([], 3)}
    for name in workers:
        stack = STACKS[name]
        for call, path in (("refresh", stack.refresh), ("login", stack.login)):
            # A login starts the same way whatever check the tokens get later.
            if path and name not in ("token, snapshot", "token, none"):
                calls[call][0].append(name)
    times: dict[str, dict[str, list[float]]] = {}
    statements = {
        call: {name: workers[name].ask(call, 0) for name in names}
        for call, (names, _count) in calls.items()
    }
    dice = random.Random(1)
    for number in range(rounds):
        for call, (names, count) in calls.items():
            order = ["floor", *names] if call != "request" else list(names)
            for _turn in range(TURNS):
                dice.shuffle(order)
                for name in order:
                    seconds = workers[name].ask(call if name != "floor" else "request", count)
                    taken = times.setdefault(call, {}).setdefault(name, [])
                    if len(taken) == number:
                        taken.append(seconds)
                    # Of a round, the turn that other processes disturbed least.
                    taken[number] = min(taken[number], seconds)
    return {"times": times, "statements": statements}


def over_http(workers: dict[str, Worker], rounds: int, seconds: int) -> dict[str, list[float]]:
    """Serve each stack by gunicorn in turn; return requests per second by stack and round."""
    wrk = shutil.which("wrk")
    names = [name for name in OVER_HTTP if name in workers]
    served: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        for number, name in enumerate(names):
            stack.enter_context(_gunicorn(workers[name], PORT + number))
        for turn in range(rounds + 1):
            for number, name in enumerate(names):
                url = f"http://127.0.0.1:{PORT + number}/view/"
                headers = workers[name].ask("credential", 0)
                # The first turn warms up.
                length = seconds if turn else 1
                rate = _wrk(wrk, url, headers, length) if wrk else _load(url, headers, length)
                if turn:
                    served[name].append(rate)
    return served


@contextmanager
def _gunicorn(worker: Worker, port: int) -> Iterator[None]:
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "--workers=2"]
    command += ["--log-level=error", f"--bind=127.0.0.1:{port}", "benchmarks.wsgi:application"]
    process = subprocess.Popen(command, cwd=ROOT, env=worker.environment)
    try:
        _wait(port)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(port: int) -> None:
    import socket

    for _ in range(300):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit(f"bench: nothing listens on port {port}")


def _sent(headers: dict[str, str]) -> dict[str, str]:
    named = {name.removeprefix("HTTP_").title(): value for name, value in headers.items()}
    return {**named, "User-Agent": AGENT}


def _wrk(wrk: str, url: str, headers: dict[str, str], seconds: int) -> float:
    words = [f"-H{name}: {value}" for name, value in _sent(headers).items()]
    command = [wrk, "-t1", "-c8", f"-d{seconds}s", *words, url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in text, text
    return float(text.split("Requests/sec:")[1].split()[0])


def _load(url: str, headers: dict[str, str], seconds: int) -> float:
    """As wrk, in Python: slower, so that the fast stacks look more alike."""
    from concurrent.futures import ThreadPoolExecutor
    from http.client import HTTPConnection
    from urllib.parse import urlsplit

    parts, end = urlsplit(url), time.monotonic() + seconds

    def run(_number: int) -> int:
        done = 0
        while time.monotonic() < end:
            connection = HTTPConnection(parts.netloc)
            connection.request("GET", parts.path, headers=_sent(headers))
            assert connection.getresponse().status == 200
            connection.close()
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(run, range(8))) / seconds


@contextmanager
def databases(kind: str, folder: str) -> Iterator[dict[str, dict[str, str]]]:
    """Make a database for all stacks and one for the peer with a user model of its own."""
    made: dict[str, dict[str, str]] = {}
    with ExitStack() as stack:
        for suffix, of in (("", ""), ("_own_user", "django-jwt-allauth")):
            name = f"authmodes_bench_{os.getpid()}{suffix}"
            if kind == "postgres":
                stack.enter_context(postgres_database(name))
            else:
                name = str(Path(folder, f"{name}.sqlite3"))
            made[of] = make_tables(kind, name, of)
        yield made


def measure(kind: str, options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, databases(kind, folder) as environments:
        workers: dict[str, Worker] = {}
        try:
            for name, stack in STACKS.items():
                if stack.is_prepared and kind != "postgres":
                    continue
                environment = environments.get(name, environments[""])
                workers[name] = Worker(name, environment)
                # One after the other: SQLite has one writer.
                assert workers[name].answer() == "ready"
            print(f"bench: {kind}, in process", flush=True)
            found = in_process(workers, options.rounds)
            print(f"bench: {kind}, over HTTP", flush=True)
            found["http"] = over_http(workers, options.http_rounds, options.seconds)
        finally:
            for worker in workers.values():
                worker.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--http-rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--without", action="append", default=[], help="sqlite, postgres, million")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args()
    began, load, found = time.monotonic(), os.getloadavg()[0], {}
    parts: dict[str, Callable[[], Any]] = {
        "postgres": lambda: measure("postgres", options),
        "sqlite": lambda: measure("sqlite", options),
        "million": lambda: million.measure(options.rows),
    }
    for name, part in parts.items():
        if name in options.without:
            continue
        print(f"bench: {name}", flush=True)
        found[name] = part()
        found["about"] = {
            "moment": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "load": f"{load:.1f} to {os.getloadavg()[0]:.1f}",
            "minutes": round((time.monotonic() - began) / 60),
            "commit": _commit(),
            "databases": ", ".join(_databases()),
            "generator": "wrk" if shutil.which("wrk") else "a small Python client",
        }
        # After each part, so that a later one that fails takes nothing with it.
        options.output.write_text(report.page(found))
        print(f"bench: wrote {options.output}", flush=True)


def _databases() -> Iterator[str]:
    import sqlite3

    yield f"SQLite {sqlite3.sqlite_version}"
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["psql", "-h127.0.0.1", "-Upostgres", "-Atc", "show server_version", "postgres"]
        server = subprocess.run(command, capture_output=True, text=True, check=True)
        yield f"PostgreSQL {server.stdout.split()[0]}"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "?"


if __name__ == "__main__":
    main()
