"""What is checked before verl starts its reward workers: options, and the data sources of the data files."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf, open_dict

from verl_maxpo.rewards.adapters.sandbox_fusion import SandboxFusion
from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.data_files import data_sources_of
from verl_maxpo.rewards.scoring import ResponseScorer


def expect_data_sources(config: Any) -> None:
    """Check that every data source has a verifier, and tell the reward workers which ones to import.

    Args:
        config: verl's whole configuration; ``reward.reward_kwargs.data_sources`` is set in it where the data files
            can be read from here.

    Raises:
        ValueError: An option of the reward manager is unusable, or no verifier claims a data source.
    """
    files = [*_files(config.data.get("train_files")), *_files(config.data.get("val_files"))]
    sources = data_sources_of(files, config.data.get("reward_fn_key") or "data_source")
    with open_dict(config.reward):
        config.reward.reward_kwargs = {**(config.reward.get("reward_kwargs") or {}), "data_sources": sources}
    scorer_for_run(config).close()


def scorer_for_run(config: Any) -> ResponseScorer:
    """Make the scorer that verl's configuration describes.

    Raises:
        ValueError: An option is unusable, or a ``custom_reward_function`` is set, which would not be called.
    """
    reward = config.reward
    custom = reward.get("custom_reward_function") or {}
    if custom.get("path"):
        raise ValueError(
            f"reward.custom_reward_function.path={custom['path']} is not used by reward.reward_manager.name=verifier: "
            "give the function to its verifier python_function, as reward.reward_kwargs.default_verifier="
            f"'{{verifier: python_function, path: {custom['path']}, name: {custom.get('name')}}}', or use "
            "reward.reward_manager.name=naive"
        )
    sandbox = SandboxFusion.of(reward.get("sandbox_fusion"))
    return ResponseScorer(VerifierConfig.of(reward.get("reward_kwargs")), sandbox)


def _files(node: Any) -> list[str]:
    plain: Any = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    return [plain] if isinstance(plain, str) else list(plain or [])
