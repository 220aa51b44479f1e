"""The mail about a login from a client and a network not seen before."""

import pytest
from django.core import mail
from django.test import Client

from authmodes.models import LoginSession
from authmodes.signals import login_session_started

from .support.browser import Browser
from .support.logins import sign_in

pytestmark = pytest.mark.django_db(transaction=True)

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NEWER_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.0 Safari/605.1.15"
)
HOME, NEIGHBOUR, AWAY = "192.0.2.10", "192.0.2.77", "198.51.100.7"


@pytest.fixture(autouse=True)
def _notify(settings):
    settings.AUTHMODES_NOTIFY_NEW_LOGIN = True


@pytest.fixture
def sign_in_from(alice, mode):
    def from_(agent=FIREFOX, address=HOME):
        browser = Browser(HTTP_USER_AGENT=agent, REMOTE_ADDR=address)
        response = sign_in(mode, browser)
        assert response.status_code == 200, response.content
        return response.json()

    return from_


@pytest.fixture
def heard():
    """What `login_session_started` told."""
    told = []

    def listen(**kwargs):
        told.append(kwargs["is_new_client"])

    login_session_started.connect(listen)
    yield told
    login_session_started.disconnect(listen)


def test_the_first_login_ever_is_no_news(sign_in_from):
    sign_in_from()
    assert mail.outbox == []


@pytest.mark.parametrize(
    ("agent", "address", "expected"),
    [
        (FIREFOX, HOME, 0),
        (NEWER_FIREFOX, HOME, 0),
        (FIREFOX, NEIGHBOUR, 0),
        (SAFARI, HOME, 1),
        (FIREFOX, AWAY, 1),
        (FIREFOX, "2001:db8::1", 1),
        (FIREFOX, "::ffff:192.0.2.77", 0),
        (FIREFOX, "::ffff:198.51.100.7", 1),
    ],
)
def test_only_another_client_or_network_is_news(agent, address, expected, sign_in_from):
    sign_in_from()
    sign_in_from(agent, address)
    assert len(mail.outbox) == expected


def test_a_client_is_news_once(sign_in_from):
    sign_in_from()
    for _ in range(3):
        sign_in_from(SAFARI)
    assert len(mail.outbox) == 1


def test_a_client_whose_login_ended_is_known_still(sign_in_from):
    sign_in_from()
    sign_in_from(SAFARI, AWAY)
    LoginSession.objects.update(ended_at="2031-01-01T00:00Z", end_reason="logout")
    sign_in_from(SAFARI, AWAY)
    assert len(mail.outbox) == 1


def test_switched_off_nothing_is_sent(sign_in_from, settings, heard):
    settings.AUTHMODES_NOTIFY_NEW_LOGIN = False
    sign_in_from()
    sign_in_from(SAFARI)
    assert mail.outbox == []
    assert heard == [None, None]


def test_the_mail_says_what_to_know_and_where_to_end_it(sign_in_from):
    sign_in_from()
    sign_in_from(SAFARI, AWAY)
    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    assert "New sign-in to your account" in message.subject
    (alternative,) = message.alternatives
    html, kind = alternative[0], alternative[1]
    assert kind == "text/html"
    for text in (message.body, html):
        assert "Safari on macOS" in text
        assert AWAY in text
        assert "This was not me" in text
        row = LoginSession.objects.latest("pk")
        assert f"http://testserver/auth/sessions/manage/?login={row.sid}" in text
    key = row.session_key
    assert key is None or key not in message.body + html


def test_the_signal_tells_whether_the_client_is_new(sign_in_from, heard):
    sign_in_from()
    sign_in_from()
    sign_in_from(SAFARI)
    assert heard == [False, False, True]


@pytest.mark.parametrize("error", [OSError("away"), RuntimeError("a mail service's own error")])
def test_a_mail_server_that_is_down_prevents_no_login(error, sign_in_from, monkeypatch, caplog):
    sign_in_from()

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("django.core.mail.EmailMultiAlternatives.send", fail)
    answer = sign_in_from(SAFARI)
    assert LoginSession.objects.active().filter(sid=answer["sid"]).exists()
    assert answer["sid"] in caplog.text


def test_a_user_without_an_address_gets_none(alice, sign_in_from):
    alice.email = ""
    alice.save()
    sign_in_from()
    sign_in_from(SAFARI)
    assert mail.outbox == []


def test_a_login_by_code_of_the_project_needs_no_real_request(alice):
    """`force_login()` has a request without a host."""
    for _ in range(2):
        Client(HTTP_USER_AGENT=SAFARI).force_login(alice)
    LoginSession.objects.update(user_agent=FIREFOX)
    Client().force_login(alice)
    assert LoginSession.objects.active().count() == 3


@pytest.mark.parametrize(
    "agent",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "Bcc: eve@example.com\r\nBcc: eve@example.com",
        "x\r\n\r\nhello",
        "%(at)s {{ user.password }} {% debug %}",
    ],
)
def test_what_a_client_calls_itself_is_only_text(agent, sign_in_from):
    sign_in_from()
    sign_in_from(agent)
    (message,) = mail.outbox
    html = message.alternatives[0][0]
    for tag in ("<script", "<img"):
        assert tag not in html
    sent = message.message()
    assert sent["Bcc"] is None
    assert message.recipients() == ["alice@example.com"]
    assert "\n" not in message.subject
    assert "\r" not in message.subject
    assert "correct horse" not in message.body


def test_it_costs_the_same_with_a_long_history(sign_in_from, alice, django_assert_max_num_queries):
    sign_in_from()
    rows = [LoginSession.objects.get()] * 300
    for row in rows:
        row.pk = None
    LoginSession.objects.bulk_create(
        LoginSession(
            user=alice,
            mode="session",
            created_at=row.created_at,
            last_seen_at=row.created_at,
            expires_at=row.expires_at,
            user_agent=FIREFOX,
        )
        for row in rows
    )
    with django_assert_max_num_queries(40):
        sign_in_from(SAFARI)


def test_a_user_of_many_clients_signs_in_as_fast_as_others(alice, sign_in_from, monkeypatch):
    """To name a client takes milliseconds."""
    sign_in_from()
    row = LoginSession.objects.get()
    times = {name: getattr(row, name) for name in ("created_at", "last_seen_at", "expires_at")}
    LoginSession.objects.bulk_create(
        LoginSession(user=alice, mode="jwt", user_agent=f"a{n}", ip_address=HOME, **times)
        for n in range(100)
    )
    named = []
    monkeypatch.setattr(
        "authmodes.registry.notifications.client_label", lambda agent: named.append(agent) or ""
    )
    sign_in_from("a99")
    assert named == []
    sign_in_from(SAFARI)
    assert len(named) == 20
