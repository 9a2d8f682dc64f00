"""Policy-gradient advantages of max@k, in PyTorch.

One prompt has n sampled responses, its *group*, with rewards sorted as g₍₁₎ ≤ … ≤ g₍ₙ₎. All averages are over subsets
drawn uniformly without replacement:

    V_k       mean over the k-subsets of the largest reward: the unbiased estimate of max@k
    q_i       the same over the k-subsets that contain i
    M_k(S−i)  the same over the k-subsets that leave i out

Everything is written in the *gaps* d_j = g₍ⱼ₊₁₎ − g₍ⱼ₎ between neighbours in rank, as the best of a subset is g₍ₙ₎ less
the gaps above it: a constant added to all rewards cannot matter then, tied rewards get tied advantages, and a group
without signal gets exact zeros. The one probability needed is that of rank j being the best of a k-subset it is in:

    ρ_j = C(j-1, k-1) / C(n-1, k-1)

``docs/mathematics.md`` has the proofs. The weights of the gaps are in :mod:`.baselines`, mixtures of several k in
:mod:`.objectives`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from verl_maxpo.best_of_k.arguments import Rewards, checked_result, checked_rewards
from verl_maxpo.best_of_k.groups import GroupIds, group_labels, rows_by_size
from verl_maxpo.best_of_k.objectives import K, Objective, best_rank_distribution, rank_weights


def max_at_k_advantages(
    rewards: Rewards,
    k: K,
    *,
    baseline: str = "l2o",
    weights: Sequence[float] | None = None,
    normalize: str | None = None,
    scale_by_k: bool = True,
) -> Tensor:
    """Compute the advantage of every sample for the policy gradient of max@k.

    With the Leave-Two-Out baseline, MaxPO's (arXiv:2606.06080):

        A_i = k (q_i − M_k(S−i)) = k n/(n−k) (q_i − V_k)

    which in gaps, for the sample of rank r, is one cumulative sum from below and one from above:

        A₍ᵣ₎ = k/(n−k) [ Σ_{j<r} d_j j ρ_j − Σ_{j≥r} d_j (n−j) ρ_j ]

    The advantages of a group sum to zero, and (1/n) Σ_i A_i ∇log π(x_i) is an unbiased estimate of the gradient of
    max@k. ``k=1`` gives RLOO's g_i − mean of the others. ``k="all"`` gives the sum over k = 1 .. n − 1 of all of these
    divided by k, for 0/1 rewards MaxRL's (g_i − mean)/mean (arXiv:2602.02710):

        A₍ᵣ₎ = Σ_{j<r} d_j j/(n−j) − Σ_{j≥r} d_j

    Costs O(n log n). Other baselines change the weights of the gaps, see :mod:`.baselines`.

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions; a tensor (differentiable), an array
            or lists.
        k: The K of max@K, ``1 <= k <= n - 1`` (``n`` for ``"loo_minus_one"``, ``"none"`` and ``"group_mean"``),
            several for a mixture, or ``"all"``.
        baseline: ``"l2o"``, ``"loo_minus_one"``, ``"loo"``, ``"none"`` or ``"group_mean"``.
        weights: With several k, the weight of each, not negative and summing to 1; equal if None. The objective is the
            weighted sum of max@k and the advantage the weighted sum of advantages.
        normalize: ``"std"`` divides each group by the standard deviation of the best reward over its k-subsets
            (k drawn with the probabilities ``weights`` if there are several); a group in which it is 0, because more
            than n - k samples share the best reward, gets zeros. With ``baseline="group_mean"`` and
            ``scale_by_k=False`` this is Pass@k Training's advantage (arXiv:2508.10751), for real rewards too and
            without its epsilon. The divisor depends on the sample, so the gradient is *biased*.
        scale_by_k: Keep the factor k of the gradient (of several k, each its own). Without it the equations above
            stand divided by k, and the weights 1/k of ``"all"`` are normalised to sum to 1.

    Returns:
        Shape ``[..., n]``, in the dtype of ``rewards`` (the default dtype for integers and booleans), in the units
        of the rewards; computed in float64. With ``"l2o"`` and ``"group_mean"``, a group with equal rewards, or with
        so many best samples that every k-subset holds one, gets exact zeros.

    Raises:
        TypeError: ``k`` is no integer, or the rewards are no numbers.
        ValueError: ``k`` is out of range, a reward is NaN or infinite, the advantages overflow the dtype, or another
            argument is unusable.

    Examples:
        >>> max_at_k_advantages([0.0, 0.0, 0.0, 1.0], k=2)
        tensor([-0.6667, -0.6667, -0.6667,  2.0000])
        >>> max_at_k_advantages([0.0, 0.0, 0.0, 1.0], k="all")
        tensor([-1., -1., -1.,  3.])
    """
    rewards = checked_rewards(rewards)
    objective = Objective.of(k, weights, baseline, normalize, scale_by_k)
    objective.check_group(rewards.shape[-1])
    return checked_result(_advantages(rewards, objective), rewards)


def grouped_max_at_k_advantages(
    rewards: Rewards,
    group_ids: GroupIds,
    k: K,
    *,
    baseline: str = "l2o",
    weights: Sequence[float] | None = None,
    normalize: str | None = None,
    scale_by_k: bool = True,
) -> Tensor:
    """Compute :func:`max_at_k_advantages` within groups of any size and in any order.

    Args:
        rewards: Finite rewards, shape ``[bs]``; a tensor (differentiable), an array or a list.
        group_ids: The group of each reward, length ``bs``: an integer tensor, a numpy array of numbers or objects,
            or any iterable of hashable values such as verl's ``uid`` strings.
        k: The K of max@K, ``k >= 1``, several, or ``"all"``: k = 1 .. n - 1 by the n of every group.
        baseline: As for :func:`max_at_k_advantages`, like the other options.
        weights: See there.
        normalize: See there.
        scale_by_k: See there.

    Returns:
        Shape ``[bs]``, in the dtype of ``rewards``. Samples of a group that is too small for the largest k, having
        fewer than k + 1 members (k with ``"loo_minus_one"``, ``"none"`` and ``"group_mean"``), get exact zeros.

    Raises:
        TypeError: As :func:`max_at_k_advantages`, or a group id is not hashable.
        ValueError: As :func:`max_at_k_advantages`, shapes do not match, or a group id is None.

    Examples:
        >>> grouped_max_at_k_advantages([1.0, 5.0, 0.0, 9.0], ["a", "b", "a", "b"], k=1)
        tensor([ 1., -4., -1.,  4.])
    """
    rewards = checked_rewards(rewards)
    objective = Objective.of(k, weights, baseline, normalize, scale_by_k)
    labels = group_labels(group_ids, rewards.device)
    if rewards.shape != labels.shape or rewards.dim() != 1:
        raise ValueError(
            f"rewards and group_ids must be one-dimensional and of one length, got {list(rewards.shape)} and "
            f"{list(labels.shape)}"
        )
    return labelled_max_at_k_advantages(rewards, labels, labels.bincount(), objective)


def labelled_max_at_k_advantages(rewards: Tensor, labels: Tensor, sizes: Tensor, objective: Objective) -> Tensor:
    """Compute :func:`grouped_max_at_k_advantages` for rewards ``[bs]`` that are checked and labelled.

    ``labels`` are those of :func:`group_labels`, 0 to G - 1, and ``sizes`` their ``bincount()``.
    """
    advantages = torch.zeros(rewards.shape, dtype=torch.float64, device=rewards.device)
    for rows in rows_by_size(labels, sizes):
        if rows.shape[-1] >= objective.smallest_group:
            advantages[rows] = _advantages(rewards[rows], objective)
    return checked_result(advantages, rewards)


def ranked_advantages(ranked: Tensor, objective: Objective) -> Tensor:
    """Compute the advantage of each rank from ascending float64 rewards ``[..., n]``, n at least ``smallest_group``."""
    weights = rank_weights(objective, ranked.shape[-1], ranked.device)
    gaps = ranked.diff(dim=-1)
    from_below = (gaps * weights.below).cumsum(dim=-1)
    from_above = (gaps * weights.above).flip(-1).cumsum(dim=-1).flip(-1)
    # The lowest rank has no gap below it, the highest none above.
    advantages: Tensor = pad(from_below, (1, 0)) + pad(from_above, (0, 1))
    if weights.lowest:
        advantages = advantages + weights.lowest * ranked[..., :1]
    return advantages if objective.normalize is None else _divided_by_std(advantages, ranked, objective)


def _advantages(rewards: Tensor, objective: Objective) -> Tensor:
    """Advantages of a dense batch ``[..., n]`` whose arguments have been checked, float64."""
    ranked, order = rewards.double().sort(dim=-1)
    advantages = ranked_advantages(ranked, objective)
    return torch.empty_like(advantages).scatter(-1, order, advantages)


def _divided_by_std(advantages: Tensor, ranked: Tensor, objective: Objective) -> Tensor:
    """Divide by the standard deviation of the best reward of a random subset."""
    probability = best_rank_distribution(objective, ranked.shape[-1], ranked.device)
    # In units of the range, and from the best down: a tie at the top is an exact 0, and small rewards do not underflow.
    below_best = ranked[..., -1:] - ranked
    scale = below_best[..., :1].where(below_best[..., :1] > 0, torch.ones_like(below_best[..., :1]))
    below_best = below_best / scale
    mean = (below_best * probability).sum(dim=-1, keepdim=True)
    variance = ((below_best - mean) ** 2 * probability).sum(dim=-1, keepdim=True)
    varies = variance != 0  # NaN too, from rewards too far apart for float64: the result is checked
    std = scale * variance.where(varies, torch.ones_like(variance)).sqrt()
    return (advantages / std).where(varies, torch.zeros_like(advantages))
