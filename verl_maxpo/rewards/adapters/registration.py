"""Registers the reward manager ``verifier`` with verl, and has it look at a run before it starts."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import expect_parameters
from verl_maxpo.rewards.config import MANAGER_NAME

logger = logging.getLogger(__name__)


def register() -> None:
    """Register the reward manager ``verifier`` when verl has imported its registries, and look at a run before it."""
    for registry, module in [
        ("verl.experimental.reward_loop.reward_manager", "verl_maxpo.rewards.adapters.reward_loop"),
        ("verl.workers.reward_manager", "verl_maxpo.rewards.adapters.legacy"),
    ]:
        wrapt.register_post_import_hook(partial(_register_by_import, module), registry)
    wrapt.register_post_import_hook(check_before_training, "verl.experimental.reward_loop.reward_loop")


def _register_by_import(name: str, registry: ModuleType) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:  # verl itself must go on, with its other reward managers
        logger.warning("reward.reward_manager.name=%s is not available: %r", MANAGER_NAME, error)


def check_before_training(module: ModuleType) -> None:
    """Let ``verifier`` look at configuration and data before verl starts its reward workers.

    Its own constructor runs in those, and what it raises there shows after the first rollout. Without this, training
    works, and a data source that no verifier claims stops it then.
    """
    try:
        expect_parameters(module, "RewardLoopManager.__init__", ["self", "config", "rm_resource_pool"])
    except RuntimeError as error:
        logger.warning("%s. Until then unknown data sources show after the first rollout only", error)
        return

    @wrapt.patch_function_wrapper(module, "RewardLoopManager.__init__")
    def init(wrapped: Callable[..., None], instance: Any, args: Any, kwargs: Any) -> None:
        config = inspect.signature(wrapped).bind(*args, **kwargs).arguments["config"]
        if config.reward.reward_manager.name == MANAGER_NAME:
            from verl_maxpo.rewards.adapters.startup import expect_data_sources

            expect_data_sources(config)
        wrapped(*args, **kwargs)
