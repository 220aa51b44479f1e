"""Cookie-session and token sign-in for Django, with one revocable row for each login."""

__version__ = "1.0.0rc1"
