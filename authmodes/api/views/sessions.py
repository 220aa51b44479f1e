"""A user's own login sessions: the REST endpoints and the HTML page."""

from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views import View
from django.views.decorators.cache import never_cache
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from ... import registry, request_client
from ...models import NAME_MAX_LENGTH, EndReason, LoginSession, LoginSessionQuerySet
from ...registry import ending, starting
from ...sessions import state as session_state
from ...signin import providers
from .. import answers, fields, inputs
from . import base


def active_of(user: Any) -> LoginSessionQuerySet:
    """Return the user's active login sessions, the one that was seen last first."""
    return LoginSession.objects.active().for_user(user).order_by("-last_seen_at", "-pk")


class LoginSessionPagination(CursorPagination):
    """Pages by the time of the sign-in, which does not change as `last_seen_at` does."""

    ordering = ("-created_at", "-pk")
    page_size = fields.PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = fields.PAGE_SIZE_LIMIT

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (DjangoValidationError, ValueError, OverflowError):
            # DRF does not validate the position in a cursor.
            raise NotFound(self.invalid_cursor_message) from None


class SessionListView(base.LoginSessionView):
    """The caller's active login sessions."""

    @base.describe(
        query=inputs.PageQuerySerializer,
        answers={200: answers.LoginSessionPageSerializer},
        errors=(ValidationError, NotFound),
    )
    def get(self, request: Request) -> Response:
        base.validated(inputs.PageQuerySerializer, request.query_params.dict())
        paginator = LoginSessionPagination()
        rows = paginator.paginate_queryset(active_of(request.user), request, view=self)
        context = {"request": request}
        serializer = answers.LoginSessionSerializer(rows, many=True, context=context)
        return paginator.get_paginated_response(serializer.data)

    @base.describe(
        query=inputs.EndOthersQuerySerializer,
        answers={200: answers.EndedSerializer},
        errors=(ValidationError,),
    )
    def delete(self, request: Request) -> Response:
        """End all other login sessions of the caller; with `?all=1` all."""
        query = base.validated(inputs.EndOthersQuerySerializer, request.query_params.dict())
        current = base.own_login(request)
        spare = None if query.validated_data["all"] == "1" else str(current.sid)
        ended = ending.revoke_others(current.user, spare=spare)
        return Response({"ended": ended})


class SessionDetailView(base.LoginSessionView):
    """One of the caller's active login sessions; another user's does not exist."""

    @base.describe(answers={200: answers.LoginSessionSerializer}, errors=(NotFound,))
    def get(self, request: Request, sid: str) -> Response:
        row = get_object_or_404(active_of(request.user), sid=sid)
        serializer = answers.LoginSessionSerializer(row, context={"request": request})
        return Response(serializer.data)

    @base.describe(
        body=answers.LoginSessionSerializer,
        answers={200: answers.LoginSessionSerializer},
        errors=(NotFound,),
    )
    def patch(self, request: Request, sid: str) -> Response:
        """Set the `name` of one of the caller's active login sessions; "" removes it."""
        row = get_object_or_404(active_of(request.user), sid=sid)
        serializer = answers.LoginSessionSerializer(
            row, data=request.data, context={"request": request}
        )
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response(serializer.data)

    @base.describe(answers={204: None}, errors=(NotFound,))
    def delete(self, request: Request, sid: str) -> Response:
        """End one of the caller's active login sessions."""
        # By the row, because the token of an ended login may have been validated without it.
        user = base.own_login(request).user
        row = get_object_or_404(active_of(user), sid=sid)
        registry.revoke(row, EndReason.REVOKED_BY_USER, by=user)
        return Response(status=204)


@method_decorator([base.never_framed, never_cache, login_required], name="dispatch")
class SessionManageView(View):
    """List the user's login sessions; name or end one, end all others, or all.

    Works without JavaScript. `?login=<sid>`, as in the mail about a new login, asks about that
    one.
    """

    def get(self, request: HttpRequest) -> HttpResponse:
        current = session_state.current_sid(request)
        paginator = Paginator(active_of(request.user), fields.PAGE_SIZE)
        page = paginator.get_page(request.GET.get("page"))
        asked_about = self._find(request, request.GET.get("login", ""))
        names = providers.names(request)
        rows: list[Any] = [*page.object_list, *([asked_about] if asked_about else [])]
        for row in rows:
            row.is_current = str(row.sid) == current
            row.place = request_client.place_of(row.last_ip_address)
            row.provider_name = names.get(row.provider, row.provider)
        context = {"page": page, "asked_about": asked_about}
        return render(request, "authmodes/sessions.html", context)

    def post(self, request: HttpRequest) -> HttpResponse:
        if request.POST.get("all"):
            ending.revoke_others(request.user, spare=None)
        elif request.POST.get("others"):
            ending.revoke_others(request.user, spare=session_state.current_sid(request))
        else:
            row = self._find(request, request.POST.get("sid", ""))
            if row is None:
                raise Http404
            if "name" in request.POST:
                starting.rename(row, request.POST["name"][:NAME_MAX_LENGTH])
                return redirect(request.path)
            registry.revoke(row, EndReason.REVOKED_BY_USER, by=request.user)
        messages.success(request, _("The selected login sessions were ended."))
        return redirect(request.path)

    def _find(self, request: HttpRequest, sid: str) -> LoginSession | None:
        with suppress(DjangoValidationError):
            return active_of(request.user).filter(sid=sid).first()
        return None
