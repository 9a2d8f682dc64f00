"""Checks of arguments and results: k, rewards, what a dtype can hold."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rewards = Tensor | np.ndarray[Any, Any] | list[Any] | tuple[Any, ...]


def checked_k(k: int) -> int:
    """Return k as an int; TypeError if it is not an integer, ValueError below 1."""
    if isinstance(k, (bool, np.bool_)):
        raise TypeError(f"k must be an integer, got {k!r}")
    try:
        k = operator.index(k)
    except TypeError:
        raise TypeError(f"k must be an integer, got {k!r}") from None
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return k


def checked_rewards(rewards: Rewards, name: str = "rewards") -> Tensor:
    """Return real rewards ``[..., n]`` as a tensor, integers and booleans in the default dtype.

    Raises:
        TypeError: They are not real numbers.
        ValueError: A reward is NaN or infinite (the message names where), or there is no dimension of samples.
    """
    tensor = _as_tensor(rewards, name)
    if tensor.dim() == 0:
        raise ValueError(f"{name} must have a dimension of samples, got the single number {tensor.item()}")
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    finite = tensor.isfinite()
    if not finite.all():
        where = (~finite).nonzero()
        shown = ", ".join(str(index[0] if len(index) == 1 else tuple(index)) for index in where[:8].tolist())
        raise ValueError(
            f"{name} must be finite, got {len(where)} NaN or infinite of {finite.numel()}, at {shown}"
            f"{', ...' if len(where) > 8 else ''}: fix the reward function that returned them"
        )
    return tensor


def checked_result(values: Tensor, rewards: Tensor) -> Tensor:
    """Return float64 results in the dtype of the rewards; ValueError if they are too large for it."""
    result = values.to(rewards.dtype)
    if not result.isfinite().all():
        raise ValueError(
            f"rewards from {rewards.min().item():g} to {rewards.max().item():g} give results that {rewards.dtype} "
            "cannot hold: scale the rewards down or use a wider dtype"
        )
    return result


def _as_tensor(rewards: Rewards, name: str) -> Tensor:
    if isinstance(rewards, Tensor):
        tensor = rewards
    else:
        try:
            # A copy: the array may be read-only or run backwards.
            tensor = torch.tensor(np.ascontiguousarray(rewards) if isinstance(rewards, np.ndarray) else rewards)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name} must be a tensor, an array or lists of numbers: {error}") from None
    if tensor.is_complex():
        raise TypeError(f"{name} must be real numbers, got {tensor.dtype}")
    return tensor
