"""Views of a project."""

from datetime import timedelta
from typing import assert_type

from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authmodes import registry
from authmodes.adapter import AuthModesAccountAdapter
from authmodes.authentication import AuthModesAuthentication, LoginAuth, authenticate
from authmodes.models import LoginSession
from authmodes.permissions import HasScope, RecentLogin, recent_login
from authmodes.signals import login_session_ended
from authmodes.tokens import mint


class AccountAdapter(AuthModesAccountAdapter):
    pass


class Hello(APIView):
    authentication_classes = (AuthModesAuthentication,)
    permission_classes = (HasScope.of("read"), RecentLogin.within(timedelta(minutes=5)))

    def get(self, request: Request) -> Response:
        auth = request.auth
        assert isinstance(auth, LoginAuth)
        assert_type(auth.sid, str)
        assert_type(auth.scopes, frozenset[str])
        assert_type(auth.login_session, LoginSession | None)
        return Response({"sid": auth.sid, "mode": auth.mode})


@recent_login(timedelta(minutes=5))
def close_account(request: HttpRequest) -> HttpResponse:
    found = authenticate(request)
    if found is None:
        return HttpResponse(status=401)
    user, auth = found
    assert_type(auth, LoginAuth)
    assert_type(registry.revoke_user(user, by=user), int)
    return HttpResponse()


# The decorator keeps the type of the view.
assert_type(close_account(HttpRequest()), HttpResponse)


def sign_in_by_script(user: object) -> str:
    login_session = registry.start(None, user, "jwt")
    assert_type(login_session, LoginSession)
    assert_type(mint(login_session).access, str)
    for active in LoginSession.objects.active():
        assert_type(active, LoginSession)
        assert_type(registry.revoke(active), bool)
    return mint(login_session).refresh


@receiver(login_session_ended)
def on_end(sender: type[LoginSession], login_session: LoginSession, **kwargs: object) -> None:
    login_session.user.get_username()
