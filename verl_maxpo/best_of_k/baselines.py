"""The baselines of max@k, each as weights on the gaps between ranked rewards, and what is known of each.

With the gaps d_j = g₍ⱼ₊₁₎ − g₍ⱼ₎, the advantage of rank r in a group of n is, for every baseline,

    A₍ᵣ₎ = lowest g₍₁₎ + Σ_{j<r} d_j below_j + Σ_{j≥r} d_j above_j

Only the three weights differ. All are made of ρ_j = C(j-1, k-1) / C(n-1, k-1):

    q₍ᵣ₎       = g₍₁₎ + Σ_{j<r} d_j                    + Σ_{j≥r} d_j (1 − ρ_j)
    M_k(S−₍ᵣ₎) = g₍₁₎ + Σ_{j<r} d_j (1 − j/(n−k) ρ_j)  + Σ_{j≥r} d_j (1 − (j−k)/(n−k) ρ_j)

The policy gradient is (1/n) Σ_i k A_i ∇log π(x_i) throughout, so that PKPO's formulas appear divided by their k/n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class RankWeights(NamedTuple):
    """Weights of one group size.

    Attributes:
        below: Of the gaps below a sample's rank, ``[n - 1]``, float64.
        above: Of the gaps above it, ``[n - 1]``, float64.
        lowest: Of the group's smallest reward; 0 makes the advantage independent of a constant in the rewards.
        tied: For tied scores: n times the chance that the best of k others has a rank of at most 0 .. n - 1, ``[n]``.
    """

    below: Tensor
    above: Tensor
    lowest: float = 0.0
    tied: Tensor | float = 0.0


@dataclass(frozen=True)
class Baseline:
    """One baseline: its weights and its properties, which ``tests/best_of_k/test_baselines.py`` checks.

    Attributes:
        advantage: The equation.
        source: Where it is from.
        rank_weights: ``(n, k, rho)`` to the weights, with ``rho`` from :func:`best_rank_probability`.
        at_k_1: What ``k = 1`` gives.
        at_k_n: What ``k = n`` gives.
        spare: Samples that a group needs beyond k.
        gradient: The expected policy gradient over that of max@k: ``unbiased`` or the constant factor.
        centred: Whether the advantages of a group sum to zero.
        shift_invariant: Whether a constant added to all rewards changes nothing.
    """

    advantage: str
    source: str
    rank_weights: Callable[[int, int, Tensor], RankWeights]
    at_k_1: str
    at_k_n: str
    spare: int = 0
    gradient: str = "unbiased"
    centred: bool = False
    shift_invariant: bool = False


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def best_rank_probability(n: int, k: int, device: torch.device) -> Tensor:
    """Compute ρ_1 .. ρ_n, float64: how likely a rank is the best of a k-subset that it is in; exactly 0 below rank k.

    By ρ_n = 1, ρ_j = ρ_{j+1} (j + 1 − k)/j, as binomials overflow from n of about 1000.
    """
    rank = torch.arange(n - 1, 0, -1, dtype=torch.float64, device=device)
    ratio = ((rank + 1 - k) / rank).clamp(min=0)
    return torch.cat([ratio.new_ones(1), ratio.cumprod(0)]).flip(0)


def _centred(n: int, k: int, rho: Tensor, divisor: int) -> RankWeights:
    """Return the weights of n/divisor (q_i − V_k(S)): l2o with n − k, the group's mean with n, where k = n exists."""
    rank = torch.arange(1, n, dtype=rho.dtype, device=rho.device)
    below = rank * rho[:-1] / divisor  # with n - k, the chance C(j, k)/C(n-1, k)
    return RankWeights(below, above=(rank - n) * rho[:-1] / divisor, tied=pad(n / k * below, (1, 0)))


def _loo_minus_one(n: int, k: int, rho: Tensor) -> RankWeights:
    return RankWeights(below=rho[1:], above=torch.zeros_like(rho[1:]), lowest=float(k == 1))  # M_0 = 0


def _none(n: int, k: int, rho: Tensor) -> RankWeights:
    return RankWeights(below=torch.ones_like(rho[:-1]), above=1 - rho[:-1], lowest=1.0)


def _loo(n: int, k: int, rho: Tensor) -> RankWeights:
    rank = torch.arange(1, n, dtype=rho.dtype, device=rho.device)
    include_one, factor = _none(n, k, rho), n / (n - 1)
    return RankWeights(
        below=include_one.below - factor * (1 - rank * rho[:-1] / (n - k)),
        above=include_one.above - factor * (1 - (rank - k) * rho[:-1] / (n - k)),
        lowest=1 - factor,
    )


def l2o_over_all_k(n: int, scale_by_k: bool, device: torch.device) -> RankWeights:
    """Compute the weights of ``l2o`` summed over k = 1 .. n − 1, n ≥ 2, each k with the weight 1/k.

    With A⁽ᵏ⁾ = q_i − M_k(S−i) and the harmonic number H, with ``scale_by_k`` and without:

        Σ_k k/k A⁽ᵏ⁾:            below_j = j/(n−j)                    above_j = −1
        Σ_k 1/(k H_{n−1}) A⁽ᵏ⁾:  below_j = Σ_{i≤j} 1/(n−i) / H_{n−1}  above_j = −(n−j)/j below_j

    The first is MaxRL's advantage (arXiv:2602.02710) of the event "better than g₍ⱼ₎", added up over the gaps j.
    """
    rank = torch.arange(1, n, dtype=torch.float64, device=device)
    harmonic = (1 / (n - rank)).cumsum(0)
    if scale_by_k:
        return RankWeights(rank / (n - rank), above=torch.full_like(rank, -1.0), tied=pad(n * harmonic, (1, 0)))
    below = harmonic / harmonic[-1]
    return RankWeights(below=below, above=(rank - n) / rank * below)


#: Every value of ``algorithm.maxpo.baseline``.
BASELINES = {
    "l2o": Baseline(
        "q_i - M_k(S-i)",
        "MaxPO, arXiv:2606.06080",
        lambda n, k, rho: _centred(n, k, rho, n - k),
        at_k_1="RLOO",
        at_k_n="not defined",
        spare=1,
        centred=True,
        shift_invariant=True,
    ),
    "loo_minus_one": Baseline(
        "q_i - M_(k-1)(S-i)",
        "PKPO, arXiv:2505.15201, eq. 33",
        _loo_minus_one,
        at_k_1="the reward (M_0 = 0; not shift-invariant there)",
        at_k_n="best minus second best, others 0",
        shift_invariant=True,
    ),
    "loo": Baseline(
        "q_i - n/(n-1) M_k(S-i)",
        "PKPO, arXiv:2505.15201, eq. 29",
        _loo,
        at_k_1="the reward minus n/(n-1) times the mean of the others",
        at_k_n="not defined",
        spare=1,
    ),
    "none": Baseline(
        "q_i",
        "PKPO, arXiv:2505.15201, eq. 28",
        _none,
        at_k_1="the reward",
        at_k_n="the best reward, for all",
    ),
    "group_mean": Baseline(
        "q_i - V_k(S)",
        "canonical; Pass@k Training's with `normalize: std`, arXiv:2508.10751",
        lambda n, k, rho: _centred(n, k, rho, n),
        at_k_1="the reward minus the group's mean",
        at_k_n="0",
        gradient="(n-k)/n of it",
        centred=True,
        shift_invariant=True,
    ),
}
