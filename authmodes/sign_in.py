"""Signing in over REST, through allauth's own login flow and all of its stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.forms import LoginForm
from allauth.account.internal.stagekit import clear_login
from allauth.core.exceptions import ImmediateHttpResponse, SignupClosedException
from allauth.socialaccount.providers.base import AuthProcess, Provider
from allauth.utils import get_form_class
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage import default_storage
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from . import attempts, errors, intent, provider_tokens, stages, stores
from .intent import STATE_KEY, Intent
from .models import LoginMode, LoginSession
from .provider_tokens import Credential
from .stages import Answers


def with_password(
    request: HttpRequest, login: str, password: str, mode: str, mfa_code: str = ""
) -> LoginSession:
    """Sign a user in by name or e-mail address; return the new login session.

    Raises `AuthenticationFailed` (wrong password, inactive user), `StagePending` (a stage of
    allauth's is still to be done; nothing was minted) or `Throttled` (allauth's limits).
    """
    with _flow(request, mode):
        form = _valid_form(request, login, password)
        _forget_earlier_login(request)
        form.login(request)
        return stages.conclude(request, form.user, Answers(mfa_code))


def with_provider(
    request: HttpRequest, provider: Provider, credential: Credential, mode: str, answers: Answers
) -> LoginSession:
    """Sign a user in by what their client got from a provider; return the new login session.

    Raises what `with_password` does, `BadRequest`, `ProviderUnavailable`, `SignupClosed` or
    `Conflict`. Whatever is raised, the credential may be presented again, unless somebody
    finishes on a page what this call has left at a stage.
    """
    with (
        _flow(request, mode) as wanted,
        provider_tokens.verified(request, provider, credential) as sociallogin,
    ):
        # For the page of a sign-up or a stage, which may be where a browser goes on.
        receipt = provider_tokens.receipt_of(provider, credential)
        wanted = replace(wanted, receipt=asdict(receipt) if receipt else None)
        sociallogin.state["data"] = {STATE_KEY: wanted.to_state()}
        sociallogin.state["process"] = AuthProcess.LOGIN
        _forget_earlier_login(request)
        _complete(request, sociallogin, answers)
        return stages.conclude(request, sociallogin.user, answers)


@contextmanager
def _flow(request: HttpRequest, mode: str) -> Iterator[Intent]:
    """Declare what the login shall become, within allauth's limit of attempts."""
    wanted = Intent(mode)
    intent.declare(request, wanted)
    attempts.count(request)
    if mode == LoginMode.SESSION:
        yield wanted
    else:
        with _detached_session(request):
            yield wanted


def _forget_earlier_login(request: HttpRequest) -> None:
    """Leave nothing of an older login in this browser, done or pending, to mix up with."""
    if request.user.is_authenticated:
        get_adapter(request).logout(request)
    clear_login(request)


def _complete(request: HttpRequest, sociallogin: Any, answers: Answers) -> None:
    """Run allauth's flow for a social login, as its own endpoint for tokens does.

    `complete_social_login` would render pages where this has to tell what happened.
    """
    # Not above: a project may do without allauth.socialaccount.
    from allauth.socialaccount.internal import flows

    try:
        # All of a new user or nothing: two calls at once may bring the same account.
        with transaction.atomic():
            flows.login.complete_login(request, sociallogin, raises=True)
        if flows.signup.get_pending_signup(request) is not None:
            stages.sign_up(request, sociallogin, answers)
    except SignupClosedException:
        raise errors.SignupClosed from None
    except ImmediateHttpResponse:
        # A project's own hook, which answers browsers.
        raise errors.login_refused() from None
    except IntegrityError:
        stores.discard(request)
        raise errors.Conflict from None


def _valid_form(request: HttpRequest, login: str, password: str) -> Any:
    form_class = get_form_class(app_settings.FORMS, "login", LoginForm)
    # Without "remember" allauth ends the cookie with the browser, whatever Django's setting.
    remember = not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
    data = {"login": login, "password": password, "remember": remember}
    form = form_class(data, request=request)
    if form.is_valid():
        return form
    codes = {error.code for errors_ in form.errors.as_data().values() for error in errors_}
    if "too_many_login_attempts" in codes:
        raise attempts.throttled("login_failed")
    raise errors.no_active_account()


@contextmanager
def _detached_session(request: HttpRequest) -> Iterator[None]:
    """Let allauth work in a session that is thrown away afterwards.

    A login for tokens neither sees nor changes the cookie login that the same browser may
    hold, and its answer sets no session cookie, nor one of messages for a page.
    """
    session, user = request.session, request.user
    request.session, request.user = stores.engine()(), AnonymousUser()
    messages = getattr(request, "_messages", None)
    if messages is not None:
        request._messages = default_storage(request)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if request.session.session_key:
            request.session.flush()
        request.session, request.user = session, user
        if messages is not None:
            request._messages = messages  # type: ignore[attr-defined]
