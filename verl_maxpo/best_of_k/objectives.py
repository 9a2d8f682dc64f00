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
    """The objective Σ_m w_m V_{k_m}, and how its advantages are computed; made by :meth:`of`.

    Attributes:
        k: Each k, or ``"all"`` for k = 1 .. n - 1 in every group of n, with weights 1/k.
        weights: Weight of each k, not negative, summing to 1; empty for ``"all"``.
        baseline: A name in :data:`.baselines.BASELINES`; ``"all"`` has ``"l2o"`` only.
        normalize: None, or ``"std"`` to divide the advantages of each group by the standard deviation of the best
            reward of its k-subsets.
        scale_by_k: Multiply the advantages of each k by that k, as the policy gradient has it. For ``"all"`` these
            factors cancel the weights 1/k; without them the weights are normalised to sum to 1.
    """

    k: tuple[int, ...] | Literal["all"]
    weights: tuple[float, ...]
    baseline: str
    normalize: str | None
    scale_by_k: bool

    @classmethod
    def of(
        cls,
        k: K,
        weights: Sequence[float] | None = None,
        baseline: str = "l2o",
        normalize: str | None = None,
        scale_by_k: bool = True,
    ) -> Objective:
        """Make an objective of what a user gave; weights are equal if None.

        Raises:
            TypeError: A k is not an integer.
            ValueError: A k is below 1, or another option cannot be used.
        """
        if baseline not in list(BASELINES):  # a list, as an option may be unhashable
            raise ValueError(f"baseline must be one of {sorted(BASELINES)}, got {baseline!r}")
        if normalize not in (None, "std"):
            raise ValueError(f"normalize must be null or 'std', got {normalize!r}")
        if not isinstance(scale_by_k, bool):
            raise ValueError(f"scale_by_k must be true or false, got {scale_by_k!r}")
        if isinstance(k, str):
            if k != "all":
                raise TypeError(f"k must be an integer, some integers or 'all', got {k!r}")
            if weights is not None:
                raise ValueError(f"weights must be null with k='all', whose weights are 1/k, got {weights!r}")
            if baseline != "l2o":
                raise ValueError(f"baseline must be 'l2o' with k='all', got {baseline!r}")
            return cls("all", (), baseline, normalize, scale_by_k)
        one_or_more: int | Sequence[int] = k
        ks = tuple(checked_k(one) for one in (one_or_more if isinstance(one_or_more, Sequence) else [one_or_more]))
        return cls(ks, _checked_weights(weights, ks), baseline, normalize, scale_by_k)

    @property
    def smallest_group(self) -> int:
        """The least number of responses for which all of it is defined."""
        return 2 if self.k == "all" else max(self.k) + BASELINES[self.baseline].spare

    @property
    def smallest_k(self) -> int:
        """The smallest k that has weight: more than n - k best responses leave a group without signal."""
        return 1 if self.k == "all" else min(k for k, _ in self.shares())

    def shares(self) -> list[tuple[int, float]]:
        """Return each k that has weight, not "all", with the factor of its advantage q_i − V_k(S−i)."""
        assert self.k != "all"
        return [(k, w * k if self.scale_by_k else w) for k, w in zip(self.k, self.weights, strict=True) if w]

    def check_rule(self, rule: Rule) -> None:
        """Raise ValueError if an option has no meaning for a rule."""
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
    """Compute the rank weights of an objective for groups of n: those of each k, times its share, summed."""
    if objective.k == "all":
        return l2o_over_all_k(n, objective.scale_by_k, device)
    weights_of, shares = BASELINES[objective.baseline].rank_weights, objective.shares()
    rows = [weights_of(n, k, best_rank_probability(n, k, device)) for k, _ in shares]
    parts = zip(*rows, strict=True)
    return RankWeights(*(sum(share * of_k for (_, share), of_k in zip(shares, part, strict=True)) for part in parts))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def best_rank_distribution(objective: Objective, n: int, device: torch.device) -> Tensor:
    """Compute how likely each rank is the best of a random subset, ``[n]``, its k drawn by the weights: Σ w k/n ρ."""
    if objective.k == "all":  # 1/((n-j+1) H_{n-1}) for j < n, with the harmonic number H
        share = 1 / torch.arange(n, 0, -1, dtype=torch.float64, device=device)
        share[-1] = (n - 1) / n
        return share / share.sum()
    of_k = zip(objective.weights, objective.k, strict=True)
    return torch.stack([w * k / n * best_rank_probability(n, k, device) for w, k in of_k]).sum(dim=0)


def _checked_weights(weights: Sequence[float] | None, ks: tuple[int, ...]) -> tuple[float, ...]:
    if not ks:
        raise ValueError("k must be an integer, some integers or 'all', got []")
    if weights is None:
        return (1 / len(ks),) * len(ks)
    expected = f"weights must be {len(ks)} non-negative numbers that sum to 1, one for each k of {list(ks)}, got"
    try:
        numbers = [float(weight) for weight in weights]
    except (TypeError, ValueError):
        raise ValueError(f"{expected} {weights!r}") from None
    if len(numbers) != len(ks):
        raise ValueError(f"{expected} {numbers!r}")
    if min(numbers) < 0 or not math.isclose(math.fsum(numbers), 1, abs_tol=1e-6):
        raise ValueError(f"{expected} {numbers!r}, which sum to {math.fsum(numbers):g}")
    return tuple(numbers)
