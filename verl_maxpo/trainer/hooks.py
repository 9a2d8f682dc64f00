"""The hook on verl's trainer: lets the estimator count sessions and log metrics."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import expect_parameters
from verl_maxpo.trainer.estimator import ESTIMATOR_NAME
from verl_maxpo.trainer.sessions import trainer_step

logger = logging.getLogger(__name__)


def install() -> None:
    """Apply what lets the estimator count sessions and log metrics."""
    wrapt.register_post_import_hook(show_trainer_step, "verl.trainer.ppo.v1.trainer_base")


def show_trainer_step(module: ModuleType) -> None:
    """Let maxpo see the keys and the metrics of the step that the trainer computes advantages for.

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
        with trainer_step(arguments["batch"].keys, arguments["metrics"]):
            return wrapped(*args, **kwargs)
