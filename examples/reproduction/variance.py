"""Study 4: the variance of the gradient under each baseline, with real gradients on the same rollouts.

    python examples/reproduction/variance.py --batches 200

From several starts, at which from one in fifty to seven in ten responses are right, it draws batches of 16 prompts and
computes the gradient of all parameters that each baseline would give. All baselines are unbiased (times k), so the
trace of the covariance between batches is what they differ in; it is given relative to ``l2o`` with a jackknife
interval over 20 blocks. Advantages of 0/1 rewards depend only on the number of right responses in the group, so one
backward pass for each such number, apart for right and wrong responses, serves all baselines.

Beside it stands what the theory of first order says, E[A² |∇ log π|²], with the mean squared gradient of right and of
wrong responses measured on their own.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from curves import RESULTS
from scipy.stats import t as student_t
from studies import STUDIES
from sweep import ENVIRONMENT, ROOT, about_this_machine, start_of
from torch import Tensor

from verl_maxpo import max_at_k_advantages

sys.path.insert(0, str(ROOT / "examples" / "pytorch"))
from tasks import digits
from train import Policy, Prompts

sys.path.insert(0, str(ROOT / "examples" / "quickstart"))
from countdown import Problem, problems

BASELINES = ("l2o", "loo_minus_one", "loo", "none")
CONFIGURATIONS = ((8, 2), (8, 4), (16, 4), (16, 8))
BLOCKS, PROMPTS, LARGEST_GROUP, PROBE = 20, 16, 16, 400
TASK = digits("countdown")


class Start(NamedTuple):
    """A model and the problems that it solves with a probability in a range."""

    name: str
    trained: bool
    low: float = 0.0
    high: float = 1.0


STARTS = (
    Start("start, problems below .05", trained=False, high=0.05),
    Start("start, all problems", trained=False),
    Start("start, problems above .25", trained=False, low=0.25),
    Start("trained, all problems", trained=True),
    Start("trained, problems above .5", trained=True, low=0.5),
)


def advantage_table(n: int, k: int, baseline: str) -> Tensor:
    """Return k times the advantage of a right and of a wrong response for c = 0..n right ones, shape ``[n + 1, 2]``."""
    table = torch.zeros(n + 1, 2)
    for right in range(1, n + 1):
        rewards = torch.zeros(n)
        rewards[:right] = 1
        found = max_at_k_advantages(rewards, k, baseline=baseline)
        table[right] = torch.stack([found[0], found[-1] if right < n else torch.tensor(0.0)])
    return table


class Gradients:
    """Sums of gradients of the responses of a policy."""

    def __init__(self, policy: Policy, rng: random.Random, seed: int) -> None:
        self.policy, self.rng, self.generator = policy, rng, torch.Generator().manual_seed(seed)
        self.parameters = list(policy.model.parameters())

    def rollouts(self, pool: list[Problem]) -> tuple[Prompts, Tensor, Tensor]:
        """Return prompts, responses and 0/1 rewards of a batch, the last two ``[PROMPTS, LARGEST_GROUP, ...]``."""
        asked = [self.rng.choice(pool) for _ in range(PROMPTS)]
        prompts = self.policy.encode(asked)
        responses = self.policy.sample(prompts, LARGEST_GROUP, TASK.length, 1.0, self.generator)
        right = rewards_of(self.policy, asked, responses)
        return prompts, responses.view(PROMPTS, LARGEST_GROUP, -1), right

    def of(self, prompts: Prompts, owners: Tensor, responses: Tensor) -> Tensor:
        """Return the gradient of the sum of log-probabilities of responses to some of the prompts, ``[parameters]``."""
        log_probs, _ = self.policy.log_probs(prompts, owners, responses, 1.0)
        gradients = torch.autograd.grad((log_probs * self.policy.mask(responses)).sum(), self.parameters)
        return torch.cat([gradient.reshape(-1) for gradient in gradients])


def rewards_of(policy: Policy, asked: list[Problem], responses: Tensor) -> Tensor:
    """Return 0/1 rewards of the responses to problems, ``[problems, responses to each]``."""
    n = len(responses) // len(asked)
    answers = enumerate(policy.decode(responses))
    return torch.tensor([TASK.reward(asked[i // n], answer or "") for i, answer in answers]).view(-1, n)


def select(policy: Policy, start: Start, seed: int) -> list[Problem]:
    """Return the training problems that a policy solves with a probability in the start's range, by 32 samples."""
    train = problems()[0]
    if (start.low, start.high) == (0.0, 1.0):
        return train
    candidates = random.Random(seed).sample(train, 2000)
    generator = torch.Generator().manual_seed(seed + 1)
    samples = policy.sample(policy.encode(candidates), 32, TASK.length, 1.0, generator)
    rates = rewards_of(policy, candidates, samples).mean(dim=1).tolist()
    return [problem for problem, rate in zip(candidates, rates, strict=True) if start.low <= rate <= start.high]


class Accumulator:
    """Sums over the batches of each block, from which mean, variance and jackknife follow."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}
        self.squares: dict[int, float] = defaultdict(float)
        self.counts: dict[int, int] = defaultdict(int)

    def add(self, block: int, gradient: Tensor) -> None:
        """Add the gradient of a batch."""
        self.sums[block] = self.sums[block] + gradient if block in self.sums else gradient
        self.squares[block] += float(gradient.double().square().sum())
        self.counts[block] += 1

    def traces(self) -> list[float]:
        """Return the trace of the covariance of all batches, then of all but each block."""
        total = torch.stack(list(self.sums.values())).double().sum(dim=0)
        result = [self._trace(total, sum(self.squares.values()), sum(self.counts.values()))]
        for block, part in self.sums.items():
            squares = sum(self.squares.values()) - self.squares[block]
            result.append(self._trace(total - part.double(), squares, sum(self.counts.values()) - self.counts[block]))
        return result

    def _trace(self, total: Tensor, squares: float, count: int) -> float:
        return (squares - float(total.square().sum()) / count) / (count - 1)


def jackknife_ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Return a ratio and its 95% interval from values of the whole and of the whole without each block."""
    whole, *without = [a / b for a, b in zip(numerator, denominator, strict=True)]
    blocks = len(without)
    error = math.sqrt((blocks - 1) / blocks * sum((one - np.mean(without)) ** 2 for one in without))
    half = float(student_t.ppf(0.975, blocks - 1)) * error
    return whole, whole - half, whole + half


def measure(policy: Policy, start: Start, batches: int, seed: int) -> dict[str, Any]:
    """Return the variances from one start."""
    gradients = Gradients(policy, random.Random(seed), seed)
    pool = select(policy, start, seed)
    tables = {(n, k, b): advantage_table(n, k, b) for n, k in CONFIGURATIONS for b in BASELINES}
    sums: dict[tuple[int, int, str], Accumulator] = defaultdict(Accumulator)
    counts: dict[int, list[int]] = defaultdict(list)
    norms: dict[bool, list[float]] = {True: [], False: []}
    for batch in range(batches):
        prompts, responses, rewards = gradients.rollouts(pool)
        for n in sorted({n for n, _ in CONFIGURATIONS}):
            right = rewards[:, :n].sum(dim=1).long()
            counts[n] += right.tolist()
            totals = {key: torch.zeros_like(_flat(gradients.parameters)) for key in tables if key[0] == n}
            for c in sorted(set(right.tolist()) - {0}):
                for success in (True, False):
                    rows = (right[:, None] == c) & (rewards[:, :n] == float(success))
                    if rows.any():
                        gradient = gradients.of(prompts, rows.nonzero()[:, 0], responses[:, :n][rows]) / (PROMPTS * n)
                        for key in totals:
                            totals[key] += tables[key][c, 0 if success else 1] * gradient
            for key, total in totals.items():
                sums[key].add(batch * BLOCKS // batches, total)
        mixed = (rewards.mean(dim=1, keepdim=True) > 0).expand_as(rewards)  # only such groups have a signal
        for success, found in norms.items():
            rows = (mixed & (rewards == float(success))).nonzero()
            for g, i in rows[torch.randperm(len(rows), generator=gradients.generator)[:2]].tolist():
                if len(found) < PROBE:
                    found.append(float(gradients.of(prompts, torch.tensor([g]), responses[g, i][None]).square().sum()))
    result: dict[str, Any] = {"start": start.name, "problems": len(pool), "batches": batches, "ratios": []}
    result["success_rate"] = round(float(np.mean(counts[LARGEST_GROUP])) / LARGEST_GROUP, 4)
    result["squared_gradient"] = {"right": float(np.mean(norms[True])), "wrong": float(np.mean(norms[False]))}
    for (n, k, baseline), accumulator in sums.items():
        ratio = jackknife_ratio(accumulator.traces(), sums[n, k, "l2o"].traces())
        theory, plain = (
            _first_order(tables[n, k, baseline], counts[n], n, weights)
            / _first_order(tables[n, k, "l2o"], counts[n], n, weights)
            for weights in ((np.mean(norms[True]), np.mean(norms[False])), (1.0, 1.0))
        )
        one = {"n": n, "k": k, "baseline": baseline, "variance": ratio, "first_order": theory, "mean_square": plain}
        result["ratios"].append({name: _rounded(value) for name, value in one.items()})
    return result


def _flat(parameters: list[Tensor]) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in parameters])


def _first_order(table: Tensor, counts: list[int], n: int, weights: tuple[Any, Any]) -> float:
    c = np.array(counts)
    squared = table.double().square().numpy()[c]
    return float((c * squared[:, 0] * weights[0] + (n - c) * squared[:, 1] * weights[1]).mean())


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [round(float(one), 4) for one in value]
    return round(float(value), 4) if isinstance(value, float) else value


def trained_policy(model: Path, out: Path) -> Policy:
    """Return the starting model after 300 steps of RLOO, trained if it is not there."""
    command = [
        sys.executable,
        ROOT / "examples/pytorch/train.py",
        "--model",
        model,
        "--out",
        out,
        "--estimator",
        "rloo",
    ]
    command += ["--lr", "1.2e-4", "--steps", "300", "--eval-every", "300"]
    subprocess.run(list(map(str, command)), check=True, env=ENVIRONMENT)
    policy = Policy(str(model), "cpu")
    policy.model.load_state_dict(torch.load(out / "state.pt", weights_only=False)["model"])
    return policy


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=200, help="of each start (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/reproduction"), help="of models")
    parser.add_argument("--results", type=Path, default=RESULTS / "variance.jsonl", help="starts in it are skipped")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = (
        [json.loads(line)["start"] for line in args.results.read_text().splitlines()] if args.results.exists() else []
    )
    model = start_of(STUDIES["countdown"], args.out.resolve())
    for start in STARTS:
        if start.name not in done:
            policy = (
                trained_policy(model, args.out.resolve() / "trained") if start.trained else Policy(str(model), "cpu")
            )
            result = {**measure(policy, start, args.batches, args.seed), "about": about_this_machine()}
            with args.results.open("a") as file:
                file.write(json.dumps(result, separators=(",", ":")) + "\n")
            print(start.name, "done", flush=True)


if __name__ == "__main__":
    main()
