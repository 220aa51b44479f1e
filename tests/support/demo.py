"""The example site and its provider, run as a person would, for the browser tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import PATIENCE, free_ports

ROOT = Path(__file__).parents[2]


@contextmanager
def run_demo(folder: Path, **environment: str) -> Iterator[str]:
    """Run the demo on free ports and in a folder of its own; give the URL of the site."""
    site_port, idp_port, spa_port, service_port, second_port = free_ports(5)
    environment = {
        **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
        "SITE_PORT": str(site_port),
        "IDP_PORT": str(idp_port),
        "SPA_PORT": str(spa_port),
        "SERVICE_PORT": str(service_port),
        "SECOND_PORT": str(second_port),
        "DEMO_VAR_DIR": str(folder),
        "AUTHMODES_MODE": "both",
        **environment,
    }
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


def _wait_until_ready(demo: "subprocess.Popen[bytes]", log: Path) -> None:
    """The demo prints the addresses when all hosts answer."""
    deadline = time.monotonic() + PATIENCE
    while "Ctrl-C stops the demo" not in log.read_text():
        assert demo.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
