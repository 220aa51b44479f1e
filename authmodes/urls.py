"""The URLs of the REST API: `path("auth/", include("authmodes.urls"))`."""

from django.urls import path

from .api.views import authorize, login, sessions, social, staff, tokens, upstream

app_name = "authmodes"

urlpatterns = [
    path("", login.IndexView.as_view(), name="index"),
    path("csrf/", login.CsrfView.as_view(), name="csrf"),
    path("authorize/", authorize.AuthorizeView.as_view(), name="authorize"),
    path("login/", login.LoginView.as_view(), name="login"),
    path("logout/", login.LogoutView.as_view(), name="logout"),
    path("user/", login.UserView.as_view(), name="user"),
    path("social/", social.SocialView.as_view(), name="social"),
    path("social/<str:provider>/", social.SocialTokenView.as_view(), name="social_token"),
    path("social/<str:provider>/start/", authorize.SocialStartView.as_view(), name="social_start"),
    path(
        "upstream/logout/<str:provider>/",
        upstream.UpstreamLogoutView.as_view(),
        name="upstream_logout",
    ),
    path(
        "upstream/events/<str:provider>/",
        upstream.UpstreamEventsView.as_view(),
        name="upstream_events",
    ),
    path("token/", tokens.TokenObtainPairView.as_view(), name="token_obtain_pair"),
    path("token/refresh/", tokens.TokenRefreshView.as_view(), name="token_refresh"),
    path("token/verify/", tokens.TokenVerifyView.as_view(), name="token_verify"),
    path("token/blacklist/", tokens.TokenBlacklistView.as_view(), name="token_blacklist"),
    path("token/revoke/", tokens.TokenRevokeView.as_view(), name="token_revoke"),
    path("token/introspect/", tokens.TokenIntrospectView.as_view(), name="token_introspect"),
    path(".well-known/jwks.json", tokens.JwksView.as_view(), name="jwks"),
    path("sessions/", sessions.SessionListView.as_view(), name="session_list"),
    path("sessions/manage/", sessions.SessionManageView.as_view(), name="session_manage"),
    path("sessions/<str:sid>/", sessions.SessionDetailView.as_view(), name="session_detail"),
    path("staff/sessions/", staff.StaffSessionListView.as_view(), name="staff_session_list"),
    path(
        "staff/sessions/<str:sid>/",
        staff.StaffSessionDetailView.as_view(),
        name="staff_session_detail",
    ),
]
