"""Which groups teach anything for an objective, and why the others do not."""

from __future__ import annotations

from torch import Tensor

from verl_maxpo.best_of_k.objectives import Objective

#: Every group is of exactly one kind.
KINDS = {
    "signal": "an advantage is not 0: they teach something",
    "all_fail": "all rewards are equal, and not above 0",
    "all_equal": "all rewards are equal, and above 0",
    "too_many_successes": "every k-subset has the same value: with max@k, more than n - k share the best reward",
    "undersized": "too few responses for the largest k",
}


def kinds_of_groups(rewards: Tensor, advantages: Tensor, objective: Objective) -> dict[str, Tensor]:
    """Return for each of :data:`KINDS` which groups are of that kind, ``[groups]``, from what is ``[groups, n]``."""
    signal, (lowest, best) = advantages.any(dim=-1), rewards.aminmax(dim=-1)
    undersized = ~signal & (rewards.shape[-1] < objective.smallest_group)
    equal = ~signal & ~undersized & (lowest == best)
    return {
        "signal": signal,
        "all_fail": equal & (best <= 0),
        "all_equal": equal & (best > 0),
        "too_many_successes": ~(signal | undersized | equal),
        "undersized": undersized,
    }
