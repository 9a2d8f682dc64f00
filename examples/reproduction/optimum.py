"""What the best policy reaches where the prompt leaves something open.

A prompt stands for targets with likelihoods w_t; a policy that only gives answers to these, with probabilities p_t, has
pass@k = Σ_t w_t (1 − (1 − p_t)^k). The maximum of such a sum of concave terms over Σ_t p_t = 1 is found by
water-filling: wherever p_t > 0 the derivative is the same, here by bisection on that level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def pass_at_k_of(likelihoods: Values, policy: Values, k: int) -> float:
    """Return pass@k of a policy that gives the answer t with probability ``policy[t]``."""
    return float((likelihoods * (1 - (1 - policy) ** k)).sum())


def best_policy(likelihoods: Values, objective: Mapping[int, float]) -> Values:
    """Return the probabilities that maximise Σ_k c_k pass@k, shape ``[targets]``.

    Args:
        likelihoods: w_t, shape ``[targets]``.
        objective: c_k of each k, not negative.
    """
    if all(
        k == 1 for k, weight in objective.items() if weight > 0
    ):  # linear: all on the likeliest, of which there is one
        return np.array(likelihoods == likelihoods.max(), dtype=float)

    def slope(policy: Values) -> Values:
        terms = [weight * k * (1 - policy) ** (k - 1) for k, weight in objective.items()]
        slopes: Values = likelihoods * np.sum(terms, axis=0)
        return slopes

    def filled(level: float) -> Values:  # where the slope falls to the level
        low: Values = np.zeros_like(likelihoods)
        high: Values = np.ones_like(likelihoods)
        for _ in range(60):
            middle = (low + high) / 2
            above = slope(middle) > level
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return low

    low, high = 0.0, float(slope(np.zeros_like(likelihoods)).max())
    for _ in range(60):
        level = (low + high) / 2
        low, high = (level, high) if filled(level).sum() > 1 else (low, level)
    policy = filled(high)
    policy /= policy.sum()
    return policy


def optimum(prompts: Iterable[Sequence[float]], objective: Mapping[int, float], k: int) -> float:
    """Return pass@k, a mean over prompts with the given likelihoods, of the policy that is best for an objective."""
    counts = Counter(tuple(prompt) for prompt in prompts)
    values = [
        pass_at_k_of(np.array(given), best_policy(np.array(given), objective), k) * count
        for given, count in counts.items()
    ]
    return sum(values) / counts.total()


def frontier(prompts: Iterable[Sequence[float]], k: int, points: int = 16) -> list[tuple[float, float]]:
    """Return pairs (pass@1, pass@k) that no policy can beat in both, from the best pass@1 to the best pass@k."""
    given = list(prompts)
    objectives = [{1: 1 - share, k: share} for share in np.linspace(0, 1, points).tolist()]
    return [(optimum(given, objective, 1), optimum(given, objective, k)) for objective in objectives]
