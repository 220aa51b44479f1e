"""Makes the description for PyPI; everything else is in setup.cfg."""

import re
from pathlib import Path

from setuptools import setup

# PyPI has neither the pages nor the picture, so a link into the repository becomes its text.
readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
readme = re.sub(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n\n", "", readme, flags=re.MULTILINE)
readme = re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", readme)

setup(long_description=readme)
