"""Advantages of a group's responses for any rule by which k responses become one, in PyTorch.

One prompt has n sampled responses, its *group* S. A rule makes one value of k responses: the largest reward (max@k),
the reward of the response that a score picks (selected@k), or that of the answer that wins the vote (maj@k). With
V_k(S) the mean of the rule over all k-subsets of S, an unbiased estimate, the advantage of response i is

    A_i = n (V_k(S) − V_k(S−i))

n times what the estimate loses without it. For every rule, the advantages of a group sum to zero, and
(1/n) Σ_i A_i ∇log π(x_i) is an unbiased estimate of the gradient of the rule's expected value. ``docs/mathematics.md``
has the proofs, :mod:`.ranks` and :mod:`.votes` compute V, :mod:`.baselines` has the family of max@k around it, and
:mod:`.objectives` mixtures of several k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from verl_maxpo.best_of_k.arguments import Rewards, checked_result, checked_rewards
from verl_maxpo.best_of_k.groups import (
    GroupIds,
    Groups,
    Rule,
    checked_keys,
    dense_groups,
    group_labels,
    ranked_groups,
)
from verl_maxpo.best_of_k.objectives import K, Objective
from verl_maxpo.best_of_k.ranks import rank_advantages
from verl_maxpo.best_of_k.votes import vote_advantages


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

    A_i = n (V_k(S) − V_k(S−i)), which is MaxPO's with the Leave-Two-Out baseline (arXiv:2606.06080). In the gaps d_j
    between ranked rewards, with ρ_j = C(j-1, k-1)/C(n-1, k-1):

        A₍ᵣ₎ = k/(n−k) [ Σ_{j<r} d_j j ρ_j − Σ_{j≥r} d_j (n−j) ρ_j ]

    ``k=1`` gives RLOO's g_i − mean of the others. ``k="all"`` gives the sum over k = 1 .. n − 1 of all of these divided
    by k, for 0/1 rewards MaxRL's (g_i − mean)/mean (arXiv:2602.02710):

        A₍ᵣ₎ = Σ_{j<r} d_j j/(n−j) − Σ_{j≥r} d_j

    Costs O(n log n).

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions; a tensor (differentiable), an array
            or lists.
        k: The K of max@K, ``1 <= k <= n - 1`` (``n`` for ``"loo_minus_one"``, ``"none"`` and ``"group_mean"``),
            several for a mixture, or ``"all"``.
        baseline: ``"l2o"``, ``"loo_minus_one"``, ``"loo"``, ``"none"`` or ``"group_mean"``; see :mod:`.baselines`.
        weights: With several k, the weight of each, not negative and summing to 1; equal if None. The objective is the
            weighted sum of max@k and the advantage the weighted sum of advantages.
        normalize: ``"std"`` divides each group by the standard deviation of the best reward over its k-subsets
            (k drawn with the probabilities ``weights`` if there are several); where it is 0, the group gets zeros.
            With ``baseline="group_mean"`` and ``scale_by_k=False`` this is Pass@k Training's advantage
            (arXiv:2508.10751), for real rewards too and without its epsilon. The divisor depends on the sample, so the
            gradient is *biased*.
        scale_by_k: Keep the factor k of the gradient (of several k, each its own). Without it the equations above
            stand divided by k, and the weights 1/k of ``"all"`` are normalised to sum to 1.

    Returns:
        Shape ``[..., n]``, in the dtype of ``rewards`` (the default dtype for integers and booleans), in the units
        of the rewards; computed in float64. With ``"l2o"`` and ``"group_mean"``, a group with equal rewards, or with
        so many best samples that every k-subset holds one, gets exact zeros.

    Raises:
        TypeError: ``k`` is not an integer, or the rewards are not numbers.
        ValueError: ``k`` is out of range, a reward is NaN or infinite, the advantages overflow the dtype, or another
            argument is unusable.

    Examples:
        >>> max_at_k_advantages([0.0, 0.0, 0.0, 1.0], k=2)
        tensor([-0.6667, -0.6667, -0.6667,  2.0000])
        >>> max_at_k_advantages([0.0, 0.0, 0.0, 1.0], k="all")
        tensor([-1., -1., -1.,  3.])
    """
    return _dense("reward", rewards, None, Objective.of(k, weights, baseline, normalize, scale_by_k))


def selected_at_k_advantages(
    rewards: Rewards, scores: Rewards, k: K, *, weights: Sequence[float] | None = None, scale_by_k: bool = True
) -> Tensor:
    """Compute the advantage of every sample for the policy gradient of :func:`.estimates.selected_at_k`.

    A_i = n (V_k(S) − V_k(S−i)), where of k responses the one with the largest score is kept, ties at random.

    ``scores``, finite and of the shape of ``rewards``, are what a judge says of each sample. Options, shapes and errors
    are those of :func:`max_at_k_advantages`, which it is to the last bit for ``scores=rewards``; ``"all"`` needs
    ``scale_by_k``.

    Raises:
        ValueError: The shapes differ.

    Examples:
        >>> selected_at_k_advantages([0.0, 1.0, 1.0, 0.0], scores=[0.1, 0.2, 0.3, 0.4], k=2)
        tensor([ 0.6667,  0.6667,  0.6667, -2.0000])
    """
    return _dense("score", rewards, scores, Objective.of(k, weights, scale_by_k=scale_by_k))


def maj_at_k_advantages(
    rewards: Rewards, answers: Any, k: K, *, weights: Sequence[float] | None = None, scale_by_k: bool = True
) -> Tensor:
    """Compute the advantage of every sample for the policy gradient of :func:`.estimates.maj_at_k`.

    A_i = n (V_k(S) − V_k(S−i)), where the most frequent answer of k responses is kept, ties at random.

    ``answers`` are those of :func:`.estimates.maj_at_k`. Options, shapes and errors are those of
    :func:`max_at_k_advantages`, without ``"all"``. If all vote, k = 2 is k = 1.

    Raises:
        TypeError: An answer is not hashable.
        ValueError: The shapes differ.

    Examples:
        >>> maj_at_k_advantages([1.0, 1.0, 0.0, 0.0], answers=["7", "7", "5", "3"], k=3)
        tensor([ 1.3333,  1.3333, -1.3333, -1.3333])
    """
    return _dense("vote", rewards, answers, Objective.of(k, weights, scale_by_k=scale_by_k))


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
    """Compute :func:`max_at_k_advantages`, with the same options, within groups of any size and in any order.

    ``rewards`` and the result have the shape ``[bs]``. ``group_ids`` has the group of each: an integer tensor, a numpy
    array of numbers or objects, or any iterable of hashable values such as verl's ``uid`` strings. ``k="all"`` is
    k = 1 .. n - 1 by the n of every group. Samples of a group that is too small for the largest k, having fewer than
    k + 1 members (k with ``"loo_minus_one"``, ``"none"`` and ``"group_mean"``), get exact zeros.

    Raises:
        TypeError: As :func:`max_at_k_advantages`, or a group id is not hashable.
        ValueError: As :func:`max_at_k_advantages`, shapes do not match, or a group id is None.

    Examples:
        >>> grouped_max_at_k_advantages([1.0, 5.0, 0.0, 9.0], ["a", "b", "a", "b"], k=1)
        tensor([ 1., -4., -1.,  4.])
    """
    return _grouped("reward", rewards, None, group_ids, Objective.of(k, weights, baseline, normalize, scale_by_k))


def grouped_selected_at_k_advantages(
    rewards: Rewards,
    scores: Rewards,
    group_ids: GroupIds,
    k: K,
    *,
    weights: Sequence[float] | None = None,
    scale_by_k: bool = True,
) -> Tensor:
    """Compute :func:`selected_at_k_advantages` within groups, as :func:`grouped_max_at_k_advantages` does, ``[bs]``."""
    return _grouped("score", rewards, scores, group_ids, Objective.of(k, weights, scale_by_k=scale_by_k))


def grouped_maj_at_k_advantages(
    rewards: Rewards,
    answers: Any,
    group_ids: GroupIds,
    k: K,
    *,
    weights: Sequence[float] | None = None,
    scale_by_k: bool = True,
) -> Tensor:
    """Compute :func:`maj_at_k_advantages` within groups, as :func:`grouped_max_at_k_advantages` does, ``[bs]``."""
    return _grouped("vote", rewards, answers, group_ids, Objective.of(k, weights, scale_by_k=scale_by_k))


def advantages_of(batches: list[Groups], rewards: Tensor, objective: Objective) -> Tensor:
    """Compute the advantage of each row of a batch, in the dtype of its checked rewards, ``[bs]``.

    ``batches`` are those of :func:`.groups.ranked_groups`; rows that are in none, or in too small a group, get 0.
    """
    advantages = torch.zeros(rewards.shape, dtype=torch.float64, device=rewards.device)
    for groups in batches:
        objective.check_rule(groups.rule)
        if groups.keys.shape[-1] >= objective.smallest_group:
            by_rule = vote_advantages if groups.rule == "vote" else rank_advantages
            advantages[groups.rows] = by_rule(groups, objective)
    return checked_result(advantages, rewards)


def _dense(rule: Rule, rewards: Rewards, given: Any, objective: Objective) -> Tensor:
    rewards = checked_rewards(rewards)
    objective.check_group(rewards.shape[-1])
    groups = dense_groups(rewards, checked_keys(rule, given, rewards), rule)
    return advantages_of([groups], rewards.reshape(-1), objective).view(rewards.shape)


def _grouped(rule: Rule, rewards: Rewards, given: Any, group_ids: GroupIds, objective: Objective) -> Tensor:
    rewards = checked_rewards(rewards)
    labels = group_labels(group_ids, rewards.device)
    if rewards.shape != labels.shape or rewards.dim() != 1:
        raise ValueError(
            f"rewards and group_ids must be one-dimensional and of one length, got {list(rewards.shape)} and "
            f"{list(labels.shape)}"
        )
    return advantages_of(ranked_groups(rewards, labels, checked_keys(rule, given, rewards), rule), rewards, objective)
