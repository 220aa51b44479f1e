"""The codes that endpoints share: what a call is refused for, by status."""

# What a token is refused for wherever one counts.
BAD_TOKEN = ("token_not_valid", "login_session_ended", "mode_disabled")
# What a login is refused for, by whichever way.
LIMITED = ("permission_denied", "limit_reached", "login_outdated", "upstream_logout")
STEP_UP = "insufficient_user_authentication"
START_REFUSALS = {
    400: (
        *("invalid_mode", "mode_disabled", "invalid_next", "invalid_state"),
        *("invalid_code_challenge", "code_challenge_required"),
    ),
    404: ("not_found",),
    503: ("provider_unavailable",),
}
PASSWORD_REFUSALS = {
    400: ("invalid", "invalid_mode", "mode_disabled"),
    401: ("no_active_account", "user_inactive", "stage_pending", "invalid_mfa_code"),
    403: LIMITED,
    500: ("token_too_large",),
    503: ("limits_unavailable",),
}
GRANT_REFUSALS = ("invalid_request", "unsupported_grant_type", "invalid_scope")
SOCIAL_REFUSALS = {
    400: (
        *("invalid", "invalid_mode", "mode_disabled", "invalid_redirect_uri"),
        *("audience_unverifiable", "unsupported_credential"),
    ),
    401: (
        *("stage_pending", "invalid_mfa_code", "user_inactive", "login_refused", "invalid_grant"),
        *("invalid_provider_token", "invalid_nonce", "provider_token_replayed", STEP_UP),
    ),
    403: (*LIMITED, "signup_closed"),
    404: ("not_found",),
    409: ("connected_other", "conflict"),
    500: ("token_too_large",),
    503: ("provider_unavailable", "limits_unavailable"),
}
PUSH_REFUSALS = {
    400: ("invalid_request", "invalid_key", "invalid_issuer", "invalid_audience"),
    404: ("not_found",),
    503: ("provider_unavailable",),
}
