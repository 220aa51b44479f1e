"""The tables, one file for each, and how to query them."""

from .authentication_context import AuthenticationContext
from .authorization_code import AuthorizationCode
from .databases import to_unavailable, unavailable_as_503, write_database
from .expiring_mark import ExpiringMark
from .labels import MODES, ago, method_label
from .login_event import EventKind, LoginEvent
from .login_session import NAME_MAX_LENGTH, EndReason, LoginSession, LoginSessionQuerySet, Overview
from .machine_client import MachineClient, MachineClientSecret, split_scopes
from .user_agent import USER_AGENT_MAX_LENGTH, ClientFamily, client_label
from .users import find_by_backend, is_accepted

__all__ = [
    "MODES",
    "NAME_MAX_LENGTH",
    "USER_AGENT_MAX_LENGTH",
    "AuthenticationContext",
    "AuthorizationCode",
    "ClientFamily",
    "EndReason",
    "EventKind",
    "ExpiringMark",
    "LoginEvent",
    "LoginSession",
    "LoginSessionQuerySet",
    "MachineClient",
    "MachineClientSecret",
    "Overview",
    "ago",
    "client_label",
    "find_by_backend",
    "is_accepted",
    "method_label",
    "split_scopes",
    "to_unavailable",
    "unavailable_as_503",
    "write_database",
]
