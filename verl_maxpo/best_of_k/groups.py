"""Groups: which rows of a batch are responses to the same prompt."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

GroupIds = Tensor | np.ndarray[Any, Any] | Iterable[Hashable]


def group_labels(group_ids: GroupIds, device: torch.device) -> Tensor:
    """Number the distinct group ids 0 to G - 1.

    Args:
        group_ids: As for :func:`grouped_max_at_k_advantages`.
        device: Where the labels are wanted.

    Returns:
        An int64 tensor of shape ``[bs]`` in which two entries are equal exactly if the ids are.

    Raises:
        TypeError: An id is not hashable.
        ValueError: An id is None.

    >>> group_labels(["b", "a", "b"], torch.device("cpu"))
    tensor([0, 1, 0])
    """
    if isinstance(group_ids, Tensor):
        labels: Tensor = torch.unique(group_ids.to(device), return_inverse=True)[1]
        return labels
    ids = group_ids.tolist() if isinstance(group_ids, np.ndarray) else list(group_ids)
    # Hashing in C (dict and map) instead of sorting strings.
    try:
        label_of = {group_id: label for label, group_id in enumerate(dict.fromkeys(ids))}
    except TypeError:
        raise TypeError(_unhashable(ids)) from None
    if None in label_of:
        raise ValueError(f"every response needs the id of its prompt, got None for row {ids.index(None)}")
    return torch.from_numpy(np.fromiter(map(label_of.__getitem__, ids), np.int64, count=len(ids))).to(device)


def rows_by_size(labels: Tensor, sizes: Tensor) -> Iterator[Tensor]:
    """Arrange labelled rows in dense batches of groups.

    Args:
        labels: Label of each row's group, shape ``[bs]``.
        sizes: Number of members of each label, shape ``[G]``.

    Yields:
        For each size n that occurs, the row numbers of its groups, shape ``[groups, n]``. A training batch has few
        sizes, and bs rows cannot have more than sqrt(2 bs).
    """
    by_group = labels.argsort(stable=True)
    size_of_row = sizes[labels[by_group]]
    for n in sorted(set(sizes.tolist()) - {0}):
        yield by_group[size_of_row == n].view(-1, n)


def ranked_groups(rewards: Tensor, labels: Tensor, sizes: Tensor) -> list[Tensor]:
    """Sort the rewards within groups.

    Args:
        rewards: Shape ``[bs]``.
        labels: As for :func:`rows_by_size`.
        sizes: As for :func:`rows_by_size`.

    Returns:
        For each size n that occurs, the ascending rewards of its groups, shape ``[groups, n]``, float64.
    """
    return [rewards[rows].double().sort(dim=-1).values for rows in rows_by_size(labels, sizes)]


def _unhashable(ids: list[Any]) -> str:
    for row, group_id in enumerate(ids):
        try:
            hash(group_id)
        except TypeError:
            return f"the id of a prompt must be hashable, such as a string, got {group_id!r} for row {row}"
    raise AssertionError("every id is hashable")
