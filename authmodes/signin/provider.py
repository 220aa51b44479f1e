"""Signing in with a provider's credential over REST, through allauth's login flow."""

from dataclasses import replace
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse, SignupClosedException
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from ..exceptions import Conflict, LoginRefused, SignupClosed
from ..models import LoginSession, write_database
from ..sessions import store as session_store
from . import provider_tokens, stages
from .allauth_internals import social_flows
from .flow import clear_earlier_login, run
from .provider_tokens import Credential
from .stages import Answers


def sign_in(
    request: HttpRequest, provider: Provider, credential: Credential, mode: str, answers: Answers
) -> LoginSession:
    """Sign a user in by a provider's credential; return the new login session.

    Raises what `password.sign_in` does, `BadRequest`, `ProviderUnavailable`, `SignupClosed` or
    `Conflict`. After any of these the credential may be presented again, unless a login that
    stopped at a stage is finished on a page first.
    """
    with (
        run(request, mode) as requested,
        provider_tokens.verified(request, provider, credential) as sociallogin,
    ):
        # A browser may finish a sign-up or a stage on a page.
        id_token = provider_tokens.mark_of(provider, credential)
        sociallogin.state["data"] = replace(requested, id_token=id_token).to_state()
        sociallogin.state["process"] = AuthProcess.LOGIN
        clear_earlier_login(request)
        _complete(request, sociallogin, answers)
        return stages.conclude(request, sociallogin.user, answers)


def _complete(request: HttpRequest, sociallogin: Any, answers: Answers) -> None:
    """Run allauth's flow for a social login, as headless' endpoint for provider tokens does.

    `complete_social_login` would render pages, where this call has to say what happened.
    """
    flows = social_flows()
    try:
        # A new user is created completely or not at all: a parallel call may have created the
        # same account.
        with transaction.atomic(using=write_database()):
            flows.login.complete_login(request, sociallogin, raises=True)
        if flows.signup.get_pending_signup(request) is not None:
            stages.sign_up(request, sociallogin, answers)
    except SignupClosedException:
        raise SignupClosed from None
    except ImmediateHttpResponse:
        # The response of a project's own hook is meant for browsers.
        raise LoginRefused from None
    except IntegrityError:
        session_store.discard(request)
        raise Conflict from None
