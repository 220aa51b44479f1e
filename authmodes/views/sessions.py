"""A user's own login sessions: see them, end them."""

import uuid
from typing import Any

from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response

from .. import errors, registry
from ..models import EndReason, LoginSession, LoginSessionQuerySet
from ..serializers import LoginSessionSerializer
from .base import LoginSessionView, login_auth


class SessionListView(LoginSessionView):
    """GET the active login sessions of the caller; DELETE all others, `?all=1` all."""

    def get(self, request: Request) -> Response:
        own = _own(request).order_by("-last_seen_at", "-pk")
        serializer = LoginSessionSerializer(own, many=True, context={"request": request})
        return Response(serializer.data)

    def delete(self, request: Request) -> Response:
        spare = None if _all_are_meant(request) else login_auth(request).sid
        ended = registry.end_others(request.user, spare=spare)
        return Response({"ended": ended})


class SessionDetailView(LoginSessionView):
    """GET or end one of the caller's own login sessions; anybody else's does not exist."""

    def get(self, request: Request, sid: str) -> Response:
        serializer = LoginSessionSerializer(_get(request, sid), context={"request": request})
        return Response(serializer.data)

    def delete(self, request: Request, sid: str) -> Response:
        registry.revoke(_get(request, sid), EndReason.REVOKED_BY_USER, by=request.user)
        return Response(status=204)


def _all_are_meant(request: Request) -> bool:
    named = request.query_params.get("all", "0")
    if named not in ("0", "1"):
        # Who wrote "true" is not to believe that this login has ended as well.
        raise errors.BadRequest(_("`all` must be 0 or 1."))
    return named == "1"


def _own(request: Request) -> LoginSessionQuerySet:
    return LoginSession.objects.active().for_user(request.user)


def _get(request: Request, sid: Any) -> LoginSession:
    try:
        wanted = uuid.UUID(sid)
    except ValueError:
        raise Http404 from None
    found = _own(request).filter(sid=wanted).first()
    if found is None:
        raise Http404
    return found
