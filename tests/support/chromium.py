"""Chromium for the browser tests: import the fixture `chromium`; and what every page owes."""

import os
import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

# What Chromium would fetch in the background, on a machine that may be offline.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# As long as Playwright waits for everything else: a busy machine may need more than 5 s.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine, and this is not CI")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread, and Django would refuse its queries.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def check_page(page: Page, language: str) -> None:
    """Check that a page is in a language, fits a wide and a narrow window, and is accessible."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.reload()
        found = page.evaluate("""() => {
            const root = document.documentElement;
            return [root.lang, root.dir, root.scrollWidth - root.clientWidth];
        }""")
        assert found == [language, "rtl" if language == "ar" else "ltr", 0], (page.url, width)
    check_accessibility(page)


def check_accessibility(page: Page) -> None:
    violations = Axe().run(page).response["violations"]
    serious = [each for each in violations if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == [], page.url
