"""Checks of what a caller passes: k and rewards."""

from __future__ import annotations

import operator

import torch
from torch import Tensor


def checked_k(k: int, n: int | None = None, *, largest: int | None = None) -> int:
    """Return k as an int.

    Args:
        k: Anything that a user passed as one k.
        n: Size of the group, for the message.
        largest: The largest k that the group allows, None for any.

    Raises:
        TypeError: ``k`` is no integer.
        ValueError: ``k`` is out of range.
    """
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


def checked_rewards(rewards: Tensor) -> Tensor:
    """Return rewards that can be computed with.

    Args:
        rewards: Any real numbers, shape ``[..., n]``.

    Returns:
        The same, integers and booleans in the default dtype.

    Raises:
        ValueError: A reward is NaN or infinite (the message names where), or there is no dimension of samples.
    """
    if rewards.dim() == 0:
        raise ValueError(f"rewards must have a dimension of samples, got the single number {rewards.item()}")
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
