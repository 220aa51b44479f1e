"""Mails a user about a login by a client or from a network that is new for the user."""

import logging
from itertools import islice
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from .. import logs, request_client
from ..conf import Mode, conf
from ..models import LoginSession, LoginSessionQuerySet, client_label, write_database
from ..models.compiled import CompiledQuery

TEMPLATE_PREFIX = "authmodes/email/new_login"
# How many earlier logins are compared, and how many of their user agents are parsed.
HISTORY = 100
LABELLED = 20


def _newest_first(user: Any, pk: Any) -> LoginSessionQuerySet:
    """The other logins of a user, without those of impersonations."""
    own = LoginSession.objects.filter(user=user, acting_user=None).exclude(pk=pk)
    return own.order_by("-created_at", "-pk")


# Most logins are by the client of the one before.
_latest = CompiledQuery[LoginSession](
    LoginSession,
    lambda user, pk: _newest_first(user, pk).only("user_agent", "ip_address")[:1],
    user="user",
    pk="id",
)


def is_new_client(login_session: LoginSession) -> bool:
    """Whether the user has signed in before, but never with this client from this network."""
    by = {"user": login_session.user_id, "pk": login_session.pk}
    latest = _latest.first(write_database(), **by)
    if latest is None or (latest.user_agent, latest.ip_address) == (
        login_session.user_agent,
        login_session.ip_address,
    ):
        return False
    newest_first = _newest_first(**by)
    seen = dict.fromkeys(newest_first.values_list("user_agent", "ip_address")[:HISTORY])
    here = _network(login_session.ip_address)
    agents = dict.fromkeys(agent for agent, address in seen if _network(address) == here)
    if login_session.user_agent in agents:
        return False
    # An update of the client changes its user agent, but not its label. Parsing is slow.
    label = login_session.client_label
    return all(client_label(agent) != label for agent in islice(agents, LABELLED))


def send(request: HttpRequest, login_session: LoginSession) -> None:
    """Mail the user. A failure is logged and does not affect the sign-in."""
    try:
        _send(request, login_session)
    except Exception as error:
        # Mail backends raise any exception, and the host of the request may be invalid.
        logs.log(logging.ERROR, "mail_not_sent", sid=login_session.sid, error=repr(error))


def _send(request: HttpRequest, login_session: LoginSession) -> None:
    user = login_session.user
    email = EmailAddress.objects.get_primary_email(user) or getattr(user, "email", "")
    if not email:
        return
    # The page accepts cookie logins only.
    try:
        page = reverse("authmodes:session_manage") if conf.MODE.allows(Mode.SESSION) else None
    except NoReverseMatch:
        # Our URLs are included below a namespace of the project's, or not at all.
        page = None
    query = f"?login={login_session.sid}"
    manage_url = request.build_absolute_uri(page) + query if page else None
    context = {"user": user, "login_session": login_session, "manage_url": manage_url}
    get_adapter(request).send_mail(TEMPLATE_PREFIX, email, context)


def _network(ip_address: str | None) -> str:
    return request_client.network_of(ip_address) if ip_address else ""
