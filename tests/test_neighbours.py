"""Other packages beside authmodes, in a project and process of their own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_packages_that_listen_to_sign_ins_or_impersonate_work_beside_authmodes():
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["--ds=tests.neighbours.settings", "--nomigrations"]
    command += ["tests/neighbours/cases.py", "tests/neighbours/impersonation.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
