"""The system checks, which are registered by importing them; `docs/checks.md` lists them."""

from . import deployment, installation, tokens

__all__ = ["deployment", "installation", "tokens"]
