"""Fresh Python processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

RunPython = Callable[..., subprocess.CompletedProcess[str]]
