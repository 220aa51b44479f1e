"""The URLs at the root of the issuer's host: `path("", include("authmodes.well_known"))`."""

from django.urls import path

from .api.views.metadata import WELL_KNOWN, MetadataView

app_name = "authmodes_well_known"

urlpatterns = [
    path(WELL_KNOWN.removeprefix("/"), MetadataView.as_view(), name="metadata"),
    # RFC 8414, 3.1: the path of an issuer comes behind it.
    path(
        f"{WELL_KNOWN.removeprefix('/')}/<path:issuer_path>",
        # The same operation, which the OpenAPI document has once.
        MetadataView.as_view(schema=None),
        name="metadata_of_path",
    ),
]
