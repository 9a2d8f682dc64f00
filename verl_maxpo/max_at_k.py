r"""Max@K and its policy-gradient advantages, in PyTorch.

Notation (``maxpo.md`` of this project, and "On Advantage Estimates for Max@K Policy Gradients", arXiv:2606.06080).
One prompt has :math:`n` sampled responses, its *group*, with rewards sorted as
:math:`g_{(1)} \le \dots \le g_{(n)}`. All averages are over subsets drawn uniformly without replacement.

=====================  ==============================================================================
:math:`V_k`            mean over the k-subsets of the largest reward: the unbiased estimate of max@k
:math:`q_i`            the same over the k-subsets that contain i
:math:`M_k(S\!-\!i)`   the same over the k-subsets that leave i out
=====================  ==============================================================================

Everything is written in the *gaps* :math:`d_j = g_{(j+1)} - g_{(j)}` between neighbours in rank, because
:math:`\max = g_{(n)} - \sum_j d_j [\text{the best has rank} \le j]` makes every average a sum of gaps times a
probability. A constant added to all rewards cannot matter then, tied rewards get tied advantages, and a group
without signal gets exact zeros. The only probability needed is that of rank j being the best of a subset it is in,

.. math:: \rho_j = \binom{j-1}{k-1} \Big/ \binom{n-1}{k-1}, \qquad
          P(\text{the best of a k-subset has rank} \le j) = \frac{j}{n} \rho_j .
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad


def max_at_k(rewards: Tensor, k: int) -> Tensor:
    r"""Estimate max@k, the expected best reward of k samples, without bias.

    .. math:: V_k = g_{(1)} + \sum_{j=1}^{n-1} d_j \Big(1 - \frac{j}{n} \rho_j\Big)
                  = \sum_{j=1}^{n} g_{(j)} \binom{j-1}{k-1} \Big/ \binom{n}{k}

    For 0/1 rewards with c successes this is pass@k, :math:`1 - \binom{n-c}{k} / \binom{n}{k}`. With ``k=1`` it is
    the mean, with ``k=n`` the maximum. See Chen et al., "Evaluating Large Language Models Trained on Code"
    (arXiv:2107.03374), for 0/1 rewards and ``maxpo.md``, symbol V_k, for real ones.

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions. Differentiable.
        k: Size of the subsets, ``1 <= k <= n``.

    Returns:
        Shape ``[...]``, in the dtype of ``rewards`` (the default dtype for integers and booleans).

    Raises:
        TypeError: ``k`` is no integer.
        ValueError: ``k`` is out of range, or a reward is NaN or infinite.

    >>> max_at_k(torch.tensor([0.0, 0.0, 1.0, 3.0]), k=2)
    tensor(1.8333)
    """
    rewards = _checked_rewards(rewards)
    n = rewards.shape[-1]
    k = _checked_k(k, n, largest=n)
    ranked = rewards.double().sort(dim=-1).values
    value = ranked[..., 0] + (ranked.diff(dim=-1) * (1 - _best_rank_cdf(n, k, rewards.device))).sum(dim=-1)
    return value.to(rewards.dtype)


def max_at_k_advantages(rewards: Tensor, k: int, *, baseline: str = "l2o") -> Tensor:
    r"""Compute the advantage of every sample for the policy gradient of max@k.

    With the Leave-Two-Out baseline, MaxPO's (arXiv:2606.06080; ``maxpo.md``, identities 1 and 2),

    .. math:: A_i = q_i - M_k(S\!-\!i) = \frac{n}{n-k} (q_i - V_k),

    which in gaps, for the sample of rank r, is one cumulative sum from below and one from above:

    .. math:: A_{(r)} = \frac{n}{n-k} \Big[ \sum_{j<r} d_j \, \frac{j}{n} \rho_j
                        - \sum_{j \ge r} d_j \Big(1 - \frac{j}{n}\Big) \rho_j \Big] .

    The advantages of a group sum to zero, and :math:`\frac1n \sum_i k A_i \nabla \log \pi(x_i)` is an unbiased
    estimate of the gradient of max@k; the factor k is left to the caller. ``k=1`` gives RLOO's
    :math:`g_i - \text{mean of the others}`. Costs O(n log n).

    Args:
        rewards: Finite rewards, shape ``[..., n]``, any leading batch dimensions. Differentiable.
        k: The K of max@K, ``1 <= k <= n - 1``: the baseline leaves two samples out and k - 1 must remain.
        baseline: ``"l2o"``.

    Returns:
        Shape ``[..., n]``, in the dtype of ``rewards`` (the default dtype for integers and booleans), in the units
        of the rewards; computed in float64. A group with equal rewards, or with so many best samples that every
        k-subset holds one, gets exact zeros.

    Raises:
        TypeError: ``k`` is no integer.
        ValueError: ``k`` is out of range, a reward is NaN or infinite, or ``baseline`` is unknown.

    >>> max_at_k_advantages(torch.tensor([0.0, 0.0, 0.0, 1.0]), k=2)
    tensor([-0.3333, -0.3333, -0.3333,  1.0000])
    """
    rewards = _checked_rewards(rewards)
    _checked_baseline(baseline)
    n = rewards.shape[-1]
    k = _checked_k(k, n, largest=n - 1)
    return _advantages(rewards, k, baseline)


def grouped_max_at_k_advantages(
    rewards: Tensor, group_ids: Tensor | np.ndarray[Any, Any] | Iterable[Hashable], k: int, *, baseline: str = "l2o"
) -> Tensor:
    r"""Compute :func:`max_at_k_advantages` within groups of any size and in any order.

    Args:
        rewards: Finite rewards, shape ``[bs]``. Differentiable.
        group_ids: The group of each reward, length ``bs``: an integer tensor, a numpy array of numbers or objects,
            or any iterable of hashable values such as verl's ``uid`` strings.
        k: The K of max@K, ``k >= 1``.
        baseline: ``"l2o"``.

    Returns:
        Shape ``[bs]``, in the dtype of ``rewards``. Samples of a group with ``n <= k`` members, for which the
        baseline does not exist, get exact zeros.

    Raises:
        TypeError: ``k`` is no integer, or a group id is not hashable.
        ValueError: ``k < 1``, shapes that do not match, a reward that is NaN or infinite (the message names the
            rows), or an unknown ``baseline``.

    >>> grouped_max_at_k_advantages(torch.tensor([1.0, 5.0, 0.0, 9.0]), ["a", "b", "a", "b"], k=1)
    tensor([ 1., -4., -1.,  4.])
    """
    labels = group_labels(group_ids, rewards.device)
    return labelled_max_at_k_advantages(rewards, labels, labels.bincount(), k, baseline=baseline)


def labelled_max_at_k_advantages(
    rewards: Tensor, labels: Tensor, sizes: Tensor, k: int, *, baseline: str = "l2o"
) -> Tensor:
    """Compute :func:`grouped_max_at_k_advantages` for groups that are already labelled.

    Args:
        rewards: Finite rewards, shape ``[bs]``.
        labels: Label of each reward's group, 0 to G - 1, shape ``[bs]``, from :func:`group_labels`.
        sizes: Number of members of each label, shape ``[G]``, that is ``labels.bincount()``.
        k: The K of max@K, ``k >= 1``.
        baseline: ``"l2o"``.

    Returns:
        Shape ``[bs]``.

    Raises:
        TypeError: As :func:`grouped_max_at_k_advantages`.
        ValueError: As :func:`grouped_max_at_k_advantages`.
    """
    rewards = _checked_rewards(rewards)
    _checked_baseline(baseline)
    k = _checked_k(k)
    if rewards.shape != labels.shape or rewards.dim() != 1:
        raise ValueError(
            f"rewards and group_ids must be one-dimensional and of one length, got {list(rewards.shape)} and "
            f"{list(labels.shape)}"
        )
    by_group = labels.argsort(stable=True)
    size_of_row = sizes[labels[by_group]]
    advantages = torch.zeros_like(rewards)
    # Groups of one size form a dense [groups, n] batch. A training batch has few distinct sizes, and bs rows cannot
    # have more than sqrt(2 bs).
    for n in set(sizes.tolist()):
        if n > k:
            rows = by_group[size_of_row == n]
            advantages[rows] = _advantages(rewards[rows].view(-1, n), k, baseline).flatten()
    return advantages


def group_labels(group_ids: Tensor | np.ndarray[Any, Any] | Iterable[Hashable], device: torch.device) -> Tensor:
    """Number the distinct group ids 0 to G - 1.

    Args:
        group_ids: As for :func:`grouped_max_at_k_advantages`.
        device: Where the labels are wanted.

    Returns:
        An int64 tensor of shape ``[bs]`` in which two entries are equal exactly if the ids are.

    Raises:
        TypeError: An id is not hashable.

    >>> group_labels(["b", "a", "b"], torch.device("cpu"))
    tensor([0, 1, 0])
    """
    if isinstance(group_ids, Tensor):
        labels: Tensor = torch.unique(group_ids.to(device), return_inverse=True)[1]
        return labels
    ids = group_ids.tolist() if isinstance(group_ids, np.ndarray) else list(group_ids)
    # Hashing in C (dict and map) instead of sorting strings.
    label_of = {group_id: label for label, group_id in enumerate(dict.fromkeys(ids))}
    return torch.from_numpy(np.fromiter(map(label_of.__getitem__, ids), np.int64, count=len(ids))).to(device)


def _advantages(rewards: Tensor, k: int, baseline: str) -> Tensor:
    """Advantages of a dense batch ``[..., n]`` whose arguments have been checked."""
    below, above = _gap_weights(rewards.shape[-1], k, baseline, rewards.device)
    ranked, order = rewards.double().sort(dim=-1)
    gaps = ranked.diff(dim=-1)
    from_below = (gaps * below).cumsum(dim=-1)
    from_above = (gaps * above).flip(-1).cumsum(dim=-1).flip(-1)
    # The lowest rank has no gap below it, the highest none above.
    advantages: Tensor = pad(from_below, (1, 0)) + pad(from_above, (0, 1))
    return torch.empty_like(advantages).scatter(-1, order, advantages).to(rewards.dtype)


_GapWeights = tuple[Tensor, Tensor]


def _l2o_gap_weights(n: int, k: int, device: torch.device) -> _GapWeights:
    cdf = _best_rank_cdf(n, k, device)
    scale = n / (n - k)
    return scale * cdf, scale * (cdf - _best_rank_probability(n, k, device))


# baseline -> (n, k, device) -> weights, each [n - 1], of the gaps below a sample's rank and of those above it.
_BASELINES: dict[str, Callable[[int, int, torch.device], _GapWeights]] = {"l2o": _l2o_gap_weights}


@lru_cache(maxsize=64)
def _gap_weights(n: int, k: int, baseline: str, device: torch.device) -> _GapWeights:
    return _BASELINES[baseline](n, k, device)


@lru_cache(maxsize=64)
def _best_rank_probability(n: int, k: int, device: torch.device) -> Tensor:
    r""":math:`\rho_1 .. \rho_{n-1}` in float64, by :math:`\rho_n = 1, \rho_j = \rho_{j+1} (j + 1 - k) / j`."""
    rank = torch.arange(n - 1, 0, -1, dtype=torch.float64, device=device)
    return ((rank + 1 - k) / rank).clamp(min=0).cumprod(0).flip(0)


def _best_rank_cdf(n: int, k: int, device: torch.device) -> Tensor:
    r"""Probability that the best of a random k-subset has rank at most j, for j = 1 .. n - 1."""
    rank = torch.arange(1, n, dtype=torch.float64, device=device)
    return rank / n * _best_rank_probability(n, k, device)


def _checked_rewards(rewards: Tensor) -> Tensor:
    if not rewards.is_floating_point():
        rewards = rewards.to(torch.get_default_dtype())
    finite = rewards.isfinite()
    if not finite.all():
        where = (~finite).nonzero()
        shown = ", ".join(str(index[0] if len(index) == 1 else tuple(index)) for index in where[:8].tolist())
        raise ValueError(
            f"rewards must be finite, got {len(where)} NaN or infinite of {finite.numel()}, at {shown}"
            f"{', ...' if len(where) > 8 else ''}: mend the reward function that returned them"
        )
    return rewards


def _checked_k(k: int, n: int | None = None, *, largest: int | None = None) -> int:
    if isinstance(k, bool):
        raise TypeError(f"k must be an integer, got {k!r}")
    try:
        k = operator.index(k)
    except TypeError:
        raise TypeError(f"k must be an integer, got {k!r}") from None
    if k < 1 or (largest is not None and k > largest):
        raise ValueError(
            f"k must be at least 1, got {k}" if n is None else f"k must be in 1..{largest} for groups of {n}, got {k}"
        )
    return k


def _checked_baseline(baseline: str) -> None:
    if baseline not in _BASELINES:
        raise ValueError(f"baseline must be one of {sorted(_BASELINES)}, got {baseline!r}")
