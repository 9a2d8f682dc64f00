"""verl's reward manager ``verifier``: ``reward.reward_manager.name=verifier``.

A thin layer over :class:`.scoring.ResponseScorer`. All trainers of verl 0.9 take their reward managers from the reward
loop's registry: ``main_ppo`` with either value of ``trainer.use_v1``, ``one_step_off_policy``, ``fully_async_policy``.
"""

from __future__ import annotations

from typing import Any

import torch
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from verl_maxpo.rewards.adapters import MANAGER_NAME
from verl_maxpo.rewards.adapters.run_config import columns_of, scorer_for_run
from verl_maxpo.rewards.adapters.verdicts import FirstVerdicts


@register(MANAGER_NAME)
class VerifierRewardManager(RewardManagerBase):  # type: ignore[misc]
    """Scores each response with the verifier of its data source, in child processes that can be killed.

    The options are under ``reward.reward_kwargs``, see :class:`.config.VerifierConfig`. ``compute_score``, verl's or a
    user's reward function, and verl's reward models are not used.

    Raises:
        ValueError: An option is unusable, or a ``custom_reward_function`` is set, which this manager would ignore.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        self._scorer = scorer_for_run(config)
        self._source_column = columns_of(config).source
        # In verl's V1 trainer an error here would only lose a session, so a hook in the trainer watches instead.
        in_v1 = (config.get("transfer_queue") or {}).get("enable", False)
        self._first_verdicts = None if in_v1 else FirstVerdicts()

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last row of a session, as verl wants it; see :class:`.scoring.Scored`.

        Trainers other than V1 need the same columns from all data sources, so they get no ``values``.

        Raises:
            NoVerdictError: Outside verl's V1 trainer, if no response of the run has had a verdict so far.
        """
        item = data[-1:][0]
        responses = item.batch["responses"]
        tokens = responses[: int(item.batch["attention_mask"][-responses.shape[-1] :].sum())]  # without padding
        response = await self.loop.run_in_executor(None, self._decode, tokens)
        row = item.non_tensor_batch
        # What verl's own managers give to reward functions
        extra_info = {
            **(row.get("extra_info") or {}),
            **(row.get("tool_extra_fields") or {}),
            "num_turns": row.get("__num_turns__"),
            "rollout_reward_scores": row.get("reward_scores", {}),
        }
        ground_truth = row["reward_model"]["ground_truth"]
        scored = await self._scorer.score(row[self._source_column], response, ground_truth, extra_info, len(tokens))
        if self._first_verdicts is not None:
            self._first_verdicts.see(scored.columns)
            return {"reward_score": scored.reward, "reward_extra_info": scored.columns}
        return {"reward_score": scored.reward, "reward_extra_info": {**scored.columns, **scored.values}}

    def _decode(self, tokens: torch.Tensor) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text
