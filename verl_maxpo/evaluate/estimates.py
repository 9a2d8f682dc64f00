"""Statistics of an evaluation: estimates for each prompt, and intervals for their mean over prompts.

A prompt has n samples with rewards g_(1) ≤ ... ≤ g_(n), c of them correct. Its estimate for k needs
k samples; the estimate of a data source is the mean over the prompts with n >= k.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, comb
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom
from scipy.stats import t as student_t

from verl_maxpo.best_of_k.groups import rows_by_size
from verl_maxpo.best_of_k.max_at_k import max_at_k
from verl_maxpo.best_of_k.pass_at_k import pass_at_k

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Largest group for which majority votes are exact, and the number of random draws beyond, of all prompts together.
EXACT_VOTES, DRAWS = 32, 100_000


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


def pass_at_k_by_prompt(sizes: Ints, correct: Ints, k: int) -> Floats:
    """Estimate pass@k of each prompt.

    Args:
        sizes: n of each prompt, shape ``[P]``.
        correct: c of each prompt, shape ``[P]``.
        k: At least 1.

    Returns:
        Shape ``[P]``, NaN for prompts with fewer than k samples.
    """
    values = np.full(len(sizes), np.nan)
    enough = sizes >= k
    values[enough] = pass_at_k(sizes[enough], correct[enough], k)
    return values


def pass_hat_k_by_prompt(sizes: Ints, correct: Ints, k: int) -> Floats:
    """Estimate pass^k of each prompt, the probability that all of k samples are correct, without bias.

    C(c, k) / C(n, k) = 1 - pass@k of the failures, of "tau-bench" by Yao et al. (https://arxiv.org/abs/2406.12045).

    Args:
        sizes: n of each prompt, shape ``[P]``.
        correct: c of each prompt, shape ``[P]``.
        k: At least 1.

    Returns:
        Shape ``[P]``, NaN for prompts with fewer than k samples.
    """
    return 1 - pass_at_k_by_prompt(sizes, sizes - correct, k)


def g_pass_at_k_by_prompt(sizes: Ints, correct: Ints, k: int, tau: float) -> Floats:
    """Estimate G-Pass@k_τ of each prompt, the probability that at least ⌈τ k⌉ of k samples are correct, without bias.

    Σ_{j=⌈τk⌉}^{c} C(c, j) C(n - c, k - j) / C(n, k), of "Are Your LLMs Capable of Stable Reasoning?" by Liu et al.
    (https://arxiv.org/abs/2412.13147). It is pass^k for τ = 1, and pass@k for τ = 1/k.

    Args:
        sizes: n of each prompt, shape ``[P]``.
        correct: c of each prompt, shape ``[P]``.
        k: At least 1.
        tau: In (0, 1].

    Returns:
        Shape ``[P]``, NaN for prompts with fewer than k samples.
    """
    pairs, rows = np.unique(np.stack([sizes, correct], axis=1), axis=0, return_inverse=True)
    n, c = pairs[:, :1], pairs[:, 1:]
    needed = ceil(round(tau * k, 9))  # .7 * 10 is a little more than 7
    chances = hypergeom.pmf(np.arange(needed, k + 1), np.maximum(n, k), c, k).sum(axis=1)
    values: Floats = np.where(n[:, 0] >= k, np.minimum(chances, 1), np.nan)[rows.ravel()]
    return values


def by_prompt(
    estimate: Callable[..., Floats], ks: list[int], labels: Ints, *columns: NDArray[Any]
) -> dict[int, Floats]:
    """Apply an estimate to each prompt.

    Args:
        estimate: Takes the columns as ``[prompts, n]`` and k, and returns ``[prompts]``.
        ks: At least 1 each.
        labels: Prompt of each sample, 0 to P - 1, shape ``[samples]``.
        columns: Values of each sample, shape ``[samples]``.

    Returns:
        For each k shape ``[P]``, NaN for prompts with fewer than k samples.
    """
    tensor = torch.from_numpy(labels)
    values = {k: np.full(labels.max() + 1, np.nan) for k in ks}
    for rows in (rows.numpy() for rows in rows_by_size(tensor, tensor.bincount())):
        dense = [column[rows] for column in columns]
        for k in ks:
            if k <= rows.shape[1]:
                values[k][labels[rows[:, 0]]] = estimate(*dense, k)
    return values


def max_at_k_by_prompt(labels: Ints, scores: Floats, ks: list[int]) -> dict[int, Floats]:
    """Estimate max@k of each prompt without bias, see :func:`by_prompt`."""
    return by_prompt(lambda dense, k: max_at_k(dense, k).numpy(), ks, labels, scores)


def selected_at_k(rewards: Floats, scores: Floats, k: int) -> Floats:
    """Estimate the reward of the one of k responses that has the largest score, NaN being the least, ties at random."""
    scores = np.nan_to_num(scores, nan=-np.inf)
    same = scores[..., :, None] == scores[..., None, :]
    shared = (same @ rewards[..., None])[..., 0] / same.sum(axis=-1)
    ranked = np.take_along_axis(shared, scores.argsort(axis=-1), axis=-1)
    n = scores.shape[-1]
    value: Floats = ranked @ np.diff([comb(j, k) / comb(n, k) for j in range(n + 1)])
    return value


def verl_best_at_k(scores: Floats, k: int) -> Floats:
    """Compute what verl's metric ``best@k/mean`` estimates, ``[..., n]`` to ``[...]``.

    Σ_j g_(j) [(j/n)^k - ((j-1)/n)^k] is the expected maximum of k samples drawn *with* replacement, to which verl's
    1000 resamples (``verl.trainer.ppo.metric_utils.bootstrap_metric``) converge. As a sample may be drawn twice, it
    understates max@k for every k > 1: 1 correct of 4 has pass@4 = 1 and best@4 = 1 - (3/4)^4 = .684.
    """
    n = scores.shape[-1]
    value: Floats = np.sort(scores, axis=-1) @ np.diff((np.arange(n + 1) / n) ** k)
    return value


def majority_at_k_by_prompt(labels: Ints, answers: Ints, correct: Floats, ks: list[int]) -> dict[int, Floats]:
    """Compute the expected accuracy of the majority vote over k of a prompt's samples, drawn without replacement.

    The answer with the most votes wins; of several, each with the same probability (verl's metric ``maj@k`` takes the
    first, which for samples in random order is the same). It is right as often as the samples that gave it. Samples
    without an answer do not vote; where nobody does, the value is 0.

    Exact for prompts with n <= 32, and for k <= 2. Otherwise the mean over random draws with a
    fixed seed: 100,000 shared by all prompts and at least 32 for each, so that the standard error of the mean over
    prompts is at most .0016.

    Args:
        labels: Prompt of each sample, 0 to P - 1, shape ``[samples]``.
        answers: Answer of each sample, any number that tells answers apart, 0 for none, shape ``[samples]``.
        correct: 0 or 1 for each sample, shape ``[samples]``.
        ks: At least 1 each.

    Returns:
        For each k shape ``[P]``, in [0, 1], NaN for prompts with fewer than k samples.
    """
    values = {k: np.full(labels.max() + 1, np.nan) for k in ks}
    generator = np.random.default_rng(0)
    order = np.argsort(labels, kind="stable")
    prompts = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    draws = max(32, DRAWS // len(prompts))
    for prompt, rows in enumerate(prompts):
        voting = rows[answers[rows] != 0]
        blank = len(rows) - len(voting)
        _, answer, votes = np.unique(answers[voting], return_inverse=True, return_counts=True)
        accuracy = np.bincount(answer, weights=correct[voting]) / votes
        usable = [k for k in ks if k <= len(rows)]
        if len(rows) <= EXACT_VOTES:
            exact = _exact_majority(tuple(sorted(zip(votes.tolist(), accuracy.tolist(), strict=True))), blank)
            of_prompt = [exact[k - 1] for k in usable]
        else:
            of_prompt = [_drawn_majority(votes, accuracy, blank, k, draws, generator) for k in usable]
        for k, value in zip(usable, of_prompt, strict=True):
            values[k][prompt] = value
    return values


def _drawn_majority(
    votes: Ints, accuracy: Floats, blank: int, k: int, draws: int, generator: np.random.Generator
) -> float:
    if k == 1 or len(votes) == 0 or (k == 2 and not blank):
        return float(votes @ accuracy / (votes.sum() + blank))
    drawn = generator.multivariate_hypergeometric([*votes, blank], k, size=draws)[:, :-1]
    wins = (drawn == drawn.max(axis=1, keepdims=True)) & (drawn > 0)
    return float((wins @ accuracy / np.maximum(wins.sum(axis=1), 1)).mean())


@lru_cache(maxsize=1 << 14)
def _exact_majority(answers: tuple[tuple[int, float], ...], blank: int) -> list[float]:
    """Compute the majority's expected accuracy for k = 1 to n, from the votes and accuracy of each answer.

    For every number t of votes that may win, subsets are counted by their size and the number r of answers that have t
    votes, all others having fewer: Π_i (Σ_{s<t} C(n_i, s) x^s + C(n_i, t) x^t y),
    together with the same count weighted by the accuracies of the r. Any number of the ``blank`` is in a subset.
    """
    n = sum(votes for votes, _ in answers) + blank
    accuracy = np.zeros(n + 1)
    for t in range(1, max((votes for votes, _ in answers), default=0) + 1):
        counted = np.zeros((2, n + 1, n // t + 2))  # subsets, and the same times the accuracies; by size, by r
        counted[0, : blank + 1, 0] = [comb(blank, s) for s in range(blank + 1)]
        for votes, right in answers:
            counted = _with_answer(counted, votes, right, t)
        accuracy += (counted[1, :, 1:] / np.arange(1, n // t + 2)).sum(axis=1)
    return [accuracy[k] / comb(n, k) for k in range(1, n + 1)]


def _with_answer(counted: Floats, votes: int, right: float, t: int) -> Floats:
    more = np.zeros_like(counted)
    for s in range(min(votes + 1, t)):
        more[:, s:] += comb(votes, s) * counted[:, : counted.shape[1] - s]
    if votes >= t:
        ways, credit = comb(votes, t) * counted[:, :-t, :-1]
        more[0, t:, 1:] += ways
        more[1, t:, 1:] += credit + right * ways
    return more


def proportion_interval(values: Floats, confidence: float = 0.95) -> Interval | None:
    """Compute a confidence interval for the mean over prompts of values in [0, 1], such as pass@k.

    Wilson's score interval (1927) for an effective number of prompts, P_e = P p (1 - p) / s² (Kish's design
    effect), and Student's t for its normal quantile z:

        (p + z²/2P_e ± z √(p (1 - p) / P_e + z²/4P_e²)) / (1 + z²/P_e)

    The ratio s² / p (1 - p), at most 1, is that of the prompts and one more which is half 0 and half
    1, so that prompts that happen to agree do not give an interval of no width.

    The t interval, Wilson's without that prompt and a BCa bootstrap cover too seldom near 0 and 1: in simulations of
    10, 30 and 200 prompts of 16 samples, with success rates from seven distributions and k = 1 and 8, this one covered
    .94 to 1.0 of the time, the others (30 and 200 prompts, the bootstrap 30 only) sank to .11, .55 and .11.
    ``tests/evaluate/test_evaluate_estimates.py`` repeats a part. Near 0 and 1 it is wider than it would have to be.

    Args:
        values: One for each prompt, in [0, 1], shape ``[P]``.
        confidence: Of the interval.

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

    Student's t interval of the differences and those of one more prompt, on which each of the outcomes (0, 0), (0, 1),
    (1, 0) and (1, 1) has weight 1/4, after Agresti and Min (2005), who add two such prompts to matched proportions.

    In simulations as for :func:`proportion_interval`, it covered .946 to 1.0 of the time, the plain t interval .12 to
    1.0: it fails where few prompts differ. This one is wider than it would have to be where all differences are small.

    Args:
        differences: One for each prompt, in [-1, 1], shape ``[P]``.
        confidence: Of the interval.

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
    """Compute Student's t interval, mean ± t s / √P, for a mean of values with no known bounds.

    Args:
        values: One for each prompt, shape ``[P]``.
        confidence: Of the interval.

    Returns:
        The interval; None for fewer than 2 prompts, or if all values are equal, which says nothing of their spread.
    """
    if len(values) < 2 or values.min() == values.max():
        return None
    half = _quantile(len(values), confidence) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean() - half), float(values.mean() + half))


def _quantile(count: int, confidence: float) -> float:
    return float(student_t.ppf((1 + confidence) / 2, count - 1))
