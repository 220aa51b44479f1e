"""Views of a project that does things to its sessions."""

from django.contrib.auth import get_user_model, update_session_auth_hash
from django.contrib.auth import login as django_login
from django.contrib.auth import logout as django_logout
from django.http import HttpRequest, JsonResponse

from .sessions import BACKEND


def put(request: HttpRequest, name: str) -> JsonResponse:
    assert request.user.is_authenticated
    request.session[name] = True
    return JsonResponse({})


def cycle(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    request.session.cycle_key()
    return JsonResponse({})


def become(request: HttpRequest, name: str) -> JsonResponse:
    user = get_user_model().objects.get(username=name)
    django_login(request, user, backend=BACKEND)
    return JsonResponse({})


def logout(request: HttpRequest) -> JsonResponse:
    django_logout(request)
    return JsonResponse({})


def change_password(request: HttpRequest) -> JsonResponse:
    user = request.user
    user.set_password("another one")
    user.save()
    update_session_auth_hash(request, user)
    return JsonResponse({})
