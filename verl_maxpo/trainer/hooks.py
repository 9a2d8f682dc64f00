"""The hook on verl's V1 trainer: shows its steps to the estimator, for sessions, schedules and metrics."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import expect_parameters
from verl_maxpo.trainer import ESTIMATOR_NAME
from verl_maxpo.trainer.step import TrainerStep, trainer_step

logger = logging.getLogger(__name__)

TRAINER = "verl.trainer.ppo.v1.trainer_base"


def install() -> None:
    """Apply the hook as soon as verl's V1 trainer is imported."""
    wrapt.register_post_import_hook(show_trainer_step, TRAINER)


def are_installed() -> bool:
    """Tell whether this version of verl has taken the hook."""
    method = import_module(TRAINER).PPOTrainer._compute_advantage
    return hasattr(method, "__wrapped__")


def show_trainer_step(module: ModuleType) -> None:
    """Let maxpo see the step that the trainer computes advantages for.

    Training works without, so that a verl that has changed is a warning.
    """
    try:
        expect_parameters(module, "PPOTrainer._compute_advantage", ["self", "batch", "metrics"])
    except RuntimeError as error:
        logger.warning("%s. Until then maxpo logs no metrics and counts every row of a session as a response", error)
        return

    @wrapt.patch_function_wrapper(module, "PPOTrainer._compute_advantage")
    def compute_advantage(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        if instance.config.algorithm.adv_estimator != ESTIMATOR_NAME:
            return wrapped(*args, **kwargs)
        arguments = inspect.signature(wrapped).bind(*args, **kwargs).arguments
        with trainer_step(_step_of(instance, **arguments)):
            return wrapped(*args, **kwargs)


def _step_of(trainer: Any, batch: Any, metrics: dict[str, Any]) -> TrainerStep:
    is_padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]
    return TrainerStep(trainer.global_steps, batch.keys, is_padding, metrics)
