"""What kinds of groups a batch has: which of them teach anything for an objective, and why the others do not."""

from __future__ import annotations

import torch
from torch import Tensor

from verl_maxpo.best_of_k.objectives import Objective

#: Every group is of exactly one kind.
KINDS = {
    "signal": "the others: they teach something",
    "all_fail": "all rewards are equal, and not above 0",
    "all_equal": "all rewards are equal, and above 0",
    "too_many_successes": "more than n - k responses share the best reward, and not all: every k-subset has the same "
    "maximum. Of several k the smallest counts",
    "undersized": "too few responses for the largest k",
}


def kinds_of_groups(ranked: Tensor, objective: Objective) -> dict[str, Tensor]:
    """Tell for each of :data:`KINDS` which groups are of that kind, ``[groups]``, from ascending ``[groups, n]``."""
    n = ranked.shape[-1]
    lowest, best = ranked[:, 0], ranked[:, -1]
    equal = lowest == best
    undersized = torch.full_like(equal, n < objective.smallest_group)
    # If n - k + 1 responses share the best reward, every k-subset holds one of them.
    same_best = ranked[:, min(objective.smallest_k, n) - 1] == best
    return {
        "signal": ~undersized & ~same_best,
        "all_fail": ~undersized & equal & (best <= 0),
        "all_equal": ~undersized & equal & (best > 0),
        "too_many_successes": ~undersized & same_best & ~equal,
        "undersized": undersized,
    }


def shares_of_kinds(batches: list[Tensor], objective: Objective) -> dict[str, Tensor]:
    """Compute the fraction of groups of each of :data:`KINDS`, at least one group, from :func:`ranked_groups`."""
    kinds = [kinds_of_groups(ranked, objective) for ranked in batches]
    return {kind: torch.cat([of_groups[kind] for of_groups in kinds]).double().mean() for kind in KINDS}
