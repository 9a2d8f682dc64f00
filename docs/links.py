"""mkdocs hook: the site has the tree of the repository, so that a relative link to a file works in both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Put the pages of the whole repository, and what they link to, in place of this folder's."""
    for file in [*files.documentation_pages()]:
        files.remove(file)
    pages = [page for pattern in ("*.md", "docs/*.md", "examples/**/*.md") for page in ROOT.glob(pattern)]
    for path in sorted({*pages, *(target for page in pages for target in _linked(page))}):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def _linked(page: Path) -> Iterator[Path]:
    """Yield the files of the repository that a page links to."""
    for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if "://" not in target and path.is_file():
            yield path
