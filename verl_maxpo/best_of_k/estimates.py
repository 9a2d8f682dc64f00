"""Unbiased estimates of what k responses are worth: max@k, the best by a score, the majority vote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from verl_maxpo.best_of_k.arguments import Rewards, checked_k, checked_result, checked_rewards
from verl_maxpo.best_of_k.groups import Groups, Rule, checked_keys, dense_groups
from verl_maxpo.best_of_k.ranks import rank_values
from verl_maxpo.best_of_k.votes import vote_values


def max_at_k(rewards: Rewards, k: int) -> Tensor:
    """Estimate max@k, the expected best reward of k samples, without bias.

    The mean of the best reward over all k-subsets, a sum over the ascending rewards g₍₁₎ ≤ … ≤ g₍ₙ₎:

        V_k = Σ_j g₍ⱼ₎ C(j-1, k-1) / C(n, k)

    For 0/1 rewards with c successes it is pass@k, 1 - C(n-c, k) / C(n, k); for ``k=1`` the mean, for ``k=n`` the
    maximum. See Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374), for 0/1 rewards,
    and ``docs/mathematics.md`` for real ones.

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions; a tensor (differentiable), an array
            or lists.
        k: Size of the subsets, ``1 <= k <= n``.

    Returns:
        Shape ``[...]``, in the dtype of ``rewards`` (the default dtype for integers and booleans).

    Raises:
        TypeError: ``k`` is not an integer, or the rewards are not numbers.
        ValueError: ``k`` is out of range, a reward is NaN or infinite, or rewards are too far apart for float64.

    Examples:
        >>> max_at_k([0.0, 0.0, 1.0, 3.0], k=2)
        tensor(1.8333)
    """
    return _at_k("reward", rewards, None, k)


def selected_at_k(rewards: Rewards, scores: Rewards, k: int) -> Tensor:
    """Estimate selected@k, the expected reward of the sample with the largest score of k, without bias.

    The mean over all k-subsets of the reward that is kept; of tied scores each is kept with the same probability. It is
    :func:`max_at_k` for ``scores=rewards``, never more than that, and the mean for ``k=1``.

    ``scores``, finite and of the shape of ``rewards``, are what a judge says of each sample. Shapes and errors are
    those of :func:`max_at_k`, for the scores too.

    Raises:
        ValueError: The shapes differ.

    Examples:
        >>> selected_at_k([0.0, 0.0, 1.0, 3.0], scores=[0.9, 0.1, 0.8, 0.2], k=2)
        tensor(0.8333)
    """
    return _at_k("score", rewards, scores, k)


def maj_at_k(rewards: Rewards, answers: Any, k: int) -> Tensor:
    """Estimate maj@k, the expected reward of the most frequent answer of k samples, without bias.

    The mean over all k-subsets of the mean reward of the samples that gave the winning answer; of answers with equally
    many votes each wins with the same probability. Exact for every n and k. If all vote, k = 2 is k = 1, the mean.

    ``answers`` are hashable, in (nested) lists or an array of the shape of ``rewards``. None does not vote; a subset in
    which nobody votes has the value 0. Shapes and errors are those of :func:`max_at_k`.

    Raises:
        TypeError: An answer is not hashable.
        ValueError: The shapes differ.

    Examples:
        >>> maj_at_k([1.0, 1.0, 0.0, 0.0], answers=["7", "7", "5", None], k=3)
        tensor(0.7500)
    """
    return _at_k("vote", rewards, answers, k)


def value_of(groups: Groups, k: int) -> Tensor:
    """Compute V_k of each group, ``[groups]``, k at most n."""
    return vote_values(groups, k) if groups.rule == "vote" else rank_values(groups, k)


def estimates(
    batches: list[Groups], ks: Iterable[int], value: Callable[[Groups, int], Tensor] = value_of
) -> dict[int, Tensor]:
    """Estimate V_k of each group for each k, by the groups' rule: max@k (pass@k of 0/1 rewards), selected@k or maj@k.

    Args:
        batches: Those of :func:`.groups.ranked_groups`.
        ks: At least 1 each.
        value: Takes the groups of one size and k, at most their n; another one estimates something else.

    Returns:
        For each k the values by the label of the group, float64 ``[largest label + 1]``; NaN for groups with fewer than
        k responses.
    """
    count = max((int(groups.labels.max()) + 1 for groups in batches), default=0)
    found = {}
    for k in ks:
        values = torch.full((count,), torch.nan, dtype=torch.float64)
        for groups in batches:
            if groups.keys.shape[-1] >= k:
                values = values.to(groups.rewards.device)
                values[groups.labels] = value(groups, k)
        found[k] = values
    return found


def _at_k(rule: Rule, rewards: Rewards, given: Any, k: int) -> Tensor:
    rewards = checked_rewards(rewards)
    k, n, keys = checked_k(k), rewards.shape[-1], checked_keys(rule, given, rewards)
    if k > n:
        raise ValueError(f"k={k} needs groups of at least {k} responses, got {n}")
    values = value_of(dense_groups(rewards, keys, rule), k)
    return checked_result(values.view(rewards.shape[:-1]), rewards)
