"""The tables and how to query them."""

from .handoff_code import HandoffCode
from .login_session import (
    USER_AGENT_MAX_LENGTH,
    EndReason,
    LoginMode,
    LoginSession,
    LoginSessionQuerySet,
    client_label,
)
from .machine_client import MachineClient, MachineClientSecret, split_scopes
from .spent_token import SpentToken

__all__ = [
    "USER_AGENT_MAX_LENGTH",
    "EndReason",
    "HandoffCode",
    "LoginMode",
    "LoginSession",
    "LoginSessionQuerySet",
    "MachineClient",
    "MachineClientSecret",
    "SpentToken",
    "client_label",
    "split_scopes",
]
