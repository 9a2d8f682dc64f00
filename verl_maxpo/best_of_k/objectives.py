"""What is optimised: max@k, a weighted mixture of several, or the one over all k, and with which baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from verl_maxpo.best_of_k.arguments import checked_k
from verl_maxpo.best_of_k.baselines import BASELINES, RankWeights, best_rank_probability, l2o_over_all_k
from verl_maxpo.best_of_k.groups import Rule

K = int | Sequence[int] | str  # the string "all"


@dataclass(frozen=True)
class Objective:
    """The objective Σ_m w_m max@k_m and how its advantages are computed.

    An advantage is linear in its rank weights, so that of the mixture is Σ_m w_m k_m A⁽ᵏᵐ⁾ (Σ_m w_m A⁽ᵏᵐ⁾ without
    ``scale_by_k``), and costs as much as one.

    Attributes:
        k: The k of each max@k, or ``"all"`` for k = 1 .. n - 1 in every group of n, with weights 1/k.
        weights: Weight of each k, not negative, summing to 1; empty for ``"all"``.
        baseline: A name in :data:`verl_maxpo.best_of_k.baselines.BASELINES`; ``"all"`` has ``"l2o"`` only.
        normalize: None, or ``"std"`` to divide the advantages of each group by the standard deviation of the best
            reward of its k-subsets.
        scale_by_k: Multiply the advantages of each k by that k, as the policy gradient of max@k has it. With ``"all"``
            the weights 1/k are as they stand then, so that the factors cancel; without, they are normalised to sum to
            1 like other weights.

    Raises:
        TypeError: A k is no integer.
        ValueError: A k below 1, or weights, ``baseline``, ``normalize`` or ``scale_by_k`` that cannot be used.
    """

    k: tuple[int, ...] | Literal["all"]
    weights: tuple[float, ...] = (1.0,)
    baseline: str = "l2o"
    normalize: str | None = None
    scale_by_k: bool = True

    def __post_init__(self) -> None:
        if self.baseline not in list(BASELINES):  # a list, as an option may be unhashable
            raise ValueError(f"baseline must be one of {sorted(BASELINES)}, got {self.baseline!r}")
        if self.normalize not in (None, "std"):
            raise ValueError(f"normalize must be null or 'std', got {self.normalize!r}")
        if not isinstance(self.scale_by_k, bool):
            raise ValueError(f"scale_by_k must be true or false, got {self.scale_by_k!r}")
        if self.k == "all":
            if self.baseline != "l2o":
                raise ValueError(f"baseline must be 'l2o' with k='all', got {self.baseline!r}")
            return
        for k in self.k:
            checked_k(k)
        _check_weights(self.weights, self.k)

    @classmethod
    def of(
        cls,
        k: K,
        weights: Sequence[float] | None = None,
        baseline: str = "l2o",
        normalize: str | None = None,
        scale_by_k: bool = True,
    ) -> Objective:
        """Make an objective of what a user gave: an integer, several or ``"all"``; weights are equal if None."""
        if isinstance(k, str):
            if k != "all":
                raise TypeError(f"k must be an integer, some integers or 'all', got {k!r}")
            if weights is not None:
                raise ValueError(f"weights must be null with k='all', whose weights are 1/k, got {weights!r}")
            return cls("all", (), baseline, normalize, scale_by_k)
        ks = _checked_ks(k)
        if weights is None:
            weights = [1 / len(ks)] * len(ks)
        return cls(ks, _numbers(weights, ks), baseline, normalize, scale_by_k)

    @property
    def smallest_group(self) -> int:
        """The least number of responses for which all of it is defined."""
        return 2 if self.k == "all" else max(self.k) + BASELINES[self.baseline].spare

    @property
    def smallest_k(self) -> int:
        """The smallest k that counts: more than n - k best responses leave the whole objective without signal."""
        if self.k == "all":
            return 1
        return min(k for k, weight in zip(self.k, self.weights, strict=True) if weight > 0)

    def shares(self) -> list[tuple[int, float]]:
        """Return each k, not "all", with what its advantage q_i − M_k(S−i) is multiplied by."""
        assert self.k != "all"
        return [(k, w * k if self.scale_by_k else w) for k, w in zip(self.k, self.weights, strict=True) if w]

    def check_rule(self, rule: Rule) -> None:
        """Raise ValueError if its options have no reading for a rule."""
        if rule == "reward":
            return
        if self.baseline != "l2o":
            raise ValueError(f"baseline must be 'l2o' unless the reward decides, got {self.baseline!r}")
        if self.normalize is not None:
            raise ValueError(f"normalize must be null unless the reward decides, got {self.normalize!r}")
        if self.k == "all" and (rule == "vote" or not self.scale_by_k):
            what = "with votes" if rule == "vote" else "with a score and scale_by_k=false"
            raise ValueError(f"k must be an integer or some integers {what}, got 'all'")

    def check_group(self, n: int) -> None:
        """Raise ValueError if groups of n are too small to have an advantage."""
        if n < self.smallest_group:
            k = repr(self.k) if self.k == "all" else str(max(self.k))
            raise ValueError(
                f"k={k} with baseline={self.baseline!r} needs groups of at least {self.smallest_group} responses, "
                f"got {n}"
            )


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def rank_weights(objective: Objective, n: int, device: torch.device) -> RankWeights:
    """Compute the rank weights of an objective for groups of n, at least its ``smallest_group``."""
    if objective.k == "all":
        return l2o_over_all_k(n, objective.scale_by_k, device)
    weights_of = BASELINES[objective.baseline].rank_weights
    below, above, tied = (torch.zeros(size, dtype=torch.float64, device=device) for size in (n - 1, n - 1, n))
    lowest = 0.0
    for k, share in objective.shares():
        row = weights_of(n, k, best_rank_probability(n, k, device))
        below, above, lowest = below + share * row.below, above + share * row.above, lowest + share * row.lowest
        tied = tied + share * row.tied
    return RankWeights(below, above, lowest, tied)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def best_rank_distribution(objective: Objective, n: int, device: torch.device) -> Tensor:
    """Compute how likely each rank is the best of a random subset, ``[n]``, float64.

    The size of the subset is drawn with the weights of the k:

        p_j = Σ_m w_m C(j-1, k_m-1) / C(n, k_m) = Σ_m w_m k_m/n ρ_j⁽ᵏᵐ⁾

    With all k this is 1 / ((n-j+1) H_{n-1}) for j < n, H_m the m-th harmonic number.
    """
    if objective.k == "all":
        share = 1 / torch.arange(n, 0, -1, dtype=torch.float64, device=device)
        share[-1] = (n - 1) / n
        return share / share.sum()
    rows = [
        w * k / n * best_rank_probability(n, k, device) for w, k in zip(objective.weights, objective.k, strict=True)
    ]
    return torch.stack(rows).sum(dim=0)


def _checked_ks(k: int | Sequence[int]) -> tuple[int, ...]:
    ks = tuple(checked_k(one) for one in (k if isinstance(k, Sequence) else [k]))
    if not ks:
        raise ValueError(f"k must be an integer, some integers or 'all', got {k!r}")
    return ks


def _numbers(weights: Sequence[float], ks: tuple[int, ...]) -> tuple[float, ...]:
    try:
        return tuple(float(weight) for weight in weights)
    except (TypeError, ValueError):
        raise ValueError(f"{_expected(ks)}, got {weights!r}") from None


def _check_weights(weights: tuple[float, ...], ks: tuple[int, ...]) -> None:
    if not ks or len(weights) != len(ks):
        raise ValueError(f"{_expected(ks)}, got {list(weights)!r}")
    if min(weights) < 0 or not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        raise ValueError(f"{_expected(ks)}, got {list(weights)!r}, which sum to {math.fsum(weights):g}")


def _expected(ks: tuple[int, ...]) -> str:
    return f"weights must be {len(ks)} non-negative numbers that sum to 1, one for each k of {list(ks)}"
