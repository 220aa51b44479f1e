"""What several test files share: clients, ways to sign in, providers, processes."""

import pytest

# Their assertions tell as much as those of a test.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in ("browser", "demo", "authorization_code", "logins", "sessions")
    )
)
