"""What a training step says about max@k: its value, whether the groups carry any signal, and how large advantages are.

``docs/metrics.md`` lists them. A session counts once and padding not at all. Rewards are what the estimator got,
advantages what the tokens get.

The prefix is not the estimator's name because verl aggregates metrics over ``parameter_sync_step`` iterations by their
names: the largest value for a name that contains "max", the least for "min", the sum for "sum" or "total", and
otherwise the mean, which is what these are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verl_maxpo.best_of_k.baselines import best_rank_probability
from verl_maxpo.best_of_k.groups import ranked_groups
from verl_maxpo.best_of_k.kinds import shares_of_kinds
from verl_maxpo.best_of_k.objectives import Objective

PREFIX = "best_of_k"


def training_metrics(
    rewards: Tensor, advantages: Tensor, labels: Tensor, sizes: Tensor, objective: Objective, emptied: int = 0
) -> dict[str, float]:
    """Compute the metrics of one batch, by name; none for an empty batch.

    Args:
        rewards: Finite rewards of the responses that count, shape ``[bs]``.
        advantages: Of the same responses, shape ``[bs]``.
        labels: Label of each response's group, 0 to G - 1, shape ``[bs]``.
        sizes: Number of members of each label, shape ``[G]``; labels without members count as no group.
        objective: What is optimised.
        emptied: Number of groups none of whose responses counts; they are undersized.
    """
    if len(rewards) == 0:
        return {}
    batches = ranked_groups(rewards, labels, sizes)
    values = {
        **_rewards(batches, objective),
        **_groups(batches, objective, emptied),
        "advantage/mean": advantages.double().mean(),
        "advantage/mean_square": advantages.double().square().mean(),
    }
    numbers = torch.stack(list(values.values())).tolist()  # one transfer from the device
    return {f"{PREFIX}/{name}": number for name, number in zip(values, numbers, strict=True)}


def k_metrics(objective: Objective, n: int) -> dict[str, float]:
    """Tell which K is trained for, with ``k=all`` by the size n of the largest group."""
    largest = n - 1 if objective.k == "all" else max(objective.k)
    return {f"{PREFIX}/k/smallest": objective.smallest_k, f"{PREFIX}/k/largest": largest}


def _rewards(batches: list[Tensor], objective: Objective) -> dict[str, Tensor]:
    largest = max(ranked.shape[-1] for ranked in batches)
    chosen = set() if objective.k == "all" else {k for k in objective.k if k <= largest}
    powers = {2**exponent for exponent in range(largest.bit_length())}
    # V_k is linear in the ranked rewards, so that sums over the groups will do.
    sums = [(len(ranked), ranked.sum(dim=0)) for ranked in batches]
    values = {}
    for k in sorted(powers | chosen):
        enough = [(groups, total) for groups, total in sums if len(total) >= k]
        value = [k / len(total) * best_rank_probability(len(total), k, total.device) @ total for _, total in enough]
        values[f"reward@{k}"] = torch.stack(value).sum() / sum(groups for groups, _ in enough)
    return values


def _groups(batches: list[Tensor], objective: Objective, emptied: int) -> dict[str, Tensor]:
    shares = shares_of_kinds(batches, objective)
    groups = sum(len(ranked) for ranked in batches)
    shares = {kind: share * groups / (groups + emptied) for kind, share in shares.items()}
    shares["undersized"] = shares["undersized"] + emptied / (groups + emptied)
    return {f"groups/{kind}": share for kind, share in shares.items()}
