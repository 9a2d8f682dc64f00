"""The quickstart's own modules, which are no package."""

from __future__ import annotations

import sys
from pathlib import Path

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
sys.path.insert(0, str(QUICKSTART))

import countdown  # noqa: E402
import measured  # noqa: E402
import prepare  # noqa: E402

__all__ = ["QUICKSTART", "countdown", "measured", "prepare"]
