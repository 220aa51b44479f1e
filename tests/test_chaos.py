"""Workers are killed and PostgreSQL goes away amid thousands of rotations; no login is doubled.

The PostgreSQL here is the test's own, in a temporary folder: others may be using the one that
runs on this machine.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest
import requests

from .support.logins import API, PASSWORD
from .support.processes import free_port, wait_for
from .support.tokens import claims_of

pytestmark = [pytest.mark.servers, pytest.mark.postgres]

CLIENTS = 50
ROTATIONS = 2000
# Seconds; something hangs if it takes longer. It took 45 to 70 on two busy cores.
PATIENCE = 240
ANSWER_TIMEOUT = 20
DATABASE = "chaos"
ROOT = Path(__file__).parent.parent


# -- what is broken ------------------------------------------------------------------------


class Postgres:
    """A cluster of our own on a free port, which may be stopped without harm to anybody."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        # PostgreSQL refuses to run as root.
        self.account: dict[str, Any] = {}
        if os.geteuid() == 0:
            self.account = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres", "postgres")
        self._run(
            "initdb", "-D", "data", "-U", "postgres", "-A", "trust", "--locale=C", "-E", "UTF8"
        )

    @property
    def environment(self) -> dict[str, str]:
        """What makes an application process use this cluster."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TEST_DATABASE": "postgres",
            "TEST_DATABASE_NAME": DATABASE,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGPASSWORD": "",
        }

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self) -> None:
        """As if the machine had lost power: no goodbye to anybody, recovery at the start."""
        self._run("pg_ctl", "stop", "-w", "-D", "data", "-m", "immediate")

    def rows(self, query: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
        where = {"host": "127.0.0.1", "port": self.port, "user": "postgres", "dbname": database}
        with psycopg.connect(**where, autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def terminate_connections(self) -> int:
        """Cut off whoever is connected; returns how many were."""
        return len(
            self.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{DATABASE}' AND pid <> pg_backend_pid()"
            )
        )

    def _run(self, program: str, *arguments: str) -> None:
        # Neither a pipe nor a terminal of ours: the server inherits them and keeps them open.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(
                [_program(program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
                **self.account,
            )
            output.seek(0)
            assert result.returncode == 0, output.read().decode()


def _program(name: str) -> str:
    # Debian keeps the programs of a server off PATH.
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(installed[-1]) if installed else shutil.which(name)
    assert found, f"{name} is not installed, it comes with PostgreSQL's server"
    return found


class Worker:
    """An application process on a fixed port that can be killed and started again."""

    def __init__(self, environment: dict[str, str], errors: IO[bytes]) -> None:
        self.environment, self.errors = environment, errors
        self.url = f"http://127.0.0.1:{free_port()}"

    def start(self) -> None:
        command = ["-m", "django", "runserver", "--noreload", self.url.removeprefix("http://")]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
        )
        try:
            wait_for(f"{self.url}/auth/", self.process, self.errors)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="authmodes-chaos-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = Postgres(folder)
        cluster.start()
        stack.callback(cluster.stop)
        cluster.rows(f"CREATE DATABASE {DATABASE}", database="postgres")
        _django(cluster, "migrate", "--verbosity=0")
        _django(
            *(cluster, "shell", "-c"),
            "from django.contrib.auth.models import User;"
            f"User.objects.create_user('alice', 'alice@example.com', {PASSWORD!r})",
        )
        yield cluster


def _django(cluster: Postgres, *arguments: str) -> None:
    command = [sys.executable, "-m", "django", *arguments]
    subprocess.run(
        command, cwd=ROOT, env=cluster.environment, check=True, timeout=60, capture_output=True
    )


@pytest.fixture
def workers(postgres: Postgres) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        pair = []
        for _ in range(2):
            errors = stack.enter_context(tempfile.TemporaryFile())
            pair.append(Worker(postgres.environment, errors))
            pair[-1].start()
            stack.callback(pair[-1].kill)
        yield pair


# -- who suffers from it -------------------------------------------------------------------


@dataclass
class Lineage:
    """One login as its client knows it: every refresh token that it was ever given."""

    sid: str
    access: str = field(repr=False)
    received: list[str] = field(repr=False)
    # The code of the 401 that ended it.
    told: str = ""


class Site:
    """The workers behind one name, and how far their clients have got."""

    def __init__(self, urls: list[str], deadline: float) -> None:
        self.urls, self.deadline = urls, deadline
        self.rotations, self.troubles = 0, Counter[str]()
        self._lock = threading.Lock()

    def post(
        self, path: str, body: dict[str, str], session: Any = requests
    ) -> tuple[int, dict[str, Any]]:
        """Call one of the workers until one answers, always with the same body.

        A connection that breaks, an answer that is cut off and a 5xx say nothing of what
        was done.
        """
        while True:
            try:
                url = random.choice(self.urls) + path
                response = session.post(url, json=body, timeout=ANSWER_TIMEOUT)
                trouble = str(response.status_code)
                if response.status_code < 500:
                    return response.status_code, response.json()
            except requests.RequestException as error:
                trouble = type(error).__name__
            with self._lock:
                self.troubles[trouble] += 1
            self.check()
            time.sleep(random.uniform(0.05, 0.2))

    def count_rotation(self) -> None:
        with self._lock:
            self.rotations += 1

    def check(self) -> None:
        assert time.monotonic() < self.deadline, f"still at it: {self.rotations} rotations"

    def wait_for(self, rotations: int, clients: list[Any]) -> None:
        self._wait(lambda: self.rotations >= rotations, clients)

    def wait_for_trouble(self, clients: list[Any]) -> None:
        """Until clients have noticed that something is amiss."""
        before = self.troubles.total()
        self._wait(lambda: self.troubles.total() >= before + CLIENTS // 5, clients)

    def _wait(self, until: Callable[[], bool], clients: list[Any]) -> None:
        while not until():
            self.check()
            for client in clients:
                if client.done():
                    # Raises what the client failed on.
                    client.result()
            time.sleep(0.01)


def _start(site: Site, session: Any) -> Lineage:
    body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
    status, answer = site.post("/auth/login/", body, session)
    assert status == 200, answer
    return Lineage(answer["sid"], answer["access"], [answer["refresh"]])


def _live(site: Site, rotations: int, first: Lineage, lineages: list[Lineage]) -> None:
    """Rotate as often as told; a client that is told 401 signs in again."""
    lineage = first
    with requests.Session() as session:
        for _ in range(rotations):
            if lineage.told:
                lineage = _start(site, session)
                lineages.append(lineage)
            _rotate(site, session, lineage)


def _rotate(site: Site, session: Any, lineage: Lineage) -> None:
    body = {"refresh": lineage.received[-1]}
    status, answer = site.post("/auth/token/refresh/", body, session)
    site.count_rotation()
    if status == 401:
        lineage.told = answer["code"]
        return
    assert (status, answer["sid"]) == (200, lineage.sid), answer
    # Each is a new one, so a client cannot have gone back to an older branch.
    assert answer["refresh"] not in lineage.received
    lineage.access = answer["access"]
    lineage.received.append(answer["refresh"])


# -- the test ------------------------------------------------------------------------------


def test_no_login_is_lost_or_doubled_when_workers_and_postgresql_die(
    postgres: Postgres, workers: list[Worker]
) -> None:
    site = Site([worker.url for worker in workers], time.monotonic() + PATIENCE)
    one, other = workers

    with ThreadPoolExecutor(CLIENTS) as pool:
        # Sign-ins are not what is broken here: one whose answer is lost leaves a row, as ever.
        firsts = list(pool.map(lambda _: _start(site, requests), range(CLIENTS)))
        lineages = list(firsts)
        clients = [
            pool.submit(_live, site, ROTATIONS // CLIENTS, first, lineages) for first in firsts
        ]

        def meanwhile(rotations: int, calamity: Callable[[], Any]) -> None:
            site.wait_for(rotations, clients)
            calamity()

        meanwhile(200, postgres.terminate_connections)
        meanwhile(400, one.kill)
        site.wait_for_trouble(clients)
        meanwhile(500, one.start)
        meanwhile(700, postgres.terminate_connections)
        meanwhile(900, postgres.stop)
        site.wait_for_trouble(clients)
        postgres.start()
        meanwhile(1200, postgres.terminate_connections)
        meanwhile(1400, other.kill)
        meanwhile(1500, other.start)
        meanwhile(1700, postgres.terminate_connections)
        for client in clients:
            client.result()

    print(f"{site.rotations} rotations, {len(lineages)} logins, troubles {dict(site.troubles)}")
    assert site.rotations == ROTATIONS
    _assert_rows_agree(postgres, lineages)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda lineage: _assert_one_or_none(site, lineage), lineages))
        _assert_rows_agree(postgres, lineages)
        list(pool.map(lambda lineage: _assert_no_second(site, lineage), lineages))
    active = postgres.rows("SELECT sid::text FROM authmodes_loginsession WHERE ended_at IS NULL")
    assert {sid for (sid,) in active}.isdisjoint(lineage.sid for lineage in lineages)


def _assert_rows_agree(postgres: Postgres, lineages: list[Lineage]) -> None:
    """One row and one token for each login, ended if the client was told so and only then."""
    rows = postgres.rows(
        "SELECT sid::text, current_jti, ended_at IS NOT NULL, blacklisted.id IS NOT NULL"
        " FROM authmodes_loginsession AS login"
        " LEFT JOIN token_blacklist_blacklistedtoken AS blacklisted"
        " ON token_id = refresh_token_id"
    )
    by_sid = {sid: (jti, ended, blacklisted) for sid, jti, ended, blacklisted in rows}
    assert len(rows) == len(by_sid)
    assert postgres.rows("SELECT count(*) FROM token_blacklist_outstandingtoken") == [(len(rows),)]
    for lineage in lineages:
        jti, ended, blacklisted = by_sid[lineage.sid]
        assert ended == blacklisted == bool(lineage.told), lineage
        if not ended:
            # What counts in the database is the very token that the client holds.
            assert jti == claims_of(lineage.received[-1])["jti"], lineage
    # A login whose answer was lost has a row that no client knows.
    known = {lineage.sid for lineage in lineages}
    assert all(not ended for sid, (_, ended, _) in by_sid.items() if sid not in known)


def _assert_one_or_none(site: Site, lineage: Lineage) -> None:
    """The token that came last works, and so does its access token; or nothing does."""
    if not lineage.told:
        assert _call(site, lineage.access) == 200, lineage
        # Twice, so that even a login of the last moment has a token older than the previous.
        for _ in range(2):
            _rotate(site, requests, lineage)
            assert not lineage.told, lineage
        assert _call(site, lineage.access) == 200, lineage
        return
    assert _call(site, lineage.access) == 401, lineage
    for raw_token in lineage.received[-3:]:
        assert _refresh_status(site, raw_token) == 401, lineage


def _assert_no_second(site: Site, lineage: Lineage) -> None:
    """Whatever older token is presented, it yields nothing and ends all that there is."""
    for raw_token in lineage.received[:-2][-3:]:
        assert _refresh_status(site, raw_token) == 401, lineage
    for raw_token in lineage.received[-2:]:
        assert _refresh_status(site, raw_token) == 401, lineage
    assert _call(site, lineage.access) == 401, lineage


def _refresh_status(site: Site, raw_token: str) -> int:
    status, _answer = site.post("/auth/token/refresh/", {"refresh": raw_token})
    return status


def _call(site: Site, access: str) -> int:
    header = {"Authorization": f"Bearer {access}"}
    return requests.get(random.choice(site.urls) + API, headers=header, timeout=10).status_code
