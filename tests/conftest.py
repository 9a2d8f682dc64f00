"""What several test files share, and how two processes share the tests."""

from __future__ import annotations

import pytest
from support.processes import RunPython, run_forked, run_fresh


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With ``--dist loadgroup`` one process gets verl's runs, which come first, and the tests of a file stay together.

    verl's runs are one at a time (docs/cpu_platform.md) and take as long as all other tests, which are in the other
    process meanwhile.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group("verl" if _runs_verl(item) else item.path.name))
    items.sort(key=lambda item: not _runs_verl(item))


def _runs_verl(item: pytest.Item) -> bool:
    return item.path.parent.name == "runs" and item.get_closest_marker("slow") is not None


@pytest.fixture
def run_python() -> RunPython:
    """Run Python code in a process that has imported third-party packages only."""
    return run_forked


@pytest.fixture
def run_fresh_python() -> RunPython:
    """Run Python code in a process that has imported nothing."""
    return run_fresh
