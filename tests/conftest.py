"""People, the login fixture, the clock, and the providers that tests sign in at."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.conf import settings as project
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import router
from django.db.models.signals import post_migrate
from django.test import Client  # noqa: F401
from django.urls import set_urlconf

from authmodes.models import write_database
from authmodes.tokens import snapshot

from .support.authorization_code import CodeFlow
from .support.browser import Browser
from .support.logins import (  # noqa: F401
    API,
    PASSWORD,
    UID,
    Login,
    call_with,
    html_login,
    post_json,
    refresh,
    sign_in,
)
from .support.oidc_provider import OidcProvider, app_of
from .support.oidc_server import serve
from .support.tokens import claims_of  # noqa: F401

# What is imported and not used above, suites outside of this repository import from here.
User = get_user_model()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With a router, give each test that has a database all of them."""
    if not project.DATABASE_ROUTERS:
        return
    for item in items:
        marker = item.get_closest_marker("django_db")
        if marker is not None or "db" in getattr(item, "fixturenames", ()):
            kwargs = {**(marker.kwargs if marker else {}), "databases": "__all__"}
            item.add_marker(pytest.mark.django_db(**kwargs), append=False)


# -- what would take longer than most tests ------------------------------------------------


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Put content types and permissions back as they were after a test with `transaction=True`.

    Django's own receivers ask the database about each app, every time.
    """
    with django_db_blocker.unblock():
        kept = [(model, list(model.objects.all())) for model in (ContentType, Permission)]

    def put_back(using: str, **kwargs: Any) -> None:
        # A test that changes INSTALLED_APPS connects Django's receivers again.
        disconnect()
        ContentType.objects.clear_cache()
        for model, rows in kept:
            if router.allow_migrate_model(using, model):
                model.objects.using(using).all().delete()
                model.objects.using(using).bulk_create(rows)

    def disconnect() -> None:
        post_migrate.disconnect(create_contenttypes)
        post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")

    disconnect()
    post_migrate.connect(
        put_back, sender=apps.get_app_config("auth"), weak=False, dispatch_uid="put_back"
    )


@pytest.fixture(autouse=True)
def _django_set_urlconf(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the resolver of each URLconf; the fixture of pytest-django makes them anew."""
    marker = request.node.get_closest_marker("urls")
    if marker is None:
        yield
        return
    before, project.ROOT_URLCONF = project.ROOT_URLCONF, marker.args[0]
    set_urlconf(None)
    yield
    project.ROOT_URLCONF = before
    set_urlconf(None)


# -- every test ----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    """A snapshot that a test has started would go on asking the database of the next one."""
    yield
    snapshot.snapshot.stop()


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    # allauth counts attempts and used TOTP codes in the cache.
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def alice(db: None) -> Any:
    return User.objects.create_user("alice", "alice@example.com", PASSWORD)


@pytest.fixture
def bob(db: None) -> Any:
    return User.objects.create_user("bob", "bob@example.com", PASSWORD)


@pytest.fixture
def admin_user(db: None) -> Any:
    return User.objects.create_superuser("root", "root@example.com", PASSWORD)


@pytest.fixture(params=["session", "jwt"])
def mode(request: pytest.FixtureRequest) -> str:
    """What a client signs in for; a test that takes it holds in both."""
    return request.param


@pytest.fixture
def login(alice: Any) -> Callable[..., Login]:
    """Sign a user in by REST and give back the login."""

    def make(mode: str, user: Any = None, browser: Browser | None = None) -> Login:
        response = sign_in(mode, browser, username=(user or alice).get_username())
        assert response.status_code == 200, response.content
        assert response.json()["mode"] == mode
        return Login(mode, response.client, response.json())

    return make


@pytest.fixture
def clock() -> Iterator[Any]:
    """A clock that stands still; `clock.shift(delta)` moves it."""
    with time_machine.travel(datetime(2031, 5, 4, 12, 0, tzinfo=UTC), tick=False) as traveller:
        yield traveller


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    """`ATOMIC_REQUESTS = True`; for tests with `transaction=True`."""
    from django.db import connections

    settings_dict = connections.settings[write_database()]
    live = connections[write_database()].settings_dict
    before = settings_dict["ATOMIC_REQUESTS"], live["ATOMIC_REQUESTS"]
    settings_dict["ATOMIC_REQUESTS"] = live["ATOMIC_REQUESTS"] = True
    yield
    settings_dict["ATOMIC_REQUESTS"], live["ATOMIC_REQUESTS"] = before


# -- the dummy provider --------------------------------------------------------------------


@pytest.fixture
def alice_at_dummy(alice: Any) -> Any:
    """alice, who has connected account 4711 of the dummy provider."""
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    return alice


@pytest.fixture
def code_flow(alice_at_dummy: Any) -> CodeFlow:
    return CodeFlow()


# -- a real provider -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def _served_provider() -> Iterator[OidcProvider]:
    with serve(OidcProvider) as served:
        yield served


@pytest.fixture
def provider(
    _served_provider: OidcProvider, settings: Any, monkeypatch: pytest.MonkeyPatch, db: None
) -> Iterator[OidcProvider]:
    """The provider "example" of allauth, on a port of its own, until a test turns something."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    apps = [app_of(_served_provider.url)]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": apps}}
    yield _served_provider
    _served_provider.reset()
