"""Sphinx's configuration of the documentation site: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import authmodes

project = "authmodes"
author = "authmodes contributors"
release = version = authmodes.__version__

extensions = ["myst_parser"]
# Anchors of headings as GitHub makes them, so that a link works on both.
myst_heading_anchors = 4
exclude_patterns = ["_build", "requirements.txt"]

html_theme = "furo"
html_title = f"authmodes {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
