"""What is optimised: max@k or a weighted mixture of several, and with which baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from verl_maxpo.best_of_k.arguments import checked_k
from verl_maxpo.best_of_k.baselines import BASELINES, RankWeights, best_rank_probability


@dataclass(frozen=True)
class Objective:
    r"""The objective :math:`\sum_m w_m \, \text{max@}k_m` and how its advantages are computed.

    An advantage is linear in its rank weights, so that of the mixture is :math:`\sum_m w_m A^{(k_m)}`, or
    :math:`\sum_m w_m k_m A^{(k_m)}` with ``scale_by_k``, and costs as much as one.

    Attributes:
        k: The K of max@K, or several; any integer or sequence of integers, kept as a tuple.
        weights: Weight of each k, not negative, summing to 1; not needed for a single k.
        baseline: A name in :data:`verl_maxpo.best_of_k.baselines.BASELINES`.
        normalize: None, or ``"std"`` to divide the advantages of each group by the standard deviation of the best
            reward of its k-subsets.
        scale_by_k: Multiply the advantages of each k by that k, as the policy gradient of max@k has it.

    Raises:
        TypeError: A k is no integer.
        ValueError: A k below 1, or weights, ``baseline`` or ``normalize`` that cannot be used.
    """

    k: tuple[int, ...]
    weights: tuple[float, ...] = (1.0,)
    baseline: str = "l2o"
    normalize: str | None = None
    scale_by_k: bool = False

    @classmethod
    def of(
        cls,
        k: int | Sequence[int],
        weights: Sequence[float] | None = None,
        baseline: str = "l2o",
        normalize: str | None = None,
        scale_by_k: bool = False,
        *,
        n: int | None = None,
    ) -> Objective:
        """Check the arguments that a user gave.

        Args:
            k: As the attribute.
            weights: As the attribute, None for a single k.
            baseline: As the attribute.
            normalize: As the attribute.
            scale_by_k: As the attribute.
            n: Size of the groups, where every k must be one that they have an advantage for.

        Returns:
            The objective.
        """
        if baseline not in list(BASELINES):  # a list, as an option may be unhashable
            raise ValueError(f"baseline must be one of {sorted(BASELINES)}, got {baseline!r}")
        if normalize not in (None, "std"):
            raise ValueError(f"normalize must be null or 'std', got {normalize!r}")
        if not isinstance(scale_by_k, bool):
            raise ValueError(f"scale_by_k must be true or false, got {scale_by_k!r}")
        ks = _checked_ks(k, n, None if n is None else n - BASELINES[baseline].spare)
        return cls(ks, _checked_weights(weights, ks), baseline, normalize, scale_by_k)

    @property
    def smallest_group(self) -> int:
        """The least number of responses for which all of it is defined."""
        return max(self.k) + BASELINES[self.baseline].spare

    @property
    def smallest_k(self) -> int:
        """The smallest k that counts: more than n - k best responses leave the whole objective without signal."""
        return min(k for k, weight in zip(self.k, self.weights, strict=True) if weight > 0)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def rank_weights(objective: Objective, n: int, device: torch.device) -> RankWeights:
    """Mix the weights of an objective for groups of n; its baseline must have weights of its own.

    Args:
        objective: What is optimised.
        n: Size of the groups, at least ``objective.smallest_group``.
        device: Where the weights are wanted.

    Returns:
        The weights.
    """
    weights_of = BASELINES[objective.baseline].rank_weights
    assert weights_of is not None
    rows = [weights_of(n, k, best_rank_probability(n, k, device)) for k in objective.k]
    shares = [w * k if objective.scale_by_k else w for w, k in zip(objective.weights, objective.k, strict=True)]
    below, above = torch.zeros(2, n - 1, dtype=torch.float64, device=device)
    for share, row in zip(shares, rows, strict=True):
        below, above = below + share * row.below, above + share * row.above
    return RankWeights(below, above, sum(share * row.lowest for share, row in zip(shares, rows, strict=True)))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def best_rank_distribution(objective: Objective, n: int, device: torch.device) -> Tensor:
    r"""Compute how likely each rank is the best of a random subset.

    .. math:: p_j = \sum_m w_m \binom{j-1}{k_m-1} \Big/ \binom{n}{k_m} = \sum_m w_m \frac{k_m}{n} \rho_j^{(k_m)}

    Args:
        objective: Its sizes of subsets, drawn with its weights.
        n: Size of the groups.
        device: Where the result is wanted.

    Returns:
        Shape ``[n]``, float64.
    """
    rows = [
        w * k / n * best_rank_probability(n, k, device) for w, k in zip(objective.weights, objective.k, strict=True)
    ]
    return torch.stack(rows).sum(dim=0)


def _checked_ks(k: int | Sequence[int], n: int | None, largest: int | None) -> tuple[int, ...]:
    several = k if isinstance(k, Sequence) else [k]
    if not several:
        raise ValueError(f"k must be an integer or some integers, got {k!r}")
    return tuple(checked_k(one, n, largest=largest) for one in several)


def _checked_weights(weights: Sequence[float] | None, ks: tuple[int, ...]) -> tuple[float, ...]:
    if weights is None and len(ks) == 1:
        return (1.0,)
    expected = f"weights must be {len(ks)} non-negative numbers that sum to 1, one for each k of {list(ks)}"
    try:
        numbers = tuple(float(weight) for weight in weights or ())
    except (TypeError, ValueError):
        raise ValueError(f"{expected}, got {weights!r}") from None
    if len(numbers) != len(ks):
        raise ValueError(f"{expected}, got {weights!r}")
    if min(numbers) < 0 or not math.isclose(math.fsum(numbers), 1, abs_tol=1e-6):
        raise ValueError(f"{expected}, got {weights!r}, which sum to {math.fsum(numbers):g}")
    return numbers
