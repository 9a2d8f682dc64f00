"""Registers the reward manager ``verifier`` with verl, and the hook that watches its verdicts."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from types import ModuleType

import wrapt

from verl_maxpo.rewards.adapters import MANAGER_NAME
from verl_maxpo.rewards.adapters.verdicts import watch_verdicts

logger = logging.getLogger(__name__)


@cache
def register() -> None:
    """Register the reward manager when verl has imported its registry, and watch the verdicts of a run, once."""
    wrapt.register_post_import_hook(register_manager, "verl.experimental.reward_loop.reward_manager")
    wrapt.register_post_import_hook(watch_verdicts, "verl.trainer.ppo.v1.trainer_base")


def register_manager(registry: ModuleType) -> None:
    """Register ``verifier``; if that fails, verl goes on with its other reward managers.

    Without the extra ``rewards`` this is silent: a run that asks for ``verifier`` gets the error at its start.
    """
    try:
        importlib.import_module("verl_maxpo.rewards.adapters.reward_loop")
    except Exception as error:
        of_an_extra = isinstance(error, ModuleNotFoundError) and not str(error.name).startswith(("verl", "torch"))
        level = logging.DEBUG if of_an_extra else logging.WARNING
        logger.log(level, "reward.reward_manager.name=%s is not available: %r", MANAGER_NAME, error)
