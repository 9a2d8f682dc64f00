"""A bandit whose judge likes some arms too much: what is gained by training for what is deployed.

    python examples/reproduction/bandit_judge.py

One of 40 arms is right in each group, hidden from the policy, with likelihoods that fall by .9 from arm to arm. A judge
gives each response its reward, noise, and a bias for 8 arms whichever is right. Deployed is the best of 8 by the judge.
Policies are trained by Adam for the mean, for max@8 and for what is deployed, at three rates. The rate of a method is
chosen by the deployed value on the first seeds; the others count. Writes results/bandit_judge.jsonl, in ten minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
from curves import RESULTS
from sweep import about_this_machine
from torch import Tensor

from verl_maxpo import max_at_k, max_at_k_advantages, selected_at_k, selected_at_k_advantages

ARMS, LIKED, K, N, GROUPS = 40, 8, 8, 16, 64
NOISE, STEPS = 0.3, 1500
BIASES, RATES = (0.5, 1.0, 1.5), (0.003, 0.01, 0.03)
CHOOSING = 3  # the first seeds
METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda rewards, scores: max_at_k_advantages(rewards, 1),
    "max@8": lambda rewards, scores: max_at_k_advantages(rewards, K),
    "selected@8": lambda rewards, scores: selected_at_k_advantages(rewards, scores, K),
}


def draw(policy: Tensor, bias: Tensor, groups: int, n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw groups for each seed: arms, rewards and the judge's scores, ``[seeds, groups, n]``."""
    seeds = len(policy)
    likelihood = 0.9 ** torch.arange(ARMS, dtype=torch.float64)
    right = torch.multinomial(likelihood.expand(seeds, -1), groups, replacement=True, generator=generator)
    arms = torch.multinomial(policy, groups * n, replacement=True, generator=generator).view(seeds, groups, n)
    rewards = (arms == right[..., None]).double()
    noise = NOISE * torch.randn(arms.shape, dtype=torch.float64, generator=generator)
    return arms, rewards, rewards + bias.gather(-1, arms.flatten(1)).view(arms.shape) + noise


def train(method: str, rate: float, bias: Tensor, steps: int = STEPS) -> Tensor:
    """Train a softmax policy for each seed, ``[seeds, arms]``."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(len(bias), ARMS, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=rate, betas=(0.9, 0.99))
    for _ in range(steps):
        with torch.no_grad():
            policy = logits.softmax(dim=-1)
            arms, rewards, scores = draw(policy, bias, GROUPS, N, generator)
            advantages = METHODS[method](rewards, scores).flatten(1) / (GROUPS * N)
            ascent = torch.zeros_like(policy).scatter_add(-1, arms.flatten(1), advantages)
            logits.grad = policy * advantages.sum(dim=-1, keepdim=True) - ascent
        optimizer.step()
    return logits.detach().softmax(dim=-1)


def evaluate(policy: Tensor, bias: Tensor, groups: int = 4000) -> dict[str, Tensor]:
    """Estimate what a policy is worth, and how much of it is on the arms that the judge likes, each ``[seeds]``."""
    _, rewards, scores = draw(policy, bias, groups, 2 * K, torch.Generator().manual_seed(1))
    return {
        "pass@1": rewards.mean(dim=(1, 2)),
        "max@8": max_at_k(rewards, K).mean(dim=1),
        "selected@8": selected_at_k(rewards, scores, K).mean(dim=1),
        "liked": (policy * (bias > 0)).sum(dim=-1),
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=13)
    seeds = parser.parse_args().seeds
    lines = []
    for bias in BIASES:
        order = torch.stack([torch.randperm(ARMS, generator=torch.Generator().manual_seed(s)) for s in range(seeds)])
        liked = torch.zeros(seeds, ARMS, dtype=torch.float64).scatter(-1, order[:, :LIKED], bias)
        for method in METHODS:
            for rate in RATES:
                values = evaluate(train(method, rate, liked), liked)
                found = {name: [round(one, 4) for one in value.tolist()] for name, value in values.items()}
                one = {"bias": bias, "method": method, "lr": rate, "values": found, "about": about_this_machine()}
                lines.append(json.dumps(one))
                print(lines[-1], flush=True)
    (RESULTS / "bandit_judge.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
