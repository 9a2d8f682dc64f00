"""What verl's configuration of a run says about its rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verl_maxpo.messages import override
from verl_maxpo.rewards.adapters.sandbox_fusion import SandboxFusion
from verl_maxpo.rewards.config import OPTIONS_KEY, Columns, VerifierConfig
from verl_maxpo.rewards.scoring import ResponseScorer


def scorer_for_run(config: Any) -> ResponseScorer:
    """Make the scorer that verl's configuration describes.

    Raises:
        ValueError: An option is unusable, or the configuration also has a ``custom_reward_function``, which would be
            ignored, or a reward model, which would score in place of the manager.
    """
    reward = config.reward
    custom = reward.get("custom_reward_function") or {}
    if custom.get("path"):
        route = f"{{verifier: python_function, path: {custom['path']}, name: {custom.get('name')}}}"
        advice = override(f"{OPTIONS_KEY}.default_verifier", route)
        raise ValueError(
            f"reward.custom_reward_function.path={custom['path']} is not used by reward.reward_manager.name=verifier: "
            f"give the function to its verifier python_function, as {advice}, or use reward.reward_manager.name=naive"
        )
    if (reward.get("reward_model") or {}).get("enable"):
        raise ValueError(
            "reward.reward_model.enable=true has verl score every response with the reward model, without asking "
            "reward.reward_manager.name=verifier: turn one of them off"
        )
    sandbox = SandboxFusion.of(reward.get("sandbox_fusion"))
    return ResponseScorer(VerifierConfig.from_reward_kwargs(reward.get("reward_kwargs")), sandbox)


def columns_of(config: Any) -> Columns:
    """Return the columns with the data source, by which routes choose verifiers, and the prompt."""
    data: Mapping[str, Any] = config.get("data") or {}
    default = Columns()
    return Columns(data.get("reward_fn_key") or default.source, data.get("prompt_key") or default.prompt)
