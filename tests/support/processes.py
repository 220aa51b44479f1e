"""Application processes of the test project, on the test database, for tests about several."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import requests
from django.db import connection

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 30


@contextmanager
def serve(count: int, **environment: str) -> Iterator[list[str]]:
    """Start `count` processes; give their base URLs, and stop them at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(_process(environment)) for _ in range(count)]


@contextmanager
def _process(environment: dict[str, str]) -> Iterator[str]:
    url = f"http://127.0.0.1:{free_port()}"
    command = ["-m", "django", "runserver", "--noreload", url.removeprefix("http://")]
    # Not a pipe: nobody reads it while the process runs, and a full pipe would stop it.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
                **environment,
            },
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            wait_for(url, process, errors)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=10)


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    with_sockets = [socket.socket() for _ in range(count)]
    for probe in with_sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in with_sockets]
    for probe in with_sockets:
        probe.close()
    return ports


def wait_for(url: str, process: "subprocess.Popen[Any]", errors: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            errors.seek(0)
            raise AssertionError(errors.read().decode())
        try:
            requests.get(f"{url}/auth/", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")
