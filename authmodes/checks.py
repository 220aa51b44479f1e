"""System checks: one small function per check id."""


def register_all() -> None:
    pass
