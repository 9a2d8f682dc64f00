"""The verifiers as verl's ``reward.custom_reward_function``, for people who keep another reward manager.

Set ``reward.custom_reward_function.path=pkg://verl_maxpo.rewards.adapters.custom_reward_function``, whose
``compute_score`` has verl's default name; options go under ``+reward.custom_reward_function.reward_kwargs``. The
punishment of long responses (``overlong_buffer_cfg``) is left to the manager.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.scoring import ResponseScorer


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score a response as the reward manager ``verifier`` does: ``score`` and the columns of :class:`.scoring.Scored`.

    Args:
        data_source: The row's data source, which decides the verifier.
        solution_str: The response.
        ground_truth: ``reward_model["ground_truth"]`` of the row.
        extra_info: ``extra_info`` of the row.
        **options: See :class:`.config.VerifierConfig`; one that is unusable is a ValueError.
    """
    scored = await _scorer(_as_json(options)).score(data_source, solution_str, ground_truth, extra_info or {})
    return {"score": scored.reward, **scored.columns}


@cache
def _scorer(options: str) -> ResponseScorer:
    """Return the one scorer of these options in this process."""
    return ResponseScorer(VerifierConfig.from_reward_kwargs(json.loads(options)))


def _as_json(options: Mapping[str, Any]) -> str:
    plain = {
        name: OmegaConf.to_container(option, resolve=True) if OmegaConf.is_config(option) else option
        for name, option in options.items()
    }
    return json.dumps(plain, sort_keys=True)
