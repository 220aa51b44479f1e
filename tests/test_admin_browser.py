"""The admin in Chromium: accessible, whole under a strict policy, and batches that go on."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from authmodes import registry
from authmodes.admin import revocation
from authmodes.models import LoginEvent, LoginSession

from .support.chromium import check_accessibility, check_page
from .support.chromium import chromium as chromium
from .support.logins import PASSWORD
from .support.staff import CHROME

pytestmark = pytest.mark.browser

LIST, EVENTS = "/admin/authmodes/loginsession/", "/admin/authmodes/loginevent/"
LONG_ADDRESS = "2001:db8:1234:5678:9abc:def0:1234:5678"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture
def page(settings: Any, chromium: Browser, admin_user: Any, request: Any) -> Iterator[Page]:
    """A page of an administrator, on a site whose policy allows its own files alone."""
    settings.CONTENT_SECURITY_POLICY = {"default-src": ["'self'"], "img-src": ["'self'", "data:"]}
    policy = "example_project.headers.ContentSecurityPolicyMiddleware"
    locale = "django.middleware.locale.LocaleMiddleware"
    settings.MIDDLEWARE = [policy, locale, *settings.MIDDLEWARE]
    context = chromium.new_context(base_url=request.getfixturevalue("live_server").url)
    page = context.new_page()
    page.goto("/admin/")
    page.locator("[name=username]").fill("root")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[type=submit]").click()
    page.wait_for_url("**/admin/")
    yield page
    context.close()


def rows_of(user: Any, count: int) -> None:
    now = timezone.now()
    LoginSession.objects.bulk_create(
        LoginSession(
            user=user,
            mode="jwt",
            created_at=now,
            last_seen_at=now,
            expires_at=now + timedelta(days=30),
            user_agent=CHROME,
        )
        for _ in range(count)
    )


@pytest.mark.django_db(transaction=True)
def test_our_pages_are_accessible_and_whole_under_a_strict_policy(page, alice):
    rows_of(alice, 60)
    errors: list[str] = []
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    row = LoginSession.objects.filter(user=alice).first()
    assert row is not None
    paths = ["", "?p=last", f"{row.pk}/change/", "revoke/", f"{row.pk}/revoke/"]
    urls = [*(LIST + path for path in paths), EVENTS, f"{LIST}overview/"]
    for scheme, url in itertools.product(SCHEMES, urls):
        page.emulate_media(color_scheme=scheme)
        page.goto(url)
        check_accessibility(page)
    assert page.locator("canvas").count() >= 5
    assert page.locator("details[open]").count() == 0
    assert errors == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("url", [LIST, EVENTS])
def test_a_list_does_not_scroll_sideways(page, alice, url, width):
    rows_of(alice, 3)
    row = LoginSession.objects.filter(user=alice).first()
    assert row is not None
    registry.revoke(row, by=alice)
    LoginSession.objects.update(last_ip_address=LONG_ADDRESS, provider="example")
    LoginEvent.objects.update(ip_address=LONG_ADDRESS, provider="example", filter="provider=x" * 9)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(url)
    beyond = "each => each.scrollWidth - each.clientWidth"
    assert page.locator("#changelist .results").evaluate(beyond) == 0
    assert page.locator("html").evaluate(beyond) == 0


@pytest.mark.django_db(transaction=True)
def test_a_large_revocation_goes_on_by_itself_and_can_be_stopped(page, alice, monkeypatch):
    monkeypatch.setattr(revocation, "BATCH", 5)
    rows_of(alice, 30)
    active = LoginSession.objects.active().filter(user=alice)
    page.goto(f"{LIST}revoke/?user__id__exact={alice.pk}&mode__exact=jwt")
    # The first answer of the script is held back until the button was pressed.
    page.route(
        "**/revoke/**",
        lambda route: route.abort() if route.request.resource_type == "fetch" else route.fallback(),
    )
    page.get_by_role("button", name="Yes, revoke").click()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    expect(page.locator("#authmodes-progress")).to_contain_text("Continue to try again")
    assert active.count() == 25
    page.unroute("**/revoke/**")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"**{LIST}**")
    expect(page.locator(".messagelist")).to_contain_text("30 login sessions were revoked.")
    assert not active.exists()


@pytest.mark.parametrize("language", ["de", "ar"])
@pytest.mark.django_db(transaction=True)
def test_our_pages_fit_in_german_and_in_arabic(page, alice, language):
    rows_of(alice, 3)
    row = LoginSession.objects.filter(user=alice).first()
    assert row is not None
    page.context.add_cookies([{"name": "django_language", "value": language, "url": page.url}])
    for path in ("", f"{row.pk}/change/", f"{row.pk}/revoke/", "overview/"):
        page.goto(LIST + path)
        check_page(page, language)
    # Each column of the list is in sight.
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(LIST)
    table = "[...document.querySelectorAll('.results')].map(e => e.scrollWidth - e.clientWidth)"
    assert page.evaluate(table) == [0]
