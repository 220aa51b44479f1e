"""The users of the demo: names, passwords, and their ids at the identity provider."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """One demo user; `subject` is None for those the identity provider does not know."""

    username: str
    first_name: str
    last_name: str
    subject: int | None = None
    is_admin: bool = False

    @property
    def password(self) -> str:
        """The password, printed at the start of the demo: it protects nothing."""
        return f"{self.username}-demo"

    @property
    def email(self) -> str:
        """An address that can never receive mail (RFC 2606)."""
        return f"{self.username}@example.org"


# The provider's ids are not the site's: an identity is issuer and subject, never an e-mail
# address and never a number that happens to be the same on both sides.
ALICE = Person("alice", "Alice", "Ahlberg", subject=1001)
BOB = Person("bob", "Bob", "Brandt", subject=1002)
ADMIN = Person("admin", "Ada", "Admin", is_admin=True)

SITE_PEOPLE = (ALICE, BOB, ADMIN)
IDP_PEOPLE = (ALICE, BOB)
