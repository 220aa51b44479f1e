"""Staff in Django's admin."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from .browser import Browser
from .logins import PASSWORD, admin_login

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
