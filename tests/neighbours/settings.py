"""The test project with allauth.usersessions, allauth.idp.oidc and other packages."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.settings import *  # noqa: F403
from tests.settings import AUTHENTICATION_BACKENDS, INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [
    *INSTALLED_APPS,
    *("allauth.usersessions", "allauth.idp.oidc", "axes", "corsheaders", "hijack", "loginas"),
]
ROOT_URLCONF = "tests.neighbours.urls"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", *AUTHENTICATION_BACKENDS]
MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    *MIDDLEWARE,
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "hijack.middleware.HijackUserMiddleware",
    "axes.middleware.AxesMiddleware",
]
USERSESSIONS_TRACK_ACTIVITY = True
AXES_FAILURE_LIMIT = 3
AXES_RESET_ON_SUCCESS = True
CORS_ALLOWED_ORIGINS = ["https://spa.example"]
CORS_URLS_REGEX = r"^/(auth|api|\.well-known)/"
CORS_EXPOSE_HEADERS = ["WWW-Authenticate", "Retry-After"]
SIMPLE_JWT = {"ISSUER": "https://id.example", "AUDIENCE": "https://api.example"}
IDP_OIDC_PRIVATE_KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    .decode()
)
