"""MaxPO as an advantage estimator for verl: configuration, groups and token-level output.

verl's ``trainer/ppo/ray_trainer.py: compute_advantage`` calls :func:`compute_maxpo_outcome_advantage` under the name
``maxpo``, which ``verl_maxpo.plugin`` registers. Nothing here imports verl.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from verl_maxpo.max_at_k import group_labels, labelled_max_at_k_advantages

logger = logging.getLogger(__name__)

ESTIMATOR_NAME = "maxpo"


@dataclass(frozen=True)
class MaxPOConfig:
    """The options under ``algorithm.maxpo``.

    Attributes:
        k: The K of max@K, at least 1; groups need k + 1 responses, so keep it below
            ``actor_rollout_ref.rollout.n``. ``k=1`` is RLOO.
        scale_by_k: Multiply the advantages by k, so that the policy gradient is that of max@k itself. Adam hides a
            constant factor, but its balance with KL and entropy terms, clipping and comparisons between different k
            do not.
    """

    k: int
    scale_by_k: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"algorithm.maxpo.k must be an integer of at least 1, got {self.k!r}")
        if not isinstance(self.scale_by_k, bool):
            raise ValueError(f"algorithm.maxpo.scale_by_k must be true or false, got {self.scale_by_k!r}")

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

    A group of k or fewer responses, which happens when rollouts fail, has no max@k advantage: it gets zeros, and a
    warning counts such groups. Rows that verl adds as padding have an empty mask and count as no group.

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
            of the batch has more than k responses.
    """
    options = MaxPOConfig.from_algorithm(config)
    if index is None:
        raise ValueError("algorithm.adv_estimator=maxpo needs the prompt of each response (uid), got none")
    rewards = token_level_rewards.sum(dim=-1)
    labels = group_labels(index, rewards.device)
    sizes = labels.bincount()
    _check_group_sizes(labels, sizes, response_mask, options.k)
    advantages = labelled_max_at_k_advantages(rewards, labels, sizes, options.k)
    if options.scale_by_k:
        advantages = advantages * options.k
    token_level_advantages = advantages.unsqueeze(-1) * response_mask
    return token_level_advantages, token_level_advantages


class _UndersizedGroups:
    """Counts the groups without an advantage and warns at the 1st, 10th, 100th, ... batch that has any."""

    def __init__(self) -> None:
        self.groups = 0
        self.batches = 0

    def add(self, groups: int, k: int) -> None:
        self.groups += groups
        self.batches += 1
        if str(self.batches).strip("0") == "1":
            logger.warning(
                "maxpo: %d groups of this batch have no more than algorithm.maxpo.k=%d responses and get zero "
                "advantages (so far %d groups in %d batches); lost rollouts are the usual cause",
                groups,
                k,
                self.groups,
                self.batches,
            )


_undersized_groups = _UndersizedGroups()


def _check_group_sizes(labels: Tensor, sizes: Tensor, response_mask: Tensor, k: int) -> None:
    is_real = torch.zeros_like(sizes, dtype=torch.bool)
    is_real[labels[response_mask.any(dim=-1)]] = True
    undersized = int((is_real & (sizes <= k)).sum())
    if undersized == 0:
        return
    if undersized == int(is_real.sum()):
        raise ValueError(
            f"algorithm.maxpo.k={k} needs groups of at least {k + 1} responses, got {int(sizes[is_real].max())} at "
            "most: raise actor_rollout_ref.rollout.n or lower algorithm.maxpo.k"
        )
    _undersized_groups.add(undersized, k)
