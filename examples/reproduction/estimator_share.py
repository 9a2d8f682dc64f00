"""Time the estimators on this device, and set them beside the steps of the runs in a folder.

    python examples/reproduction/estimator_share.py outputs/reproduction

For each shape, the median of 50 calls of ``max_at_k_advantages`` and of the plain leave-one-out baseline, in which
verl's ``rloo_vectorized`` consists; then the share of MaxPO in a step of every run that has ended an evaluation.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from verl_maxpo import max_at_k_advantages

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = ((16, 8, 4), (16, 32, 8), (32, 128, 32), (1024, 16, 8))  # prompts, n, k


def milliseconds(of: Callable[[Tensor], Tensor], rewards: Tensor, calls: int = 50) -> float:
    """Return the median time of a call, after three that warm up."""
    times = []
    for call in range(calls + 3):
        began = time.perf_counter()
        of(rewards)
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times += [time.perf_counter() - began] if call >= 3 else []
    return 1000 * statistics.median(times)


def leave_one_out(rewards: Tensor) -> Tensor:
    """Return the rewards less the mean of the others."""
    n = rewards.shape[1]
    return (rewards - rewards.mean(dim=1, keepdim=True)) * n / (n - 1)


def main() -> None:
    """Print a line for each shape and for each run."""
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    for prompts, n, k in SHAPES:
        rewards = (torch.rand(prompts, n, device=DEVICE) < 0.2).float()
        found = {"l2o": milliseconds(partial(max_at_k_advantages, k=k), rewards)}
        found |= {"all": milliseconds(partial(max_at_k_advantages, k="all"), rewards)}
        found |= {"leave_one_out": milliseconds(leave_one_out, rewards)}
        times = {name: round(value, 4) for name, value in found.items()}
        print(json.dumps({"device": device, "prompts": prompts, "n": n, "k": k, "ms": times}), flush=True)
    for log in sorted(Path(sys.argv[1]).glob("**/log.jsonl")):
        settings, *evaluations = map(json.loads, log.read_text().splitlines())
        if settings["estimator"] == "l2o" and "seconds_per_step" in evaluations[-1]:
            trained = "all" if settings["k"] == ["all"] else int(settings["k"][0])
            rewards = torch.rand(settings["prompts"], settings["n"], device=DEVICE)
            share = milliseconds(partial(max_at_k_advantages, k=trained), rewards) / 1000
            seconds = evaluations[-1]["seconds_per_step"]
            print(json.dumps({"run": log.parent.name, "seconds_per_step": seconds, "share": round(share / seconds, 6)}))


if __name__ == "__main__":
    main()
