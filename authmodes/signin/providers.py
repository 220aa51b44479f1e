"""Finds the site's own providers by name, so that a caller's text never reaches a query."""

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import Provider
from django.apps import apps
from django.http import Http404, HttpRequest


def all_of(request: HttpRequest) -> list[Provider]:
    """Return the providers of this site; none where allauth.socialaccount is not installed."""
    if not apps.is_installed("allauth.socialaccount"):
        return []
    return get_adapter(request).list_providers(request)


def named(request: HttpRequest, name: str) -> list[Provider]:
    """Return the providers of this name; several apps, such as one for phones, share it."""
    return [provider for provider in all_of(request) if provider.sub_id == name]


def names(request: HttpRequest) -> dict[str, str]:
    """Return what the site calls its providers, by the id that login sessions have."""
    return {provider.sub_id: provider.name for provider in all_of(request)}


def find(request: HttpRequest, name: str, client_id: str = "") -> Provider:
    """Return the provider whose app has `client_id`, or the first of the name that is not hidden.

    Raises `Http404`.
    """
    for provider in named(request, name):
        if client_id and provider.app is not None and provider.app.client_id == client_id:
            return provider
        if not client_id and not is_hidden(provider):
            return provider
    raise Http404


def find_with_redirect(request: HttpRequest, name: str) -> Provider:
    """Return the provider of this name that a browser can be redirected to. Raises `Http404`."""
    for provider in sorted(named(request, name), key=is_hidden):
        if provider.supports_redirect:
            return provider
    raise Http404


def is_hidden(provider: Provider) -> bool:
    """Whether allauth marks the provider's app as an additional one, such as one for phones."""
    return provider.app is not None and bool(provider.app.settings.get("hidden"))
