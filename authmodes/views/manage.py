"""The user's own page about login sessions: plain HTML on allauth's templates."""

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache

from .. import memory, registry
from ..models import EndReason, LoginSession, LoginSessionQuerySet


@method_decorator([never_cache, login_required], name="dispatch")
class SessionManageView(View):
    """See where one is signed in; end one, or all others. Works without JavaScript."""

    def get(self, request: HttpRequest) -> HttpResponse:
        current = memory.current_sid(request)
        rows: list[Any] = list(_own(request).order_by("-last_seen_at", "-pk"))
        for row in rows:
            row.is_current = str(row.sid) == current
        return render(request, "authmodes/sessions.html", {"login_sessions": rows})

    def post(self, request: HttpRequest) -> HttpResponse:
        if request.POST.get("others"):
            registry.end_others(request.user, spare=memory.current_sid(request))
        else:
            found = _own(request).filter(sid=_sid(request.POST.get("sid", ""))).first()
            if found is None:
                raise Http404
            registry.revoke(found, EndReason.REVOKED_BY_USER, by=request.user)
        messages.success(request, _("Signed out there."))
        return redirect("authmodes:session_manage")


def _own(request: HttpRequest) -> LoginSessionQuerySet:
    return LoginSession.objects.active().for_user(request.user)


def _sid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Http404 from None
