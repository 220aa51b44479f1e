"""Application processes of the test project, on the test database, for tests about several."""

import itertools
import os
import secrets
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
# For a start, an answer or an end: a busy machine may need many times what an idle one does.
PATIENCE = 120
# Below those that the system gives to connections, or one could have a server's port before it.
PORTS = range(11_000, 32_000)


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
            wait_for(f"{url}/auth/", process, errors)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    return list(itertools.islice(filter(_is_free, _candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do; a port whose connections have ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# Each worker begins somewhere else, and gives no port twice.
_start = secrets.randbelow(len(PORTS))
_candidates = itertools.cycle([*PORTS[_start:], *PORTS[:_start]])


def wait_for(url: str, process: "subprocess.Popen[Any]", output: IO[bytes] | None = None) -> None:
    """Return when the process answers at the URL."""

    def written() -> str:
        if output is None:
            return f"{url} does not answer"
        output.seek(0)
        return output.read().decode()

    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, written()
        assert time.monotonic() < deadline, written()
        try:
            # An environment's proxy does not know our localhost.
            requests.get(url, timeout=PATIENCE, proxies={"http": ""})
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
