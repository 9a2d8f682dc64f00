"""Unbiased max@k."""

from __future__ import annotations

import torch
from torch import Tensor

from verl_maxpo.best_of_k.arguments import checked_k, checked_rewards
from verl_maxpo.best_of_k.baselines import best_rank_probability


def max_at_k(rewards: Tensor, k: int) -> Tensor:
    r"""Estimate max@k, the expected best reward of k samples, without bias.

    .. math:: V_k = g_{(1)} + \sum_{j=1}^{n-1} d_j \Big(1 - \frac{j}{n} \rho_j\Big)
                  = \sum_{j=1}^{n} g_{(j)} \binom{j-1}{k-1} \Big/ \binom{n}{k}

    For 0/1 rewards with c successes this is pass@k, :math:`1 - \binom{n-c}{k} / \binom{n}{k}`. With ``k=1`` it is
    the mean, with ``k=n`` the maximum. See Chen et al., "Evaluating Large Language Models Trained on Code"
    (arXiv:2107.03374), for 0/1 rewards and ``maxpo.md``, symbol V_k, for real ones.

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions. Differentiable.
        k: Size of the subsets, ``1 <= k <= n``.

    Returns:
        Shape ``[...]``, in the dtype of ``rewards`` (the default dtype for integers and booleans).

    Raises:
        TypeError: ``k`` is no integer.
        ValueError: ``k`` is out of range, or a reward is NaN or infinite.

    >>> max_at_k(torch.tensor([0.0, 0.0, 1.0, 3.0]), k=2)
    tensor(1.8333)
    """
    rewards = checked_rewards(rewards)
    n = rewards.shape[-1]
    k = checked_k(k, n, largest=n)
    ranked = rewards.double().sort(dim=-1).values
    rank = torch.arange(1, n, dtype=torch.float64, device=rewards.device)
    cdf = rank / n * best_rank_probability(n, k, rewards.device)[:-1]
    return (ranked[..., 0] + (ranked.diff(dim=-1) * (1 - cdf)).sum(dim=-1)).to(rewards.dtype)
