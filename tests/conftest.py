"""What several test files share."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.processes import RunPython


@pytest.fixture
def run_python() -> RunPython:
    """Run Python code in a fresh process; keywords are environment variables, None unsets one."""
    import os

    def run(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        merged = {**os.environ, **environment}
        clean = {name: value for name, value in merged.items() if value is not None}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, timeout=120)

    return run
