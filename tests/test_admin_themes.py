"""Our admin pages under other admin themes, each in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import django
from django.conf import settings
from tests import settings as ours
values = {name: getattr(ours, name) for name in dir(ours) if name.isupper()}
values["INSTALLED_APPS"] = [sys.argv[1], *values["INSTALLED_APPS"]]
values["DATABASES"] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
values["DATABASE_ROUTERS"] = []
# Tables without migrations take a few seconds less.
class NoMigrations(dict):
    def __contains__(self, label): return True
    def __getitem__(self, label): return None
values["MIGRATION_MODULES"] = NoMigrations()
settings.configure(**values)
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from authmodes.models import LoginSession
call_command("migrate", run_syncdb=True, verbosity=0)
settings.ALLOWED_HOSTS = ["*"]
root = get_user_model().objects.create_superuser("root", "root@example.com", "secret")
for _ in range(60):
    Client().force_login(root, "django.contrib.auth.backends.ModelBackend")
browser = Client()
browser.force_login(root, "django.contrib.auth.backends.ModelBackend")
pk = LoginSession.objects.latest("pk").pk
base = "/admin/authmodes/loginsession/"
urls = {
    "index": "/admin/", "list": base, "last": base + "?p=last", "page": f"{base}{pk}/change/",
    "confirmation": base + "revoke/", "overview": base + "overview/",
    "user": f"/admin/auth/user/{root.pk}/change/", "events": "/admin/authmodes/loginevent/",
    "machine": "/admin/authmodes/machineclient/add/",
    "tokens": "/admin/token_blacklist/outstandingtoken/",
}
pages = {}
for name, url in urls.items():
    answer = browser.get(url)
    assert answer.status_code == 200, (url, answer)
    pages[name] = answer.content.decode()
print(json.dumps(pages))
"""


def pages_under(theme: str) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, theme],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# What the theme's own templates have, and Django's have not.
@pytest.mark.parametrize(
    ("theme", "marks"),
    [
        (
            "unfold",
            {
                "list": ("x-resize", "shadow-xs", "unfold/css/styles.css"),
                "page": ("unfold/css/styles.css", "material-symbols-outlined"),
                "machine": ("unfold/css/styles.css", "border-base-200"),
            },
        ),
        (
            "jazzmin",
            {
                "list": ('id="change-list-filters"', "breadcrumb-item active"),
                "page": ("jazzy-sidebar", "jazzmin/css/main.css"),
                "machine": ("jazzy-actions", "card-body"),
            },
        ),
    ],
)
def test_our_pages_keep_the_look_of_the_theme(theme, marks):
    pages = pages_under(theme)
    for name, expected in marks.items():
        for mark in expected:
            assert mark in pages[name], (name, mark)
    assert 'rel="last"' in pages["list"]
    assert 'rel="prev"' in pages["last"]
    assert "Sign out everywhere" in pages["user"]
    assert "authmodes-timeline" in pages["page"]
    assert 'class="authmodes-links"><a href="/admin/authmodes/loginevent/export/' in pages["events"]
    for name in ("list", "page", "confirmation", "overview"):
        assert "authmodes/admin.css" in pages[name]
        assert "Login sessions" in pages[name]
