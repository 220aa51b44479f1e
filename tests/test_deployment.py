"""The deployment of the example: its settings, and two hosts behind nginx of which one dies."""

import html
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

import psycopg
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings as project

from authmodes.management.commands.make_signing_key import make_key

from .support.logins import PASSWORD
from .support.processes import free_ports

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "example_project" / "deploy"
PATIENCE = 120
ANSWER_TIMEOUT = 30


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of a host, without the addresses of its servers."""
    keys = folder / "signing_keys"
    keys.write_text(f"{ {'kid': 'one', 'algorithm': 'ES256', **make_key('ES256')}!r},\n")
    return {
        **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
        "DJANGO_SETTINGS_MODULE": "example_project.deploy.settings",
        "PYTHONPATH": str(ROOT),
        "SITE_URL": "https://localhost",
        "DJANGO_SECRET_KEYS": secrets.token_urlsafe(50),
        "AUTHMODES_SIGNING_KEYS_FILE": str(keys),
        "POSTGRES_HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "POSTGRES_DB": "postgres",
        "POSTGRES_USER": os.environ.get("PGUSER", "postgres"),
        "POSTGRES_PASSWORD": os.environ.get("PGPASSWORD") or "unused",
        "REDIS_URL": project.TEST_REDIS_URL,
        "EMAIL_HOST": "127.0.0.1",
        "DEFAULT_FROM_EMAIL": "site@example.org",
        "STATIC_ROOT": str(folder / "static"),
    }


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# -- the settings --------------------------------------------------------------------------


# From Django 6.1 on, the check of a generated column asks PostgreSQL for its version.
@pytest.mark.servers
@pytest.mark.postgres
def test_check_deploy_says_nothing(tmp_path: Path) -> None:
    done = run(environment_of(tmp_path), "manage.py", "check", "--deploy", "--fail-level=DEBUG")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "System check identified no issues (0 silenced).\n"


def test_a_start_without_secrets_is_refused_and_names_them(tmp_path: Path) -> None:
    environment = environment_of(tmp_path) | {
        "DJANGO_SECRET_KEYS": "",
        "POSTGRES_PASSWORD": "",
        "GOOGLE_CLIENT_ID": "google-client",
    }
    config = "example_project/deploy/gunicorn.conf.py"
    done = run(environment, "-m", "gunicorn", "--config", config)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "Not set: DJANGO_SECRET_KEYS, POSTGRES_PASSWORD, GOOGLE_CLIENT_SECRET." in last


def test_a_signing_key_that_does_not_parse_is_not_quoted(tmp_path: Path) -> None:
    environment = environment_of(tmp_path)
    Path(environment["AUTHMODES_SIGNING_KEYS_FILE"]).write_text("{'secret': 'a-key-of-value'")
    done = run(environment, "manage.py", "check")
    assert "AUTHMODES_SIGNING_KEYS does not consist" in done.stderr
    assert "a-key-of-value" not in done.stderr


def test_a_variable_that_compose_sets_is_one_that_the_settings_read() -> None:
    documented = (DEPLOY / ".env.example").read_text()
    compose = (DEPLOY / "compose.yaml").read_text()
    named = set(re.findall(r"\b([A-Z]+_[A-Z_]+?)(?:_FILE)?\b[:=]", documented + compose))
    nginx = set(
        re.findall(r"\$\{([A-Z_0-9]+)\}", (DEPLOY / "nginx/site.conf.template").read_text())
    )
    sources = (*DEPLOY.glob("*.py"), ROOT / "example_project/base.py")
    read = "".join(path.read_text() for path in sources)
    unknown = {
        name
        for name in named - nginx - {"WEB_CONCURRENCY"}
        if f'"{name}"' not in read and not re.match(r"(GOOGLE|GITHUB)_CLIENT_", name)
    }
    assert unknown == set()
    in_compose = re.search(r"nginx:1.*?volumes:", compose, re.S)[0]
    assert nginx <= set(re.findall(r"\b([A-Z][A-Z_0-9]+):", in_compose))


# -- the hosts -----------------------------------------------------------------------------


class Host:
    """gunicorn, as one of several hosts runs it."""

    def __init__(self, environment: dict[str, str], port: int, log: Path) -> None:
        self.environment = {
            **environment,
            "BIND": "127.0.0.1",
            "PORT": str(port),
            "WEB_CONCURRENCY": "1",
        }
        self.log, self.address = log, f"127.0.0.1:{port}"

    def start(self) -> None:
        config = "example_project/deploy/gunicorn.conf.py"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", config],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own group, so that the workers can be killed with it.
                start_new_session=True,
            )

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + PATIENCE
        probe = ("-m", "example_project.deploy.probe")
        while run(self.environment, *probe).returncode:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def call(self, method: str, path: str, headers: dict[str, str]) -> int:
        """Call this host and not the other, as nginx does."""
        forwarded = {
            "Host": "localhost",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "127.0.0.1",
            "Origin": "https://localhost",
        }
        url = f"http://{self.address}{path}"
        answer = requests.request(
            method, url, headers=forwarded | headers, timeout=ANSWER_TIMEOUT, allow_redirects=False
        )
        return answer.status_code


class Site:
    """Two hosts behind nginx, on PostgreSQL and Redis."""

    def __init__(self, folder: Path, database: dict[str, str], stack: ExitStack) -> None:
        self.folder, self.database = folder, database
        self.http_port, self.port, *ports = free_ports(4)
        self.url = f"https://localhost:{self.port}"
        self.environment = environment_of(folder) | {
            "SITE_URL": self.url,
            "POSTGRES_HOST": database["host"],
            "POSTGRES_PORT": database["port"],
            "POSTGRES_USER": database["user"],
            "POSTGRES_PASSWORD": database["password"] or "unused",
            "POSTGRES_DB": database["dbname"],
            "GOOGLE_CLIENT_ID": "google-client",
            "GOOGLE_CLIENT_SECRET": "google-secret",
        }
        for command in ("migrate", "collectstatic"):
            done = run(self.environment, "manage.py", command, "--no-input", "--verbosity=0")
            assert done.returncode == 0, done.stderr
        done = run(self.environment, "manage.py", "shell", "-c", PEOPLE)
        assert done.returncode == 0, done.stderr
        self.hosts = [
            Host(self.environment, port, folder / f"host-{number}.log")
            for number, port in enumerate(ports)
        ]
        for host in self.hosts:
            host.start()
            stack.callback(host.kill)
        self.nginx = self.start_nginx()
        stack.callback(self.nginx.wait, timeout=10)
        stack.callback(self.nginx.terminate)
        for host in self.hosts:
            host.wait_until_up()

    def start_nginx(self) -> "subprocess.Popen[bytes]":
        self.certificate = make_certificate(self.folder)
        values = {
            "SITE_HOST": "localhost",
            "RESOLVER": "127.0.0.1",
            "WEB_1": self.hosts[0].address,
            "WEB_2": self.hosts[1].address,
            "HTTP_PORT": f"127.0.0.1:{self.http_port}",
            "HTTPS_PORT": f"127.0.0.1:{self.port}",
            "TLS_DIR": str(self.folder),
            "PAGES_DIR": str(DEPLOY / "nginx"),
            "CACHE_DIR": str(self.folder / "cache"),
        }
        site = Template((DEPLOY / "nginx/site.conf.template").read_text()).safe_substitute(values)
        self.access_log = self.folder / "nginx.log"
        site = site.replace("/dev/stdout", str(self.access_log))
        site = site.replace("/dev/stderr", str(self.folder / "nginx-errors.log"))
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(
            f"{user} daemon off; pid {self.folder}/nginx.pid; events {{}}\n"
            f"http {{ {temporary} include /etc/nginx/mime.types;\n{site} }}\n"
        )
        nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert nginx, "nginx is not installed"
        errors = self.folder / "nginx-errors.log"
        command = [nginx, "-p", self.folder, "-c", self.folder / "nginx.conf", "-e", errors]
        return subprocess.Popen(command)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(**self.database, autocommit=True) as connection:
            return connection.execute(query, values).fetchall()

    def lines(self, log: Path) -> list[dict[str, Any]]:
        """Return the entries of a log, each of which is one JSON object on a line."""
        return [json.loads(line) for line in log.read_text().splitlines()]


# Where a link has a credential: what comes back from a provider, and what a mail contains.
SECRET_IN_A_LINK = secrets.token_hex(16)
LINKS = (
    f"/accounts/google/login/callback/?code={SECRET_IN_A_LINK}&state=x",
    f"/accounts/password/reset/key/1-{SECRET_IN_A_LINK}/",
    f"/accounts/confirm-email/{SECRET_IN_A_LINK}/",
    f"/nothing/?token={SECRET_IN_A_LINK}",
)

PEOPLE = f"""
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
for name in ("alice", "bob"):
    user = User.objects.create_user(name, f"{{name}}@example.org", {PASSWORD!r})
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
"""


def make_certificate(folder: Path) -> str:
    """Write a key and a certificate for localhost; return the path of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "privkey.pem").write_bytes(pem)
    path = folder / "fullchain.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return str(path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    database = {
        "host": os.environ.get("PGHOST", "127.0.0.1"),
        "port": os.environ.get("PGPORT", "5432"),
        "user": os.environ.get("PGUSER", "postgres"),
        "password": os.environ.get("PGPASSWORD", ""),
        "dbname": f"authmodes_deployment_{os.getpid()}",
    }
    with psycopg.connect(**database | {"dbname": "postgres"}, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {database['dbname']}")
        try:
            with ExitStack() as stack:
                yield Site(tmp_path, database, stack)
        finally:
            server.execute(f"DROP DATABASE {database['dbname']} WITH (FORCE)")


# -- the people ----------------------------------------------------------------------------


class SourceAddress(requests.adapters.HTTPAdapter):
    """Connections from one of the addresses of this machine, so that nginx sees a client there."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=(self.address, 0))


class Person:
    """A client that is signed in, and does some work through nginx."""

    def __init__(self, site: Site, mode: str, number: int) -> None:
        self.site, self.mode, self.number = site, mode, number
        self.address = f"127.0.0.{number + 10}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = site.certificate
        self.session.mount("https://", SourceAddress(self.address))
        self.session.headers["Origin"] = site.url
        # What it was given, and what a log must not contain.
        self.credentials: set[str] = set()
        self.rounds, self.unanswered = 0, 0

    def call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Call until there is a whole answer, and not nginx's own.

        nginx gives a GET to the other host. Of a POST it cannot know what was done, so it
        answers 502. An answer that has begun is cut off. In both cases the client repeats the
        call as it was.
        """
        while True:
            try:
                answer = self.session.request(
                    method, self.site.url + path, timeout=ANSWER_TIMEOUT, **kwargs
                )
            except requests.exceptions.ChunkedEncodingError:
                self.unanswered += 1
                continue
            cookies = answer.cookies.items()
            self.credentials |= {value for name, value in cookies if name.startswith("__Host-")}
            if answer.status_code != 502:
                return answer
            assert method != "GET"
            assert answer.json()["code"] == "unavailable"
            self.unanswered += 1

    def sign_in(self, **headers: str) -> requests.Response:
        csrf = self.call("GET", "/auth/csrf/").json()["csrf_token"]
        body = {"username": "alice", "password": PASSWORD, "mode": self.mode}
        headers |= {"X-CSRFToken": csrf}
        answer = self.call("POST", "/auth/login/", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        self.sid = answer.json()["sid"]
        if self.mode == "jwt":
            self.keep(answer.json())
        else:
            self.session.headers["X-CSRFToken"] = self.session.cookies["__Host-csrftoken"]
        return answer

    def keep(self, tokens: dict[str, str]) -> None:
        self.access, self.refresh = tokens["access"], tokens["refresh"]
        self.credentials |= {self.access, self.refresh}
        self.session.headers["Authorization"] = f"Bearer {self.access}"

    @property
    def headers(self) -> dict[str, str]:
        """What a call carries that does not go through nginx."""
        if self.mode == "jwt":
            return {"Authorization": f"Bearer {self.access}"}
        cookies = "; ".join(f"{name}={value}" for name, value in self.session.cookies.items())
        return {"Cookie": cookies, "X-CSRFToken": self.session.cookies["__Host-csrftoken"]}

    def work(self, until: Callable[[], bool]) -> None:
        while not until():
            self.round()
            self.rounds += 1

    def round(self) -> None:
        user = self.call("GET", "/auth/user/")
        assert (user.status_code, user.json().get("sid")) == (200, self.sid), user.text
        if self.mode == "jwt":
            answer = self.call("POST", "/auth/token/refresh/", json={"refresh": self.refresh})
            if answer.status_code == 429:
                return
            assert answer.status_code == 200, answer.text
            assert answer.json()["refresh"] not in self.credentials
            self.keep(answer.json())
        else:
            page = self.call("GET", "/account/", allow_redirects=False)
            assert page.status_code == 200, page.text
        name = {"name": f"{self.number}, round {self.rounds}"}
        renamed = self.call("PATCH", f"/auth/sessions/{self.sid}/", json=name)
        assert renamed.status_code == 200, renamed.text


# -- what is promised ----------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.redis
def test_no_person_is_signed_out_when_a_host_dies_behind_nginx(site: Site) -> None:
    people = [Person(site, mode, n) for n, mode in enumerate(["session", "jwt"] * 3)]
    first, other = site.hosts
    assert_addresses_and_cookies_of_a_sign_in(site, people)

    began = time.monotonic()
    done = threading.Event()
    with ThreadPoolExecutor(len(people)) as pool:
        working = [pool.submit(person.work, done.is_set) for person in people]

        def wait_for(happened: Callable[[], bool]) -> None:
            while not happened():
                assert time.monotonic() < began + PATIENCE
                for one in working:
                    if one.done():
                        one.result()  # raises what it failed on
                time.sleep(0.05)

        def wait_for_rounds(count: int) -> None:
            marks = [person.rounds + count for person in people]
            wait_for(lambda: all(p.rounds >= mark for p, mark in zip(people, marks, strict=True)))

        try:
            wait_for_rounds(2)
            first.kill()
            wait_for_rounds(3)
            before = len(site.lines(first.log))
            first.start()
            wait_for(lambda: len(site.lines(first.log)) > before + 20)
            wait_for_rounds(1)
        finally:
            done.set()
        for one in working:
            one.result()

    # Only the call that the host had in hand when it died.
    assert all(person.unanswered <= 1 for person in people)
    active = site.rows("SELECT sid::text FROM authmodes_loginsession WHERE ended_at IS NULL")
    assert {sid for (sid,) in active} == {person.sid for person in people}

    assert_a_revocation_on_one_host_counts_on_the_other(people, first, other)
    assert_static_files_are_kept_for_ever(people[0])
    assert_only_the_hosts_themselves_answer_the_health_check(people[0], first)
    assert_http_leads_to_this_host_alone(site)
    follow_links(site)
    first.kill()
    for _ in range(4):
        # One of them goes to the dead host first.
        assert people[0].call("GET", "/auth/user/").status_code == 200
    other.kill()
    assert_nginx_answers_in_the_place_of_the_hosts(site)
    assert_logs_are_json_without_credentials(site, people)


def assert_addresses_and_cookies_of_a_sign_in(site: Site, people: list[Person]) -> None:
    """What a client claims about itself is not believed."""
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Real-IP": "203.0.113.9",
        "X-Request-ID": "f" * 32,
        "Forwarded": "for=203.0.113.9;host=evil.example",
    }
    for person in people:
        answer = person.sign_in(**claims)
        assert answer.headers["X-Request-ID"] != "f" * 32
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
        if person.mode == "session":
            set_cookie = answer.raw.headers.getlist("Set-Cookie")
            names = {cookie.split("=")[0] for cookie in set_cookie}
            assert names == {"__Host-sessionid", "__Host-csrftoken", "site_last_method"}
            for cookie in set_cookie:
                assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
                assert "Domain=" not in cookie
    addresses = dict(site.rows("SELECT sid::text, host(ip_address) FROM authmodes_loginsession"))
    assert addresses == {person.sid: person.address for person in people}


def assert_a_revocation_on_one_host_counts_on_the_other(
    people: list[Person], first: Host, other: Host
) -> None:
    owner, *rest = people
    victims = [next(p for p in rest if p.mode == mode) for mode in ("session", "jwt")]
    for victim in victims:
        # The store's cache and the token cache of the process have it.
        assert other.call("GET", "/auth/user/", victim.headers) == 200
        assert first.call("DELETE", f"/auth/sessions/{victim.sid}/", owner.headers) == 204
        assert other.call("GET", "/auth/user/", victim.headers) == 401
        people.remove(victim)
        owner.credentials |= victim.credentials


def assert_static_files_are_kept_for_ever(person: Person) -> None:
    page = person.call("GET", "/spa/").text
    paths = re.findall(r'(?:src|href)="(/static/[^"]+)"', html.unescape(page))
    assert any(re.search(r"/main\.[0-9a-f]{12}\.js$", path) for path in paths)
    script = next(path for path in paths if path.endswith(".js"))
    client = re.search(
        r'from "../..(/authmodes/client/client\.[0-9a-f]{12}\.js)"',
        person.call("GET", script).text,
    )
    for path in (*paths, f"/static{client[1]}"):
        answer = person.call("GET", path)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "max-age=315360000, public, immutable"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def assert_only_the_hosts_themselves_answer_the_health_check(person: Person, host: Host) -> None:
    assert person.call("GET", "/health/").status_code == 404
    assert run(host.environment, "-m", "example_project.deploy.probe").returncode == 0


def assert_nginx_answers_in_the_place_of_the_hosts(site: Site) -> None:
    for path, accept, content_type in (
        ("/auth/user/", "*/*", "application/json"),
        ("/account/", "text/html", "text/html"),
    ):
        answer = requests.get(
            site.url + path, headers={"Accept": accept}, verify=site.certificate, timeout=30
        )
        assert (answer.status_code, answer.headers["Content-Type"]) == (502, content_type)
        assert answer.headers["Retry-After"] == "2"
    follow_links(site)


def assert_http_leads_to_this_host_alone(site: Site) -> None:
    """A cache in front of nginx may keep the answer to a request that an attacker has made."""
    for host in ("localhost", "localhost:x@evil.example", "LOCALHOST"):
        answer = requests.get(
            f"http://127.0.0.1:{site.http_port}/accounts/",
            headers={"Host": host},
            allow_redirects=False,
            timeout=ANSWER_TIMEOUT,
        )
        assert answer.headers["Location"] == "https://localhost/accounts/"


def follow_links(site: Site) -> None:
    for link in LINKS:
        requests.get(site.url + link, verify=site.certificate, timeout=ANSWER_TIMEOUT)


def assert_logs_are_json_without_credentials(site: Site, people: list[Person]) -> None:
    entries = [entry for host in site.hosts for entry in site.lines(host.log)]
    started = [entry for entry in entries if entry.get("event") == "login_started"]
    assert len(started) == 6
    assert {entry["level"] for entry in entries} == {"INFO"}
    nginx = site.lines(site.access_log)
    assert {entry["request_id"] for entry in started} <= {entry["request_id"] for entry in nginx}
    # Both hosts had their share.
    assert {host.address for host in site.hosts} <= {entry["upstream"] for entry in nginx}
    written = "".join(path.read_text() for path in site.folder.glob("*.log"))
    credentials = {each for person in people for each in person.credentials}
    credentials |= {PASSWORD, SECRET_IN_A_LINK}
    assert len(credentials) > 20
    for each in credentials:
        assert each not in written
