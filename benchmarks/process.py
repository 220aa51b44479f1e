"""Databases, and processes that each run one stack."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Worker:
    """The process of one stack."""

    def __init__(
        self,
        stack: str,
        environment: dict[str, str],
        module: str = "benchmarks.worker",
        prefix: Sequence[str] = (),
    ) -> None:
        self.stack, self.environment = stack, {**environment, "BENCH_STACK": stack}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-W", "ignore", "-m", module],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, count: int) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, count]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: the process of {self.stack!r} has failed")
        return json.loads(line)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def run(module: str, *words: str, environment: dict[str, str]) -> Any:
    """Run a module to its end; return what it printed, decoded."""
    command = [sys.executable, "-W", "ignore", "-m", module, *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout or "null")


def make_tables(kind: str, name: str, stack: str = "") -> dict[str, str]:
    """Make the tables of a database; return the environment that leads there."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "BENCH_DATABASE": kind,
        "BENCH_NAME": name,
        "BENCH_STACK": stack,
    }
    run("benchmarks.worker", "--tables", environment=environment)
    return environment


@contextmanager
def postgres_database(name: str) -> Iterator[None]:
    """Make a PostgreSQL database, and drop it at the end."""
    create_database(name)
    try:
        yield
    finally:
        drop_database(name)


def create_database(name: str) -> None:
    _execute(f"CREATE DATABASE {name}")


def drop_database(name: str) -> None:
    _execute(f"DROP DATABASE {name} WITH (FORCE)")


def has_database(name: str) -> bool:
    return bool(_execute(f"SELECT FROM pg_database WHERE datname = '{name}'"))


def _execute(statement: str) -> int:
    """Run a statement; return the number of its rows."""
    import psycopg

    with psycopg.connect(
        host=os.environ.get("PGHOST", "127.0.0.1"),
        user=os.environ.get("PGUSER", "postgres"),
        dbname="postgres",
        autocommit=True,
    ) as connection:
        return connection.execute(statement).rowcount
