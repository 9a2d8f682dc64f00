"""Groups: which rows of a batch are responses to the same prompt, and their order by a rule."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from verl_maxpo.best_of_k.arguments import checked_rewards

GroupIds = Tensor | np.ndarray[Any, Any] | Iterable[Hashable]

#: How one of k responses is chosen: the largest reward, the largest score of a judge, or the most frequent answer.
Rule = Literal["reward", "score", "vote"]


class Groups(NamedTuple):
    """The groups of one size, each in ascending order of its keys.

    Attributes:
        rule: What the keys are.
        labels: Label of each group, ``[groups]``.
        rows: Row of each response in the batch, ``[groups, n]``.
        keys: The rewards, the scores, or the numbers of the answers (-1 for none), ``[groups, n]``, float64.
        rewards: ``[groups, n]``, float64.
    """

    rule: Rule
    labels: Tensor
    rows: Tensor
    keys: Tensor
    rewards: Tensor


class Blocks(NamedTuple):
    """The block of each response: the responses of its group with the same key.

    Attributes:
        number: Of the block within the group, ascending, ``[groups, n]``.
        first: Rank of the first response of the block, from 0, ``[groups, n]``.
        size: Responses of the block, ``[groups, n]``.
        mean: Mean reward of the block, exact if all are equal, ``[groups, n]``.
    """

    number: Tensor
    first: Tensor
    size: Tensor
    mean: Tensor


def group_labels(group_ids: GroupIds, device: torch.device) -> Tensor:
    """Number the distinct group ids 0 to G - 1, int64 ``[bs]``; TypeError if one is not hashable, ValueError if None.

    >>> group_labels(["b", "a", "b"], torch.device("cpu"))
    tensor([0, 1, 0])
    """
    if isinstance(group_ids, Tensor):
        labels: Tensor = torch.unique(group_ids.to(device), return_inverse=True)[1]
        return labels
    ids = group_ids.tolist() if isinstance(group_ids, np.ndarray) else list(group_ids)
    number_of = _numbers(ids, "the id of a prompt")
    if None in number_of:
        raise ValueError(f"every response needs the id of its prompt, got None for row {ids.index(None)}")
    return _numbered(ids, number_of, device)


def answer_labels(answers: Any, shape: torch.Size, device: torch.device) -> Tensor:
    """Number the distinct answers from 0, and None, which does not vote, with -1; int64 of the shape of the rewards.

    >>> answer_labels(["7", None, "7"], torch.Size([3]), torch.device("cpu"))
    tensor([ 0, -1,  0])
    """
    flat = answers.tolist() if isinstance(answers, (np.ndarray, Tensor)) else list(answers)
    for size in shape[1:]:
        if not all(isinstance(row, (list, tuple)) and len(row) == size for row in flat):
            raise ValueError(f"answers must have the shape of the rewards, {list(shape)}")
        flat = [answer for row in flat for answer in row]
    if len(flat) != shape.numel():
        raise ValueError(f"answers must have the shape of the rewards, {list(shape)}, got {len(flat)}")
    number_of = _numbers([None, *flat], "an answer")
    return _numbered(flat, number_of, device).view(shape) - 1


def checked_keys(rule: Rule, given: Any, rewards: Tensor) -> Tensor | None:
    """Return what a rule ranks checked rewards by: scores, numbers of answers, or None for the rewards themselves."""
    if rule == "vote":
        return answer_labels(given, rewards.shape, rewards.device)
    scores = None if rule == "reward" else checked_rewards(given, "scores").to(rewards.device)
    if scores is not None and scores.shape != rewards.shape:
        raise ValueError(f"scores must have the shape of the rewards, {list(rewards.shape)}, got {list(scores.shape)}")
    return scores


def score_keys(scores: Tensor) -> Tensor:
    """Rank responses without a score (NaN) below all others: one is kept only where no other is."""
    known = ~scores.isnan()
    return scores.where(known, scores[known].min() - 1 if known.any() else 0)


def ranked_groups(
    rewards: Tensor,
    labels: Tensor,
    keys: Tensor | None = None,
    rule: Rule = "reward",
    counts: Tensor | None = None,
) -> list[Groups]:
    """Sort the responses of each group, once for advantages, estimates and metrics.

    Args:
        rewards: ``[bs]``.
        labels: Those of :func:`group_labels`, ``[bs]``.
        keys: Scores, or those of :func:`answer_labels`, ``[bs]``; None where the rewards are the keys.
        rule: What the keys are.
        counts: Which responses count in their group, ``[bs]``; all if None.

    Returns:
        One for each size that occurs. A training batch has few, and bs rows cannot have more than sqrt(2 bs).
    """
    return [ranked(rewards, labels[rows[:, 0]], rows, keys, rule) for rows in _rows_by_size(labels, counts)]


def dense_groups(rewards: Tensor, keys: Tensor | None, rule: Rule) -> Groups:
    """Take the last dimension of checked rewards ``[..., n]`` as groups."""
    n = rewards.shape[-1]
    rows = torch.arange(rewards.numel(), device=rewards.device).view(-1, n)
    return ranked(rewards.reshape(-1), rows[:, 0] // n, rows, None if keys is None else keys.reshape(-1), rule)


def ranked(rewards: Tensor, labels: Tensor, rows: Tensor, keys: Tensor | None, rule: Rule) -> Groups:
    """Sort the groups whose responses are in ``rows``, ``[groups, n]``."""
    values = rewards[rows].double()
    if keys is None:
        values, order = values.sort(dim=-1)
        return Groups(rule, labels, rows.gather(-1, order), values, values)
    ascending, order = keys[rows].double().sort(dim=-1, stable=True)
    return Groups(rule, labels, rows.gather(-1, order), ascending, values.gather(-1, order))


def by_reward(groups: Groups) -> Groups:
    """Rank groups by their rewards, for max@k beside another rule; the rows no longer fit."""
    if groups.rule == "reward":
        return groups
    ascending = groups.rewards.sort(dim=-1).values
    return groups._replace(rule="reward", keys=ascending, rewards=ascending)


def blocks_of(groups: Groups) -> Blocks:
    """Find the blocks of equal keys."""
    rewards, rank = groups.rewards, torch.arange(groups.keys.shape[-1], device=groups.keys.device)
    starts = pad(groups.keys.diff(dim=-1) != 0, (1, 0))
    index = starts.cumsum(dim=-1)
    first = (starts * rank).cummax(dim=-1).values
    size = torch.zeros_like(index).scatter_add(-1, index, torch.ones_like(index)).gather(-1, index)
    lowest = rewards.gather(-1, first)
    above = torch.zeros_like(rewards).scatter_add(-1, index, rewards - lowest).gather(-1, index)
    return Blocks(index, first, size, lowest + above / size)


def _rows_by_size(labels: Tensor, counts: Tensor | None) -> Iterator[Tensor]:
    """Yield, for each size n of a group, the row numbers of the groups of that size, ``[groups, n]``."""
    by_group = labels.argsort(stable=True)
    if counts is not None and not counts.all():
        by_group = by_group[counts[by_group]]
    of_row = labels[by_group]
    sizes = of_row.bincount()
    size_of_row = sizes[of_row]
    for n in sorted(set(sizes.tolist()) - {0}):
        yield by_group[size_of_row == n].view(-1, n)


def _numbers(values: list[Any], what: str) -> dict[Any, int]:
    """Number distinct values in the order in which they appear."""
    # Hashing in C (dict and map) instead of sorting strings.
    try:
        return {value: number for number, value in enumerate(dict.fromkeys(values))}
    except TypeError as error:
        row = next(row for row, value in enumerate(values) if not _is_hashable(value))
        raise TypeError(f"{what} must be hashable, such as a string, got {values[row]!r} for row {row}") from error


def _is_hashable(value: Any) -> bool:
    try:
        return hash(value) is not None
    except TypeError:
        return False


def _numbered(values: list[Any], number_of: dict[Any, int], device: torch.device) -> Tensor:
    return torch.from_numpy(np.fromiter(map(number_of.__getitem__, values), np.int64, count=len(values))).to(device)
