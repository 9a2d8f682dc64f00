"""What a training step says about max@k: its value, whether the groups carry any signal, and how large advantages are.

====================================================  =================================================================
``best_of_k/reward@K``                                unbiased max@K of the batch for K = 1, 2, 4, ... and the chosen
                                                      ones: :math:`V_K`, averaged over the groups with at least K
                                                      responses; K = 1 is the mean reward
``best_of_k/groups/all_fail``                         fraction of groups whose rewards are equal and not above 0
``best_of_k/groups/all_equal``                        the same for equal rewards above 0
``best_of_k/groups/too_many_successes``               fraction in which more than n - k responses share the best reward
                                                      (for 0/1 rewards c > n - k) and not all: every k-subset has the
                                                      same maximum. Of several k the smallest counts
``best_of_k/groups/undersized``                       fraction with too few responses for the largest k
``best_of_k/groups/signal``                           the other groups; the five sum to 1
``best_of_k/advantage/mean``                          of the samples' advantages; 0 for centred baselines
``best_of_k/advantage/mean_square``                   of the same; with no correlation between the samples' gradients
                                                      it is proportional to the variance of the policy gradient
``best_of_k/advantage/mean_square/BASELINE``          what another baseline would have had on this batch, all other
                                                      options being equal (``loo_1`` is ``loo_minus_one``)
====================================================  =================================================================

A session counts once and padding not at all. Rewards are what the estimator got, advantages what the tokens get.

The prefix is not the estimator's name because verl aggregates metrics over ``parameter_sync_step`` iterations by their
names: the largest value for a name that contains "max", the least for "min", the sum for "sum" or "total", and
otherwise the mean, which is what these are.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from verl_maxpo.best_of_k.advantages import adaptive_weight, ranked_advantages
from verl_maxpo.best_of_k.baselines import BASELINES, best_rank_probability
from verl_maxpo.best_of_k.groups import rows_by_size
from verl_maxpo.best_of_k.objectives import Objective

PREFIX = "best_of_k"

# What a group can be: "all_fail" stands before "all_equal".
KINDS = ("signal", "all_fail", "all_equal", "too_many_successes", "undersized")


def training_metrics(
    rewards: Tensor, advantages: Tensor, labels: Tensor, sizes: Tensor, objective: Objective
) -> dict[str, float]:
    """Compute the metrics of one batch.

    Args:
        rewards: Finite rewards, shape ``[bs]``.
        advantages: Advantages of the same samples, shape ``[bs]``.
        labels: Label of each sample's group, 0 to G - 1, shape ``[bs]``.
        sizes: Number of members of each label, shape ``[G]``; labels without members count as no group.
        objective: What is optimised.

    Returns:
        The metrics by name, see the module; none for an empty batch.
    """
    if len(rewards) == 0:
        return {}
    batches = [rewards[rows].double().sort(dim=-1).values for rows in rows_by_size(labels, sizes)]
    values = {
        **_rewards(batches, objective),
        **_groups(batches, objective),
        "advantage/mean": advantages.double().mean(),
        "advantage/mean_square": advantages.double().square().mean(),
        **_mean_squares(batches, objective),
    }
    numbers = torch.stack(list(values.values())).tolist()  # one transfer from the device
    return {f"{PREFIX}/{name}": number for name, number in zip(values, numbers, strict=True)}


def _rewards(batches: list[Tensor], objective: Objective) -> dict[str, Tensor]:
    largest = max(ranked.shape[-1] for ranked in batches)
    powers = {2**exponent for exponent in range(largest.bit_length())}
    # V_k is linear in the ranked rewards, so that sums over the groups will do.
    sums = [(len(ranked), ranked.sum(dim=0)) for ranked in batches]
    values = {}
    for k in sorted(powers | {k for k in objective.k if k <= largest}):
        enough = [(groups, total) for groups, total in sums if len(total) >= k]
        value = [k / len(total) * best_rank_probability(len(total), k, total.device) @ total for _, total in enough]
        values[f"reward@{k}"] = torch.stack(value).sum() / sum(groups for groups, _ in enough)
    return values


def _groups(batches: list[Tensor], objective: Objective) -> dict[str, Tensor]:
    kinds = torch.cat([_kind_of_group(ranked, objective) for ranked in batches])
    shares = kinds.bincount(minlength=len(KINDS)).double() / len(kinds)
    return {f"groups/{name}": share for name, share in zip(KINDS, shares.unbind(), strict=True)}


def _kind_of_group(ranked: Tensor, objective: Objective) -> Tensor:
    """Return the position in KINDS of each group of ``[groups, n]``."""
    lowest, best = ranked[:, 0], ranked[:, -1]
    if ranked.shape[-1] < objective.smallest_group:
        return torch.full_like(best, KINDS.index("undersized"), dtype=torch.int64)
    no_signal = ranked[:, objective.smallest_k - 1] == best  # n - k + 1 responses share the best reward
    all_equal = KINDS.index("all_equal") - (best <= 0).long()
    return torch.where(lowest == best, all_equal, no_signal * KINDS.index("too_many_successes"))


def _mean_squares(batches: list[Tensor], objective: Objective) -> dict[str, Tensor]:
    """Mean square for every baseline but the chosen one; a group that is too small for it counts as zeros."""
    others = {name: replace(objective, baseline=name) for name in BASELINES}
    totals = dict.fromkeys(BASELINES, torch.zeros((), dtype=torch.float64, device=batches[0].device))
    adaptive = []
    for ranked in batches:
        n = ranked.shape[-1]
        defined = {name: other for name, other in others.items() if n >= other.smallest_group and name != "adaptive"}
        advantages = {name: ranked_advantages(ranked, other) for name, other in defined.items()}
        for name, values in advantages.items():
            totals[name] = totals[name] + values.square().sum()
        if n >= others["adaptive"].smallest_group:
            adaptive.append(_products(advantages["loo_minus_one"], advantages["l2o"]))
    if adaptive:
        ss, sb, bb = torch.cat(adaptive, dim=-1)
        weight = adaptive_weight(sb, bb)
        totals["adaptive"] = (ss - 2 * weight * sb + weight**2 * bb).sum()
    samples = sum(ranked.numel() for ranked in batches)
    return {mean_square_of(name): total / samples for name, total in totals.items() if name != objective.baseline}


def _products(score: Tensor, l2o: Tensor) -> Tensor:
    """Return <s, s>, <s, b> and <b, b> of each group, ``[3, groups]``."""
    baseline = score - l2o
    return torch.stack([(a * b).sum(dim=-1) for a, b in ((score, score), (score, baseline), (baseline, baseline))])


def mean_square_of(baseline: str) -> str:
    """Return the name, without prefix, of the metric for a baseline that was not trained with.

    verl takes the minimum of metrics that have "min" in their name.
    """
    return f"advantage/mean_square/{baseline.replace('minus_one', '1')}"
