"""The modules of examples/quickstart, examples/pytorch and examples/reproduction, which are no packages."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
for folder in ("quickstart", "pytorch", "reproduction"):
    sys.path.insert(0, str(EXAMPLES / folder))

import bandit  # noqa: E402
import claims  # noqa: E402
import curves  # noqa: E402
import in_verl  # noqa: E402
import intervals  # noqa: E402
import optimum  # noqa: E402
import pictures  # noqa: E402
import report  # noqa: E402
import studies  # noqa: E402
import sweep  # noqa: E402
import tasks  # noqa: E402
import train  # noqa: E402
import variance  # noqa: E402
import warm_up  # noqa: E402

__all__ = [
    "EXAMPLES", "bandit", "claims", "curves", "in_verl", "intervals", "optimum", "pictures", "report", "studies",
    "sweep", "tasks", "train", "variance", "warm_up",
]  # fmt: skip
