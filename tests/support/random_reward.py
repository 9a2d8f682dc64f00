"""A reward function for test_end_to_end.py: real values that depend on the response only, for its verifier."""

from __future__ import annotations

import zlib
from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: str, **_: Any) -> dict[str, float]:
    value = zlib.crc32(solution_str.encode()) % 1000 / 100
    return {"score": value, "acc": float(value > 5)}
