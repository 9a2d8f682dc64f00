"""mkdocs hook: links to files of the repository lead there, and examples/README.md is a page of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RECIPES = Path(__file__).parents[1] / "examples" / "README.md"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the recipes, with links as seen from this folder."""

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(f"examples/{match[1]}")
        return f"]({target.removeprefix('docs/') if target.startswith('docs/') else f'../{target}'})"

    text = re.sub(r"\]\((?!https?:|#)([^)]+)\)", link, RECIPES.read_text())
    files.append(File.generated(config, "recipes.md", content=text))
    return files


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Replace ``](../FILE`` by the file's address in the repository."""
    markdown = markdown.replace("](../examples/README.md", "](recipes.md")
    return re.sub(r"\]\(\.\./", f"]({config.repo_url}/blob/main/", markdown)
