"""Settings of the second server of the site: the same database and keys, in a process of its own.

The comparison page asks it with the credential of the first, from the origin of the first.
"""

from corsheaders.defaults import default_headers

from example_project.settings import *  # noqa: F403
from example_project.settings import SITE_URL

# The token app is not among them: to it, this server gives no answer.
CORS_ALLOWED_ORIGINS = [SITE_URL]
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_HEADERS = [*default_headers, "x-measure"]
CORS_EXPOSE_HEADERS = ["X-Measured"]
