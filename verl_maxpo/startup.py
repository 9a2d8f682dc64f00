"""What verl-maxpo checks of a run before any model is loaded.

Each trainer passes one of two doors in the process of the command: ``main_ppo`` calls ``validate_config``, and the
others (``fully_async_policy``, ``one_step_off_policy``, recipes with a main of their own) call ``main_ppo.run_ppo``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import expect_parameters

logger = logging.getLogger(__name__)


@cache
def register() -> None:
    """Have the checks made when verl validates a configuration or starts a run, once."""
    wrapt.register_post_import_hook(check_validated, "verl.utils.config")
    wrapt.register_post_import_hook(check_run, "verl.trainer.main_ppo")


def check_validated(module: ModuleType) -> None:
    """Have ``validate_config`` check what is verl-maxpo's."""
    _check_before(module, "validate_config", ["config", "use_reference_policy", "use_critic"])


def check_run(module: ModuleType) -> None:
    """Have ``run_ppo`` check what is verl-maxpo's."""
    _check_before(module, "run_ppo", ["config", "task_runner_class"])


def _check_before(module: ModuleType, name: str, parameters: list[str]) -> None:
    try:
        expect_parameters(module, name, parameters)
    except RuntimeError as error:
        logger.warning("%s. Until then errors of the configuration show after the first rollout only", error)
        return

    @wrapt.patch_function_wrapper(module, name)
    def checked(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        check(inspect.signature(wrapped).bind(*args, **kwargs).arguments["config"])
        return wrapped(*args, **kwargs)


def check(config: Any) -> None:
    """Check verl's whole configuration, from what is cheap to check to what is not.

    Raises:
        ValueError: Something is unusable; the message names the key, what came and what to do.
    """
    if find_spec("verl_maxpo.trainer.config"):
        import_module("verl_maxpo.trainer.config").check_algorithm(config)
    import_module("verl_maxpo.resources").check_slots(config)
    _check_rewards(config)


def _check_rewards(config: Any) -> None:
    try:
        startup = import_module("verl_maxpo.rewards.adapters.startup")
    except ModuleNotFoundError as error:
        if config.reward.reward_manager.name == "verifier":
            raise ValueError(
                f"reward.reward_manager.name=verifier needs the package {error.name}: pip install 'verl-maxpo[rewards]'"
            ) from None
        return
    startup.check_rewards(config)
