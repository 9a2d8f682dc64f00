"""MaxPO as an advantage estimator for verl: groups and token-level output.

verl's ``trainer/ppo/ray_trainer.py: compute_advantage`` calls :func:`compute_maxpo_outcome_advantage` under the name
``maxpo``, which ``verl_maxpo.plugin`` registers. Nothing here imports verl.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verl_maxpo.best_of_k.advantages import advantages_of
from verl_maxpo.best_of_k.arguments import checked_rewards
from verl_maxpo.best_of_k.groups import Groups, group_labels, ranked_groups
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.trainer.config import MaxPOConfig
from verl_maxpo.trainer.metrics import PREFIX, k_metrics, training_metrics
from verl_maxpo.trainer.reward_info import keys_of
from verl_maxpo.trainer.step import Sessions, TrainerStep, current_step, sessions_of

logger = logging.getLogger(__name__)


@torch.no_grad()
def compute_maxpo_outcome_advantage(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray[Any, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Compute MaxPO's advantage of every response, as verl asks its estimators to.

    With A_i from :func:`verl_maxpo.grouped_max_at_k_advantages` of the responses' summed rewards (or for a judge's
    scores or votes, by ``algorithm.maxpo.select_by``), token t of response i gets A_i where ``response_mask[i, t]`` is
    set and 0 elsewhere. See arXiv:2606.06080 and ``docs/mathematics.md``.

    A response without any token in its mask was rejected or never generated, and does not count in its group. A group
    that is too small for k, for that reason or because rollouts failed, gets zeros and a warning. Rows that verl adds
    as padding belong to no group.

    Within a step of verl's trainer (:mod:`.step`), the rows of one agent session count as one response with the reward
    of the last, and all get its advantage; k may be a schedule; and the step gets the metrics of :mod:`.metrics`.
    Elsewhere each row is a response, and there are no metrics.

    Args:
        token_level_rewards: Rewards, ``[bs, response_length]``; a response's reward is their sum.
        response_mask: 1 on the tokens of the response, ``[bs, response_length]``.
        index: The prompt (verl's ``uid``) of each row, ``[bs]``; rows of one prompt form a group, in any order.
        config: verl's ``config.algorithm`` with the node ``maxpo``, see :class:`.config.MaxPOConfig`.
        **kwargs: What else verl passes; not used.

    Returns:
        The advantages and the returns, ``[bs, response_length]`` each; outcome estimators return the same for both.

    Raises:
        TypeError: A prompt in ``index`` is not hashable.
        ValueError: ``algorithm.maxpo`` is unusable or a schedule that this trainer cannot follow, ``index`` is missing
            or has a None, a reward is NaN or infinite, advantages overflow, the rows of a session have different
            prompts, or no group of the batch is large enough for k.
    """
    options = MaxPOConfig.from_algorithm(config)
    if index is None:
        raise ValueError("algorithm.adv_estimator=maxpo needs the prompt of each response (uid), got none")
    step = current_step.get()
    objective = options.objective_at(step.number if step else None)
    batch = _Batch.of(token_level_rewards, response_mask, index, step)
    _check_group_sizes(batch, objective)
    _warn_about(objective, config or {}, batch)
    batches = _ranked(batch, options)
    advantages = advantages_of(batches, batch.rewards, objective)
    if step is not None:
        _record_metrics(step, batch, batches, advantages, objective)
    if batch.sessions is not None:
        advantages = advantages[batch.sessions.of_row]
    # Most of the time of a call. Converting the integer mask first is faster than a product of mixed types.
    token_level_advantages = response_mask.to(advantages.dtype, copy=True).mul_(advantages.unsqueeze(-1))
    return token_level_advantages, token_level_advantages


@dataclass(frozen=True)
class _Batch:
    """The responses of a batch: its rows, or its sessions where these have several rows.

    Attributes:
        rewards: ``[responses]``.
        labels: Group of each response, ``[responses]``.
        counts: Whether a response counts in its group, having any token, ``[responses]``.
        sizes: Responses of each group that count, ``[groups]``.
        delivered: Responses of each group, including those that do not count; 0 for padding, ``[groups]``.
        chosen_by: The score or the answer of each response, None where the trainer does not say, ``[responses]``.
        sessions: The sessions, None where a response is a row.
    """

    rewards: Tensor
    labels: Tensor
    counts: Tensor
    sizes: Tensor
    delivered: Tensor
    chosen_by: list[Any] | None
    sessions: Sessions | None

    @classmethod
    def of(
        cls, token_level_rewards: Tensor, response_mask: Tensor, index: np.ndarray[Any, Any], step: TrainerStep | None
    ) -> _Batch:
        rewards = checked_rewards(token_level_rewards.sum(dim=-1))
        labels = group_labels(index, rewards.device)
        if step is not None and len(step.keys) != len(rewards):
            _warn_once("sessions", f"{_CHANGED}: the batch has %d keys for %d rows", len(step.keys), len(rewards))
            step = None
        has_tokens = _has_tokens(response_mask)
        is_padding = _is_padding(step, has_tokens, labels)
        chosen_by = list(step.chosen_by) if step is not None and step.chosen_by is not None else None
        sessions = _sessions(step, rewards.device)
        if sessions is None:
            counts = has_tokens
        else:
            _check_prompts(sessions, labels, index)
            rewards, labels, is_padding = (of_row[sessions.final_row] for of_row in (rewards, labels, is_padding))
            counts = torch.zeros_like(is_padding)
            counts[sessions.of_row[has_tokens]] = True
            chosen_by = chosen_by and [chosen_by[row] for row in sessions.final_row.tolist()]
        groups = int(labels.max()) + 1 if len(labels) else 0
        sizes, delivered = _sizes(labels, counts, groups), _sizes(labels, ~is_padding, groups)
        return cls(rewards, labels, counts, sizes, delivered, chosen_by, sessions)

    @property
    def largest_group(self) -> int:
        """Responses of the largest group, including those that do not count; 0 without a group."""
        return int(self.delivered.max()) if len(self.delivered) else 0


def _ranked(batch: _Batch, options: MaxPOConfig) -> list[Groups]:
    """Return the groups of the responses that count, ranked by the rule of the options."""
    if options.rule == "reward":
        return ranked_groups(batch.rewards, batch.labels, counts=batch.counts)
    if batch.chosen_by is None:
        raise ValueError(
            f"algorithm.maxpo.select_by={options.select_by} needs what the rewards say of each response, and only "
            "verl's V1 trainer passes it on: use trainer.use_v1=true or algorithm.maxpo.select_by=reward"
        )
    keys = keys_of(batch.chosen_by, options.rule, batch.counts)
    return ranked_groups(batch.rewards, batch.labels, keys, options.rule, batch.counts)


def _sizes(labels: Tensor, counts: Tensor, groups: int) -> Tensor:
    """Return how many responses of each group count, ``[groups]``."""
    return (labels if counts.all() else labels[counts]).bincount(minlength=groups)


def _has_tokens(response_mask: Tensor) -> Tensor:
    """Return which rows have any token; nearly all have the first, so that the mask need not be read."""
    has_tokens = response_mask[:, 0] != 0
    rest = (~has_tokens).nonzero().squeeze(-1)
    has_tokens[rest] = response_mask[rest].any(dim=-1)
    return has_tokens


def _is_padding(step: TrainerStep | None, has_tokens: Tensor, labels: Tensor) -> Tensor:
    """Return which rows verl added; where the trainer does not say, they are prompts without any token."""
    if step is not None:
        return torch.tensor(step.is_padding, dtype=torch.bool, device=labels.device)
    if has_tokens.all():
        return ~has_tokens
    return (labels[has_tokens].bincount(minlength=len(labels)) == 0)[labels]


_CHANGED = "verl has changed, and maxpo counts each row as a response"


def _sessions(step: TrainerStep | None, device: torch.device) -> Sessions | None:
    if step is None:
        return None
    try:
        return sessions_of(step.keys, device)
    except ValueError as error:
        _warn_once("sessions", f"{_CHANGED}: %s", error)
        return None


def _check_prompts(sessions: Sessions, labels: Tensor, index: np.ndarray[Any, Any]) -> None:
    """Check that all rows of a session have one prompt."""
    differs = labels != labels[sessions.final_row][sessions.of_row]
    if differs.any():
        row = int(differs.nonzero()[0])
        final = int(sessions.final_row[sessions.of_row[row]])
        raise ValueError(
            f"rows {row} and {final} are of one agent session and must have one prompt, got the uids {index[row]!r} "
            f"and {index[final]!r}"
        )


def _record_metrics(
    step: TrainerStep, batch: _Batch, batches: list[Groups], advantages: Tensor, objective: Objective
) -> None:
    emptied = int(((batch.delivered > 0) & (batch.sizes == 0)).sum())
    step.metrics.update(training_metrics(batches, advantages, objective, emptied))
    step.metrics.update(k_metrics(objective, batch.largest_group))
    delivered = int(batch.delivered.sum())
    if delivered:
        step.metrics[f"{PREFIX}/responses/left_out"] = 1 - int(batch.counts.sum()) / delivered


def _check_group_sizes(batch: _Batch, objective: Objective) -> None:
    """Warn of groups without an advantage; ValueError if no group has one."""
    needed = objective.smallest_group
    undersized = int(((batch.delivered > 0) & (batch.sizes < needed)).sum())
    if undersized and batch.largest_group < needed:
        raise ValueError(
            f"{_shown(objective)} needs groups of at least {needed} responses, got {batch.largest_group} at "
            "most: raise actor_rollout_ref.rollout.n or lower algorithm.maxpo.k"
        )
    if undersized:
        _warn_once(
            "undersized",
            "maxpo: %d groups of this batch have fewer than the %d responses that %s needs and get zero advantages, "
            "usually because rollouts were lost or rejected. The metric best_of_k/groups/undersized has their share",
            undersized,
            needed,
            _shown(objective),
        )


def _shown(objective: Objective) -> str:
    k = objective.k[0] if len(objective.k) == 1 else objective.k if objective.k == "all" else list(objective.k)
    return f"algorithm.maxpo.k={k}"


_warned: set[str] = set()


def _warn_once(topic: str, message: str, *arguments: object) -> None:
    if topic not in _warned:
        _warned.add(topic)
        logger.warning(message, *arguments)


def _warn_about(objective: Objective, algorithm: Mapping[str, Any], batch: _Batch) -> None:
    """Warn, once each, about settings that work but seldom do what was wanted."""
    n, smallest_k = batch.largest_group, objective.smallest_k
    if algorithm.get("use_kl_in_reward"):
        _warn_once(
            "kl",
            "algorithm.use_kl_in_reward=true makes maxpo take the maximum over penalised rewards and breaks their ties "
            "by the penalty: set it to false and use actor_rollout_ref.actor.use_kl_loss=true",
        )
    if not algorithm.get("norm_adv_by_std_in_grpo", True):
        _warn_once(
            "std",
            "algorithm.norm_adv_by_std_in_grpo=false has no effect on maxpo, which does not divide by a standard "
            "deviation unless algorithm.maxpo.normalize=std: remove it",
        )
    if smallest_k > n / 2 > 0:
        _warn_once(
            "k",
            "%s is more than half of the %d responses in a group: a group gives no signal once more than %d of them "
            "share the best reward. Raise actor_rollout_ref.rollout.n, lower k or mix in a smaller one",
            _shown(objective),
            n,
            n - smallest_k,
        )
