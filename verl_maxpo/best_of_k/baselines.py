r"""The baselines that advantages of max@k can have, each as weights on the ranked rewards, and what is known of each.

In the notation of :mod:`verl_maxpo.best_of_k.advantages`, the advantage of the sample of rank r in a group of n is

.. math:: A_{(r)} = \ell \, g_{(1)} + \sum_{j<r} d_j \, \text{below}_j + \sum_{j \ge r} d_j \, \text{above}_j

for every baseline: only the three weights differ. All are made of :math:`\rho_j = \binom{j-1}{k-1} / \binom{n-1}{k-1}`,

.. math:: q_{(r)} &= g_{(1)} + \sum_{j<r} d_j + \sum_{j \ge r} d_j (1 - \rho_j) \\
          M_k(S\!-\!(r)) &= g_{(1)} + \sum_{j<r} d_j \Big(1 - \frac{j}{n-k} \rho_j\Big)
                            + \sum_{j \ge r} d_j \Big(1 - \frac{j-k}{n-k} \rho_j\Big) .

The policy gradient is :math:`\frac1n \sum_i k A_i \nabla \log \pi(x_i)` throughout, so that PKPO's formulas appear
divided by their k/n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class RankWeights(NamedTuple):
    """Weights of one group size.

    Attributes:
        below: Of the gaps below a sample's rank, ``[n - 1]``, float64.
        above: Of the gaps above it, ``[n - 1]``, float64.
        lowest: Of the group's smallest reward; 0 makes the advantage independent of a constant in the rewards.
    """

    below: Tensor
    above: Tensor
    lowest: float = 0.0


@dataclass(frozen=True)
class Baseline:
    """One baseline: its weights and its properties, which ``tests/best_of_k/test_baselines.py`` checks.

    Attributes:
        advantage: The equation.
        source: Where it is from.
        spare: Samples that a group needs beyond k.
        gradient: The expected policy gradient over that of max@k: ``unbiased`` or the constant factor.
        centred: Whether the advantages of a group sum to zero.
        shift_invariant: Whether a constant added to all rewards changes nothing.
        at_k_1: What ``k = 1`` gives.
        at_k_n: What ``k = n`` gives.
        rank_weights: ``(n, k, rho)`` to the weights, with ``rho`` from :func:`best_rank_probability`; None for a
            combination of others that depends on the batch.
    """

    advantage: str
    source: str
    spare: int
    gradient: str
    centred: bool
    shift_invariant: bool
    at_k_1: str
    at_k_n: str
    rank_weights: Callable[[int, int, Tensor], RankWeights] | None = None


def baselines_table() -> str:
    """Return the properties of all baselines as a Markdown table, for the README.

    >>> print(baselines_table().splitlines()[2])
    | `l2o` | q_i - M_k(S-i) | MaxPO, arXiv:2606.06080 | k + 1 | unbiased | yes | yes | RLOO | not defined |
    """
    header = (
        "| `baseline` | advantage A_i | source | smallest n | gradient | centred | shift-invariant | k = 1 | k = n |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    return header + "\n".join(_table_row(name, baseline) for name, baseline in BASELINES.items())


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def best_rank_probability(n: int, k: int, device: torch.device) -> Tensor:
    r"""Compute :math:`\rho_1 .. \rho_n`, how likely a rank is the best of a k-subset that it is in.

    By :math:`\rho_n = 1, \rho_j = \rho_{j+1} (j + 1 - k) / j`, as binomials overflow from n of about 1000.

    Args:
        n: Size of the group.
        k: Size of the subsets, ``1 <= k <= n``.
        device: Where the result is wanted.

    Returns:
        Shape ``[n]``, float64; exactly 0 for ranks below k.
    """
    rank = torch.arange(n - 1, 0, -1, dtype=torch.float64, device=device)
    ratio = ((rank + 1 - k) / rank).clamp(min=0)
    return torch.cat([ratio.new_ones(1), ratio.cumprod(0)]).flip(0)


def _l2o(n: int, k: int, rho: Tensor) -> RankWeights:
    rank = torch.arange(1, n, dtype=rho.dtype, device=rho.device)
    return RankWeights(below=rank * rho[:-1] / (n - k), above=(rank - n) * rho[:-1] / (n - k))


def _group_mean(n: int, k: int, rho: Tensor) -> RankWeights:
    # (n - k)/n of l2o, written so that it exists at k = n.
    rank = torch.arange(1, n, dtype=rho.dtype, device=rho.device)
    return RankWeights(below=rank * rho[:-1] / n, above=(rank - n) * rho[:-1] / n)


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


def _table_row(name: str, baseline: Baseline) -> str:
    cells = [
        f"`{name}`",
        baseline.advantage,
        baseline.source,
        f"k + {baseline.spare}" if baseline.spare else "k",
        baseline.gradient,
        "yes" if baseline.centred else "no",
        "yes" if baseline.shift_invariant else "no",
        baseline.at_k_1,
        baseline.at_k_n,
    ]
    return f"| {' | '.join(cells)} |"


#: Every value of ``algorithm.maxpo.baseline``.
BASELINES = {
    "l2o": Baseline(
        advantage="q_i - M_k(S-i)",
        source="MaxPO, arXiv:2606.06080",
        spare=1,
        gradient="unbiased",
        centred=True,
        shift_invariant=True,
        at_k_1="RLOO",
        at_k_n="not defined",
        rank_weights=_l2o,
    ),
    "loo_minus_one": Baseline(
        advantage="q_i - M_(k-1)(S-i)",
        source="PKPO, arXiv:2505.15201, eq. 33",
        spare=0,
        gradient="unbiased",
        centred=False,
        shift_invariant=True,
        at_k_1="the reward (M_0 = 0; not shift-invariant there)",
        at_k_n="best minus second best, others 0",
        rank_weights=_loo_minus_one,
    ),
    "loo": Baseline(
        advantage="q_i - n/(n-1) M_k(S-i)",
        source="PKPO, arXiv:2505.15201, eq. 29",
        spare=1,
        gradient="unbiased",
        centred=False,
        shift_invariant=False,
        at_k_1="the reward minus n/(n-1) times the mean of the others",
        at_k_n="not defined",
        rank_weights=_loo,
    ),
    "none": Baseline(
        advantage="q_i",
        source="PKPO, arXiv:2505.15201, eq. 28",
        spare=0,
        gradient="unbiased",
        centred=False,
        shift_invariant=False,
        at_k_1="the reward",
        at_k_n="the best reward, for all",
        rank_weights=_none,
    ),
    "group_mean": Baseline(
        advantage="q_i - V_k(S)",
        source="canonical; Pass@k Training's with `normalize: std`, arXiv:2508.10751",
        spare=0,
        gradient="(n-k)/n of it",
        centred=True,
        shift_invariant=True,
        at_k_1="the reward minus the group's mean",
        at_k_n="0",
        rank_weights=_group_mean,
    ),
    "adaptive": Baseline(
        advantage="q_i - M_(k-1)(S-i) - w (M_k(S-i) - M_(k-1)(S-i)), w from the other groups",
        source="this project",
        spare=1,
        gradient="unbiased",
        centred=False,
        shift_invariant=True,
        at_k_1="the reward minus w times the mean of the others (not shift-invariant there)",
        at_k_n="not defined",
    ),
}
