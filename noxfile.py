"""Every environment of .ci/matrix with every database; `.ci/run` runs a part of it.

    nox                                                      all
    TEST_DATABASE=mariadb nox -s py3.13 -- tests/test_login.py

PostgreSQL, MariaDB and Redis are those on 127.0.0.1, as CONTRIBUTING.md names them.
"""

import os
import subprocess
from pathlib import Path

import nox

CI = Path(__file__).with_name(".ci")

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"

# The browser is the same in every environment, and .ci/run starts it in one.
MARKERS = {
    "sqlite": "not browser and not servers and not postgres and not redis",
    "postgres": "not browser",
    "mariadb": "not browser and not postgres",
}


def environments() -> dict[str, tuple[str, list[str]]]:
    """The version of Python and the arguments of pip by the name of the environment."""
    lines = (CI / "matrix").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {name: (python, arguments) for name, python, _django, *arguments in rows}


def interpreter(version: str) -> str:
    """The path of a Python, which pyenv need not have on PATH."""
    found = subprocess.run(
        [CI / "find-python", version], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or version


def add_session(name: str, python: str, arguments: list[str]) -> None:
    @nox.session(name=name, python=interpreter(python))
    def tests(session: nox.Session) -> None:
        extras = ".[test,demo,deploy,jwe,redis,spectacular]"
        session.install("--quiet", "--editable", extras, *arguments)
        only = os.environ.get("TEST_DATABASE")
        for database, markers in MARKERS.items():
            if only in (None, database):
                session.run(
                    *("python", "-m", "pytest", "-q", "-m", markers),
                    *(session.posargs or ["-n", "auto", "--ignore=tests/test_fuzz.py"]),
                    env={"TEST_DATABASE": database},
                )


for _name, (_python, _arguments) in environments().items():
    add_session(_name, _python, _arguments)
