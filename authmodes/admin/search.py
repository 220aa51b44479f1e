"""What a search in our lists finds; every condition can use an index of its own table."""

import ipaddress
import re
import uuid
from typing import Any

from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import OuterRef, Q, Subquery
from django.db.models.lookups import IsNull

from ..models import write_database
from ..request_client import parse_ip

# An IPv4 or IPv6 address, or its beginning.
ADDRESS = re.compile(r"[0-9]{1,3}\.[0-9.]*|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]*")
# Rows of so few users, or of addresses that begin alike, are found by an index.
FEW = 2000
# Up to this number of users, their e-mail addresses are searched without an index.
SMALL_TABLE = 10_000


class Scan(Q):
    """A condition of so many rows that an index would find too many of them at once."""


def by_user(word: str, path: str = "user") -> Q:
    """Rows whose user has this name or e-mail address, or one that begins so.

    Case matters as in the database; the lower case is tried as well, in which allauth stores
    both. An e-mail address is looked for where an index leads to it, or where users are few.
    """
    users: Any = get_user_model()
    beginnings = {word, word.lower()}
    names = [users.USERNAME_FIELD]
    email = users.get_email_field_name()
    if email not in names and _is_searchable(users, email):
        names.append(email)
    owners = users._base_manager.filter(_begins(names, beginnings))
    keys = set(owners.values_list("pk", flat=True)[: FEW + 1])
    mails = EmailAddress.objects.none()
    if apps.is_installed("allauth.account"):
        mails = EmailAddress.objects.filter(_begins(["email"], beginnings))
        keys.update(mails.values_list("user", flat=True)[: FEW + 1])
    if len(keys) <= FEW:
        return Q(**{f"{path}__in": keys})
    # For each row that is looked at; `EXISTS` and `IN` would read all these users at first. Of
    # "not null", PostgreSQL expects to be often true, so it stops when the page is full.
    owner = owners.filter(pk=OuterRef(path)).values("pk")[:1]
    addressee = mails.filter(user=OuterRef(path)).values("user")[:1]
    found = (IsNull(Subquery(each), False) for each in (owner, addressee))
    return Scan(*found, _connector=Q.OR)


def by_address(word: str, rows: Any) -> Q | None:
    """Those of the rows with this address or its beginning; None if the word is neither."""
    if not ADDRESS.fullmatch(word):
        return None
    try:
        exact = str(parse_ip(word))
    except ValueError:
        exact = ""
    if exact and not word.endswith("::"):
        return Q(ip_address=exact)
    separator = ":" if ":" in word else "."
    groups = [each for each in word.lower().split(separator) if each]
    network = None if word.startswith(":") else _network(separator, groups)
    if network is None:
        return Q(ip_address=exact) if exact else Q(pk__in=[])
    if connections[write_database()].vendor == "postgresql":
        within = Scan(ip_address__range=(str(network[0]), str(network[-1])))
    else:
        # Other databases store the text.
        within = Scan(ip_address__startswith=separator.join([*groups, ""]))
    keys = list(rows.filter(within).order_by().values_list("pk", flat=True)[: FEW + 1])
    return Q(pk__in=keys) if len(keys) <= FEW else within


def by_sid(word: str) -> Q | None:
    """The row with this `sid`, which is in log records; None if the word is none."""
    try:
        return Q(sid=uuid.UUID(word))
    except ValueError:
        return None


def _network(separator: str, groups: list[str]) -> Any:
    """Return the addresses that begin with these groups, or None."""
    filler, bits = ("::", 16) if separator == ":" else (".0" * (4 - len(groups)), 8)
    try:
        return ipaddress.ip_network(f"{separator.join(groups)}{filler}/{len(groups) * bits}")
    except ValueError:
        return None


def _begins(names: list[str], beginnings: set[str]) -> Q:
    terms = [(f"{name}__startswith", text) for name in names for text in sorted(beginnings)]
    return Q(*terms, _connector=Q.OR)


def _is_searchable(users: Any, name: str) -> bool:
    if name not in {field.name for field in users._meta.get_fields()}:
        return False
    field = users._meta.get_field(name)
    leading = [index.fields[:1] for index in users._meta.indexes]
    leading += [list(each.fields[:1]) for each in users._meta.total_unique_constraints]
    if field.unique or field.db_index or [name] in leading:
        return True
    return not users._base_manager.order_by("pk")[SMALL_TABLE : SMALL_TABLE + 1].exists()
