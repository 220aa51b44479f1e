"""What each endpoint of the REST door takes and answers: one entry for each view and verb."""

from ..serializers import (
    LoginSerializer,
    SocialTokenSerializer,
    TokenBlacklistSerializer,
    TokenExchangeSerializer,
    TokenHintSerializer,
    TokenRefreshSerializer,
    TokenVerifySerializer,
)
from ..views import login, sessions, social, tokens, upstream
from . import shapes
from .codes import (
    BAD_TOKEN,
    GRANT_REFUSALS,
    LIMITED,
    PASSWORD_REFUSALS,
    PUSH_REFUSALS,
    SOCIAL_REFUSALS,
    START_REFUSALS,
    STEP_UP,
)
from .operations import HTML, Operation, query

SIGN_IN, TOKENS, LOGIN_SESSIONS = "Sign-in", "Tokens", "Login sessions"
UPSTREAM = "Providers"
MODE = query("mode", "What the login becomes.", shapes.choice("session", "jwt"))
START = (
    MODE,
    query("next", "Where the browser goes afterwards; listed, where it carries a code."),
    query("code_challenge", "S256 of the client's verifier (RFC 7636)."),
    query("code_challenge_method", "", shapes.choice("S256")),
    query("state", "Comes back as it is, beside the code."),
)


OPERATIONS: dict[type, dict[str, Operation]] = {
    login.IndexView: {
        "GET": Operation(
            id="authmodes_index",
            tag=SIGN_IN,
            summary="What a client needs to know to sign somebody in",
            answers={200: "Index"},
        )
    },
    login.CsrfView: {
        "GET": Operation(
            id="authmodes_csrf",
            tag=SIGN_IN,
            summary="The CSRF token, and its cookie",
            answers={200: "Csrf"},
        )
    },
    login.LoginView: {
        "POST": Operation(
            id="authmodes_login",
            tag=SIGN_IN,
            summary="Sign in with a password, in either mode",
            body=LoginSerializer,
            query=(MODE,),
            answers={200: "LoginAnswer"},
            refusals=PASSWORD_REFUSALS,
        )
    },
    login.LogoutView: {
        "POST": Operation(
            id="authmodes_logout",
            tag=SIGN_IN,
            summary="End the login session of this call, whatever its mode",
            body="Logout",
            body_is_optional=True,
            answers={200: "LeaveProvider", 204: None},
            refusals={
                400: ("invalid_post_logout_redirect_uri", "invalid_state"),
                401: BAD_TOKEN,
                403: ("permission_denied",),
            },
            may_be_signed_in=True,
        )
    },
    login.UserView: {
        "GET": Operation(
            id="authmodes_user",
            tag=SIGN_IN,
            summary="Who is signed in, and by which login session",
            answers={200: "WhoAmI"},
        )
    },
    social.SocialView: {
        "GET": Operation(
            id="authmodes_social",
            tag=SIGN_IN,
            summary="The providers of this site",
            answers={200: "Providers"},
        )
    },
    social.SocialStartView: {
        "GET": Operation(
            id="authmodes_social_start_page",
            tag=SIGN_IN,
            summary="A page with a button that sends the browser to a provider",
            query=START,
            answers={200: HTML, 302: None},
            refusals=START_REFUSALS,
            is_page=True,
        ),
        "POST": Operation(
            id="authmodes_social_start",
            tag=SIGN_IN,
            summary="Send the browser to a provider",
            query=START,
            answers={302: None},
            refusals={**START_REFUSALS, 403: ("permission_denied",)},
            is_page=True,
        ),
    },
    social.SocialTokenView: {
        "POST": Operation(
            id="authmodes_social_token",
            tag=SIGN_IN,
            summary="Sign in by what a client got from a provider, or connect that account",
            body=SocialTokenSerializer,
            query=(MODE,),
            answers={200: "SocialAnswer"},
            refusals=SOCIAL_REFUSALS,
            shapes={401: "SignInRefused"},
            may_be_signed_in=True,
        ),
        "DELETE": Operation(
            id="authmodes_social_disconnect",
            tag=SIGN_IN,
            summary="Disconnect an account of a provider",
            query=(query("uid", "Which one, where there are several."),),
            answers={204: None},
            refusals={
                400: ("uid_required", "no_password", "no_verified_email", "disconnect_last"),
                401: (STEP_UP,),
                404: ("not_found",),
            },
        ),
    },
    upstream.UpstreamLogoutView: {
        "POST": Operation(
            id="authmodes_upstream_logout",
            tag=UPSTREAM,
            summary="OpenID Connect Back-Channel Logout: a provider ends logins",
            body="LogoutToken",
            answers={200: None},
            refusals=PUSH_REFUSALS,
            shapes=dict.fromkeys([400, 404, 415, 429, 503], "PushError"),
        )
    },
    upstream.UpstreamEventsView: {
        "POST": Operation(
            id="authmodes_upstream_events",
            tag=UPSTREAM,
            summary="RFC 8935: a provider tells of security events",
            body="SecurityEvent",
            answers={202: None},
            refusals=PUSH_REFUSALS,
            shapes=dict.fromkeys([400, 404, 415, 429, 503], "PushError"),
        )
    },
    tokens.TokenObtainPairView: {
        "POST": Operation(
            id="authmodes_token_obtain_pair",
            tag=TOKENS,
            summary="Sign in with a password, as simplejwt has it; or a machine client (RFC 6749)",
            body="TokenRequest",
            answers={200: "TokenAnswer"},
            refusals={
                **PASSWORD_REFUSALS,
                400: (*PASSWORD_REFUSALS[400], *GRANT_REFUSALS),
                401: (*PASSWORD_REFUSALS[401], "invalid_client"),
            },
            shapes={400: "TokenRefused", 401: "TokenSignInRefused"},
        )
    },
    tokens.TokenRefreshView: {
        "POST": Operation(
            id="authmodes_token_refresh",
            tag=TOKENS,
            summary="Swap a refresh token for a new pair; each is good for one time",
            body=TokenRefreshSerializer,
            body_may_be_cookie=True,
            answers={200: "Tokens"},
            refusals={
                400: ("invalid",),
                401: (*BAD_TOKEN, "token_expired", "token_reused"),
                403: LIMITED,
                500: ("token_too_large",),
            },
        )
    },
    tokens.TokenVerifyView: {
        "POST": Operation(
            id="authmodes_token_verify",
            tag=TOKENS,
            summary="Whether a token of either kind would be accepted now",
            body=TokenVerifySerializer,
            answers={200: "Nothing"},
            refusals={400: ("invalid",), 401: ("token_not_valid",)},
        )
    },
    tokens.TokenBlacklistView: {
        "POST": Operation(
            id="authmodes_token_blacklist",
            tag=TOKENS,
            summary="End the login session of a refresh token",
            body=TokenBlacklistSerializer,
            answers={200: "Nothing"},
            refusals={400: ("invalid",), 401: ("token_not_valid",)},
        )
    },
    tokens.TokenExchangeView: {
        "POST": Operation(
            id="authmodes_token_exchange",
            tag=TOKENS,
            summary="Turn the one-time code of a browser login into tokens",
            body=TokenExchangeSerializer,
            answers={200: "Tokens"},
            refusals={
                400: ("invalid", "mode_disabled"),
                401: ("invalid_grant",),
                403: LIMITED,
                500: ("token_too_large",),
            },
        )
    },
    tokens.TokenRevokeView: {
        "POST": Operation(
            id="authmodes_token_revoke",
            tag=TOKENS,
            summary="RFC 7009: end the login session of a token of either kind",
            body=TokenHintSerializer,
            answers={200: None},
            refusals={400: ("invalid",)},
        )
    },
    tokens.TokenIntrospectView: {
        "POST": Operation(
            id="authmodes_token_introspect",
            tag=TOKENS,
            summary="RFC 7662: what a token says and whether it counts",
            body=TokenHintSerializer,
            answers={200: "Introspection"},
            refusals={400: ("invalid",), 403: ("permission_denied",)},
        )
    },
    tokens.JwksView: {
        "GET": Operation(
            id="authmodes_jwks",
            tag=TOKENS,
            summary="RFC 7517: the public keys that access tokens can be verified with",
            answers={200: "Jwks"},
        )
    },
    sessions.SessionListView: {
        "GET": Operation(
            id="authmodes_session_list",
            tag=LOGIN_SESSIONS,
            summary="One's own active login sessions",
            answers={200: "LoginSessions"},
        ),
        "DELETE": Operation(
            id="authmodes_session_end_others",
            tag=LOGIN_SESSIONS,
            summary="End all other login sessions of one's own",
            query=(query("all", "`1`: this one as well.", shapes.choice("0", "1")),),
            answers={200: "Ended"},
            refusals={400: ("invalid",)},
        ),
    },
    sessions.SessionDetailView: {
        "GET": Operation(
            id="authmodes_session",
            tag=LOGIN_SESSIONS,
            summary="One of one's own active login sessions",
            answers={200: "LoginSession"},
            refusals={404: ("not_found",)},
        ),
        "DELETE": Operation(
            id="authmodes_session_end",
            tag=LOGIN_SESSIONS,
            summary="End one of one's own login sessions",
            answers={204: None},
            refusals={404: ("not_found",)},
        ),
    },
}


def find(view: type, method: str) -> Operation | None:
    """The operation of a view, or of the view of ours that a project extends."""
    for base in view.__mro__:
        if base in OPERATIONS:
            return OPERATIONS[base].get(method)
    return None
