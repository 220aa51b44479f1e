"""Where allauth's own pages lead in each mode: docs/accounts.md, read and tried."""

import re
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import get_user_model
from django.core import mail
from django.test.utils import override_settings

from authmodes.models import LoginSession

from .support.browser import Browser
from .support.logins import PASSWORD, html_login

PAGE = Path(__file__).parent.parent / "docs" / "accounts.md"
FORM = {
    "username": "newcomer",
    "email": "new@example.com",
    "password1": PASSWORD,
    "password2": PASSWORD,
}
NEW_PASSWORD = "another horse, another staple"


def endings() -> list[tuple[str, str, str]]:
    """The rows of the first table, one for each transport."""
    rows = re.findall(r'^\| `"(\w+)"` \| (any|`"\w+"`) \| (.+?) \|$', PAGE.read_text(), re.M)
    return [
        (mode, transport, ending)
        for mode, named, ending in rows
        for transport in (("body", "cookie") if named == "any" else (named.strip('`"'),))
    ]


def ending_of(browser: Browser) -> str:
    """What a browser holds now, in the words of the table."""
    if "authmodes_access" in browser.cookies and browser.cookies["authmodes_access"].value:
        return "token cookies"
    return "a cookie session" if LoginSession.objects.exists() else "no login"


def sign_up(browser: Browser) -> object:
    browser.get("/accounts/signup/")
    return browser.submit("/accounts/signup/", FORM)


def test_the_table_is_found():
    assert len(endings()) == 6


@pytest.mark.parametrize(("mode", "transport", "ending"), endings())
def test_a_sign_up_ends_as_the_table_says(mode, transport, ending, db):
    browser = Browser()
    with override_settings(
        AUTHMODES_MODE=mode, AUTHMODES_TOKEN_TRANSPORT=transport, AUTHMODES_COOKIE_SECURE=False
    ):
        sign_up(browser)
        assert ending.startswith(ending_of(browser))
    assert get_user_model().objects.get().get_username() == "newcomer"


@pytest.mark.parametrize(("mode", "transport", "ending"), endings())
@override_settings(ACCOUNT_LOGIN_ON_PASSWORD_RESET=True)
def test_a_password_reset_ends_as_the_table_says(mode, transport, ending, alice):
    browser = Browser()
    with override_settings(
        AUTHMODES_MODE=mode, AUTHMODES_TOKEN_TRANSPORT=transport, AUTHMODES_COOKIE_SECURE=False
    ):
        browser.submit("/accounts/password/reset/", {"email": alice.email})
        (link,) = re.findall(
            r"https?://[^/\s]+(/accounts/password/reset/key/\S+)", mail.outbox[0].body
        )
        page = browser.get(link)
        browser.submit(page.url, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
        assert ending.startswith(ending_of(browser))
    alice.refresh_from_db()
    assert alice.check_password(NEW_PASSWORD)


def test_managing_addresses_ends_no_login(mode, login, alice):
    used, page = login(mode), Browser()
    html_login(page, "alice")
    page.submit("/accounts/email/", {"action_add": "", "email": "second@example.com"})
    added = EmailAddress.objects.get(email="second@example.com")
    added.verified = True
    added.save()
    page.submit("/accounts/email/", {"action_primary": "", "email": added.email})
    assert EmailAddress.objects.get_primary(alice) == added
    assert used.get().status_code == 200
    assert page.get("/probe/page/").status_code == 200


def test_allauths_pages_need_a_cookie_login(login):
    used = login("jwt")
    response = used.browser.get("/accounts/email/", headers=used.headers())
    assert (response.status_code, response.url.partition("?")[0]) == (302, "/accounts/login/")
