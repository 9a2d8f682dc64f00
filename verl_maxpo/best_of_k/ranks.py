"""max@k and the best of k by a score: values and advantages from the ranks of a group.

The best of a subset is g₍ₙ₎ less the gaps d_j = g₍ⱼ₊₁₎ − g₍ⱼ₎ between neighbours in rank that are above it. Written in
gaps, a constant added to all rewards cannot matter, tied rewards get tied advantages, and a group without signal gets
exact zeros. None of it needs ascending rewards: with rewards in the order of a *score* the same lines give the best by
that score. Tied scores share the mean of their rewards (one of them is kept, at random); when one of them is left out,
their mean changes, which adds

    n P (g_i − mean)/(size − 1),   P = the chance that the best of k others is one of the tied
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from verl_maxpo.best_of_k.baselines import best_rank_probability
from verl_maxpo.best_of_k.groups import Groups, blocks_of
from verl_maxpo.best_of_k.objectives import Objective, best_rank_distribution, rank_weights


def rank_values(groups: Groups, k: int) -> Tensor:
    """Compute V_k of each group, ``[groups]``: g₍₁₎ and each gap, times the chance that the best is above it."""
    ranked = blocks_of(groups).mean if _has_tied_scores(groups) else groups.rewards
    n = ranked.shape[-1]
    rank = torch.arange(1, n, dtype=torch.float64, device=ranked.device)
    best_is_below = rank / n * best_rank_probability(n, k, ranked.device)[:-1]
    return ranked[..., 0] + (ranked.diff(dim=-1) * (1 - best_is_below)).sum(dim=-1)


def rank_advantages(groups: Groups, objective: Objective) -> Tensor:
    """Compute the advantage of each response, ``[groups, n]``, n at least the objective's ``smallest_group``."""
    if not _has_tied_scores(groups):
        return ranked_advantages(groups.rewards, objective)
    blocks = blocks_of(groups)
    tied = rank_weights(objective, blocks.mean.shape[-1], blocks.mean.device).tied
    assert isinstance(tied, Tensor)
    chance = tied[blocks.first + blocks.size - 1] - tied[blocks.first]
    within = chance * (groups.rewards - blocks.mean) / (blocks.size - 1).clamp(min=1)
    return ranked_advantages(blocks.mean, objective) + within


def ranked_advantages(ranked: Tensor, objective: Objective) -> Tensor:
    """Compute the advantage of each rank from the float64 rewards by rank, ``[..., n]``."""
    weights = rank_weights(objective, ranked.shape[-1], ranked.device)
    gaps = ranked.diff(dim=-1)
    from_below = (gaps * weights.below).cumsum(dim=-1)
    from_above = (gaps * weights.above).flip(-1).cumsum(dim=-1).flip(-1)
    # The lowest rank has no gap below it, the highest none above.
    advantages: Tensor = pad(from_below, (1, 0)) + pad(from_above, (0, 1))
    if weights.lowest:
        advantages = advantages + weights.lowest * ranked[..., :1]
    return advantages if objective.normalize is None else _divided_by_std(advantages, ranked, objective)


def _has_tied_scores(groups: Groups) -> bool:
    return groups.rule == "score" and bool((groups.keys.diff(dim=-1) == 0).any())


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
