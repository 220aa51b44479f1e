"""The user's own page and rotating session ids, in Chromium on the example site."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .test_browser import (
    ROOT,
    chromium,  # noqa: F401
    free_ports,
    new_page,  # noqa: F401
    sign_in_with_cookie,
    wait_until_ready,
)

pytestmark = pytest.mark.browser

MANAGE = "/auth/sessions/manage/"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
TWENTY_AT_ONCE = """async (path) => Promise.all(
    Array.from({length: 20}, () => fetch(path).then((answer) => answer.status))
)"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    """The demo with a new session id for every answer."""
    site_port, idp_port = free_ports(2)
    folder = tmp_path_factory.mktemp("demo-rotating")
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
    environment |= {
        "SITE_PORT": str(site_port),
        "IDP_PORT": str(idp_port),
        "DEMO_VAR_DIR": str(folder),
        "DEMO_ROTATE": "1",
        "AUTHMODES_MODE": "both",
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
            wait_until_ready(demo, Path(log.name))
            yield f"http://localhost:{site_port}"
        finally:
            demo.send_signal(signal.SIGINT)
            assert demo.wait(timeout=30) == 0


def session_id(page: Page) -> str:
    return next(
        cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "site_sessionid"
    )


def is_signed_in(page: Page) -> bool:
    page.goto("/account/")
    return "/accounts/login/" not in page.url


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_and_ends_another_login(new_page, size):  # noqa: F811
    here, elsewhere = new_page(), new_page()
    sign_in_with_cookie(elsewhere)
    sign_in_with_cookie(here)
    width, height = SIZES[size]
    here.set_viewport_size({"width": width, "height": height})
    here.goto(MANAGE)
    expect(here.get_by_role("heading", name="Where you are signed in")).to_be_visible()
    assert here.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    button = here.get_by_role("button", name="End HeadlessChrome").first
    box = button.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    if folder := os.environ.get("SCREENSHOTS"):
        for scheme in ("light", "dark"):
            here.emulate_media(color_scheme=scheme)
            here.screenshot(path=f"{folder}/manage-{size}-{scheme}.png", full_page=True)

    button.click()

    expect(here.get_by_text("Signed out there.")).to_be_visible()
    assert not is_signed_in(elsewhere)
    assert is_signed_in(here)


def test_twenty_fetches_at_once_while_every_answer_rotates(new_page):  # noqa: F811
    page = new_page()
    sign_in_with_cookie(page)
    seen = {session_id(page)}
    for _ in range(5):
        assert page.evaluate(TWENTY_AT_ONCE, "/auth/user/") == [200] * 20
        seen.add(session_id(page))
    assert len(seen) == 6
    # Longer than the grace: what the browser holds is the key in force.
    page.wait_for_timeout(11_000)
    assert is_signed_in(page)


def test_a_page_that_is_left_while_it_loads_signs_nobody_out(new_page):  # noqa: F811
    """Its answers are thrown away, and the one with the new session id may be among them."""
    page = new_page()
    sign_in_with_cookie(page)
    for _ in range(5):
        page.evaluate("""() => {
            const stop = new AbortController();
            for (let i = 0; i < 10; i++)
                fetch("/auth/user/", {signal: stop.signal}).catch(() => null);
            setTimeout(() => stop.abort(), 5);
        }""")
        page.goto("/account/")
    page.wait_for_timeout(11_000)
    assert is_signed_in(page)
