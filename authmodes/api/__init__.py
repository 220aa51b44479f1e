"""The REST API: views, serializers, throttling and what drf-spectacular needs to describe them."""
