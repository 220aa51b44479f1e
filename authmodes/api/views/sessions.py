"""A user's own login sessions: the REST endpoints and the HTML page."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views import View
from django.views.decorators.cache import never_cache
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from ... import registry
from ...models import EndReason, LoginSession, LoginSessionQuerySet
from ...registry import ending
from ...sessions import state as session_state
from .. import serializers
from . import base


def active_of(user: Any) -> LoginSessionQuerySet:
    """The user's active login sessions, the one that was seen last first."""
    return LoginSession.objects.active().for_user(user).order_by("-last_seen_at", "-pk")


class SessionListView(base.LoginSessionView):
    """The caller's active login sessions."""

    @base.describe(answers={200: serializers.LoginSessionSerializer(many=True)})
    def get(self, request: Request) -> Response:
        rows = active_of(request.user)
        serializer = serializers.LoginSessionSerializer(
            rows, many=True, context={"request": request}
        )
        return Response(serializer.data)

    @base.describe(
        query=serializers.EndOthersQuerySerializer,
        answers={200: serializers.EndedSerializer},
        errors=(ValidationError,),
    )
    def delete(self, request: Request) -> Response:
        """End all other login sessions of the caller; with `?all=1` all."""
        query = serializers.EndOthersQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        current = base.login_auth(request).login_session
        spare = None if query.validated_data["all"] == "1" else str(current.sid)
        ended = ending.revoke_others(current.user, spare=spare)
        return Response({"ended": ended})


class SessionDetailView(base.LoginSessionView):
    """One of the caller's active login sessions; another user's does not exist."""

    @base.describe(answers={200: serializers.LoginSessionSerializer}, errors=(NotFound,))
    def get(self, request: Request, sid: str) -> Response:
        row = get_object_or_404(active_of(request.user), sid=sid)
        serializer = serializers.LoginSessionSerializer(row, context={"request": request})
        return Response(serializer.data)

    @base.describe(answers={204: None}, errors=(NotFound,))
    def delete(self, request: Request, sid: str) -> Response:
        """End one of the caller's active login sessions."""
        # By the row, because the token of an ended login may have been validated without it.
        user = base.login_auth(request).login_session.user
        row = get_object_or_404(active_of(user), sid=sid)
        registry.revoke(row, EndReason.REVOKED_BY_USER, by=user)
        return Response(status=204)


@method_decorator([base.never_framed, never_cache, login_required], name="dispatch")
class SessionManageView(View):
    """List the user's login sessions; end one, all others, or all. Works without JavaScript."""

    def get(self, request: HttpRequest) -> HttpResponse:
        current = session_state.current_sid(request)
        rows: list[Any] = list(active_of(request.user))
        for row in rows:
            row.is_current = str(row.sid) == current
        return render(request, "authmodes/sessions.html", {"login_sessions": rows})

    def post(self, request: HttpRequest) -> HttpResponse:
        if request.POST.get("all"):
            ending.revoke_others(request.user, spare=None)
        elif request.POST.get("others"):
            ending.revoke_others(request.user, spare=session_state.current_sid(request))
        else:
            row = get_object_or_404(active_of(request.user), sid=request.POST.get("sid", ""))
            registry.revoke(row, EndReason.REVOKED_BY_USER, by=request.user)
        messages.success(request, _("The selected login sessions were ended."))
        return redirect(request.path)
