"""What verl's trainer knows in a step and does not hand to advantage estimators.

``verl_maxpo.trainer.hooks`` wraps ``PPOTrainer._compute_advantage(batch, metrics)`` in :func:`trainer_step`, and the
estimator that is called meanwhile reads :data:`current_step`. Other trainers leave it None. Nothing here imports verl.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainerStep:
    """One call of ``PPOTrainer._compute_advantage``.

    Attributes:
        number: The trainer's step, from 1.
        keys: Name of each row of the batch, ``{uid}_{session}_{index}``.
        is_padding: Whether verl added the row to fill the batch up.
        metrics: What the trainer will log for this step; the estimator adds to it.
        chosen_by: The score or the answer of each row where ``algorithm.maxpo.select_by`` asks for one.
    """

    number: int
    keys: Sequence[str]
    is_padding: Sequence[bool]
    metrics: dict[str, Any] = field(default_factory=dict)
    chosen_by: Sequence[Any] | None = None


current_step: ContextVar[TrainerStep | None] = ContextVar("verl_maxpo_trainer_step", default=None)


@contextmanager
def trainer_step(step: TrainerStep) -> Iterator[None]:
    """Let the estimator see a step of the trainer."""
    token = current_step.set(step)
    try:
        yield
    finally:
        current_step.reset(token)


@dataclass(frozen=True)
class Sessions:
    """The sessions of a batch whose agent loop returned several rows for some.

    Attributes:
        final_row: The row with the highest index of each session, which carries its reward, ``[sessions]``.
        of_row: The session of each row, ``[bs]``.
    """

    final_row: Tensor
    of_row: Tensor


def sessions_of(keys: Sequence[str], device: torch.device) -> Sessions | None:
    """Find the rows that belong to one session, as verl does for GRPO (``compute_advantage_for_multi_trajectories``).

    Returns None where each session has a single row; ValueError where a key is not ``{uid}_{session}_{index}``.

    >>> sessions_of(["a_0_0", "a_0_1", "a_1_0"], torch.device("cpu"))
    Sessions(final_row=tensor([1, 2]), of_row=tensor([0, 0, 1]))
    """
    for key in keys:
        if not isinstance(key, str):
            raise _unreadable(key)
    # Keys are unique: without a further row of any session, the usual case, there is nothing to collapse.
    if all(key.endswith("_0") for key in keys):
        return None
    names, _, indices = zip(*(key.rpartition("_") for key in keys), strict=True)
    number = {name: session for session, name in enumerate(dict.fromkeys(names))}
    if len(number) == len(names):
        return None
    final: dict[int, tuple[int, int]] = {}
    of_row = [number[name] for name in names]
    for row, (session, index) in enumerate(zip(of_row, indices, strict=True)):
        if not index.isdecimal():
            raise _unreadable(keys[row])
        final[session] = max(final.get(session, (-1, row)), (int(index), row))
    final_row = [final[session][1] for session in range(len(number))]
    return Sessions(torch.tensor(final_row, device=device), torch.tensor(of_row, device=device))


def _unreadable(key: object) -> ValueError:
    return ValueError(f"keys must look like {{uid}}_{{session}}_{{index}}, got {key!r}")
