"""The variance of the gradient in a softmax bandit, where centring wins and where it does not.

    python examples/reproduction/bandit.py

The policy is uniform over the arms, so the gradient of max@k with respect to the logits is known exactly, and what an
estimator scatters around it is measured on many groups. Writes results/bandit.jsonl.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from curves import RESULTS
from sweep import about_this_machine
from torch import Tensor

from verl_maxpo import max_at_k_advantages

BASELINES = ("l2o", "loo_minus_one", "loo", "none")
BLOCKS = 20


def exact_gradient(rewards: Tensor, k: int) -> Tensor:
    """Return the gradient of max@k at the uniform policy: with F the share of rewards up to a value, of Σ g Δ(F^k)."""
    arms = len(rewards)
    ranked, order = rewards.sort()
    values, counts = torch.unique_consecutive(ranked, return_counts=True)
    cdf = counts.cumsum(0) / arms
    # max@k = g_max - Σ_v (gap above v) F(v)^k, and F(v) gains (1[g_a <= v] - F(v)) / arms with the logit of arm a.
    slope = values.diff() * k * cdf[:-1] ** (k - 1)
    below = (ranked[:, None] <= values[:-1]).double() - cdf[:-1]
    gradient = torch.empty_like(rewards)
    gradient[order] = -(below * slope).sum(dim=1) / arms
    return gradient


def squared_errors(rewards: Tensor, n: int, k: int, baseline: str, groups: int, seed: int) -> Tensor:
    """Return the squared distance of each group's estimate from the exact gradient, shape ``[groups]``."""
    generator = torch.Generator().manual_seed(seed)
    exact, arms = exact_gradient(rewards, k), len(rewards)
    errors = []
    for _ in range(BLOCKS):
        drawn = torch.randint(arms, (groups // BLOCKS, n), generator=generator)
        advantages = max_at_k_advantages(rewards[drawn], k, baseline=baseline) / n
        estimates = torch.zeros(len(drawn), arms, dtype=torch.float64).scatter_add(1, drawn, advantages)
        estimates -= advantages.sum(dim=1, keepdim=True) / arms
        errors.append((estimates - exact).square().sum(dim=1))
    return torch.cat(errors)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=100_000)
    groups = parser.parse_args().groups
    generator = torch.Generator().manual_seed(0)
    successes = (torch.arange(1000) < 20).double()
    half = (torch.arange(50) < 25).double()
    bandits = [
        ("50 arms, Gaussian rewards", torch.randn(50, generator=generator, dtype=torch.float64)),
        ("50 arms, half of them right", half),
        ("1000 arms, 2% of them right", successes),
    ]
    lines = []
    for name, rewards in bandits:
        for n, k in ((8, 2), (8, 4)):
            scatter = {b: squared_errors(rewards, n, k, b, groups, seed=1).numpy() for b in BASELINES}
            for baseline, errors in scatter.items():
                blocks = errors.reshape(BLOCKS, -1).mean(axis=1) / scatter["l2o"].reshape(BLOCKS, -1).mean(axis=1)
                one: dict[str, Any] = {"bandit": name, "n": n, "k": k, "baseline": baseline, "groups": groups}
                one["variance"] = float(f"{errors.mean():.4g}")
                half_width = 2.093 * np.std(blocks, ddof=1) / BLOCKS**0.5  # Student's t, 19 degrees of freedom
                ratio = errors.mean() / scatter["l2o"].mean()
                one["relative"] = [round(float(r), 4) for r in (ratio, ratio - half_width, ratio + half_width)]
                lines.append(json.dumps({**one, "about": about_this_machine()}))
    (RESULTS / "bandit.jsonl").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
