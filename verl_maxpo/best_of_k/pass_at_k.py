"""Unbiased pass@k."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pass_at_k(num_samples: ArrayLike, num_correct: ArrayLike, k: ArrayLike) -> NDArray[np.float64] | np.float64:
    """Estimate pass@k, the probability that one of k samples is correct, without bias.

    With n samples of which c are correct:

        pass@k = 1 − C(n−c, k) / C(n, k) = 1 − Π_{i<k} (1 − c/(n−i))

    computed as a sum of logarithms, so that neither a large n nor a tiny value loses digits. See Chen et al.,
    "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374), equation 1.

    Args:
        num_samples: n, integers of at least 1.
        num_correct: c, integers with ``0 <= c <= n``.
        k: Integers with ``1 <= k <= n``. The three arguments broadcast.

    Returns:
        Values in [0, 1] of the broadcast shape, a scalar for scalars.

    Raises:
        TypeError: An argument is not made of integers.
        ValueError: An argument is out of range.

    Examples:
        >>> print(f"{pass_at_k(num_samples=16, num_correct=4, k=8):.4f}")
        0.9615
    """
    given = {"num_samples": np.asarray(num_samples), "num_correct": np.asarray(num_correct), "k": np.asarray(k)}
    for name, values in given.items():
        if values.dtype.kind not in "iu":
            raise TypeError(f"{name} must be integers, got {values.dtype}")
    n, c, k = np.broadcast_arrays(*(values.astype(np.int64) for values in given.values()))
    for name, values, valid, expected in (
        ("num_samples", n, n >= 1, "at least 1"),
        ("num_correct", c, (c >= 0) & (c <= n), "between 0 and num_samples"),
        ("k", k, (k >= 1) & (k <= n), "between 1 and num_samples"),
    ):
        if not valid.all():
            raise ValueError(f"{name} must be {expected}, got {values[~valid].flat[0]}")
    # C(n-c, k)/C(n, k) is symmetric in c and k: the product has as many factors as the smaller of them.
    few, many = np.minimum(c, k), np.maximum(c, k)
    log_all_fail = np.zeros(n.shape)
    with np.errstate(divide="ignore"):  # log(0) = -inf: a success is certain
        for i in range(int(few.max(initial=0))):
            factor = np.maximum(-many / np.maximum(n - i, 1), -1.0)
            log_all_fail = log_all_fail + np.where(i < few, np.log1p(factor), 0.0)
    value: NDArray[np.float64] | np.float64 = np.abs(np.expm1(log_all_fail))
    return value
