"""Cookie-session and token sign-in for Django, with one revocable row for each login."""

__version__ = "0.1.0"
