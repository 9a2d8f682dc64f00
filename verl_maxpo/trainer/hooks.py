"""The hooks on verl's trainers: the estimator sees their steps, validation estimates pass@k."""

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
from verl_maxpo.trainer.metrics import PREFIX
from verl_maxpo.trainer.step import TrainerStep, trainer_step
from verl_maxpo.trainer.unscored import drop_unscored, drops_unscored
from verl_maxpo.trainer.validation import switched_on, validation_metrics

logger = logging.getLogger(__name__)

TRAINER = "verl.trainer.ppo.v1.trainer_base"

#: The trainers whose steps the estimator sees.
_SHOWN: set[str] = set()


def install() -> None:
    """Apply the hooks when verl's trainers are imported."""
    wrapt.register_post_import_hook(show_trainer_step, TRAINER)
    for trainer in (TRAINER, "verl.trainer.ppo.ray_trainer"):
        wrapt.register_post_import_hook(add_validation_metrics, trainer)


def shows_steps() -> bool:
    """Tell whether this version of verl lets the estimator see the steps of its V1 trainer."""
    import_module(TRAINER)
    return TRAINER in _SHOWN


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
        batch, metrics = arguments["batch"], arguments["metrics"]
        is_padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]
        if drops_unscored(instance.config):
            metrics[f"{PREFIX}/responses/unscored"] = drop_unscored(module.tq, batch, is_padding)
        with trainer_step(TrainerStep(instance.global_steps, batch.keys, is_padding, metrics)):
            return wrapped(*args, **kwargs)

    _SHOWN.add(module.__name__)


def add_validation_metrics(module: ModuleType) -> None:
    """Add pass@k and max@k to the validation metrics of a trainer, whatever its estimator.

    Validation works without, so that a verl that has changed, or values that cannot be used, are a warning.
    """
    without = "Until then validation has no pass@k"
    try:
        if not switched_on():
            return
        expect_parameters(
            module,
            "process_validation_metrics",
            ["data_sources", "sample_uids", "infos_dict", "seed", "expected_acc_counts"],
            ["data_sources", "sample_uids", "infos_dict", "seed"],  # 0.9.0
        )
    except (RuntimeError, ValueError) as error:
        logger.warning("%s. %s", error, without)
        return

    @wrapt.patch_function_wrapper(module, "process_validation_metrics")
    def process_validation_metrics(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        metrics = wrapped(*args, **kwargs)
        arguments = inspect.signature(wrapped).bind(*args, **kwargs).arguments
        arguments.pop("seed", None)
        try:
            ours = validation_metrics(**arguments)
        except (TypeError, ValueError) as error:
            logger.warning("this validation has no pass@k and max@k: %s", error)
            return metrics
        for source, variables in ours.items():
            for variable, values in variables.items():
                metrics[source][variable] = {**values, **metrics[source][variable]}
        return metrics
