r"""Max@K and its policy-gradient advantages, in PyTorch.

Notation (``maxpo.md`` of this project, and "On Advantage Estimates for Max@K Policy Gradients", arXiv:2606.06080).
One prompt has :math:`n` sampled responses, its *group*, with rewards sorted as
:math:`g_{(1)} \le \dots \le g_{(n)}`. All averages are over subsets drawn uniformly without replacement.

=====================  ==============================================================================
:math:`V_k`            mean over the k-subsets of the largest reward: the unbiased estimate of max@k
:math:`q_i`            the same over the k-subsets that contain i
:math:`M_k(S\!-\!i)`   the same over the k-subsets that leave i out
=====================  ==============================================================================

Everything is written in the *gaps* :math:`d_j = g_{(j+1)} - g_{(j)}` between neighbours in rank, because
:math:`\max = g_{(n)} - \sum_j d_j [\text{the best has rank} \le j]` makes every average a sum of gaps times a
probability. A constant added to all rewards cannot matter then, tied rewards get tied advantages, and a group
without signal gets exact zeros. The only probability needed is that of rank j being the best of a subset it is in,

.. math:: \rho_j = \binom{j-1}{k-1} \Big/ \binom{n-1}{k-1}, \qquad
          P(\text{the best of a k-subset has rank} \le j) = \frac{j}{n} \rho_j .

The weights of the gaps are in :mod:`.baselines`, mixtures of several k in :mod:`.objectives`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from verl_maxpo.best_of_k.arguments import checked_rewards
from verl_maxpo.best_of_k.groups import group_labels, rows_by_size
from verl_maxpo.best_of_k.objectives import Objective, best_rank_distribution, rank_weights


def max_at_k_advantages(
    rewards: Tensor,
    k: int | Sequence[int],
    *,
    baseline: str = "l2o",
    weights: Sequence[float] | None = None,
    normalize: str | None = None,
    scale_by_k: bool = False,
) -> Tensor:
    r"""Compute the advantage of every sample for the policy gradient of max@k.

    With the Leave-Two-Out baseline, MaxPO's (arXiv:2606.06080; ``maxpo.md``, identities 1 and 2),

    .. math:: A_i = q_i - M_k(S\!-\!i) = \frac{n}{n-k} (q_i - V_k),

    which in gaps, for the sample of rank r, is one cumulative sum from below and one from above:

    .. math:: A_{(r)} = \frac{1}{n-k} \Big[ \sum_{j<r} d_j \, j \rho_j - \sum_{j \ge r} d_j \, (n-j) \rho_j \Big] .

    The advantages of a group sum to zero, and :math:`\frac1n \sum_i k A_i \nabla \log \pi(x_i)` is an unbiased
    estimate of the gradient of max@k. ``k=1`` gives RLOO's :math:`g_i - \text{mean of the others}`. Costs O(n log n).

    Other baselines change the weights of the gaps; :mod:`.baselines` has their equations and properties.
    ``"adaptive"`` is :math:`s_i - w b_i` with :math:`s_i = q_i - M_{k-1}(S\!-\!i)` (that of ``"loo_minus_one"``) and
    :math:`b_i = M_k(S\!-\!i) - M_{k-1}(S\!-\!i)`, so that w = 0 is ``"loo_minus_one"`` and w = 1 ``"l2o"``. Each group
    h has the w that would have minimised the mean of :math:`A_i^2` over the *other* groups of the batch, which keeps
    it unbiased,

    .. math:: w_h = \sum_{g \ne h} \langle s, b \rangle_g \Big/ \sum_{g \ne h} \langle b, b \rangle_g ,

    and w = 1 where these have no signal or there are none. The mean of :math:`A_i^2` is the variance of the gradient
    only up to how the gradients of the samples correlate: smaller is no proof of less noise.

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions. Differentiable.
        k: The K of max@K, ``1 <= k <= n - 1`` (``n`` for baselines that leave one sample out or none), or several
            for a mixture.
        baseline: ``"l2o"``, ``"loo_minus_one"``, ``"loo"``, ``"none"``, ``"group_mean"`` or ``"adaptive"``.
        weights: With several k, the weight of each, not negative and summing to 1: the objective is the weighted sum
            of max@k and the advantage the weighted sum of advantages.
        normalize: ``"std"`` divides each group by the standard deviation of the best reward over its k-subsets
            (k drawn with the probabilities ``weights`` if there are several); a group in which it is 0, because more
            than n - k samples share the best reward, gets zeros. With ``baseline="group_mean"`` this is
            Pass@k Training's advantage (arXiv:2508.10751), for real rewards too and without its epsilon. The
            divisor depends on the sample, so the gradient is *biased*: groups whose subsets agree count for more.
        scale_by_k: Multiply the advantages of each k by that k, before they are mixed; ``normalize`` leaves the
            factor in.

    Returns:
        Shape ``[..., n]``, in the dtype of ``rewards`` (the default dtype for integers and booleans), in the units
        of the rewards; computed in float64. With ``"l2o"`` and ``"group_mean"``, a group with equal rewards, or with
        so many best samples that every k-subset holds one, gets exact zeros.

    Raises:
        TypeError: ``k`` is no integer.
        ValueError: ``k`` is out of range, a reward is NaN or infinite, or another argument is unusable.

    >>> max_at_k_advantages(torch.tensor([0.0, 0.0, 0.0, 1.0]), k=2)
    tensor([-0.3333, -0.3333, -0.3333,  1.0000])
    >>> max_at_k_advantages(torch.tensor([0.0, 0.0, 0.0, 1.0]), k=[1, 2], weights=[0.5, 0.5])
    tensor([-0.3333, -0.3333, -0.3333,  1.0000])
    """
    rewards = checked_rewards(rewards)
    n = rewards.shape[-1]
    objective = Objective.of(k, weights, baseline, normalize, scale_by_k, n=n)
    if baseline == "adaptive":
        labels = torch.arange(rewards[..., 0].numel(), device=rewards.device).repeat_interleave(n)
        return labelled_max_at_k_advantages(rewards.flatten(), labels, labels.bincount(), objective).view_as(rewards)
    return _advantages(rewards, objective)


def grouped_max_at_k_advantages(
    rewards: Tensor,
    group_ids: Tensor | np.ndarray[Any, Any] | Iterable[Hashable],
    k: int | Sequence[int],
    *,
    baseline: str = "l2o",
    weights: Sequence[float] | None = None,
    normalize: str | None = None,
    scale_by_k: bool = False,
) -> Tensor:
    r"""Compute :func:`max_at_k_advantages` within groups of any size and in any order.

    Args:
        rewards: Finite rewards, shape ``[bs]``. Differentiable.
        group_ids: The group of each reward, length ``bs``: an integer tensor, a numpy array of numbers or objects,
            or any iterable of hashable values such as verl's ``uid`` strings.
        k: The K of max@K, ``k >= 1``, or several.
        baseline: As for :func:`max_at_k_advantages`.
        weights: As for :func:`max_at_k_advantages`.
        normalize: As for :func:`max_at_k_advantages`.
        scale_by_k: As for :func:`max_at_k_advantages`.

    Returns:
        Shape ``[bs]``, in the dtype of ``rewards``. Samples of a group that is too small for the largest k, having
        fewer than k + 1 members (k with ``"loo_minus_one"``, ``"none"`` and ``"group_mean"``), get exact zeros.

    Raises:
        TypeError: ``k`` is no integer, or a group id is not hashable.
        ValueError: ``k < 1``, shapes that do not match, a reward that is NaN or infinite (the message names the
            rows), or another argument that is unusable.

    >>> grouped_max_at_k_advantages(torch.tensor([1.0, 5.0, 0.0, 9.0]), ["a", "b", "a", "b"], k=1)
    tensor([ 1., -4., -1.,  4.])
    """
    objective = Objective.of(k, weights, baseline, normalize, scale_by_k)
    labels = group_labels(group_ids, rewards.device)
    if rewards.shape != labels.shape or rewards.dim() != 1:
        raise ValueError(
            f"rewards and group_ids must be one-dimensional and of one length, got {list(rewards.shape)} and "
            f"{list(labels.shape)}"
        )
    return labelled_max_at_k_advantages(checked_rewards(rewards), labels, labels.bincount(), objective)


def labelled_max_at_k_advantages(rewards: Tensor, labels: Tensor, sizes: Tensor, objective: Objective) -> Tensor:
    """Compute :func:`grouped_max_at_k_advantages` for groups that are already labelled.

    Args:
        rewards: Rewards that :func:`checked_rewards` has passed, shape ``[bs]``.
        labels: Label of each reward's group, 0 to G - 1, shape ``[bs]``, from :func:`group_labels`.
        sizes: Number of members of each label, shape ``[G]``, that is ``labels.bincount()``.
        objective: What is optimised.

    Returns:
        Shape ``[bs]``.
    """
    if objective.baseline == "adaptive":
        return _adaptive_advantages(rewards, labels, sizes, objective)
    advantages = torch.zeros_like(rewards)
    for rows in rows_by_size(labels, sizes):
        if rows.shape[-1] >= objective.smallest_group:
            advantages[rows] = _advantages(rewards[rows], objective)
    return advantages


def ranked_advantages(ranked: Tensor, objective: Objective) -> Tensor:
    """Compute the advantages of dense groups from rewards that are already sorted.

    Args:
        ranked: Ascending rewards, shape ``[..., n]``, float64, n at least ``objective.smallest_group``.
        objective: What is optimised, with any baseline but ``adaptive``.

    Returns:
        The advantage of each rank, shape ``[..., n]``.
    """
    weights = rank_weights(objective, ranked.shape[-1], ranked.device)
    gaps = ranked.diff(dim=-1)
    from_below = (gaps * weights.below).cumsum(dim=-1)
    from_above = (gaps * weights.above).flip(-1).cumsum(dim=-1).flip(-1)
    # The lowest rank has no gap below it, the highest none above.
    advantages: Tensor = pad(from_below, (1, 0)) + pad(from_above, (0, 1))
    if weights.lowest:
        advantages = advantages + weights.lowest * ranked[..., :1]
    return advantages if objective.normalize is None else _divided_by_std(advantages, ranked, objective)


def adaptive_weight(score_baseline: Tensor, baseline_baseline: Tensor) -> Tensor:
    r"""Compute the weight of each group's baseline from the other groups, see :func:`max_at_k_advantages`.

    Args:
        score_baseline: :math:`\langle s, b \rangle_g` of each group, shape ``[G]``.
        baseline_baseline: :math:`\langle b, b \rangle_g` of each group, shape ``[G]``.

    Returns:
        :math:`w_g`, shape ``[G]``; 1 where the other groups have no signal.
    """
    numerator, denominator = _sum_of_others(score_baseline), _sum_of_others(baseline_baseline)
    known = denominator > 0
    return torch.where(known, numerator / denominator.where(known, torch.ones_like(denominator)), 1.0)


def _sum_of_others(values: Tensor) -> Tensor:
    # Two cumulative sums, and no total minus own, in which a group could leave its rounding error behind.
    return pad(values.cumsum(0)[:-1], (1, 0)) + pad(values.flip(0).cumsum(0)[:-1], (1, 0)).flip(0)


def _adaptive_advantages(rewards: Tensor, labels: Tensor, sizes: Tensor, objective: Objective) -> Tensor:
    l2o = labelled_max_at_k_advantages(rewards.double(), labels, sizes, replace(objective, baseline="l2o"))
    score = labelled_max_at_k_advantages(rewards.double(), labels, sizes, replace(objective, baseline="loo_minus_one"))
    score = score.where(sizes[labels] >= objective.smallest_group, torch.zeros_like(score))
    baseline = score - l2o
    zeros = torch.zeros(len(sizes), dtype=score.dtype, device=score.device)
    weight = adaptive_weight(
        zeros.index_add(0, labels, score * baseline), zeros.index_add(0, labels, baseline * baseline)
    )
    return (l2o + (1 - weight[labels]) * baseline).to(rewards.dtype)  # s - w b, and exactly l2o where w is 1


def _advantages(rewards: Tensor, objective: Objective) -> Tensor:
    """Advantages of a dense batch ``[..., n]`` whose arguments have been checked."""
    ranked, order = rewards.double().sort(dim=-1)
    advantages = ranked_advantages(ranked, objective)
    return torch.empty_like(advantages).scatter(-1, order, advantages).to(rewards.dtype)


def _divided_by_std(advantages: Tensor, ranked: Tensor, objective: Objective) -> Tensor:
    """Divide by the standard deviation of the best reward of a random subset."""
    probability = best_rank_distribution(objective, ranked.shape[-1], ranked.device)
    # In units of the range, and from the best down: a tie at the top is an exact 0, and small rewards do not underflow.
    below_best = ranked[..., -1:] - ranked
    scale = below_best[..., :1].where(below_best[..., :1] > 0, torch.ones_like(below_best[..., :1]))
    below_best = below_best / scale
    mean = (below_best * probability).sum(dim=-1, keepdim=True)
    variance = ((below_best - mean) ** 2 * probability).sum(dim=-1, keepdim=True)
    varies = variance > 0
    std = scale * variance.where(varies, torch.ones_like(variance)).sqrt()
    return (advantages / std).where(varies, torch.zeros_like(advantages))
