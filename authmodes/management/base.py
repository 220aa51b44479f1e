"""What our commands share: checked arguments, and a progress bar that can be interrupted."""

import re
import shutil
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

BAR = 40
# Python keeps the bytes of an argument that it cannot decode as lone surrogates, which neither
# a database nor a terminal takes.
UNDECODED = re.compile("[\ud800-\udfff]")
# What a shell reports for a process that ctrl-C ended.
INTERRUPTED = 130


class CheckedCommand(BaseCommand):
    def execute(self, *args: Any, **options: Any) -> str | None:
        for name, value in options.items():
            if isinstance(value, str) and UNDECODED.search(value):
                raise CommandError(f"--{name.replace('_', '-')} is not valid UTF-8.")
        return super().execute(*args, **options)


class ProgressCommand(CheckedCommand):
    """A command that works in batches; nothing of its progress bar is in a log."""

    has_open_line = False

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt:
            self.finish("Interrupted. What was done remains; run the command again to continue.")
            sys.exit(INTERRUPTED)

    def show(self, done: int, total: int) -> None:
        """Show how much is done. `total` may be too small, because logins go on."""
        if not self.stdout.isatty():
            return
        figures = f" {done}/{max(done, total)}"
        # A line that is wrapped would not be overwritten. The last column is left free.
        room = min(BAR, shutil.get_terminal_size().columns - len(figures) - len("[]") - 1)
        filled = room * done // max(done, total, 1)
        bar = f"[{'#' * filled}{'.' * (room - filled)}]" if room > 0 else ""
        self.stdout.write(f"\r{bar}{figures}", ending="")
        self.stdout.flush()
        self.has_open_line = True

    def finish(self, text: str) -> None:
        """Write the last line, below the progress bar."""
        self.stdout.write(f"\n{text}" if self.has_open_line else text)
        self.has_open_line = False
