"""The reward manager ``verifier`` for code that still uses verl's older registry, ``verl.workers.reward_manager``."""

from __future__ import annotations

import asyncio
from typing import Any

import torch
from verl import DataProto
from verl.workers.reward_manager import register
from verl.workers.reward_manager.abstract import AbstractRewardManager

from verl_maxpo.rewards.adapters.rows import columns_for_verifier, valid_response
from verl_maxpo.rewards.config import MANAGER_NAME, VerifierConfig
from verl_maxpo.rewards.scoring import ResponseScorer


@register(MANAGER_NAME)
class LegacyVerifierRewardManager(AbstractRewardManager):  # type: ignore[misc]
    """Scores a whole batch, see :class:`.manager.VerifierRewardManager`.

    Args:
        tokenizer: The actor's.
        num_examine: Not used; see the rollout dumps of ``trainer.rollout_data_dir``.
        compute_score: Not used.
        reward_fn_key: The column with the data source.
        **options: See :class:`.config.VerifierConfig`.
    """

    def __init__(
        self,
        tokenizer: Any,
        num_examine: int,
        compute_score: Any = None,
        reward_fn_key: str = "data_source",
        **options: Any,
    ) -> None:
        self._tokenizer = tokenizer
        self._reward_fn_key = reward_fn_key
        self._scorer = ResponseScorer(VerifierConfig.of(options))
        self._loop = asyncio.new_event_loop()

    def __call__(self, data: DataProto, return_dict: bool = False) -> torch.Tensor | dict[str, Any]:
        """Score a batch; the reward is on the last token of each response."""
        rewards = torch.zeros_like(data.batch["responses"], dtype=torch.float32)
        scores = self._loop.run_until_complete(self._score_all(data))
        for row, (length, scored) in enumerate(scores):
            rewards[row, length - 1] = scored["score"]
        if not return_dict:
            return rewards
        keys = scores[0][1] if scores else {}
        return {
            "reward_tensor": rewards,
            "reward_extra_info": {key: [scored[key] for _, scored in scores] for key in keys},
        }

    async def _score_all(self, data: DataProto) -> list[tuple[int, dict[str, Any]]]:
        return await asyncio.gather(*(self._score(data[row]) for row in range(len(data))))

    async def _score(self, item: Any) -> tuple[int, dict[str, Any]]:
        tokens = valid_response(item)
        response = self._tokenizer.decode(tokens, skip_special_tokens=True)
        row = columns_for_verifier(item, response, self._reward_fn_key)
        return len(tokens), await self._scorer.score(*row, num_tokens=len(tokens))
