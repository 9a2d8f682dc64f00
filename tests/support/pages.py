"""The code blocks of the documentation."""

from __future__ import annotations

import re
import subprocess
import textwrap
from typing import NamedTuple

from support.tables import ROOT


class Block(NamedTuple):
    """A fenced block: the page, its line there, the language after the fence, and the text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    return listed.stdout.split() or [str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")]


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in pages():
        text = (ROOT / page).read_text()
        for match in re.finditer(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], textwrap.dedent(match[2])))
    return [block for block in found if block.language in languages]


def inline_code() -> set[tuple[str, str]]:
    """Return what stands between backquotes in the text, as (page, code)."""
    found = set()
    for page in pages():
        text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
        found |= {(page, " ".join(code.split())) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)}
    return found
