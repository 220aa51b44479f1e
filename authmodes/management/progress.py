"""What our commands share: a progress bar on a terminal, and nothing of it in a log."""

from django.core.management.base import BaseCommand

BAR = 40


class ProgressCommand(BaseCommand):
    def show(self, done: int, total: int) -> None:
        """Show how much is done. `total` may be too small, because logins go on."""
        if self.stdout.isatty():
            filled = BAR * min(done, total) // max(total, 1) if total else BAR
            bar = "#" * filled + "." * (BAR - filled)
            self.stdout.write(f"\r[{bar}] {done}/{total}", ending="\n" if done >= total else "")
