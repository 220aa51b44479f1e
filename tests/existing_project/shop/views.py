from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.tokens import RefreshToken


@login_required
def page(request):
    return HttpResponse(f"Orders of {request.user}")


@api_view(["GET"])
def orders(request):
    by_token = request.auth is not None
    is_staff = request.auth.get("staff", False) if by_token else request.user.is_staff
    return Response({"user": str(request.user), "staff": is_staff})


class PairView(APIView):
    """Sign the shop's own app in, for a user who is signed in here."""

    def post(self, request):
        token = RefreshToken.for_user(request.user)
        return Response({"access": str(token.access_token), "refresh": str(token)})
