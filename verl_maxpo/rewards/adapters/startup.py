"""What is checked of the rewards before a run starts: manager, options, data sources, and each route by trying it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf, open_dict

from verl_maxpo.rewards.adapters import MANAGER_NAME
from verl_maxpo.rewards.adapters.sandbox_fusion import SandboxFusion
from verl_maxpo.rewards.config import KEY, VerifierConfig, did_you_mean
from verl_maxpo.rewards.data_files import SOURCE_COLUMN, first_rows
from verl_maxpo.rewards.probe import probe
from verl_maxpo.rewards.scoring import ResponseScorer

logger = logging.getLogger(__name__)


def check_rewards(config: Any) -> None:
    """Check what would fail, or train on nothing, after the first rollout.

    ``reward.reward_kwargs.data_sources`` is set in verl's ``config`` where the data files can be read from here, so
    that reward workers import the verifiers of those only.

    Raises:
        ValueError: There is no such reward manager, one of its options is unusable, no verifier claims a data source,
            or one cannot score the first row of its data source.
    """
    manager = config.reward.reward_manager
    if manager.get("source", "register") != "register":
        return
    check_manager(manager.name)
    if manager.name == MANAGER_NAME:
        check_verifiers(config)


def check_manager(name: str) -> None:
    """Check that verl knows a reward manager.

    Raises:
        ValueError: It does not; the message has the nearest name.
    """
    from verl.experimental.reward_loop.reward_manager.registry import REWARD_MANAGER

    known = sorted(REWARD_MANAGER)
    if name not in known:
        raise ValueError(
            f"reward.reward_manager.name={name} is no reward manager of verl{did_you_mean(name, known)}: "
            f"there are {', '.join(known)}"
        )


def check_verifiers(config: Any) -> None:
    """Check options and data of the reward manager ``verifier``; see :func:`check_rewards`."""
    column = source_column(config)
    rows = first_rows([*_files(config, "train_files"), *_files(config, "val_files")], column)
    with open_dict(config.reward):
        known = config.reward.get("reward_kwargs") or {}
        config.reward.reward_kwargs = {**known, "data_sources": None if rows is None else sorted(rows)}
    scorer = scorer_for_run(config)
    try:
        for warning in asyncio.run(probe(scorer, rows or {})):
            logger.warning("%s", warning)
    finally:
        scorer.close()


def scorer_for_run(config: Any) -> ResponseScorer:
    """Make the scorer that verl's configuration describes.

    Raises:
        ValueError: An option is unusable, or a ``custom_reward_function`` or a reward model is set, which would take
            the manager's place or not be asked.
    """
    reward = config.reward
    custom = reward.get("custom_reward_function") or {}
    if custom.get("path"):
        raise ValueError(
            f"reward.custom_reward_function.path={custom['path']} is not used by reward.reward_manager.name=verifier: "
            f"give the function to its verifier python_function, as {KEY}.default_verifier="
            f"'{{verifier: python_function, path: {custom['path']}, name: {custom.get('name')}}}', or use "
            "reward.reward_manager.name=naive"
        )
    if (reward.get("reward_model") or {}).get("enable"):
        raise ValueError(
            "reward.reward_model.enable=true has verl score every response with the reward model, without asking "
            "reward.reward_manager.name=verifier: turn one of them off"
        )
    sandbox = SandboxFusion.of(reward.get("sandbox_fusion"))
    return ResponseScorer(VerifierConfig.of(reward.get("reward_kwargs")), sandbox)


def source_column(config: Any) -> str:
    """Return the column with the data source, by which routes choose verifiers: ``data.reward_fn_key``."""
    data: Mapping[str, Any] = config.get("data") or {}
    return data.get("reward_fn_key") or SOURCE_COLUMN


def _files(config: Any, key: str) -> list[str]:
    node = config.data.get(key)
    plain: Any = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    return [plain] if isinstance(plain, str) else list(plain or [])
