"""Runs the whole demo: checks the ports, fills the databases, serves all hosts, stops them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from example_project import environment as env
from example_project.people import IDP_PEOPLE, SITE_PEOPLE

START_TIMEOUT = 60
STOP_TIMEOUT = 5


@dataclass(frozen=True, slots=True)
class Server:
    """One host of the demo; `settings` and `seed` are those of a Django site."""

    name: str
    command: tuple[str, ...]
    port: int
    port_variable: str
    settings: str = ""
    seed: str = ""

    @property
    def log(self) -> Path:
        """The file for its output, which keeps the terminal readable."""
        return env.VAR_DIR / f"{self.port_variable.removesuffix('_PORT').lower()}.log"


PROVIDER = Server(
    "identity provider",
    ("django", "runserver", "--noreload", f"127.0.0.1:{env.IDP_PORT}"),
    env.IDP_PORT,
    "IDP_PORT",
    "example_project.idp.settings",
    "example_project.idp.seed",
)
SITE = Server(
    "example site",
    # Without DEBUG, static files are served only if it is asked for.
    ("django", "runserver", "--noreload", "--insecure", f"127.0.0.1:{env.SITE_PORT}"),
    env.SITE_PORT,
    "SITE_PORT",
    "example_project.settings",
    "example_project.seed",
)
SECOND = Server(
    "second server of the site",
    ("django", "runserver", "--noreload", "--insecure", f"127.0.0.1:{env.SECOND_PORT}"),
    env.SECOND_PORT,
    "SECOND_PORT",
    "example_project.hosts.second",
)
SPA = Server(
    "token app on its own origin", ("example_project.hosts.spa",), env.SPA_PORT, "SPA_PORT"
)
SERVICE = Server(
    "service",
    (
        "example_project.hosts.service",
        f"--port={env.SERVICE_PORT}",
        f"--metadata={env.SITE_URL}/.well-known/oauth-authorization-server",
        f"--audience={env.SERVICE_URL}",
    ),
    env.SERVICE_PORT,
    "SERVICE_PORT",
)
SERVERS = (PROVIDER, SITE, SECOND, SPA, SERVICE)

Running = dict[Server, "subprocess.Popen[bytes]"]


class DemoFailure(Exception):
    """A message for the person at the terminal; `status` is the exit status of the demo."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def main() -> int:
    """Run until Ctrl-C, SIGTERM or the end of a server; return the exit status."""
    signal.signal(signal.SIGTERM, interrupt)
    running: Running = {}
    try:
        check_ports()
        fill_databases()
        for server in SERVERS:
            running[server] = start(server)
        wait_until_up(running)
        print(welcome(), flush=True)
        watch(running)
    except KeyboardInterrupt:
        print("\nStopping the demo.", flush=True)
    except DemoFailure as failure:
        print(f"\n{failure}", file=sys.stderr, flush=True)
        return failure.status
    finally:
        stop(running)
    return 0


def interrupt(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM like Ctrl-C."""
    raise KeyboardInterrupt


def check_ports() -> None:
    """Refuse to start if another program uses one of the ports."""
    by_port: dict[int, Server] = {}
    for server in SERVERS:
        other = by_port.setdefault(server.port, server)
        if other is not server:
            names = f"{other.port_variable} and {server.port_variable}"
            raise DemoFailure(f"{names} are both {server.port}; they must differ.")
    taken = [server for server in SERVERS if is_taken(server.port)]
    if not taken:
        return
    lines = [f"Port {server.port}, for the {server.name}, is taken." for server in taken]
    choice = " ".join(f"{server.port_variable}={server.port + 100}" for server in taken)
    raise DemoFailure("\n".join([*lines, f"Choose another: {choice} make demo"]))


def is_taken(port: int) -> bool:
    """Whether anything listens on this port of localhost, IPv4 or IPv6."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.settimeout(1)
                if probe.connect_ex((address, port)) == 0:
                    return True
        except OSError:
            continue  # no IPv6 on this machine
    with socket.socket() as listener:
        # As Django's server does; without it, a port of the last run would count as taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def fill_databases() -> None:
    """Migrate and seed the Django sites, each under its own settings."""
    for server in (server for server in SERVERS if server.seed):
        print(f"Preparing the {server.name} …", flush=True)
        outcome = subprocess.run(
            [sys.executable, "-m", server.seed], cwd=env.PROJECT_DIR.parent, check=False
        )
        if outcome.returncode:
            raise DemoFailure(f"The {server.name} could not be prepared.", outcome.returncode)


def start(server: Server) -> "subprocess.Popen[bytes]":
    """Start one server; its output goes to its log."""
    with server.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", *server.command],
            cwd=env.PROJECT_DIR.parent,
            env=server_environment(server),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches every process of the terminal's group; only the demo stops these.
            start_new_session=True,
        )


def server_environment(server: Server) -> dict[str, str]:
    """Return the environment of one server."""
    # Hosts fetch keys and tokens from each other; a proxy does not know our localhost.
    hosts = ("localhost", "127.0.0.1", os.environ.get("NO_PROXY") or os.environ.get("no_proxy"))
    no_proxy = ",".join(host for host in hosts if host)
    return {
        **os.environ,
        **({"DJANGO_SETTINGS_MODULE": server.settings} if server.settings else {}),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def wait_until_up(running: Running) -> None:
    """Return once all servers answer."""
    deadline = time.monotonic() + START_TIMEOUT
    for server in running:
        while not answers(server):
            fail_if_any_died(running)
            if time.monotonic() > deadline:
                raise DemoFailure(f"The {server.name} does not answer; see {server.log}")
            time.sleep(0.2)


def answers(server: Server) -> bool:
    """Whether the server's first page can be loaded."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{server.port}/", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        raise DemoFailure(f"The {server.name} answers {error.code}; see {server.log}") from None
    except OSError:
        return False


def watch(running: Running) -> None:
    """Return never: wait until a server ends or a signal arrives."""
    while True:
        fail_if_any_died(running)
        time.sleep(0.5)


def fail_if_any_died(running: Running) -> None:
    """Raise with the status of a server that ended by itself."""
    for server, process in running.items():
        status = process.poll()
        if status is None:
            continue
        tail = server.log.read_text(errors="replace").splitlines()[-15:]
        # A negative status is a signal; a shell says 128 and its number.
        exit_status = 128 - status if status < 0 else status or 1
        message = f"The {server.name} ended by itself (status {exit_status}). Its last words:"
        raise DemoFailure("\n  ".join([message, *tail]), exit_status)


def stop(running: Running) -> None:
    """Stop the servers that still run, by SIGTERM and then by SIGKILL."""
    # A second Ctrl-C must not leave a server behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for process in running.values():
        process.terminate()
    for process in running.values():
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def welcome() -> str:
    """Return the text that lists all addresses and passwords."""
    at_provider = [person.username for person in IDP_PEOPLE]
    people = [
        f"    {person.username:<8}{person.password:<14}"
        + ("at Demo ID and on the site" if person.username in at_provider else "Django admin")
        for person in SITE_PEOPLE
    ]
    rule = "─" * 62
    return "\n".join(
        [
            "",
            rule,
            f"  The example site     {env.SITE_URL}/",
            f"  Its Django admin     {env.SITE_URL}/admin/",
            f"  Demo ID (provider)   {env.IDP_URL}/",
            f"  Token app elsewhere  {env.SPA_URL}/",
            f"  Service              {env.SERVICE_URL}/",
            f"  Second server        {env.SECOND_URL}/",
            "  Program              Run in a second terminal:",
            f"    {env.NATIVE_COMMAND}",
            "",
            "  Users and passwords",
            *people,
            "",
            f"  Mode: {os.environ.get('AUTHMODES_MODE') or 'both'}."
            "  Another: AUTHMODES_MODE=session (or jwt) make demo",
            f"  Logs: {env.VAR_DIR}/*.log",
            "  Ctrl-C stops the demo.",
            rule,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
