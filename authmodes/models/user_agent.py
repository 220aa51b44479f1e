"""What a user agent says of a client, for display, filters and statistics.

Never decide anything by it: a client may send what it likes.
"""

from functools import lru_cache

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

USER_AGENT_MAX_LENGTH = 512
# How much of a user agent is parsed for a label: there are many rules, and each searches it all.
LABEL_INPUT_LENGTH = 256
HANDHELD_SYSTEMS = {"Android", "iOS", "iPadOS", "Windows Phone"}


def client_label(user_agent: str) -> str:
    """Describe a client for display, such as "Chrome on macOS"."""
    browser, system = _parse(user_agent[:LABEL_INPUT_LENGTH])
    if browser and system:
        return gettext("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    # Command-line clients and apps have no browser family: "my-app/1.2 (…)" is "my-app".
    return browser or system or user_agent.split("/")[0][:40] or gettext("Unknown client")


def is_handheld(user_agent: str) -> bool:
    """Whether the client looks like a phone or tablet."""
    _browser, system = _parse(user_agent[:LABEL_INPUT_LENGTH])
    return system in HANDHELD_SYSTEMS


@lru_cache(maxsize=1024)
def _parse(user_agent: str) -> tuple[str, str]:
    """Return the names of the browser and the operating system, each "" if unknown.

    Parsing takes milliseconds, and the rows of a list have few different user agents.
    """
    # It compiles its rules when it is imported, and only pages and mails need a label.
    import ua_parser

    parsed = ua_parser.parse(user_agent)
    browser = parsed.user_agent.family if parsed.user_agent else ""
    system = parsed.os.family.replace("Mac OS X", "macOS") if parsed.os else ""
    return browser, system


class ClientFamily(models.TextChoices):
    """What kind of client signed in, for filters and statistics."""

    CHROME = "chrome", "Chrome"
    EDGE = "edge", "Edge"
    FIREFOX = "firefox", "Firefox"
    OPERA = "opera", "Opera"
    SAFARI = "safari", "Safari"
    SAMSUNG = "samsung", "Samsung Internet"
    OTHER_BROWSER = "browser", _("Other browser")
    PROGRAM = "program", _("App or script")
    UNKNOWN = "", _("Unknown client")


# Which part of a user agent tells the family; the first that is found counts, because most
# browsers also name those that they are compatible with.
FAMILY_MARKS = (
    ("Edg", ClientFamily.EDGE),
    ("OPR/", ClientFamily.OPERA),
    ("SamsungBrowser/", ClientFamily.SAMSUNG),
    ("Firefox/", ClientFamily.FIREFOX),
    ("FxiOS/", ClientFamily.FIREFOX),
    ("CriOS/", ClientFamily.CHROME),
    ("Chrome/", ClientFamily.CHROME),
    ("Safari/", ClientFamily.SAFARI),
    ("Mozilla/", ClientFamily.OTHER_BROWSER),
)
