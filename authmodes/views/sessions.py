"""A user's own login sessions: see them, end them."""

from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response

from .. import errors, registry
from ..models import EndReason
from ..serializers import LoginSessionSerializer
from . import own
from .base import LoginSessionView, login_auth


class SessionListView(LoginSessionView):
    """GET the active login sessions of the caller; DELETE all others, `?all=1` all."""

    def get(self, request: Request) -> Response:
        rows = own.active_of(request.user)
        serializer = LoginSessionSerializer(rows, many=True, context={"request": request})
        return Response(serializer.data)

    def delete(self, request: Request) -> Response:
        current = login_auth(request).login_session
        spare = None if _all_are_meant(request) else str(current.sid)
        ended = registry.end_others(current.user, spare=spare)
        return Response({"ended": ended})


class SessionDetailView(LoginSessionView):
    """GET or end one of the caller's own login sessions; anybody else's does not exist."""

    def get(self, request: Request, sid: str) -> Response:
        row = own.one_of(request.user, sid)
        serializer = LoginSessionSerializer(row, context={"request": request})
        return Response(serializer.data)

    def delete(self, request: Request, sid: str) -> Response:
        # The row, because whoever has been put out may hold a token that is judged without it.
        user = login_auth(request).login_session.user
        registry.revoke(own.one_of(user, sid), EndReason.REVOKED_BY_USER, by=user)
        return Response(status=204)


def _all_are_meant(request: Request) -> bool:
    named = request.query_params.get("all", "0")
    if named not in ("0", "1"):
        # Who wrote "true" is not to believe that this login has ended as well.
        raise errors.BadRequest(_("`all` must be 0 or 1."))
    return named == "1"
