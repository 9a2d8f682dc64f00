"""The documentation has the tables that the code gives, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.pages import pages
from support.tables import ROOT, TABLES, with_tables


@pytest.mark.parametrize("file", TABLES)
def test_tables_are_those_of_the_code(file: str) -> None:
    assert (ROOT / file).read_text() == with_tables(file), "run PYTHONPATH=tests python tests/support/tables.py"


@pytest.mark.parametrize("page", pages())
def test_links_to_files_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if target and not (ROOT / Path(page).parent / target).is_file()]
    assert not missing


@pytest.mark.parametrize("page", pages())
def test_lists_follow_a_blank_line(page: str) -> None:
    """In the site they would be part of the paragraph, though not on GitHub."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    assert not re.findall(r"^(?![-*] |[|#<]|\d+\. | )(.+)\n(?:[-*]|\d+\.) ", text, re.MULTILINE)


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize(
    ("schema", "files"),
    [("vendor.github-workflows", WORKFLOWS), ("vendor.citation-file-format", [ROOT / "CITATION.cff"])],
)
def test_files_for_other_tools_are_valid(schema: str, files: list[Path]) -> None:
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_actions_are_pinned() -> None:
    used = [line for file in WORKFLOWS for line in file.read_text().splitlines() if "uses:" in line]
    assert used
    assert all(re.search(r"@[0-9a-f]{40} # v", line) for line in used)
