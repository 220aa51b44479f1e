"""Schemathesis calls every endpoint as the document allows, and as it does not."""

import pytest
import schemathesis
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.django_db

schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))
schema.app = WSGIHandler()
# No text of ours may have one, which a JSON schema can only say with a pattern that hides the
# others; `test_bad_input` sends them.
schema.config.generation.update(allow_x00=False)


@schemathesis.serializer("application/secevent+jwt")
def bare_token(ctx, value):
    return str(value).encode("utf-8", "surrogatepass")


with_examples = settings(
    max_examples=10,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


REQUEST_SIGNALS = (signals.request_started, signals.request_finished)


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    for signal in REQUEST_SIGNALS:
        signal.connect(close_old_connections)


def call(case, **extra):
    """Stay in the test's transaction, as Django's test client does for its own calls."""
    for signal in REQUEST_SIGNALS:
        signal.disconnect(close_old_connections)
    # Which URLs may be led back to is the site's to know, and what a token request needs depends
    # on its grant, so no document can tell.
    untold = case.operation.path in ("/auth/logout/", "/auth/authorize/", "/auth/token/")
    excluded = [positive_data_acceptance] if untold else []
    case.call_and_validate(excluded_checks=excluded, **extra)


@schema.parametrize()
@with_examples
def test_whatever_a_stranger_sends_is_answered_as_documented(case):
    call(case)


@schema.include(path_regex="sessions|user|introspect|logout/$|social/{provider}/$").parametrize()
@with_examples
def test_whatever_a_signed_in_user_sends_is_answered_as_documented(case, login, admin_user):
    # Several of them end the login.
    call(case, headers={"Authorization": f"Bearer {login('jwt', admin_user).access}"})
