"""Reward functions for real runs: real values that depend on the response only, for the verifier python_function."""

from __future__ import annotations

import zlib
from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: str, **_: Any) -> dict[str, float]:
    value = zlib.crc32(solution_str.encode()) % 1000 / 100
    return {"score": value, "acc": float(value > 5)}


def compute_judge(data_source: str, solution_str: str, ground_truth: str, **_: Any) -> float:
    """A judge who knows nothing."""
    return zlib.crc32(b"judge" + solution_str.encode()) % 1000 / 100


def compute_score_or_raise(data_source: str, solution_str: str, ground_truth: str, **_: Any) -> dict[str, float]:
    """Give one response of four no verdict."""
    if zlib.crc32(solution_str.encode()) % 4 == 0:
        raise RuntimeError("no verdict")
    return compute_score(data_source, solution_str, ground_truth)
