"""Groups: which rows of a batch are responses to the same prompt."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

GroupIds = Tensor | np.ndarray[Any, Any] | Iterable[Hashable]


def group_labels(group_ids: GroupIds, device: torch.device) -> Tensor:
    """Number the distinct group ids 0 to G - 1, int64 ``[bs]``; TypeError if one is not hashable, ValueError if None.

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
    """Yield, for each size n of a group, the row numbers of the groups of that size, ``[groups, n]``.

    ``sizes`` has the number of members of each label, ``[G]``. A training batch has few sizes, and bs rows cannot have
    more than sqrt(2 bs).
    """
    by_group = labels.argsort(stable=True)
    size_of_row = sizes[labels[by_group]]
    for n in sorted(set(sizes.tolist()) - {0}):
        yield by_group[size_of_row == n].view(-1, n)


def ranked_groups(rewards: Tensor, labels: Tensor, sizes: Tensor) -> list[Tensor]:
    """Return, for each size n of a group, the ascending rewards of those groups, ``[groups, n]``, float64."""
    return [rewards[rows].double().sort(dim=-1).values for rows in rows_by_size(labels, sizes)]


def _unhashable(ids: list[Any]) -> str:
    for row, group_id in enumerate(ids):
        try:
            hash(group_id)
        except TypeError:
            return f"the id of a prompt must be hashable, such as a string, got {group_id!r} for row {row}"
    raise AssertionError("every id is hashable")
