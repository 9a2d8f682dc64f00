"""Metrics of a training step: max@k of its rewards, which groups carry any signal, and how large advantages are.

``docs/metrics.md`` lists them. A session counts once, padding not at all.

The prefix is not the estimator's name because verl aggregates metrics over ``parameter_sync_step`` iterations by name:
the largest value for a name with "max", the least for "min", the sum for "sum" or "total", otherwise the mean, as these
need.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verl_maxpo.best_of_k.estimates import estimates
from verl_maxpo.best_of_k.groups import Groups, Rule, by_reward
from verl_maxpo.best_of_k.kinds import KINDS, kinds_of_groups
from verl_maxpo.best_of_k.objectives import Objective

PREFIX = "best_of_k"

#: What the estimate of a rule is called, beside that of max@k.
NAMES: dict[Rule, str] = {"score": "selected", "vote": "maj"}


def training_metrics(
    batches: list[Groups], advantages: Tensor, objective: Objective, emptied: int = 0
) -> dict[str, float]:
    """Compute the metrics of one batch, by name; none for an empty batch.

    Args:
        batches: The groups of the responses that count, from which the advantages were computed.
        advantages: Of every response, shape ``[bs]``.
        objective: What is optimised.
        emptied: Number of groups none of whose responses counts; they are undersized.
    """
    if not batches:
        return {}
    counting = torch.cat([advantages[groups.rows].flatten() for groups in batches]).double()
    values = {
        **_rewards(batches, objective),
        **_groups(batches, advantages, objective, emptied),
        "advantage/mean": counting.mean(),
        "advantage/mean_square": counting.square().mean(),
    }
    numbers = torch.stack(list(values.values())).tolist()  # one transfer from the device
    return {f"{PREFIX}/{name}": number for name, number in zip(values, numbers, strict=True)}


def k_metrics(objective: Objective, n: int) -> dict[str, float]:
    """Return the smallest and largest K of the step; with ``k=all`` the largest is n - 1 of the largest group."""
    largest = n - 1 if objective.k == "all" else max(objective.k)
    return {f"{PREFIX}/k/smallest": objective.smallest_k, f"{PREFIX}/k/largest": largest}


def _rewards(batches: list[Groups], objective: Objective) -> dict[str, Tensor]:
    largest = max(groups.keys.shape[-1] for groups in batches)
    chosen = set() if objective.k == "all" else {k for k in objective.k if k <= largest}
    powers = {2**exponent for exponent in range(largest.bit_length())}
    best = estimates([by_reward(groups) for groups in batches], sorted(powers | chosen))
    values = {f"reward@{k}": value.nanmean() for k, value in best.items()}
    if name := NAMES.get(batches[0].rule):
        kept = estimates(batches, sorted(chosen or powers))
        values |= {f"{name}@{k}": value.nanmean() for k, value in kept.items()}
    return values


def _groups(batches: list[Groups], advantages: Tensor, objective: Objective, emptied: int) -> dict[str, Tensor]:
    kinds = [kinds_of_groups(groups.rewards, advantages[groups.rows], objective) for groups in batches]
    count = sum(len(groups.rows) for groups in batches) + emptied
    shares = {kind: torch.cat([which[kind] for which in kinds]).double().sum() / count for kind in KINDS}
    shares["undersized"] = shares["undersized"] + emptied / count
    return {f"groups/{kind}": share for kind, share in shares.items()}
