"""The documentation has the tables that the code gives."""

from __future__ import annotations

import pytest
from support.tables import ROOT, TABLES, with_tables


@pytest.mark.parametrize("file", TABLES)
def test_tables_are_those_of_the_code(file: str) -> None:
    assert (ROOT / file).read_text() == with_tables(file), "run PYTHONPATH=tests python tests/support/tables.py"
