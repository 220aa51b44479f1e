"""Other packages beside authmodes, in a project and process of their own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_packages_that_a_project_may_have_work_beside_authmodes():
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["--ds=tests.neighbours.settings", "--nomigrations"]
    command += [f"tests/neighbours/{name}.py" for name in ("cases", "impersonation", "oauth")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
