"""Metrics for Prometheus, and the view that says up or down."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends import cache as cache_sessions
from django.core.cache import cache
from django.db import OperationalError, connections
from django.test import Client
from django.urls import path
from prometheus_client import REGISTRY

from authmodes import registry, signals
from authmodes.contrib import prometheus
from authmodes.contrib.health import health
from authmodes.models import LoginSession, write_database
from authmodes.tokens import snapshot

from .support.browser import Browser
from .support.logins import html_login, post_json, refresh
from .support.staff import make_staff, sign_in_to_admin
from .urls import urlpatterns as project_urlpatterns

HEALTH = "/health/"
ROOT = Path(__file__).parent.parent


# -- metrics -------------------------------------------------------------------------------


@pytest.fixture
def counted() -> Any:
    """How much a metric has grown since the test began."""
    prometheus.register()
    prometheus.register()
    before: dict[Any, float] = {}

    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"authmodes_{name}", labels) or 0

    for metric in REGISTRY.collect():
        for sample in metric.samples:
            before[sample.name, *sorted(sample.labels.items())] = sample.value

    def growth(name: str, **labels: str) -> float:
        known = before.get((f"authmodes_{name}", *sorted(labels.items())), 0)
        return value(name, **labels) - known

    yield growth
    for signal in (
        *(signals.login_session_started, signals.login_session_ended),
        *(signals.login_refused, signals.refresh_token_reused),
    ):
        assert signal.disconnect(dispatch_uid="authmodes.contrib.prometheus")
        assert not signal.disconnect(dispatch_uid="authmodes.contrib.prometheus")


@pytest.mark.django_db(transaction=True)
def test_logins_refusals_reuse_and_ends_are_counted(counted, alice, login):
    html_login(Browser(), "alice", "wrong")
    html_login(Browser(), "alice")
    used = login("jwt")
    first = used.refresh_token
    used.refresh()
    used.refresh()
    assert refresh(first).status_code == 401
    assert counted("logins_total", mode="session", provider="") == 1
    assert counted("logins_total", mode="jwt", provider="") == 1
    assert counted("refused_total", code="no_active_account") == 1
    assert counted("reuse_total") == 1
    assert counted("ended_total", reason="reuse") == 1
    registry.revoke_all(LoginSession.objects.all())
    assert counted("ended_total", reason="revoked") == 1


def test_what_has_not_happened_yet_is_0(counted):
    """Otherwise the first of a kind is no increase."""
    for name, labels in (("ended", {"reason": "limit"}), ("refused", {"code": "user_inactive"})):
        assert REGISTRY.get_sample_value(f"authmodes_{name}_total", labels) is not None


def test_the_age_of_the_snapshot_is_a_metric(counted, login, settings, clock):
    assert str(REGISTRY.get_sample_value("authmodes_snapshot_age_seconds")) == "nan"
    snapshot.snapshot._try_poll()
    clock.shift(timedelta(seconds=5))
    assert REGISTRY.get_sample_value("authmodes_snapshot_age_seconds") == 5


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_the_guide_shows_the_metrics_of_one_process_and_of_several(mode, tmp_path):
    """In the client's multiprocess mode, an age of 0 would look like a fresh snapshot."""
    guide = (ROOT / "docs" / "events.md").read_text()
    app, view = re.findall("```python\n(.*?)```", guide[guide.index("## Metrics") :], re.S)[:2]
    project = tmp_path / "project"
    project.mkdir()
    (project / "__init__.py").touch()
    (project / "apps.py").write_text(app)
    (project / "views.py").write_text(view)
    (project / "settings.py").write_text(
        'from tests.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, "project"]\n'
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    environment["DJANGO_SETTINGS_MODULE"] = "project.settings"
    if mode == "multi":
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    code = (
        "import django; django.setup(); from project.views import metrics;"
        "from authmodes.contrib.prometheus import REUSE; REUSE.inc();"
        "print(metrics(None).content.decode())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert "\nauthmodes_reuse_total 1.0\n" in shown
    assert ("authmodes_snapshot_age_seconds" in shown) == (mode == "single")


# -- health --------------------------------------------------------------------------------


class Routes:
    urlpatterns = (path("health/", health), *project_urlpatterns)


@pytest.fixture(autouse=True)
def _route(settings):
    settings.ROOT_URLCONF = Routes()


def away(*args: Any, **kwargs: Any) -> Any:
    raise OperationalError("could not connect to 10.0.0.5")


def test_up_says_no_more(db):
    response = Client().get(HEALTH)
    assert (response.status_code, response.json()) == (200, {"status": "up"})
    assert "no-store" in response["Cache-Control"]
    assert post_json(HEALTH, {}).status_code == 405


def test_without_the_database_it_is_down(db):
    with connections[write_database()].execute_wrapper(away):
        response = Client().get(HEALTH)
    assert (response.status_code, response.json()) == (503, {"status": "down"})


@pytest.mark.django_db(transaction=True)
def test_it_opens_no_transaction_that_could_fail_before_it(atomic_requests, monkeypatch):
    seen = []

    def look():
        seen.append(connections[write_database()].in_atomic_block)

    monkeypatch.setattr(LoginSession.objects, "exists", look)
    assert Client().get(HEALTH).status_code == 200
    assert seen == [False]


def test_without_the_store_of_the_sessions_it_is_down(db, settings, monkeypatch, caplog):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    assert Client().get(HEALTH).status_code == 200
    monkeypatch.setattr(cache_sessions.SessionStore, "exists", away)
    response = Client().get(HEALTH)
    assert (response.status_code, response.json()) == (503, {"status": "down"})
    logged = [record.message for record in caplog.records if record.name == "authmodes"]
    assert logged == ["health_check_failed session_store=OperationalError"]


def test_staff_see_what_fails(db, monkeypatch, alice):
    staff, user = sign_in_to_admin(make_staff("operator")), Browser()
    html_login(user, "alice")
    up = {"database": "up", "session_store": "up"}
    assert staff.get(HEALTH).json() == {"status": "up", "checks": up, "snapshot_age": None}
    monkeypatch.setattr(LoginSession.objects, "exists", away)
    response = staff.get(HEALTH)
    assert response.status_code == 503
    assert response.json()["checks"] == {**up, "database": "OperationalError"}
    assert "10.0.0.5" not in response.content.decode()
    assert user.get(HEALTH).json() == {"status": "down"}


def test_it_leaves_nothing_behind(db):
    client = Client()
    client.get(HEALTH)
    assert not client.cookies
    assert cache.get("authmodeshealthprobe") is None
