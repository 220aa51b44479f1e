from rest_framework_simplejwt.serializers import TokenObtainPairSerializer


class ShopTokenSerializer(TokenObtainPairSerializer):
    @classmethod
    def get_token(cls, user):
        token = super().get_token(user)
        token["staff"] = user.is_staff
        return token
