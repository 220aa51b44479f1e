"""`manage.py login_session_stats`: the command line of `registry.statistics`."""

import json
from typing import Any

from ...registry.statistics import count_login_sessions
from ..base import CheckedCommand


class Command(CheckedCommand):
    help = "Count login sessions by status, mode, provider and end reason; prints JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(count_login_sessions(), indent=2))
