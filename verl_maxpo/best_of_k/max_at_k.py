"""Unbiased max@k."""

from __future__ import annotations

import torch
from torch import Tensor

from verl_maxpo.best_of_k.arguments import Rewards, checked_k, checked_result, checked_rewards
from verl_maxpo.best_of_k.baselines import best_rank_probability


def max_at_k(rewards: Rewards, k: int) -> Tensor:
    """Estimate max@k, the expected best reward of k samples, without bias.

    The mean of the best reward over all k-subsets, which is a sum over the ascending rewards g₍₁₎ ≤ … ≤ g₍ₙ₎:

        V_k = Σ_j g₍ⱼ₎ C(j-1, k-1) / C(n, k)

    For 0/1 rewards with c successes this is pass@k, 1 - C(n-c, k) / C(n, k). With ``k=1`` it is the mean, with ``k=n``
    the maximum. See Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374), for 0/1
    rewards, and ``docs/mathematics.md`` for real ones.

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions; a tensor (differentiable), an array
            or lists.
        k: Size of the subsets, ``1 <= k <= n``.

    Returns:
        Shape ``[...]``, in the dtype of ``rewards`` (the default dtype for integers and booleans).

    Raises:
        TypeError: ``k`` is no integer, or the rewards are no numbers.
        ValueError: ``k`` is out of range, a reward is NaN or infinite, or rewards are too far apart for float64.

    Examples:
        >>> max_at_k([0.0, 0.0, 1.0, 3.0], k=2)
        tensor(1.8333)
    """
    rewards, k = checked_rewards(rewards), checked_k(k)
    n = rewards.shape[-1]
    if k > n:
        raise ValueError(f"k={k} needs groups of at least {k} responses, got {n}")
    ranked = rewards.double().sort(dim=-1).values
    rank = torch.arange(1, n, dtype=torch.float64, device=rewards.device)
    # In gaps between neighbours in rank, like the advantages: the best is g_(1) plus every gap that is below it.
    best_is_below = rank / n * best_rank_probability(n, k, rewards.device)[:-1]
    return checked_result(ranked[..., 0] + (ranked.diff(dim=-1) * (1 - best_is_below)).sum(dim=-1), rewards)
