"""Static files whose names contain a digest, so that browsers keep them for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Rename in `import` statements too, for the JavaScript client and the modules that use it."""

    support_js_module_import_aggregation = True
