"""How Sphinx builds these pages: ``sphinx-build -W -b html docs OUT``."""

from __future__ import annotations

import tomllib
from pathlib import Path


_PROJECT = tomllib.loads(
    Path(__file__).parent.parent.joinpath("pyproject.toml").read_text("utf-8")
)["project"]

project = _PROJECT["name"]
author = _PROJECT["authors"][0]["name"]
project_copyright = author
version = release = _PROJECT["version"]

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True

myst_heading_anchors = 3  # the anchors that code hosts make, too

html_theme = "furo"
html_title = f"{project} {release}"
