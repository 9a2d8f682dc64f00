"""Time MaxPO's estimator beside verl's own, in one process.

    python tests/benchmarks/estimators.py [--device cuda] [--json FILE]
    OMP_NUM_THREADS=1 python tests/benchmarks/estimators.py --cpu-time    # where other work takes the cores too

Every estimator is called as verl calls it: token-level rewards and a response mask of shape (bs, L), and a string uid
for each row, prompts interleaved. Rounds alternate between the estimators, the median of the rounds is shown, and
beside it the ratio to verl's fastest comparable one, ``rloo_vectorized``. ``O(n^2)`` is L2O as its definition reads,
``brute force`` a loop over all k-subsets. ``maxpo, step`` is within a step of verl's trainer, with its metrics;
``judge`` and ``vote`` are the same with ``select_by``. The last tables time the core beside ``torch.sort``, and votes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor
from verl.trainer.ppo.core_algos import get_adv_estimator_fn

from verl_maxpo import maj_at_k_advantages, max_at_k, max_at_k_advantages, selected_at_k_advantages
from verl_maxpo.trainer.step import TrainerStep, trainer_step

SIZES = [(1024, 8, 4, 1024), (8192, 16, 8, 1024), (32768, 64, 16, 64), (2**20, 2**20, 16, 1)]
VERL = ["rloo_vectorized", "rloo", "grpo", "grpo_passk"]
REFERENCE = "rloo_vectorized"
QUADRATIC_UP_TO = 2**25  # elements of the O(n^2) tensor
SUBSETS_UP_TO = 2**21  # subsets that brute force may visit

Estimator = Callable[..., tuple[Tensor, Tensor]]

clock = time.perf_counter


def quadratic(rewards: Tensor, k: int) -> Tensor:
    """L2O by leaving out each sample in turn, O(n^2 log n): q_i - M_k(S-i) = (n/k) (V_k(S) - M_k(S-i))."""
    n = rewards.shape[-1]
    kept = ~torch.eye(n, dtype=torch.bool, device=rewards.device)
    others = rewards[..., None, :].expand(*rewards.shape, n)[..., kept].view(*rewards.shape, n - 1)
    return n / k * (max_at_k(rewards, k)[..., None] - max_at_k(others, k))


def brute_force(rewards: Tensor, k: int) -> Tensor:
    """L2O from all subsets, one group after another."""
    result = torch.zeros_like(rewards)
    for group, advantages in zip(rewards.tolist(), result, strict=True):
        n = len(group)
        for i in range(n):
            others = group[:i] + group[i + 1 :]
            with_i = [max(group[i], *rest) for rest in itertools.combinations(others, k - 1)]
            without = [max(rest) for rest in itertools.combinations(others, k)]
            advantages[i] = statistics.fmean(with_i) - statistics.fmean(without)
    return result


def per_group(core: Callable[[Tensor, int], Tensor], k: int) -> Estimator:
    """Make a token-level estimator of a function of dense groups; the benchmark's groups are of one size."""

    def estimator(token_level_rewards: Tensor, response_mask: Tensor, index: Any, **_: Any) -> tuple[Tensor, Tensor]:
        rewards = token_level_rewards.sum(-1)
        by_group = torch.from_numpy(np.argsort(index, kind="stable")).to(rewards.device)
        groups = len(set(index))
        advantages = torch.empty_like(rewards)
        advantages[by_group] = core(rewards[by_group].view(groups, -1), k).flatten()
        token_level = advantages[:, None] * response_mask
        return token_level, token_level

    return estimator


def in_step(select_by: str) -> Estimator:
    """Call the estimator as the hook on verl's trainer has it called, with scores or answers for each row."""
    estimator = get_adv_estimator_fn("maxpo")

    def called(index: Any, config: Any, **batch: Any) -> tuple[Tensor, Tensor]:
        rows = range(len(index))
        chosen = {"judge": [float(row * 7919 % 1009) for row in rows], "vote": [str(row * 7919 % 5) for row in rows]}
        step = TrainerStep(1, [f"{row}_0" for row in rows], [False] * len(index), {}, chosen.get(select_by))
        with trainer_step(step):
            return estimator(index=index, config={"maxpo": {**config["maxpo"], "select_by": select_by}}, **batch)

    return called


def estimators_for(bs: int, n: int, k: int) -> dict[str, Estimator]:
    """Return the estimators that are feasible at a size."""
    found = {name: get_adv_estimator_fn(name) for name in ["maxpo", *VERL]}
    found |= {"maxpo, step": in_step("reward"), "judge": in_step("judge")}
    if n <= 64:
        found["vote"] = in_step("vote")
    if bs * n <= QUADRATIC_UP_TO:
        found["l2o, O(n^2)"] = per_group(quadratic, k)
    if bs * math.comb(n - 1, k) <= SUBSETS_UP_TO:
        found["l2o, brute force"] = per_group(brute_force, k)
    return found


def make_batch(bs: int, n: int, k: int, length: int, device: str) -> dict[str, Any]:
    """Make what verl passes to an estimator, with 0/1 rewards of which a fifth are 1."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(max(length // 2, 1), length + 1, bs)
    rewards = torch.zeros(bs, length)
    rewards[torch.arange(bs), torch.from_numpy(lengths - 1)] = torch.from_numpy(rng.random(bs) < 0.2).float()
    mask = (torch.arange(length) < torch.from_numpy(lengths)[:, None]).long()
    uids = np.array([str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(bs // n)], dtype=object)
    return {
        "token_level_rewards": rewards.to(device),
        "response_mask": mask.to(device),
        "index": rng.permutation(uids.repeat(n)),
        "config": OmegaConf.create({"maxpo": {"k": k}, "norm_adv_by_std_in_grpo": True}),
    }


def time_once(call: Callable[[], Any], device: str) -> float:
    """Return the seconds that a call takes."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def time_all(calls: dict[str, Callable[[], Any]], device: str, rounds: int, budget_s: float) -> dict[str, float]:
    """Return the median seconds of each call; after one warm-up each, rounds alternate between the calls.

    A call stops taking part once it has used up its share of the time.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    warm_up = {name: time_once(call, device) for name, call in calls.items()}
    for _ in range(rounds):
        for name, call in calls.items():
            if not times[name] or sum(times[name]) + warm_up[name] < budget_s:
                times[name].append(time_once(call, device))
    return {name: statistics.median(values) for name, values in times.items()}


def bench_estimators(device: str, rounds: int, sizes: int) -> list[dict[str, Any]]:
    """Time every estimator at every size."""
    rows = []
    for bs, n, k, length in SIZES[:sizes]:
        batch = make_batch(bs, n, k, length, device)
        feasible = estimators_for(bs, n, k)
        calls = {name: partial(run, **batch) for name, run in feasible.items()}
        medians = time_all(calls, device, rounds, budget_s=10)
        rows += [
            {"bs": bs, "n": n, "k": k, "L": length, "estimator": name, "seconds": seconds,
             "ratio": seconds / medians[REFERENCE]}
            for name, seconds in medians.items()
        ]  # fmt: skip
    return rows


def bench_core(device: str, rounds: int) -> list[dict[str, Any]]:
    """Time the core for one k and for all beside ``torch.sort`` of the same tensor."""
    rows = []
    for shape, k in [((512, 16), 8), ((512, 64), 16), ((4096, 256), 16), ((1, 2**17), 16), ((1, 2**20), 16)]:
        rewards = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
        calls = {
            "sort": lambda x=rewards: x.sort(dim=-1),
            "core": lambda x=rewards, k=k: max_at_k_advantages(x, k),
            "judge": lambda x=rewards, k=k: selected_at_k_advantages(x, -x, k),
            "k=all": lambda x=rewards: max_at_k_advantages(x, "all"),
        }
        medians = time_all(calls, device, 5 * rounds, budget_s=5)
        ratios = {"core/sort": medians["core"] / medians["sort"], "all/core": medians["k=all"] / medians["core"],
                  "judge/core": medians["judge"] / medians["core"]}  # fmt: skip
        rows.append({"shape": list(shape), "k": k, **medians, **ratios})
    return rows


def bench_votes(rounds: int) -> list[dict[str, Any]]:
    """Time votes among few and among many answers, on the CPU."""
    rows = []
    for groups, n, k in [(512, 16, 8), (64, 64, 32)]:
        for answers in (2, 5, n):
            given = torch.randint(answers, (groups, n), generator=torch.Generator().manual_seed(0))
            call = partial(maj_at_k_advantages, (given == 0).double(), given, k)
            seconds = time_all({"vote": call}, "cpu", rounds, budget_s=5)["vote"]
            rows.append({"groups": groups, "n": n, "k": k, "answers": answers, "seconds": seconds})
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=110).print(table)


def main() -> None:
    """Run the command line."""
    global clock
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many of the sizes, from the smallest")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu-time", action="store_true", help="of all threads, instead of the time that passes")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    results = {
        "torch": torch.__version__,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "estimators": bench_estimators(arguments.device, arguments.rounds, arguments.sizes),
        "core": bench_core(arguments.device, arguments.rounds),
        "votes": bench_votes(arguments.rounds),
    }
    show("verl estimators, whole calls: seconds, and ratio to rloo_vectorized", results["estimators"])
    show("the core beside torch.sort of the same tensor: seconds", results["core"])
    show("votes: seconds", results["votes"])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
