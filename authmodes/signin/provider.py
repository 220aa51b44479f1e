"""Signing in with a provider's credential over REST, through allauth's login flow."""

from dataclasses import asdict, replace
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse, SignupClosedException
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from ..exceptions import Conflict, SignupClosed, login_refused
from ..models import LoginSession
from ..sessions import store as session_store
from . import provider_tokens, stages
from .authorization_request import STATE_KEY
from .flow import clear_earlier_login, run
from .provider_tokens import Credential
from .stages import Answers


def sign_in(
    request: HttpRequest, provider: Provider, credential: Credential, mode: str, answers: Answers
) -> LoginSession:
    """Sign a user in by what their client got from a provider; return the new login session.

    Raises what `with_password` does, `BadRequest`, `ProviderUnavailable`, `SignupClosed` or
    `Conflict`. Whatever is raised, the credential may be presented again, unless somebody
    finishes on a page what this call has left at a stage.
    """
    with (
        run(request, mode) as wanted,
        provider_tokens.verified(request, provider, credential) as sociallogin,
    ):
        # For the page of a sign-up or a stage, which may be where a browser goes on.
        receipt = provider_tokens.receipt_of(provider, credential)
        wanted = replace(wanted, receipt=asdict(receipt) if receipt else None)
        sociallogin.state["data"] = {STATE_KEY: wanted.to_state()}
        sociallogin.state["process"] = AuthProcess.LOGIN
        clear_earlier_login(request)
        _complete(request, sociallogin, answers)
        return stages.conclude(request, sociallogin.user, answers)


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
        raise SignupClosed from None
    except ImmediateHttpResponse:
        # A project's own hook, which answers browsers.
        raise login_refused() from None
    except IntegrityError:
        session_store.discard(request)
        raise Conflict from None
