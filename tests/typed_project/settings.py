"""As much of settings as django-stubs reads."""

SECRET_KEY = "for mypy only"
ROOT_URLCONF = "typed_project.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "allauth",
    "allauth.account",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "authmodes",
]
MIDDLEWARE = ["allauth.account.middleware.AccountMiddleware"]
AUTHMODES_MODE = "both"
