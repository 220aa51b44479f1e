"""Asks this host's health check, as the container's own probe; exits with 1 if it is not up."""

import os
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

PORT = os.environ.get("PORT") or "8000"
HOST = urlsplit(os.environ.get("SITE_URL", "")).hostname or "localhost"

if __name__ == "__main__":
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/health/", headers={"Host": HOST})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=5) as response:
            print(response.read().decode())
    except OSError as error:
        sys.exit(str(error))
