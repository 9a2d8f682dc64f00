"""What several test files share, and how two processes share the tests."""

from __future__ import annotations

import re

import pytest
from support.processes import RunPython, run_forked, run_fresh
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: The tests that run verl.
RUNS = re.compile(r"tests/runs/(test_end_to_end\.py|test_smollm2\.py|test_\w+\.py::(TestRuns|TestTwoNodes))::")


class VerlApart(LoadScopeScheduling):  # type: ignore[misc]
    """Gives verl's runs to one process, and the other tests by file to all.

    verl's runs are one at a time (docs/cpu_platform.md) and take as long as all other tests. xdist's own groups
    (``--dist loadgroup``) do nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "verl" if RUNS.match(nodeid) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> VerlApart:
    """Share the tests."""
    return VerlApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let verl's runs come first."""
    for item in items:
        if item.path.parent.name == "runs" and item.get_closest_marker("slow") and not RUNS.match(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid} runs verl: name it in RUNS of tests/conftest.py")
    items.sort(key=lambda item: RUNS.match(item.nodeid) is None)


@pytest.fixture
def run_python() -> RunPython:
    """Run Python code in a process that has imported third-party packages only."""
    return run_forked


@pytest.fixture
def run_fresh_python() -> RunPython:
    """Run Python code in a process that has imported nothing."""
    return run_fresh
