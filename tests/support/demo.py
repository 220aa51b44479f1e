"""The example site and its provider, run as a person would, for the browser tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt

from .processes import PATIENCE, free_ports, wait_for

ROOT = Path(__file__).parents[2]


@contextmanager
def run_demo(folder: Path, **environment: str) -> Iterator[str]:
    """Run the demo on free ports and in a folder of its own; give the URL of the site."""
    environment = demo_environment(folder, **environment)
    with (folder / "demo.log").open("w+") as log:
        demo = subprocess.Popen(
            [sys.executable, "-m", "example_project.demo"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(demo, Path(log.name))
            yield f"http://localhost:{environment['SITE_PORT']}"
        finally:
            demo.send_signal(signal.SIGINT)
            assert demo.wait(timeout=PATIENCE) == 0


@contextmanager
def run_site(folder: Path, **environment: str) -> Iterator[str]:
    """Run the site alone, on a folder that `seed_site` has filled; give its URL."""
    environment = demo_environment(folder, **environment)
    environment["DJANGO_SETTINGS_MODULE"] = "tests.support.site_settings"
    port = environment["SITE_PORT"]
    command = ["-m", "django", "runserver", "--noreload", "--insecure", f"127.0.0.1:{port}"]
    with (folder / f"site-{port}.log").open("w+b") as log:
        site = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(f"http://localhost:{port}/auth/", site, log)
            yield f"http://localhost:{port}"
        finally:
            site.terminate()
            site.wait(timeout=PATIENCE)


def seed_site(folder: Path) -> None:
    command = [sys.executable, "-m", "example_project.seed"]
    subprocess.run(command, cwd=ROOT, env=demo_environment(folder), check=True, capture_output=True)


def expired_token(raw_token: str, folder: Path) -> str:
    """The access token as its site, which runs on the folder, had issued it earlier."""
    header = jwt.get_unverified_header(raw_token)
    claims = jwt.decode(raw_token, options={"verify_signature": False})
    claims["exp"] = claims["iat"] - 1
    key = (folder / "site_signing_key.pem").read_text()
    return jwt.encode(claims, key, header["alg"], headers=header)


def demo_environment(folder: Path, **changed: str) -> dict[str, str]:
    site_port, idp_port, spa_port, service_port, second_port = map(str, free_ports(5))
    return {
        **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
        "SITE_PORT": site_port,
        "IDP_PORT": idp_port,
        "SPA_PORT": spa_port,
        "SERVICE_PORT": service_port,
        "SECOND_PORT": second_port,
        "DEMO_VAR_DIR": str(folder),
        "AUTHMODES_MODE": "both",
        **changed,
    }


def _wait_until_ready(demo: "subprocess.Popen[bytes]", log: Path) -> None:
    """The demo prints the addresses when all hosts answer."""
    deadline = time.monotonic() + PATIENCE
    while "Ctrl-C stops the demo" not in log.read_text():
        assert demo.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
