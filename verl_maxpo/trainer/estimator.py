"""MaxPO as an advantage estimator for verl: configuration, groups and token-level output.

verl's ``trainer/ppo/ray_trainer.py: compute_advantage`` calls :func:`compute_maxpo_outcome_advantage` under the name
``maxpo``, which ``verl_maxpo.plugin`` registers. Nothing here imports verl.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from verl_maxpo.best_of_k.advantages import labelled_max_at_k_advantages
from verl_maxpo.best_of_k.arguments import checked_rewards
from verl_maxpo.best_of_k.groups import group_labels
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.trainer.metrics import training_metrics
from verl_maxpo.trainer.sessions import Sessions, current_step, sessions_of

logger = logging.getLogger(__name__)

ESTIMATOR_NAME = "maxpo"


@dataclass(frozen=True)
class MaxPOConfig:
    """The options under ``algorithm.maxpo``.

    Attributes:
        k: The K of max@K, at least 1, or a list of several to optimise their weighted sum, such as ``[1, 8]``. Groups
            need k + 1 responses (of the largest k; k for some baselines), so keep it below
            ``actor_rollout_ref.rollout.n``. ``k=1`` is RLOO.
        weights: With several k, the weight of each, such as ``[0.5, 0.5]``; they sum to 1.
        baseline: ``l2o`` (MaxPO), ``loo_minus_one``, ``loo``, ``none`` (PKPO), ``group_mean`` or ``adaptive``, see
            :mod:`verl_maxpo.best_of_k.baselines`.
        normalize: null, or ``std`` to divide each group by the standard deviation of the best reward of its
            k-subsets, which biases the gradient; with ``group_mean`` (and ``scale_by_k=false``) this is
            Pass@k Training.
        scale_by_k: Multiply the advantages by k (of several, each by its own, before they are mixed), so that the
            policy gradient is that of max@k itself. Adam hides a constant factor, but its balance with KL and
            entropy terms, clipping and comparisons between different k do not.
        group_size: Responses for a prompt, ``${actor_rollout_ref.rollout.n}``: larger groups give a warning, because
            several rows of one agent session then count as several responses. null for no such check.
    """

    k: int | Sequence[int]
    weights: Sequence[float] | None = None
    baseline: str = "l2o"
    normalize: str | None = None
    scale_by_k: bool = True
    group_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("k", "weights"):  # lists are not hashable
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        try:
            self.objective  # noqa: B018
        except (TypeError, ValueError) as error:
            raise ValueError(f"algorithm.maxpo.{error}") from None
        if self.group_size is not None and (type(self.group_size) is not int or self.group_size < 1):
            raise ValueError(f"algorithm.maxpo.group_size must be null or at least 1, got {self.group_size!r}")

    @cached_property
    def objective(self) -> Objective:
        """The options that the advantages depend on."""
        return Objective.of(self.k, self.weights, self.baseline, self.normalize, self.scale_by_k)

    @classmethod
    def from_algorithm(cls, algorithm: Mapping[str, Any] | None) -> MaxPOConfig:
        """Read the node ``maxpo`` of verl's ``config.algorithm``.

        Args:
            algorithm: verl's ``config.algorithm``, an OmegaConf node or any mapping.

        Returns:
            The options.

        Raises:
            ValueError: The node is missing, lacks ``k``, has an unknown key or a value out of range.
        """
        node = algorithm.get("maxpo") if algorithm is not None else None
        if node is None:
            raise ValueError(
                "algorithm.adv_estimator=maxpo needs the K of max@K: set algorithm.maxpo.k, "
                "as +algorithm.maxpo.k=8 on verl's own configs"
            )
        options: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
        if not isinstance(options, Mapping):
            raise ValueError(f"algorithm.maxpo must be a mapping such as {{k: 8}}, got {options!r}")
        known = [field.name for field in fields(cls)]
        unknown = sorted(str(key) for key in options if key not in known)
        if unknown:
            raise ValueError(f"algorithm.maxpo has no option {', '.join(unknown)}; its options are {', '.join(known)}")
        required = [field.name for field in fields(cls) if field.default is MISSING]
        for name in required:
            if options.get(name, "???") in (None, "???"):
                raise ValueError(f"algorithm.maxpo.{name} is required and not set, got {options.get(name)!r}")
        return cls(**options)


@torch.no_grad()
def compute_maxpo_outcome_advantage(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray[Any, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    r"""Compute MaxPO's advantage of every response, as verl asks its estimators to.

    With :math:`A_i` from :func:`verl_maxpo.grouped_max_at_k_advantages` of the responses' summed rewards,
    token t of response i gets :math:`k A_i` where ``response_mask[i, t]`` is set and 0 elsewhere
    (:math:`A_i` without ``algorithm.maxpo.scale_by_k``). See arXiv:2606.06080 and ``maxpo.md``, identity 2.

    A group that is too small for k, which happens when rollouts fail, has no max@k advantage: it gets zeros, and a
    warning counts such groups. Rows that verl adds as padding have an empty mask and count as no group.

    Within a step of verl's trainer (:mod:`.sessions`), the rows of one agent session count as one response
    with the reward of the last, and all get its advantage; and the step gets the metrics of
    :mod:`.metrics`. Elsewhere each row is a response, and there are no metrics.

    Args:
        token_level_rewards: Rewards, ``[bs, response_length]``; a response's reward is their sum.
        response_mask: 1 on the tokens of the response, ``[bs, response_length]``.
        index: The prompt (verl's ``uid``) of each row, ``[bs]``; rows of one prompt form a group, in any order.
        config: verl's ``config.algorithm`` with the node ``maxpo``, see :class:`MaxPOConfig`.
        **kwargs: What else verl passes; not used.

    Returns:
        The advantages and the returns, ``[bs, response_length]`` each; outcome estimators return the same for both.

    Raises:
        ValueError: ``algorithm.maxpo`` is unusable, ``index`` is missing, a reward is NaN or infinite, or no group
            of the batch is large enough for k.
    """
    options = MaxPOConfig.from_algorithm(config)
    if index is None:
        raise ValueError("algorithm.adv_estimator=maxpo needs the prompt of each response (uid), got none")
    batch = _Batch.of(token_level_rewards, response_mask, index)
    _check_group_sizes(batch, options)
    _warn_about(options, config or {}, batch)
    advantages = labelled_max_at_k_advantages(batch.rewards, batch.labels, batch.sizes, options.objective)
    _record_metrics(batch, advantages, options.objective)
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
        sizes: Responses of each group, ``[groups]``.
        is_real: Whether a group is more than padding, ``[groups]``.
        sessions: The sessions, None where a response is a row.
    """

    rewards: Tensor
    labels: Tensor
    sizes: Tensor
    is_real: Tensor
    sessions: Sessions | None

    @classmethod
    def of(cls, token_level_rewards: Tensor, response_mask: Tensor, index: np.ndarray[Any, Any]) -> _Batch:
        rewards = checked_rewards(token_level_rewards.sum(dim=-1))
        labels = group_labels(index, rewards.device)
        real_labels = labels[_has_tokens(response_mask)]
        sessions = _sessions(len(rewards), rewards.device)
        if sessions is not None:
            rewards, labels = rewards[sessions.final_row], labels[sessions.final_row]
        sizes = labels.bincount()
        is_real = torch.zeros_like(sizes, dtype=torch.bool)
        is_real[real_labels] = True
        return cls(rewards, labels, sizes, is_real, sessions)

    @property
    def largest_group(self) -> int:
        """Responses of the largest group that is no padding, 0 without one."""
        return int((self.sizes * self.is_real).max()) if len(self.sizes) else 0


def _has_tokens(response_mask: Tensor) -> Tensor:
    """Return which rows have any token; nearly all have the first, so that the mask need not be read."""
    has_tokens = response_mask[:, 0] != 0
    rest = (~has_tokens).nonzero().squeeze(-1)
    has_tokens[rest] = response_mask[rest].any(dim=-1)
    return has_tokens


def _sessions(rows: int, device: torch.device) -> Sessions | None:
    step = current_step.get()
    if step is None:
        return None
    try:
        if len(step.keys) != rows:
            raise ValueError(f"the batch has {len(step.keys)} keys for {rows} rows")
        return sessions_of(step.keys, device)
    except ValueError as error:
        _warn_once("sessions", "verl has changed: %s. maxpo counts each row as a response", error)
        return None


def _record_metrics(batch: _Batch, advantages: Tensor, objective: Objective) -> None:
    step = current_step.get()
    if step is not None:
        real = batch.is_real[batch.labels]
        metrics = training_metrics(
            batch.rewards[real], advantages[real], batch.labels[real], batch.sizes * batch.is_real, objective
        )
        step.metrics.update(metrics)


class _UndersizedGroups:
    """Counts the groups without an advantage and warns at the 1st, 10th, 100th, ... batch that has any."""

    def __init__(self) -> None:
        self.groups = 0
        self.batches = 0

    def add(self, groups: int, options: MaxPOConfig) -> None:
        self.groups += groups
        self.batches += 1
        if str(self.batches).strip("0") == "1":
            logger.warning(
                "maxpo: %d groups of this batch have fewer than the %d responses that algorithm.maxpo.k=%s needs and "
                "get zero advantages (so far %d groups in %d batches); lost rollouts are the usual cause",
                groups,
                options.objective.smallest_group,
                options.k,
                self.groups,
                self.batches,
            )


_undersized_groups = _UndersizedGroups()


def _check_group_sizes(batch: _Batch, options: MaxPOConfig) -> None:
    needed = options.objective.smallest_group
    undersized = int((batch.is_real & (batch.sizes < needed)).sum())
    if undersized == 0:
        return
    if undersized == int(batch.is_real.sum()):
        raise ValueError(
            f"algorithm.maxpo.k={options.k} needs groups of at least {needed} responses, got {batch.largest_group} at "
            "most: raise actor_rollout_ref.rollout.n or lower algorithm.maxpo.k"
        )
    _undersized_groups.add(undersized, options)


_warned: set[str] = set()


def _warn_once(topic: str, message: str, *arguments: object) -> None:
    if topic not in _warned:
        _warned.add(topic)
        logger.warning(message, *arguments)


def _warn_about(options: MaxPOConfig, algorithm: Mapping[str, Any], batch: _Batch) -> None:
    """Warn, once each, about settings that work but seldom do what was wanted."""
    n, smallest_k = batch.largest_group, options.objective.smallest_k
    if algorithm.get("use_kl_in_reward"):
        _warn_once(
            "kl",
            "algorithm.use_kl_in_reward=true makes maxpo take the maximum over penalised rewards and breaks their ties "
            "by the penalty: set it to false and use actor_rollout_ref.actor.use_kl_loss=true",
        )
    if not algorithm.get("norm_adv_by_std_in_grpo", True):
        _warn_once(
            "std",
            "algorithm.norm_adv_by_std_in_grpo=false has no effect on maxpo, which divides by no standard deviation "
            "unless algorithm.maxpo.normalize=std: remove it",
        )
    if smallest_k > n / 2 > 0:
        _warn_once(
            "k",
            "algorithm.maxpo.k=%s is more than half of the %d responses in a group: a group gives no signal once more "
            "than %d of them share the best reward. Raise actor_rollout_ref.rollout.n, lower k or mix in a smaller one",
            options.k,
            n,
            n - smallest_k,
        )
    if options.group_size is not None and n > options.group_size:
        _warn_once(
            "group_size",
            "maxpo got a group of %d rows where algorithm.maxpo.group_size=%d: if these are agent sessions of several "
            "rows, each row counts as a response, which only verl's own trainer (trainer.use_v1=true) avoids",
            n,
            options.group_size,
        )
