"""The user's own page about login sessions: plain HTML on allauth's templates."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache

from .. import memory, registry
from ..models import EndReason
from . import own


@method_decorator([never_cache, login_required], name="dispatch")
class SessionManageView(View):
    """See where one is signed in; end one, all others, or all. Works without JavaScript."""

    def get(self, request: HttpRequest) -> HttpResponse:
        current = memory.current_sid(request)
        rows: list[Any] = list(own.active_of(request.user))
        for row in rows:
            row.is_current = str(row.sid) == current
        return render(request, "authmodes/sessions.html", {"login_sessions": rows})

    def post(self, request: HttpRequest) -> HttpResponse:
        if request.POST.get("all"):
            registry.end_others(request.user, spare=None)
        elif request.POST.get("others"):
            registry.end_others(request.user, spare=memory.current_sid(request))
        else:
            found = own.one_of(request.user, request.POST.get("sid", ""))
            registry.revoke(found, EndReason.REVOKED_BY_USER, by=request.user)
        messages.success(request, _("Signed out there."))
        return redirect("authmodes:session_manage")
