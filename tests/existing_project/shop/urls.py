from django.contrib import admin
from django.urls import include, path
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from .views import PairView, orders, page

urlpatterns = [
    path("", page),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("api/token/", TokenObtainPairView.as_view(), name="token_obtain_pair"),
    path("api/token/refresh/", TokenRefreshView.as_view(), name="token_refresh"),
    path("api/pair/", PairView.as_view()),
    path("api/orders/", orders),
]
