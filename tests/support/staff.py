"""Staff in Django's admin."""

import re
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from .browser import Browser
from .logins import PASSWORD, admin_login

LIST = "/admin/authmodes/loginsession/"
CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)


def make_staff(name: str, *codenames: str) -> Any:
    users = get_user_model().objects
    user = users.create_user(name, f"{name}@example.com", PASSWORD, is_staff=True)
    permissions = Permission.objects.filter(codename__in=codenames)
    assert permissions.count() == len(codenames)
    user.user_permissions.set(permissions)
    return user


def sign_in_to_admin(user: Any) -> Browser:
    browser = Browser(headers={"user-agent": CHROME})
    assert admin_login(browser, user.get_username()).status_code == 302
    return browser


def ask(browser: Browser, action: str, pks: list[Any], url: str = LIST, **data: Any) -> Any:
    """Choose an action in the list and press "Go"."""
    return browser.submit(url, {"action": action, "index": "0", "_selected_action": pks, **data})


def confirm(browser: Browser, page: Any, url: str = LIST) -> Any:
    """Press the button of a confirmation page, with the fields that it holds."""
    assert page.status_code == 200, page
    html = page.content.decode()
    form = html[html.index('<form method="post"', html.index('id="content"')) :]
    data: dict[str, list[str]] = {}
    for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form):
        data.setdefault(name, []).append(value)
    return browser.submit(url, data)


def finish(browser: Browser, page: Any, url: str = LIST) -> Any:
    """Confirm, and continue until nothing is left; without JavaScript."""
    for _batch in range(10):
        page = confirm(browser, page, url)
        if page.status_code == 302:
            return page
    raise AssertionError("more than ten batches")


def run(browser: Browser, action: str, pks: list[Any], url: str = LIST, **data: Any) -> Any:
    return finish(browser, ask(browser, action, pks, url, **data), url)
