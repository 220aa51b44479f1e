"""Pages with a button that acts in the user's name are never framed by another site."""

import django
import pytest

from .support.browser import Browser

START = "/auth/social/dummy/start/?mode=session"
MANAGE = "/auth/sessions/manage/"


@pytest.mark.parametrize("path", [START, MANAGE, "/auth/social/dummy/start/?mode=junk"])
@pytest.mark.parametrize("frames", ["DENY", "SAMEORIGIN", None])
def test_a_page_of_ours_refuses_to_be_framed(path, frames, login, settings):
    """Whether the project has Django's middleware or not, and whatever it says to it."""
    if frames is not None:
        settings.X_FRAME_OPTIONS = frames
        middleware = "django.middleware.clickjacking.XFrameOptionsMiddleware"
        settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE]
    answer = login("session", browser=Browser()).browser.get(path)
    assert answer.status_code in (200, 400)
    assert answer["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", [START, MANAGE])
def test_djangos_policy_gains_frame_ancestors_and_keeps_the_projects(path, login, settings):
    if django.VERSION < (6,):
        # Django 5.2 sends no policy.
        assert "Content-Security-Policy" not in login("session", browser=Browser()).browser.get(
            path
        )
        return
    settings.SECURE_CSP = {"default-src": ["'self'"]}
    middleware = "django.middleware.csp.ContentSecurityPolicyMiddleware"
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE]
    policy = login("session", browser=Browser()).browser.get(path)["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'self'" in policy
