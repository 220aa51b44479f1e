"""The tutorial, done as it says: its files, its commands, and its pages in Chromium.

`TUTORIAL_PICTURES=1 pytest -n 0 tests/test_tutorial.py` takes its pictures again.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from .support.chromium import chromium as chromium
from .support.processes import PATIENCE, free_port, wait_for

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
PASSWORD = "correct horse battery"


def files() -> list[tuple[str, str]]:
    """The Python blocks, each with the file that its first line names."""
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", TUTORIAL, re.DOTALL)
    assert len(blocks) == TUTORIAL.count("```python")
    return blocks


class Project:
    """`mysite`, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://localhost:{free_port()}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
            "PYTHONPATH": str(ROOT),
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            # `webbrowser` must open nothing: the test has a browser of its own.
            "BROWSER": "true",
        }

    def run(self, *command: str) -> None:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def start(self, *command: str) -> Iterator["subprocess.Popen[str]"]:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def serve(self) -> Iterator[None]:
        port = self.url.rpartition(":")[2]
        with self.start("manage.py", "runserver", "--noreload", port) as server:
            wait_for(self.url, server)
            yield

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        append = name.endswith("settings.py")
        path.write_text((path.read_text() if append else "") + text)


@pytest.fixture
def project(tmp_path) -> Project:
    assert "$ django-admin startproject mysite" in TUTORIAL
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "mysite"], cwd=tmp_path, check=True
    )
    return Project(tmp_path / "mysite")


@pytest.fixture
def new_page(chromium: Browser, project: Project) -> Any:
    return lambda: chromium.new_context(base_url=project.url).new_page()


def picture(page: Page, name: str, height: int) -> None:
    """Take a picture of the page for the tutorial, if asked to."""
    path = ROOT / "docs" / f"tutorial-{name}.png"
    assert f"]({path.name})" in TUTORIAL
    if os.environ.get("TUTORIAL_PICTURES"):
        page.set_viewport_size({"width": 1280, "height": height})
        page.screenshot(path=path)
    assert path.stat().st_size <= 100_000


def shown_json(page: Page, path: str) -> Any:
    answer = page.request.get(path, headers={"Accept": "application/json"})
    return json.loads(answer.text())


def expected_json(marker: str) -> Any:
    (line,) = re.findall(rf"^({{.*{marker}.*}})$", TUTORIAL, re.MULTILINE)
    return json.loads(line)


def test_the_tutorial_ends_as_it_says(project, new_page):
    pending = files()
    while (block := pending[0])[1].find("AUTHMODES_MODE") < 0:
        project.write(*block)
        pending.pop(0)
    for command in re.findall(
        r"^\$ python (manage.py (?:migrate|createsuperuser).*)$", TUTORIAL, re.M
    ):
        extra = ["--noinput"] if "createsuperuser" in command else []
        project.run(*command.split(), *extra)
    alice, admin = new_page(), new_page()

    with project.serve():
        alice.goto("/accounts/login/")
        picture(alice, "sign-in", 430)
        alice.get_by_role("link", name="Dummy").click()
        alice.get_by_role("button", name="Continue").click()
        alice.locator("[name=id]").fill("1")
        alice.locator("[name=email]").fill("alice@example.com")
        alice.get_by_role("button", name="Login").click()
        alice.wait_for_url("**/auth/sessions/manage/")
        assert shown_json(alice, "/hello/") == expected_json('"mode": "session"')

        admin.goto("/admin/")
        admin.locator("[name=username]").fill("admin")
        admin.locator("[name=password]").fill(PASSWORD)
        admin.locator("[type=submit]").click()
        admin.locator("#content").get_by_role("link", name="Login sessions").last.click()
        expect(admin.locator("#result_list tbody tr")).to_have_count(2)
        picture(admin, "list", 530)

    while pending:
        project.write(*pending.pop(0))
    with project.serve(), project.start("signin.py", project.url) as program:
        alice.goto(program.stdout.readline().removeprefix("Open ").strip())
        alice.get_by_role("button", name="Continue").click()
        alice.get_by_text("You are signed in. Go back to the program.").wait_for()
        token = program.stdout.readline().strip()
        bearer = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"{project.url}/hello/", headers=bearer, timeout=PATIENCE)
        assert answer.json() == expected_json('"mode":"jwt"')

        admin.goto("/admin/authmodes/loginsession/?q=alice")
        boxes = admin.locator("#result_list tbody [type=checkbox]")
        expect(boxes).to_have_count(2)
        for box in boxes.all():
            box.check()
        admin.locator("[name=action]").select_option(label="Revoke selected login sessions")
        admin.get_by_role("button", name="Run").or_(admin.get_by_role("button", name="Go")).click()
        picture(admin, "revoke", 430)
        admin.locator("form [type=submit]").last.click()
        answer = requests.get(f"{project.url}/hello/", headers=bearer, timeout=PATIENCE)
        assert answer.status_code == 401
        assert answer.json() == expected_json("login_session_ended")
        alice.goto("/auth/sessions/manage/")
        alice.wait_for_url("**/accounts/login/**")
