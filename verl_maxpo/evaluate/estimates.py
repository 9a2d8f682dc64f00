"""Statistics of an evaluation: estimates for each prompt, and intervals for their mean over prompts.

A prompt has n samples with rewards g_(1) ≤ ... ≤ g_(n), c of them correct. Its estimate for k needs at least
k samples. The estimate for a data source is the mean over the prompts with n >= k.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom
from scipy.stats import t as student_t
from torch import Tensor

from verl_maxpo.best_of_k.estimates import estimates, value_of
from verl_maxpo.best_of_k.groups import Groups, Rule, ranked_groups, score_keys

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Majority votes are exact up to this group size; for larger groups, this many random draws are shared by all prompts.
EXACT_VOTES, DRAWS = 256, 100_000


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


def _value_of(groups: Groups, k: int) -> Tensor:
    drawn = groups.rule == "vote" and groups.keys.shape[1] > EXACT_VOTES
    return _drawn_votes(groups, k) if drawn else value_of(groups, k)


def by_prompt(
    ks: list[int],
    labels: Ints,
    rewards: Floats,
    keys: NDArray[Any] | None = None,
    rule: Rule = "reward",
    value: Callable[[Groups, int], Tensor] = _value_of,
) -> dict[int, Floats]:
    """Estimate for each prompt, without bias, what k responses are worth.

    This is max@k, which for rewards of 0 and 1 is pass@k. Other rules give selected@k or maj@k.

    Args:
        ks: At least 1 each.
        labels: Prompt of each sample, 0 to P - 1, shape ``[samples]``.
        rewards: Finite, shape ``[samples]``.
        keys: Shape ``[samples]``. For ``rule="score"``, the scores; NaN ranks lowest. For ``rule="vote"``, a number
            for each answer, 0 for no answer, which does not vote (the value is 0 if nobody votes). Votes are exact up
            to n = 256. Beyond that they are means over 100,000 random draws shared by the prompts, at least 32 each.
        rule: How one of k responses is chosen, with ties broken at random.
        value: Takes ranked groups and k; pass another function to estimate something else.

    Returns:
        For each k, the estimates of shape ``[P]``, NaN for prompts with fewer than k samples.
    """
    by = None
    if keys is not None and rule == "vote":
        by = torch.from_numpy(np.where(keys == 0, -1, np.unique(keys, return_inverse=True)[1]))
    elif keys is not None:
        by = score_keys(torch.from_numpy(keys))
    batches = ranked_groups(torch.from_numpy(rewards), torch.from_numpy(labels), by, rule)
    return {k: values.numpy() for k, values in estimates(batches, ks, value).items()}


def g_pass_at_k(groups: Groups, k: int, tau: float) -> Tensor:
    """Estimate without bias G-Pass@k_τ, the probability that at least ⌈τ k⌉ of k samples are correct.

    With c of n samples correct, it is Σ_{j=⌈τk⌉}^{c} C(c, j) C(n - c, k - j) / C(n, k). See "Are Your LLMs Capable of
    Stable Reasoning?" by Liu et al. (https://arxiv.org/abs/2412.13147). For τ = 1 it is pass^k, from "tau-bench" by
    Yao et al. (https://arxiv.org/abs/2406.12045); for τ = 1/k it is pass@k.
    """
    correct, groups_of = np.unique(groups.rewards.sum(dim=1).numpy(), return_inverse=True)
    needed = ceil(round(tau * k, 9))  # .07 * 100 is a little more than 7 in floating point
    chances = hypergeom.pmf(np.arange(needed, k + 1), groups.rewards.shape[1], correct[:, None], k).sum(axis=1)
    return torch.from_numpy(np.minimum(chances, 1)[groups_of])


def _drawn_votes(groups: Groups, k: int) -> Tensor:
    """Estimate maj@k of large groups from random subsets, with a fixed seed."""
    generator = np.random.default_rng(0)
    found = []
    for keys, rewards in zip(groups.keys.numpy(), groups.rewards.numpy(), strict=True):
        _, answer, votes = np.unique(keys[keys >= 0], return_inverse=True, return_counts=True)
        accuracy = np.bincount(answer, weights=rewards[keys >= 0]) / votes
        sizes = [*votes, (keys < 0).sum()]
        drawn = generator.multivariate_hypergeometric(sizes, k, size=max(32, DRAWS // len(groups.keys)))[:, :-1]
        wins = (drawn == drawn.max(axis=1, keepdims=True, initial=0)) & (drawn > 0)
        found.append(float((wins @ accuracy / np.maximum(wins.sum(axis=1), 1)).mean()))
    return torch.tensor(found, dtype=torch.float64)


def proportion_interval(values: Floats, confidence: float = 0.95) -> Interval | None:
    """Compute a confidence interval for the mean over prompts of values in [0, 1], such as pass@k.

    This is Wilson's score interval (1927) with an effective number of prompts, P_e = P p (1 - p) / s² (Kish's design
    effect), and with the quantile z of Student's t in place of the normal one:

        (p + z²/2P_e ± z √(p (1 - p) / P_e + z²/4P_e²)) / (1 + z²/P_e)

    The ratio s² / p (1 - p), at most 1, is computed from the prompts and one extra prompt that is half 0 and half 1.
    So the interval has some width even if all prompts happen to agree.

    Near 0 and 1, the t interval, Wilson's without the extra prompt and a BCa bootstrap cover the mean too seldom. In
    simulations of 10, 30 and 200 prompts with 16 samples each, success rates from seven distributions and k = 1 and 8,
    this interval covered the mean .94 to 1.0 of the time. The others (30 and 200 prompts, the bootstrap only 30) fell
    as low as .11, .55 and .11. ``tests/evaluate/test_evaluate_estimates.py`` repeats some of this. Near 0 and 1 the
    interval is wider than it needs to be.

    Args:
        values: One for each prompt, in [0, 1], shape ``[P]``.
        confidence: Confidence level of the interval.

    Returns:
        The interval, within [0, 1] and around the mean; None for fewer than 2 prompts.
    """
    count = len(values)
    if count < 2:
        return None
    mean = float(np.clip(values.mean(), 0, 1))
    wider = (values.sum() + 0.5) / (count + 1)
    spread = ((values - wider) ** 2).sum() + 0.5 * (wider**2 + (1 - wider) ** 2)
    effective = count / min(1.0, spread / (count + 1) / (wider * (1 - wider)))
    z = _quantile(count, confidence)
    centre = mean + z**2 / (2 * effective)
    half = z * np.sqrt(mean * (1 - mean) / effective + z**2 / (4 * effective**2))
    low, high = (centre - half) / (1 + z**2 / effective), (centre + half) / (1 + z**2 / effective)
    return Interval(max(0.0, min(float(low), mean)), min(1.0, max(float(high), mean)))


def paired_proportion_interval(differences: Floats, confidence: float = 0.95) -> Interval | None:
    """Compute a confidence interval for the mean over prompts of differences between values in [0, 1].

    This is Student's t interval with one extra prompt, on which each of the outcomes (0, 0), (0, 1), (1, 0) and (1, 1)
    has weight 1/4. It follows Agresti and Min (2005), who add two such prompts to matched proportions.

    In the simulations described in :func:`proportion_interval`, it covered the mean .946 to 1.0 of the time. The plain
    t interval, which fails where few prompts differ, covered it .12 to 1.0 of the time. Where all differences are
    small, this interval is wider than it needs to be.

    Args:
        differences: One for each prompt, in [-1, 1], shape ``[P]``.
        confidence: Confidence level of the interval.

    Returns:
        The interval, within [-1, 1]; None for fewer than 2 prompts.
    """
    count = len(differences)
    if count < 2:
        return None
    mean = differences.sum() / (count + 1)
    spread = ((differences - mean) ** 2).sum() + (2 * mean**2 + (1 - mean) ** 2 + (1 + mean) ** 2) / 4
    half = _quantile(count, confidence) * np.sqrt(spread / count / (count + 1))
    return Interval(max(-1.0, float(mean - half)), min(1.0, float(mean + half)))


def mean_interval(values: Floats, confidence: float = 0.95) -> Interval | None:
    """Compute Student's t interval, mean ± t s / √P, for the mean of values that have no known bounds.

    Args:
        values: One for each prompt, shape ``[P]``.
        confidence: Confidence level of the interval.

    Returns:
        The interval; None for fewer than 2 prompts, or if all values are equal, which says nothing about their spread.
    """
    if len(values) < 2 or values.min() == values.max():
        return None
    half = _quantile(len(values), confidence) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean() - half), float(values.mean() + half))


def _quantile(count: int, confidence: float) -> float:
    return float(student_t.ppf((1 + confidence) / 2, count - 1))
