"""What several test files share."""

from __future__ import annotations

import pytest
from support.processes import RunPython, run_forked, run_fresh


@pytest.fixture
def run_python() -> RunPython:
    """Run Python code in a process that has imported third-party packages only."""
    return run_forked


@pytest.fixture
def run_fresh_python() -> RunPython:
    """Run Python code in a process that has imported nothing."""
    return run_fresh
