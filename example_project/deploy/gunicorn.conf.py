"""gunicorn's configuration: `gunicorn --config example_project/deploy/gunicorn.conf.py`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.deploy.settings")

# Here, so that a missing secret stops the start and not only each worker.
from example_project.deploy.settings import LOGGING

wsgi_app = "example_project.wsgi"
bind = f"{os.environ.get('BIND') or '0.0.0.0'}:{os.environ.get('PORT') or 8000}"
# WEB_CONCURRENCY is the number of processes.
worker_class = "gthread"
threads = 4
# Below nginx's proxy_read_timeout, so that a request that hangs is ended here.
timeout = 30
graceful_timeout = 30
# Memory, because a heartbeat that waits for a disk gets a worker killed.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
control_socket_disable = True
logconfig_dict = LOGGING
